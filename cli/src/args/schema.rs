//! `ratchet schema`.

use clap::{Args, ValueEnum};

/// Prints the JSON Schema of job files, of result lines or of event lines.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ratchet schema > ratchet.schema.json\n  ratchet schema result"
)]
pub(crate) struct SchemaArguments {
    /// Of what.
    #[arg(default_value = "jobs")]
    pub(crate) of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Job files, and the lines of a stream of jobs.
    Jobs,
    /// Result lines.
    Result,
    /// Event lines.
    Event,
}
