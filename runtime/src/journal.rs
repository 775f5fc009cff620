//! The journal of a run: which job came to which outcome, kept so that a later run can go on with it.
//!
//! A run of a million jobs that dies at the last one must not begin again. So each outcome is written down
//! before anybody hears of it, and [`Resume`] tells by what was written which jobs are still to be done:
//! those that never ended, those that did not succeed, and those that have changed since.
//!
//! **The file.** One line a record: a CRC-32 in eight digits, a blank, JSON. It is only ever appended to, and made
//! for ordinary tools: `cut -c10- journal | jq .outcome` prints the results. The first line is the header with the
//! version; a journal of another version is refused. The checksum is there against disks and crashes, not against
//! people, and costs some 20 ns a record; BLAKE3 would cost more than all the rest.
//!
//! **After a crash** the last line may be unfinished. It is cut off, and said. A damaged line in the middle
//! is said with its place and left out, and the rest is read: the worst that can come of it is that a job
//! is done again, or that an older outcome of the same content stands. A damaged header is refused.
//!
//! **Durability.** [`append`](Journal::append) gathers in memory, [`flush`](Journal::flush) sees to it that all
//! is in the file; how much a flush survives is [`Durability`]. Who flushes once for all that ended while the last
//! flush ran pays for one sync a group, not one a job.
//!
//! **A failed write** poisons the journal: this call and all later ones fail with the same error, since
//! nobody knows how much of it is in the file.
//!
//! **Compaction.** When a run has ended, only the last outcome of each job counts, and
//! [`compact`](Journal::compact) leaves out the rest. [`RunStore::prune`] removes the runs that are too old or too
//! many.
//!
//! **One process a journal.** A lock that the system releases when the process dies sees to it.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use ratchet_runtime::journal::{Header, Verdict, Why};
//! use ratchet_runtime::{Durability, Job, Journal, Outcome, Payload, Resume, RunId};
//!
//! # let folder = tempfile::tempdir()?;
//! # let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
//! # let outcome = Outcome::new("a", "t", Ok(Payload::null()));
//! let path = folder.path().join("journal");
//! let (a, b) = (Job::task("a", "t", Payload::null()), Job::task("b", "t", Payload::null()));
//!
//! let header = Header::new(RunId::at(now), now, Payload::null());
//! let mut journal = Journal::create(&path, &header, Durability::Batch)?;
//! journal.append(&a, &outcome)?;
//! journal.flush()?;
//! drop(journal); // Or the machine goes down.
//!
//! let (journal, history) = Journal::resume(&path, now, &Payload::null(), Durability::Batch)?;
//! let mut resume = Resume::new(history.into(), None);
//! let Verdict::Skip(recorded) = resume.decide(&a) else { panic!("it has succeeded") };
//! assert_eq!(resume.history().outcome(&recorded)?, outcome);
//! assert_eq!(resume.decide(&b), Verdict::Run(Why::New));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compact;
mod content;
mod error;
mod history;
mod index;
mod ledger;
mod prune;
mod record;
mod resume;
mod run_id;
mod run_store;
mod scan;
mod syncer;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_ipc::{JobKey, Payload};

pub use content::Content;
pub use error::JournalError;
pub use history::{History, Recorded};
pub use prune::{Pruned, Retention};
pub use record::{Header, Source};
pub use resume::{Differences, Resume, Verdict, Why};
pub use run_id::RunId;
pub use run_store::{Run, RunState, RunStore};
pub use scan::{Damage, Torn};

use crate::job::Job;
use crate::outcome::Outcome;
use crate::summary::Summary;
use syncer::Syncer;

/// What a flushed record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of this process, not that of the machine: nothing is synced.
    None,
    /// The death of this process, and that of the machine a moment later: what is written is synced within
    /// a fifth of a second, while the run goes on.
    #[default]
    Batch,
    /// The death of the machine: a flush returns when it is synced.
    Each,
}

/// What was appended is written when it is as much as this, before anybody asks: memory that is handed back and
/// forth costs more than the writes that it would save.
const BUFFER: usize = 1024 * 1024;

/// So much of a journal is read at once, where all of it is.
const CHUNK: usize = 256 * 1024;

/// So often a lock is tried that somebody else has: one who only looks has it for a microsecond.
const LOCK_TRIES: u32 = 100;

/// The writing end of a journal. Its calls wait for the disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    durability: Durability,
    /// What has been appended and not been written.
    buffer: Vec<u8>,
    /// Something was written since the last flush.
    unflushed: bool,
    /// How many job records there are.
    recorded: u64,
    /// Jobs of items are recorded by their identities. A journal that began without goes on without: one job in two
    /// records of different keys would count twice.
    knows_identities: bool,
    syncer: Option<Syncer>,
    failure: Option<JournalError>,
}

impl Journal {
    /// Begins a journal in a file that must not be there.
    pub fn create(
        path: impl AsRef<Path>,
        header: &Header,
        durability: Durability,
    ) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let mut buffer = Vec::new();
        record::write_header(&mut buffer, header)?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            // Command lines, outputs and stderr are nobody else's business.
            .mode(0o600)
            .open(path)
            .map_err(|error| JournalError::io("create", path, error))?;
        lock(path, &file)?;
        let mut journal = Self::new(path, file, durability, buffer, 0)?;
        journal.flush()?;
        if durability != Durability::None {
            sync_folder_of(path)?;
        }
        Ok(journal)
    }

    /// Goes on with a journal: reads it, cuts off an unfinished last line, and notes that it goes on.
    ///
    /// `about` is what the caller has to say about this part of the run, as a command line.
    pub fn resume(
        path: impl AsRef<Path>,
        now: SystemTime,
        about: &Payload,
        durability: Durability,
    ) -> Result<(Self, History), JournalError> {
        let path = path.as_ref();
        let failed = |action| move |error| JournalError::io(action, path, error);
        // Locked first, so that nobody writes what is read.
        let file = open_locked(path, OpenOptions::new().append(true))?;
        let mut journal = Self::new(path, file, durability, Vec::new(), 0)?;
        let history = History::load(path)?;
        if history.torn().is_some() {
            journal
                .file
                .set_len(history.end())
                .map_err(failed("cut off the end of"))?;
        }
        journal.recorded = history.recorded();
        journal.knows_identities = history.knows_identities();
        record::write_resumed(&mut journal.buffer, journal.recorded, 1, now, about)?;
        journal.flush()?;
        Ok((journal, history))
    }

    /// The journal in a file of which this process has the lock.
    fn new(
        path: &Path,
        file: File,
        durability: Durability,
        buffer: Vec<u8>,
        recorded: u64,
    ) -> Result<Self, JournalError> {
        let syncer = syncer(path, &file, durability)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            durability,
            buffer,
            unflushed: false,
            recorded,
            knows_identities: true,
            syncer,
            failure: None,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes note of a job's outcome, for the next flush.
    pub fn append(&mut self, job: &Job, outcome: &Outcome) -> Result<(), JournalError> {
        self.check()?;
        let n = self.recorded + 1;
        let identity = job.item.as_ref().map(|item| item.identity);
        let identity = identity.filter(|_| self.knows_identities);
        record::write_job(&mut self.buffer, n, Content::of(job), identity, outcome)?;
        self.recorded = n;
        if self.buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    /// Takes note, for the next flush, that the outcomes of these jobs may be wrong: a run that goes on does them again.
    pub fn suspect(&mut self, ids: &[JobKey]) -> Result<(), JournalError> {
        self.check()?;
        record::write_suspect(&mut self.buffer, self.recorded, ids)?;
        if self.buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    /// Returns when all that was appended is as durable as was asked.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.check()?;
        if !self.buffer.is_empty() {
            self.write()?;
        }
        if !std::mem::take(&mut self.unflushed) {
            return Ok(());
        }
        let flushed = match (self.durability, &self.syncer) {
            (Durability::Each, _) => self.sync(),
            (_, Some(syncer)) => syncer.written(),
            (_, None) => Ok(()),
        };
        self.keep(flushed)
    }

    /// Writes what has been appended into the file.
    fn write(&mut self) -> Result<(), JournalError> {
        let written = self
            .file
            .write_all(&self.buffer)
            .map_err(|error| JournalError::io("write", &self.path, error));
        self.unflushed = true;
        self.buffer.clear();
        self.buffer.shrink_to(2 * BUFFER);
        self.keep(written)
    }

    /// Notes that the run came to its end, and what came of it, and [saves](Self::save) it.
    pub fn end(&mut self, now: SystemTime, summary: &Summary) -> Result<(), JournalError> {
        self.check()?;
        record::write_ended(&mut self.buffer, self.recorded, now, summary)?;
        self.save()
    }

    /// Writes what is left, and syncs it unless nothing is to be synced at all.
    ///
    /// Dropping the journal does the same, but cannot say what went wrong.
    pub fn save(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        match self.durability {
            Durability::None | Durability::Each => Ok(()),
            Durability::Batch => {
                let synced = self.sync();
                // The system says once that a sync went wrong, to whoever of the two asked.
                let settled = self.syncer.as_ref().map_or(Ok(()), Syncer::settle);
                self.keep(synced.and(settled))
            }
        }
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.file
            .sync_data()
            .map_err(|error| JournalError::io("sync", &self.path, error))
    }

    fn check(&self) -> Result<(), JournalError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn keep(&mut self, result: Result<(), JournalError>) -> Result<(), JournalError> {
        if let Err(failure) = &result {
            self.failure = Some(failure.clone());
        }
        result
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.failure.is_none() {
            // What was appended and never flushed was promised to nobody.
            let _ = self.flush();
        }
        // Its last sync comes before the lock goes.
        self.syncer = None;
        // Closing the file would do, were it not for children that were forked and have not closed it yet.
        let _ = self.file.unlock();
    }
}

fn syncer(
    path: &Path,
    file: &File,
    durability: Durability,
) -> Result<Option<Syncer>, JournalError> {
    match durability {
        Durability::None | Durability::Each => Ok(None),
        Durability::Batch => file
            .try_clone()
            .and_then(|file| Syncer::spawn(path, file))
            .map(Some)
            .map_err(|error| JournalError::io("sync", path, error)),
    }
}

/// Opens a journal and takes its lock, or says that somebody has it.
fn open_locked(path: &Path, how: &OpenOptions) -> Result<File, JournalError> {
    for _ in 0..LOCK_TRIES {
        let file = how
            .open(path)
            .map_err(|error| JournalError::io("open", path, error))?;
        lock(path, &file)?;
        // Between the two, its last owner may have put a compacted journal in its place, or somebody has removed it.
        // What is written to a file without a name is lost, so it is opened anew.
        if is_at(path, &file).map_err(|error| JournalError::io("open", path, error))? {
            return Ok(file);
        }
    }
    Err(JournalError::InUse {
        path: path.to_path_buf(),
    })
}

/// Whether a file that was opened is still the one of this name.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Takes the lock of a journal, or says that somebody has it.
fn lock(path: &Path, file: &File) -> Result<(), JournalError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(JournalError::io("lock", path, error)),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    Err(JournalError::InUse {
        path: path.to_path_buf(),
    })
}

/// A new file is there after a crash only if its folder was synced, too.
fn sync_folder_of(path: &Path) -> Result<(), JournalError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or_else(|error| match error.kind() {
            // Some file systems have nothing to sync in a folder.
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
            _ => Err(JournalError::io("sync", folder, error)),
        })
}
