//! `ratchet schema`.

use clap::{Args, ValueEnum};

/// Prints a JSON Schema (draft 2020-12), from which editors complete job files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ratchet schema > ratchet.schema.json\n  \
    ratchet schema results\n\n\
    In a YAML file, a first line like this tells the editor where the schema is:\n  \
    # yaml-language-server: $schema=ratchet.schema.json")]
pub(crate) struct SchemaArguments {
    /// What the schema describes.
    #[arg(value_enum, default_value_t)]
    pub(crate) of: SchemaSubject,
}

/// What `ratchet schema` has a schema of.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SchemaSubject {
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
