//! The folder in which all runs are kept.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_ipc::Payload;

use super::error::JournalError;
use super::history::read_header;
use super::record::{self, Header, Record, Source};
use super::run_id::RunId;
use super::scan::Scanner;
use super::{Durability, Journal, open_locked, sync_folder_of};
use crate::summary::Summary;

/// The journal in a run's folder.
const JOURNAL: &str = "journal";

/// How much of a journal's end is read to find its last record; doubled as long as none is in it.
const TAIL: u64 = 64 * 1024;

/// The runs that are kept: `runs/<id>/journal` under a state folder.
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
    folder: PathBuf,
}

/// A run that is kept.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its journal.
    pub journal: PathBuf,
    /// What it was begun with, if that can be read.
    pub header: Option<Header>,
    /// What became of it.
    pub state: RunState,
}

/// What became of a run, as its journal's last line tells.
#[derive(Debug, Clone)]
pub enum RunState {
    /// It goes on, in this process or another.
    Running {
        /// How many outcomes are recorded.
        recorded: u64,
    },
    /// It came to its end.
    Ended {
        /// When.
        at: SystemTime,
        /// What came of it.
        summary: Box<Summary>,
    },
    /// It did not come to its end, and can be gone on with.
    Interrupted {
        /// How many outcomes are recorded.
        recorded: u64,
    },
    /// Its journal cannot be read.
    Unreadable(JournalError),
}

impl RunStore {
    /// The folder with a folder for each run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The runs under a state folder, which need not be there yet.
    pub fn at(state_folder: impl AsRef<Path>) -> Self {
        Self {
            folder: state_folder.as_ref().join("runs"),
        }
    }

    /// Begins a run that begins now, and its journal.
    pub fn create(
        &self,
        now: SystemTime,
        source: Option<Source>,
        about: Payload,
        durability: Durability,
    ) -> Result<(RunId, Journal), JournalError> {
        self.make_folder(durability)?;
        // A run has a greater id than all before it, also where the clock was set back meanwhile: ids tell which
        // run began last.
        let mut run = RunId::at(now);
        if let Some(last) = self.ids()?.pop() {
            run = run.max(self.after(last)?);
        }
        let folder = loop {
            let folder = self.folder_of(run);
            match private().create(&folder) {
                Ok(()) => break folder,
                // Another process has just begun a run.
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
                // A run without a journal is nothing to go on with; what is to be told is why there is none.
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The next id; nobody but who makes up ids gets to their end.
    fn after(&self, run: RunId) -> Result<RunId, JournalError> {
        run.next().ok_or_else(|| {
            let last = io::Error::other("there is no id for a run after it");
            JournalError::io("begin a run after", &self.folder_of(run), last)
        })
    }

    /// Makes the folder of all runs, and those above it, if they are not there.
    fn make_folder(&self, durability: Durability) -> Result<(), JournalError> {
        let missing = self
            .folder
            .ancestors()
            .take_while(|folder| !folder.exists());
        let missing: Vec<&Path> = missing.collect();
        private()
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

    /// All runs, the latest first. What stands in the folder and is no run is passed over.
    pub fn list(&self) -> Result<Vec<Run>, JournalError> {
        let ids = self.ids()?;
        Ok(ids.into_iter().rev().map(|id| self.run(id)).collect())
    }

    /// A run, by the beginning and the end of its journal.
    pub fn run(&self, id: RunId) -> Run {
        let journal = self.journal(id);
        let (header, state) = match look(&journal) {
            Ok((header, state)) => (Some(header), state),
            Err(error) => (None, RunState::Unreadable(error)),
        };
        Run {
            id,
            journal,
            header,
            state,
        }
    }

    /// The only run whose id begins like this.
    pub fn find(&self, wanted: &str) -> Result<RunId, JournalError> {
        let spelled = RunId::spell(wanted)?;
        let mut matches = self.ids()?;
        matches.retain(|id| id.to_string().starts_with(&spelled));
        match matches[..] {
            [] => Err(self.no_such(wanted)),
            [run] => Ok(run),
            _ => Err(JournalError::AmbiguousRun {
                wanted: wanted.to_owned(),
                matches: matches.iter().rev().map(ToString::to_string).collect(),
            }),
        }
    }

    /// The run that began last. What died before its journal had a first line never began, and is passed over.
    pub fn latest(&self) -> Result<Option<RunId>, JournalError> {
        let ids = self.ids()?;
        Ok(ids.into_iter().rev().find(|id| self.has_begun(*id)))
    }

    /// Whether a run's journal has a first line, or cannot be read, which is for others to say.
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

    /// Where a run's journal is.
    pub fn journal(&self, id: RunId) -> PathBuf {
        self.folder_of(id).join(JOURNAL)
    }

    /// Removes a run with all that is kept of it; not one that goes on.
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
            ErrorKind::NotFound => self.no_such(&id.to_string()),
            _ => JournalError::io("remove", &folder, error),
        })
    }

    /// The ids of all runs, the latest last.
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

    /// The folder of a run.
    pub(super) fn folder_of(&self, id: RunId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn no_such(&self, wanted: &str) -> JournalError {
        JournalError::NoSuchRun {
            wanted: wanted.to_owned(),
            folder: self.folder.clone(),
        }
    }
}

/// Reads the beginning and the end of a journal.
fn look(path: &Path) -> Result<(Header, RunState), JournalError> {
    let failed = |error| JournalError::io("read", path, error);
    let file = File::open(path).map_err(|error| JournalError::io("open", path, error))?;
    let header = read_header(path, &mut Scanner::new(BufReader::new(&file)))?;
    // Shared, so that two who look do not take each other for a run.
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
        Last::Count(recorded) if running => RunState::Running { recorded },
        Last::Count(recorded) => RunState::Interrupted { recorded },
        // It has said so, and is about to let go of its lock.
        Last::Ended(at, summary) => RunState::Ended { at, summary },
    };
    Ok((header, state))
}

/// The last whole record of a journal, or how many outcomes it says there are.
enum Last {
    Count(u64),
    Ended(SystemTime, Box<Summary>),
}

fn last_record(file: &File) -> io::Result<Last> {
    let size = file.metadata()?.len();
    let mut length = TAIL.min(size);
    loop {
        let begin = size - length;
        let mut tail = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut tail, begin)?;
        let mut damaged = false;
        // The last piece is unfinished or empty, the first may begin in the middle of its line.
        for line in tail.split(|byte| *byte == b'\n').rev().skip(1) {
            match record::read(line) {
                Ok(Record::Job(job)) => return Ok(Last::Count(job.n)),
                Ok(Record::Resumed { n, .. } | Record::Suspect { n, .. }) => {
                    return Ok(Last::Count(n));
                }
                // Whatever the damaged line was, it was written after this.
                Ok(Record::Ended { n, .. }) if damaged => return Ok(Last::Count(n)),
                Ok(Record::Ended { at, summary, .. }) => {
                    return Ok(Last::Ended(at, summary));
                }
                Ok(Record::Header(_)) => return Ok(Last::Count(0)),
                Err(_) => damaged = true,
            }
        }
        if begin == 0 {
            return Ok(Last::Count(0));
        }
        length = length.saturating_mul(2).min(size);
    }
}

/// A folder that nobody else looks into: command lines, outputs and stderr are in it.
fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}
