//! Why a journal could not be written or read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many runs are named where any of them may be meant.
const NAMED: usize = 5;

/// Why a journal could not be written or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system refused something.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried: `create`, `write`.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The run goes on elsewhere, or is just being resumed there.
    #[error("the journal {} is in use by another process", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// The file is no journal, or its first line is damaged; nothing of it is used.
    #[error("{} is not a journal: {reason}", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong with its first line.
        reason: String,
    },
    /// It was written by a newer version of this program.
    #[error("the journal {} has version {version}, and {newest} is the newest that is understood here", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version that this program understands.
        newest: u32,
    },
    /// A record that was there when the journal was loaded is not what it was.
    #[error("the record at byte {offset} of {} was changed: {reason}", path.display())]
    Changed {
        /// The journal.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An outcome, or what a caller has to say about a run, cannot be written as JSON.
    #[error("could not write a record as JSON")]
    Unwritable(#[source] Arc<serde_json::Error>),
    /// There is no such run.
    #[error("there is no run `{wanted}` in {}", folder.display())]
    NoSuchRun {
        /// What was asked for.
        wanted: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Several runs begin like this.
    #[error("`{wanted}` may be any of {} runs: {}", .matches.len(), some(.matches))]
    AmbiguousRun {
        /// What was asked for.
        wanted: String,
        /// Which runs it may be.
        matches: Vec<String>,
    },
    /// A text that is no run's id, nor the beginning of one.
    #[error(
        "`{wanted}` is not the id of a run: they are made of digits and small letters without i, l, o and u"
    )]
    InvalidRun {
        /// The text.
        wanted: String,
    },
}

impl JournalError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// What the system said, if it said anything: a full disk or a read-only folder can be told by it.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            Self::InUse { .. } => io::ErrorKind::ResourceBusy,
            Self::NotAJournal { .. } | Self::Changed { .. } => io::ErrorKind::InvalidData,
            Self::Version { .. } => io::ErrorKind::Unsupported,
            Self::NoSuchRun { .. } => io::ErrorKind::NotFound,
            Self::AmbiguousRun { .. } | Self::InvalidRun { .. } => io::ErrorKind::InvalidInput,
            Self::Unwritable(_) => io::ErrorKind::Other,
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

/// The first of them.
fn some(runs: &[String]) -> String {
    let named = runs[..runs.len().min(NAMED)].join(", ");
    let more = if runs.len() > NAMED { ", .." } else { "" };
    named + more
}
