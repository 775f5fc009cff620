//! The errors of journals and of the store of runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many matching runs are named in the error for an ambiguous id.
const NAMED: usize = 5;

/// The errors of journals and of the store of runs.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An operation on a file or folder failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The operation, as a verb: `create`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file of the journal was removed or moved while its run went on, so that nothing of it can be resumed.
    #[error("the journal {} was removed or moved while the run went on, so the run is not recorded", path.display())]
    Removed {
        /// Where the journal was.
        path: PathBuf,
    },
    /// Another process holds the lock of the journal, because it runs or resumes the run.
    #[error("the run goes on in another process, which holds the lock of its journal {}", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// The file is not a journal, or its first line is damaged. Nothing of it is used.
    #[error("{} is not a journal: {reason}", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong with its first line.
        reason: String,
    },
    /// The journal was written by a newer version of this program.
    #[error("the journal {} has version {version}, and this program understands versions up to {newest}", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// The version of the journal.
        version: u32,
        /// The newest version that this program understands.
        newest: u32,
    },
    /// A record has changed since the journal was loaded.
    #[error("the record at byte {offset} of {} was changed: {reason}", path.display())]
    Changed {
        /// The journal.
        path: PathBuf,
        /// The byte at which the record begins.
        offset: u64,
        /// What is wrong with the record.
        reason: String,
    },
    /// A record cannot be written as JSON.
    #[error("could not write a record as JSON")]
    Unwritable(#[source] Arc<serde_json::Error>),
    /// No run has this id, or an id that begins with this text.
    #[error("there is no run `{wanted}` in {}", folder.display())]
    NoSuchRun {
        /// The id that was asked for.
        wanted: String,
        /// The folder of all runs.
        folder: PathBuf,
    },
    /// The ids of several runs begin with this text.
    #[error("`{wanted}` is the beginning of {} run ids: {}", .matches.len(), first_few(.matches))]
    AmbiguousRun {
        /// The id that was asked for.
        wanted: String,
        /// The ids that begin with it.
        matches: Vec<String>,
    },
    /// The text can be neither the id of a run nor the beginning of one.
    #[error(
        "`{wanted}` is not the id of a run: they are made of digits and small letters without i, l, o and u"
    )]
    InvalidRun {
        /// The text that was given as an id.
        wanted: String,
    },
}

impl JournalError {
    /// Makes the error of an operation on a file or folder.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// Returns the kind of the error, as in [`io::Error::kind`]. It distinguishes a full disk or a read-only folder
    /// from other errors.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            Self::InUse { .. } => io::ErrorKind::ResourceBusy,
            Self::NotAJournal { .. } | Self::Changed { .. } => io::ErrorKind::InvalidData,
            Self::Version { .. } => io::ErrorKind::Unsupported,
            Self::NoSuchRun { .. } => io::ErrorKind::NotFound,
            Self::AmbiguousRun { .. } | Self::InvalidRun { .. } => io::ErrorKind::InvalidInput,
            Self::Unwritable(_) | Self::Removed { .. } => io::ErrorKind::Other,
        }
    }
}

impl From<serde_json::Error> for JournalError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unwritable(Arc::new(error))
    }
}

impl From<JournalError> for io::Error {
    fn from(error: JournalError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Lists the first few of these ids as text, with `..` if there are more.
fn first_few(runs: &[String]) -> String {
    let named = runs[..runs.len().min(NAMED)].join(", ");
    let more = if runs.len() > NAMED { ", .." } else { "" };
    named + more
}
