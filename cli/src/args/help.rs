//! `ratchet help`.

use clap::{Args, ValueEnum};

/// Prints the help of a verb, or a reference of what ratchet reads.
#[derive(Debug, Args)]
#[command(after_help = "References:\n  \
    job-file  every key of job files: its values, its default, an example\n  \
    settings  the same of config files\n  \
    protocol  the messages between ratchet and its workers\n  \
    parallel  the options of GNU parallel, and what stands for them here\n  \
    xargs     the same for xargs\n\n\
    Examples:\n  \
    ratchet help map\n  \
    ratchet help runs show\n  \
    ratchet help job-file | less\n  \
    ratchet help job-file --format man | man -l -")]
pub(crate) struct HelpArguments {
    /// A verb, as in `run` or `runs show`; or `job-file`, `settings`, `protocol`, `parallel` or `xargs`. Without one, it is the help of ratchet.
    #[arg(value_name = "VERB|REFERENCE")]
    pub(crate) words: Vec<String>,
    /// How a reference is written (default: text).
    #[arg(long, value_enum)]
    pub(crate) format: Option<ReferenceFormat>,
}

/// How `ratchet help` writes a reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReferenceFormat {
    /// For a terminal.
    #[default]
    Text,
    /// A document with a table for each section.
    Markdown,
    /// The source of a man page.
    Man,
}
