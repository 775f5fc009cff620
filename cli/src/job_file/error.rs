//! Why a job file cannot be used.

use std::io;

use thiserror::Error;

use crate::diagnostic::Report;

#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("there is no file `{name}`{}", .similar.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?")))]
    Missing {
        name: String,
        similar: Option<String>,
    },
    #[error("`{name}` is a folder, not a job file")]
    Folder { name: String },
    #[error("`{name}` cannot be read")]
    Unreadable {
        name: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "what format is `{name}`? its name should end with .jsonl, .yaml, .json or .toml; `-` is JSON lines from stdin"
    )]
    Format { name: String },
    #[error(
        "`{name}` is larger than {limit}; write its jobs as JSON lines (.jsonl), which are read one by one"
    )]
    TooLarge { name: String, limit: String },
    #[error("{0}")]
    Refused(Box<Report>),
    #[error("{name} has no jobs: nothing to do")]
    Nothing { name: String },
}
