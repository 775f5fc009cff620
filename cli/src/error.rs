//! What can go wrong, which exit code it is, and what to do about it.

use std::io;
use std::path::PathBuf;

use ratchet_caching::CacheError;
use ratchet_ipc::IpcError;
use ratchet_runtime::JournalError;
use thiserror::Error;

use crate::diagnostic::{Look, Report};
use crate::exit;
use crate::job_file::FileError;
use crate::settings::SettingsError;
use crate::trust::Untrusted;

#[derive(Debug, Error)]
pub(crate) enum CliError {
    /// What was typed makes no sense, in a way that the parser cannot see.
    #[error("{message}")]
    Usage {
        message: String,
        hint: Option<String>,
    },
    #[error("the built-in worker could not go on")]
    Worker(#[source] IpcError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Somebody else may have written what was to be used.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A line that is no job, where that ends the run.
    #[error("a line of {} makes no job", .0.source.name())]
    BadLine(Box<Report>),
    #[error("{bad} of the lines of {file} make no job")]
    BadLines { file: String, bad: u64 },
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// While jobs run that were read before.
    #[error("`{name}` cannot be read further")]
    ReadFurther {
        name: String,
        #[source]
        source: io::Error,
    },
    /// Before anything runs.
    #[error("`{}` cannot be written", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("stdout cannot be written")]
    Output(#[source] io::Error),
    /// A setting or a job that makes no sense, found out before anything runs.
    #[error(transparent)]
    Refused(#[from] ratchet_runtime::Error),
    /// The record of a run.
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the run cannot be recorded, so nothing was run")]
    Unrecordable(#[source] JournalError),
    #[error("the run was stopped because its results could not be recorded: {0}")]
    Unrecorded(String),
    #[error("{0}")]
    Internal(String),
    #[error("the runtime could not be started")]
    Runtime(#[source] io::Error),
    /// The result cache, where it was asked for and not only used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Usage { message, .. } => Self::Usage {
                message,
                hint: Some(text.into()),
            },
            other => other,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::File(FileError::Nothing { .. }) => exit::NOTHING,
            Self::Usage { .. }
            | Self::File(_)
            | Self::Settings(_)
            | Self::Untrusted(_)
            | Self::BadLine(_)
            | Self::BadLines { .. }
            | Self::Refused(_)
            | Self::Create { .. }
            | Self::Unrecordable(_)
            | Self::Read { .. } => exit::USAGE,
            Self::Journal(error) if is_for_the_user(error.kind()) => exit::USAGE,
            Self::Output(_) if self.is_broken_pipe() => exit::UNREAD,
            Self::Worker(_)
            | Self::ReadFurther { .. }
            | Self::Write { .. }
            | Self::Output(_)
            | Self::Unrecorded(_)
            | Self::Internal(_)
            | Self::Runtime(_)
            | Self::Journal(_)
            | Self::Cache(_) => exit::INTERNAL,
        }
    }

    /// Whether the reader of stdout has gone. It had enough, so there is nothing to complain about.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What stands before the error itself: the places in the files.
    pub(crate) fn reports(&self, look: Look) -> String {
        match self {
            Self::File(FileError::Refused(report)) | Self::BadLine(report) => report.render(look),
            Self::Settings(SettingsError::Refused(reports)) => {
                reports.iter().map(|report| report.render(look)).collect()
            }
            _ => String::new(),
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Untrusted(error) | Self::Settings(SettingsError::Untrusted(error)) => {
                Some(error.help())
            }
            Self::Output(error) | Self::Write { source: error, .. }
                if error.kind() == io::ErrorKind::StorageFull =>
            {
                Some(
                    "the disk is full: make room and try again; a recorded run goes on with `ratchet resume`"
                        .into(),
                )
            }
            Self::Unrecorded(_) => Some(
                "what was recorded is safe: mend it, then `ratchet resume` goes on; or run with --no-record"
                    .into(),
            ),
            Self::Unrecordable(_) => {
                Some("say another folder by --state-dir, or run with --no-record".into())
            }
            _ => None,
        }
    }
}

/// Whether it was what somebody named, or may not read, rather than a machine that fails.
fn is_for_the_user(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::NotFound
            | Kind::PermissionDenied
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidData
            | Kind::InvalidInput
            | Kind::Unsupported
            | Kind::ResourceBusy
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_off_after_jobs_ran_is_no_usage_error() {
        let (path, name) = (PathBuf::from("jobs.jsonl"), "jobs.jsonl".to_owned());
        let broken = || io::Error::from(io::ErrorKind::TimedOut);
        let source = broken();
        assert_eq!(CliError::Read { path, source }.exit_code(), exit::USAGE);
        let source = broken();
        let further = CliError::ReadFurther { name, source };
        assert_eq!(further.exit_code(), exit::INTERNAL);
    }
}
