//! The errors for which a job file is refused.

use std::io;

use thiserror::Error;

use crate::diagnostic::Diagnostics;
use crate::error::CliError;
use crate::exit;

/// The reason why a job file cannot be run.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    /// The file does not exist.
    #[error("there is no file `{name}`{}", .similar.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?")))]
    Missing {
        name: String,
        similar: Option<String>,
    },
    /// The path is a folder.
    #[error("`{name}` is a folder, not a job file")]
    Folder { name: String },
    /// The file cannot be read.
    #[error("`{name}` cannot be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    /// The name of the file does not show its format.
    #[error(
        "the format of `{name}` cannot be told from its name, which should end with .jsonl, .yaml, .json or .toml; `-` is JSON lines from stdin"
    )]
    Format { name: String },
    /// The file is larger than a document may be.
    #[error(
        "`{name}` is larger than {limit}; write its jobs as JSON lines (.jsonl), which are read one by one"
    )]
    TooLarge { name: String, limit: String },
    /// The file is larger than a text that is added to a run may be.
    #[error(
        "`{name}` is larger than {limit}, which is the most that is added at once; add it in parts"
    )]
    TooLargeToAdd { name: String, limit: String },
    /// The content has errors.
    #[error("{0}")]
    Refused(Box<Diagnostics>),
    /// Flags select jobs, but the jobs come from a stream.
    #[error(
        "--only, --skip, --partition and --list need to know all jobs before the run, and {name} is a stream: filter its lines instead"
    )]
    NotSelectable { name: String },
    /// `--group-fail-fast` matches the group of no job.
    #[error(
        "--group-fail-fast {pattern}: no job is in a group that matches; a job sets its group with `group: NAME`"
    )]
    NoSuchGroup { pattern: String },
    /// `--only` or `--skip` has a pattern that matches no job.
    #[error(
        "{option}: no job matches; a pattern is compared with ids, `group(..)` with groups and `task(..)` with tasks, and --list names the jobs"
    )]
    NoSuchJob { option: String },
    /// The file has no jobs.
    #[error("{name} has no jobs: nothing to do")]
    Nothing { name: String },
    /// The selection leaves no job of the file.
    #[error("--only, --skip and --partition leave no job of {name}: nothing to do")]
    NothingSelected { name: String },
}

impl From<FileError> for CliError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Refused(diagnostics) => {
                Self::usage(diagnostics.to_string()).with_diagnostics(vec![*diagnostics])
            }
            FileError::Nothing { .. } | FileError::NothingSelected { .. } => {
                Self::new(exit::NOTHING, error)
            }
            _ => Self::new(exit::USAGE, error),
        }
    }
}
