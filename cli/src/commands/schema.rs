//! `ratchet schema`: JSON Schemas of what ratchet reads and writes.

use std::io::{self, Write};

use clap::{Args, ValueEnum};

use crate::error::CliError;
use crate::schema;

/// Prints a JSON Schema (draft 2020-12), which editors complete job files from.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ratchet schema > ratchet.schema.json\n  \
    ratchet schema results\n\n\
    In a YAML file, an editor finds it by a first line like\n  \
    # yaml-language-server: $schema=ratchet.schema.json")]
pub(crate) struct Arguments {
    /// Of what.
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Of {
    /// Job files in YAML, JSON and TOML.
    #[default]
    Jobs,
    /// A line of a stream of jobs.
    JobLines,
    /// Config files.
    Config,
    /// A line of results.
    Results,
    /// A line of an event log.
    Events,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let schema = match arguments.of {
        Of::Jobs => schema::jobs(),
        Of::JobLines => schema::job_lines(),
        Of::Config => schema::config(),
        Of::Results => schema::results(),
        Of::Events => schema::events(),
    };
    let written = io::stdout().write_all(format!("{schema:#}\n").as_bytes());
    written.map_err(CliError::Output)
}
