//! The folder that holds all runs.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_ipc::Payload;

use super::error::JournalError;
use super::history::read_header;
use super::record::{self, Header, Record, SourceIdentity};
use super::run_id::RunId;
use super::scan::Scanner;
use super::{Durability, Journal, open_locked, sync_folder_of};
use crate::summary::Summary;

/// The name of the journal in a run's folder.
const JOURNAL: &str = "journal";

/// How many bytes at the end of a journal are read first to find its last record. If they hold none, twice as many are
/// read.
const TAIL: u64 = 64 * 1024;

/// Creates, lists, finds and removes runs. The journal of a run is `runs/<id>/journal` under a state folder.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use ratchet_runtime::journal::RunState;
/// use ratchet_runtime::{Durability, Payload, RunStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
/// let store = RunStore::at(folder.path());
/// let (id, journal) = store.create(now, None, Payload::null(), Durability::None)?;
/// drop(journal); // It was interrupted.
///
/// let run = store.find(&id.to_string()[..3])?;
/// assert!(matches!(store.run(run).state, RunState::Interrupted { recorded: 0 }));
/// store.remove(run)?;
/// assert!(store.list()?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RunStore {
    /// The folder `runs`, which may not exist yet.
    folder: PathBuf,
}

/// A run in the store, as the beginning and the end of its journal describe it.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The id of the run.
    pub id: RunId,
    /// The path of the run's journal.
    pub journal: PathBuf,
    /// What the run was started with, if that can be read.
    pub header: Option<Header>,
    /// Whether the run is in progress, has ended, or was interrupted.
    pub state: RunState,
}

/// Whether a run is in progress, has ended, or was interrupted, according to the last record of its journal.
#[derive(Debug, Clone)]
pub enum RunState {
    /// A process has the journal open and writes to it.
    Running {
        /// The number of outcomes that are recorded.
        recorded: u64,
    },
    /// The run has ended by itself.
    Ended {
        /// When the run ended.
        at: SystemTime,
        /// The figures of the run.
        summary: Box<Summary>,
    },
    /// The run stopped before its end, and can be resumed.
    Interrupted {
        /// The number of outcomes that are recorded.
        recorded: u64,
    },
    /// The journal cannot be read.
    Unreadable(JournalError),
}

impl RunStore {
    /// Returns the folder in which each run has a folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a store for the runs under a state folder, which need not exist yet.
    pub fn at(state_folder: impl AsRef<Path>) -> Self {
        Self {
            folder: state_folder.as_ref().join("runs"),
        }
    }

    /// Creates a run that begins now, with its folder and its journal.
    pub fn create(
        &self,
        now: SystemTime,
        source: Option<SourceIdentity>,
        about: Payload,
        durability: Durability,
    ) -> Result<(RunId, Journal), JournalError> {
        self.make_folder(durability)?;
        // A new run has a greater id than all others, even if the clock was set back: the order of ids is the order in
        // which runs began.
        let mut run = RunId::at(now);
        if let Some(last) = self.ids()?.pop() {
            run = run.max(self.after(last)?);
        }
        let folder = loop {
            let folder = self.folder_of(run);
            match private_folder().create(&folder) {
                Ok(()) => break folder,
                // Another process has just created a run with this id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => run = self.after(run)?,
                Err(error) => return Err(JournalError::io("create", &folder, error)),
            }
        };
        let header = Header {
            source,
            ..Header::new(run, now, about)
        };
        let created = Journal::create(folder.join(JOURNAL), &header, durability);
        match created {
            Ok(journal) => {
                if durability != Durability::None {
                    sync_folder_of(&folder)?;
                }
                Ok((run, journal))
            }
            Err(error) => {
                // A run without a journal cannot be resumed, so its folder is removed. An error of the removal is
                // ignored, because the caller has to get the reason for which there is no journal.
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// Returns the id after this one. There is one unless a folder with the greatest id was made by hand.
    fn after(&self, run: RunId) -> Result<RunId, JournalError> {
        run.next().ok_or_else(|| {
            let last = io::Error::other("there is no id for a run after it");
            JournalError::io("begin a run after", &self.folder_of(run), last)
        })
    }

    /// Creates the folder of all runs, and the folders above it, if they do not exist.
    fn make_folder(&self, durability: Durability) -> Result<(), JournalError> {
        let missing = self
            .folder
            .ancestors()
            .take_while(|folder| !folder.exists());
        let missing: Vec<&Path> = missing.collect();
        private_folder()
            .recursive(true)
            .create(&self.folder)
            .map_err(|error| JournalError::io("create", &self.folder, error))?;
        if durability != Durability::None {
            for folder in missing {
                sync_folder_of(folder)?;
            }
        }
        Ok(())
    }

    /// Lists all runs, the latest first. Entries of the folder that are not runs are ignored.
    pub fn list(&self) -> Result<Vec<StoredRun>, JournalError> {
        let ids = self.ids()?;
        Ok(ids.into_iter().rev().map(|id| self.run(id)).collect())
    }

    /// Reads the beginning and the end of a run's journal. A journal that cannot be read makes the run
    /// [unreadable](RunState::Unreadable).
    pub fn run(&self, id: RunId) -> StoredRun {
        let journal = self.journal(id);
        let (header, state) = match read_ends(&journal) {
            Ok((header, state)) => (Some(header), state),
            Err(error) => (None, RunState::Unreadable(error)),
        };
        StoredRun {
            id,
            journal,
            header,
            state,
        }
    }

    /// Finds the only run whose id begins with this text. It fails if there is none, or more than one.
    pub fn find(&self, wanted: &str) -> Result<RunId, JournalError> {
        let spelled = RunId::normalize(wanted)?;
        let mut matches = self.ids()?;
        matches.retain(|id| id.to_string().starts_with(&spelled));
        match matches[..] {
            [] => Err(self.no_such_run(wanted)),
            [run] => Ok(run),
            _ => Err(JournalError::AmbiguousRun {
                wanted: wanted.to_owned(),
                matches: matches.iter().rev().map(ToString::to_string).collect(),
            }),
        }
    }

    /// Returns the run that began last. A run that died before its journal had a first line does not count as begun and
    /// is ignored.
    pub fn latest(&self) -> Result<Option<RunId>, JournalError> {
        let ids = self.ids()?;
        Ok(ids.into_iter().rev().find(|id| self.has_begun(*id)))
    }

    /// Whether a run's journal has a first line. A journal that cannot be read counts as begun, so that the next reader
    /// of it reports the error.
    pub(super) fn has_begun(&self, id: RunId) -> bool {
        let first_line = File::open(self.journal(id)).and_then(|file| {
            let mut line = Vec::new();
            BufReader::new(file).read_until(b'\n', &mut line)?;
            Ok(line)
        });
        match first_line {
            Ok(line) => line.ends_with(b"\n"),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// Returns the path of a run's journal.
    pub fn journal(&self, id: RunId) -> PathBuf {
        self.folder_of(id).join(JOURNAL)
    }

    /// Removes a run with its journal. It fails if the run is in progress.
    pub fn remove(&self, id: RunId) -> Result<(), JournalError> {
        let folder = self.folder_of(id);
        let path = folder.join(JOURNAL);
        let held = match open_locked(&path, File::options().read(true)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let removed = fs::remove_dir_all(&folder);
        drop(held);
        removed.map_err(|error| match error.kind() {
            ErrorKind::NotFound => self.no_such_run(&id.to_string()),
            _ => JournalError::io("remove", &folder, error),
        })
    }

    /// Returns the ids of all runs, the earliest first.
    pub fn ids(&self) -> Result<Vec<RunId>, JournalError> {
        let failed = |error| JournalError::io("read", &self.folder, error);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<RunId>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Returns the folder of a run.
    pub(super) fn folder_of(&self, id: RunId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn no_such_run(&self, wanted: &str) -> JournalError {
        JournalError::NoSuchRun {
            wanted: wanted.to_owned(),
            folder: self.folder.clone(),
        }
    }
}

/// Reads the header and the last record of a journal.
fn read_ends(path: &Path) -> Result<(Header, RunState), JournalError> {
    let failed = |error| JournalError::io("read", path, error);
    let file = File::open(path).map_err(|error| JournalError::io("open", path, error))?;
    let header = read_header(path, &mut Scanner::new(BufReader::new(&file)))?;
    // The lock is shared, so that two processes that inspect a journal do not mistake each other for its writer.
    let running = match file.try_lock_shared() {
        Ok(()) => {
            file.unlock().map_err(failed)?;
            false
        }
        Err(fs::TryLockError::WouldBlock) => true,
        Err(fs::TryLockError::Error(error)) => {
            return Err(JournalError::io("lock", path, error));
        }
    };
    let state = match last_record(&file).map_err(failed)? {
        LastRecord::Count(recorded) if running => RunState::Running { recorded },
        LastRecord::Count(recorded) => RunState::Interrupted { recorded },
        // The lock may still be held: the process has recorded the end and is about to release it.
        LastRecord::Ended(at, summary) => RunState::Ended { at, summary },
    };
    Ok((header, state))
}

/// The last complete record of a journal: the end of the run, or the number of outcomes so far.
enum LastRecord {
    /// The run has not ended; this many outcomes are recorded.
    Count(u64),
    /// The run ended at this time, with these figures.
    Ended(SystemTime, Box<Summary>),
}

/// Finds the last complete record of a journal, reading backwards from the end of the file.
fn last_record(file: &File) -> io::Result<LastRecord> {
    let size = file.metadata()?.len();
    let mut length = TAIL.min(size);
    loop {
        let begin = size - length;
        let mut tail = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut tail, begin)?;
        let mut damaged = false;
        // The last piece is unfinished or empty and is skipped. The first piece may begin in the middle of a line; it
        // then fails its checksum like a damaged line.
        for line in tail.split(|byte| *byte == b'\n').rev().skip(1) {
            match record::read(line) {
                Ok(Record::Job(job)) => return Ok(LastRecord::Count(job.n)),
                Ok(
                    Record::Resumed { n, .. }
                    | Record::Suspect { n, .. }
                    | Record::Suspended { n, .. }
                    | Record::Continued { n, .. }
                    | Record::Planned { n, .. }
                    | Record::Remark { n },
                ) => return Ok(LastRecord::Count(n)),
                // Whatever the damaged line was, the run continued after this recorded end.
                Ok(Record::Ended { n, .. }) if damaged => return Ok(LastRecord::Count(n)),
                Ok(Record::Ended { at, summary, .. }) => {
                    return Ok(LastRecord::Ended(at, summary));
                }
                Ok(Record::Header(_)) => return Ok(LastRecord::Count(0)),
                Err(_) => damaged = true,
            }
        }
        if begin == 0 {
            return Ok(LastRecord::Count(0));
        }
        length = length.saturating_mul(2).min(size);
    }
}

/// Returns a builder of folders that only their owner can read, because command lines and outputs may hold secrets.
fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}
