//! The journal of a run: the outcomes of its jobs on disk, from which a later run can continue.
//!
//! A run of a million jobs that dies at the last one must not start over. So each outcome is written to the journal
//! before it is delivered. [`Resume`] then decides from the journal which jobs still have to run: those that never
//! ended, those that did not succeed, and those that have changed since.
//!
//! **The file.** Each record is a line: a CRC-32 in eight digits, a space, and JSON. The file is only ever appended to,
//! and ordinary tools can read it: `cut -c10- journal | jq .outcome` prints the results. The first line is the header
//! with the version, and a journal of another version is refused. The checksum detects faults of disks and torn writes,
//! not forgery. It costs about 20 ns per record; BLAKE3 would cost more than all other work on a record.
//!
//! **After a crash** the last line may be unfinished. It is cut off and reported. A damaged line in the middle is
//! reported with its position and skipped, and the rest is read. At worst a job then runs again, or an older outcome of
//! the same content counts. A journal whose header is damaged is refused.
//!
//! **Durability.** [`append`](Journal::append) collects records in memory, and [`flush`](Journal::flush) writes them to
//! the file. [`Durability`] defines what a flushed record survives. A caller that flushes once for all jobs that ended
//! during the last flush pays for one sync per group, not for one sync per job.
//!
//! **A failed write** poisons the journal: this call and all later ones fail with the same error. What was not flushed
//! is cut off the file, so that it holds what was reported as recorded and nothing else. A journal whose file was
//! removed fails with its next flush, since nothing of it can be read any more.
//!
//! **Compaction.** When a run has ended, only the last outcome of each job counts, and [`compact`](Journal::compact)
//! removes the others. [`RunStore::prune`] removes whole runs if they are too old or too many.
//!
//! **Locking.** A journal belongs to one process at a time. It holds a file lock, which the system releases when the
//! process dies.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use ratchet_runtime::journal::{Header, ResumeDecision, RunReason};
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
//! let ResumeDecision::Keep(recorded) = resume.decide(&a) else { panic!("it has succeeded") };
//! assert_eq!(resume.history().outcome(&recorded)?, outcome);
//! assert_eq!(resume.decide(&b), ResumeDecision::Run(RunReason::New));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compact;
mod content;
mod entries;
mod error;
mod history;
mod index;
mod ledger;
mod plan;
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
pub use entries::{JournalEntries, JournalEntry};
pub use error::JournalError;
pub use history::{History, RecordedOutcome};
pub use plan::{JobPlan, RunPlan, position_of};
pub use prune::{PrunedRun, Retention};
pub use record::{Header, SourceIdentity};
pub use resume::{Resume, ResumeCounts, ResumeDecision, RunReason};
pub use run_id::RunId;
pub use run_store::{RunState, RunStore, StoredRun};
pub use scan::{DamagedLine, TornLine};

use crate::event::EventRecord;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::summary::Summary;
use syncer::Syncer;

/// The failures that a flushed record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A record survives the death of this process, but not a crash of the machine. Nothing is synced.
    None,
    /// A record survives the death of this process at once, and a crash of the machine a moment later: written data is
    /// synced within a fifth of a second, while the run continues.
    #[default]
    Batch,
    /// A record survives a crash of the machine: a flush returns only after the sync.
    Each,
}

/// The size at which appended records are written before a flush. With a larger buffer, memory that is allocated and
/// freed again costs more than the saved writes.
const BUFFER: usize = 1024 * 1024;

/// The size of the reads when a whole journal is read.
const CHUNK: usize = 256 * 1024;

/// How often to try for a lock that is held. A process that only inspects a journal holds it for a microsecond.
const LOCK_TRIES: u32 = 100;

/// A journal that is open for writing. Its methods block on the disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    durability: Durability,
    /// The records that were appended and are not in the file yet.
    buffer: Vec<u8>,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// How many bytes the file has, and how many of them were flushed.
    length: u64,
    flushed: u64,
    /// The number of job records in the journal.
    recorded: u64,
    /// Whether jobs of items are recorded by their identities. A journal that began without identities continues
    /// without them, because a job with two records under different keys would count twice.
    knows_identities: bool,
    /// The last record says that the run has ended.
    has_ended: bool,
    syncer: Option<Syncer>,
    failure: Option<JournalError>,
}

impl Journal {
    /// Creates a journal in a file that must not exist yet.
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
            // Command lines and outputs may hold secrets, so only the owner may read them.
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

    /// Reopens a journal to continue its run: reads it, cuts off an unfinished last line, and records the resumption.
    ///
    /// `about` is what the caller records about this part of the run, such as its command line.
    pub fn resume(
        path: impl AsRef<Path>,
        now: SystemTime,
        about: &Payload,
        durability: Durability,
    ) -> Result<(Self, History), JournalError> {
        let path = path.as_ref();
        let failed = |action| move |error| JournalError::io(action, path, error);
        // The lock is taken before the read, so that no other process appends to what is read.
        let file = open_locked(path, OpenOptions::new().append(true))?;
        let mut journal = Self::new(path, file, durability, Vec::new(), 0)?;
        let history = History::load(path)?;
        if history.torn().is_some() {
            let end = history.end();
            let cut = journal.file.set_len(end);
            cut.map_err(failed("cut off the end of"))?;
            (journal.length, journal.flushed) = (end, end);
        }
        journal.recorded = history.recorded();
        journal.knows_identities = history.knows_identities();
        record::write_resumed(&mut journal.buffer, journal.recorded, 1, now, about)?;
        journal.flush()?;
        Ok((journal, history))
    }

    /// Makes a journal from a file whose lock this process holds.
    fn new(
        path: &Path,
        file: File,
        durability: Durability,
        buffer: Vec<u8>,
        recorded: u64,
    ) -> Result<Self, JournalError> {
        let length = file
            .metadata()
            .map_err(|error| JournalError::io("open", path, error))?
            .len();
        let syncer = syncer(path, &file, durability)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            durability,
            buffer,
            unflushed: false,
            length,
            flushed: length,
            recorded,
            knows_identities: true,
            has_ended: false,
            syncer,
            failure: None,
        })
    }

    /// Returns the path of the journal.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the outcome of a job. It is in the file after the next flush.
    pub fn append(&mut self, job: &Job, outcome: &Outcome) -> Result<(), JournalError> {
        self.append_planned(job, outcome, JobPlan::of(job).as_ref())
    }

    /// Appends the outcome of a job with its position in the order in which jobs were submitted, counted from 0. It is in the
    /// file after the next flush.
    pub fn append_at(
        &mut self,
        job: &Job,
        outcome: &Outcome,
        position: u64,
    ) -> Result<(), JournalError> {
        self.append_planned(job, outcome, JobPlan::at(job, position).as_ref())
    }

    fn append_planned(
        &mut self,
        job: &Job,
        outcome: &Outcome,
        plan: Option<&JobPlan<'_>>,
    ) -> Result<(), JournalError> {
        self.check_failure()?;
        let n = self.recorded + 1;
        self.has_ended = false;
        let identity = job.item.as_ref().map(|item| item.identity);
        let identity = identity.filter(|_| self.knows_identities);
        record::write_job(
            &mut self.buffer,
            n,
            Content::of(job),
            identity,
            plan,
            outcome,
        )?;
        self.recorded = n;
        if self.buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    /// Appends a record that the outcomes of these jobs may be wrong, so that a run that resumes this one does them
    /// again. It is in the file after the next flush.
    pub fn suspect(&mut self, ids: &[JobKey]) -> Result<(), JournalError> {
        self.check_failure()?;
        record::write_suspect(&mut self.buffer, self.recorded, ids)?;
        if self.buffer.len() >= BUFFER {
            self.write()?;
        }
        Ok(())
    }

    /// Records the slots and limits with which the run, or another part of it, begins. The record is in the file after
    /// the next flush.
    pub fn planned(&mut self, now: SystemTime, plan: &RunPlan) -> Result<(), JournalError> {
        self.check_failure()?;
        if !self.has_ended {
            record::write_planned(&mut self.buffer, self.recorded, now, plan)?;
        }
        Ok(())
    }

    /// Records an event that is not part of any outcome, for reports. It is in the file after the next flush.
    pub fn event(&mut self, event: &EventRecord) -> Result<(), JournalError> {
        self.check_failure()?;
        if !self.has_ended {
            record::write_event(&mut self.buffer, self.recorded, event)?;
        }
        Ok(())
    }

    /// Records that this process and all jobs are stopped now, as by Ctrl-Z, until they have
    /// [continued](Self::continued). The record is in the file when this returns.
    pub fn suspended(&mut self, now: SystemTime) -> Result<(), JournalError> {
        self.check_failure()?;
        if !self.has_ended {
            record::write_suspended(&mut self.buffer, self.recorded, now)?;
        }
        self.flush()
    }

    /// Records that this process and all jobs continue after they were [stopped](Self::suspended).
    pub fn continued(&mut self, now: SystemTime) -> Result<(), JournalError> {
        self.check_failure()?;
        if !self.has_ended {
            record::write_continued(&mut self.buffer, self.recorded, now)?;
        }
        self.flush()
    }

    /// Writes all appended records, and returns when they are as durable as the journal's [`Durability`] requires.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.check_failure()?;
        if !self.buffer.is_empty() {
            self.write()?;
        }
        if !std::mem::take(&mut self.unflushed) {
            return Ok(());
        }
        let flushed = match (self.durability, &self.syncer) {
            (Durability::Each, _) => self.sync(),
            (_, Some(syncer)) => syncer.notify_written(),
            (_, None) => Ok(()),
        };
        // Writes to a removed file succeed, and are lost.
        let flushed = flushed.and_then(|()| self.check_named());
        if flushed.is_ok() {
            self.flushed = self.length;
        }
        self.keep_failure(flushed)
    }

    /// Fails if the file was removed.
    fn check_named(&self) -> Result<(), JournalError> {
        let metadata = self.file.metadata();
        match metadata {
            Ok(metadata) if metadata.nlink() == 0 => Err(JournalError::Removed {
                path: self.path.clone(),
            }),
            Ok(_) => Ok(()),
            Err(error) => Err(JournalError::io("inspect", &self.path, error)),
        }
    }

    /// Writes the buffer to the file.
    fn write(&mut self) -> Result<(), JournalError> {
        let written = self
            .file
            .write_all(&self.buffer)
            .map_err(|error| JournalError::io("write", &self.path, error));
        self.unflushed = true;
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(2 * BUFFER);
        self.keep_failure(written)
    }

    /// Records that the run has ended, with its summary, and [saves](Self::save) the journal.
    pub fn end(&mut self, now: SystemTime, summary: &Summary) -> Result<(), JournalError> {
        self.check_failure()?;
        record::write_ended(&mut self.buffer, self.recorded, now, summary)?;
        self.has_ended = true;
        self.save()?;
        // The folder of the run may have been moved.
        match is_at(&self.path, &self.file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(JournalError::Removed {
                path: self.path.clone(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(JournalError::Removed {
                path: self.path.clone(),
            }),
            Err(error) => Err(JournalError::io("inspect", &self.path, error)),
        }
    }

    /// Writes all appended records, and syncs them unless the durability is [`Durability::None`].
    ///
    /// Dropping the journal does the same, but cannot report errors.
    pub fn save(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        match self.durability {
            Durability::None | Durability::Each => Ok(()),
            Durability::Batch => {
                let synced = self.sync();
                // The system reports a failed write-back to only one of two syncs, so the background sync has to end
                // before this one's result can be trusted.
                let idle = self.syncer.as_ref().map_or(Ok(()), Syncer::wait_idle);
                self.keep_failure(synced.and(idle))
            }
        }
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.file
            .sync_data()
            .map_err(|error| JournalError::io("sync", &self.path, error))
    }

    /// Returns the failure of an earlier write, if there was one.
    fn check_failure(&self) -> Result<(), JournalError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Keeps a failure, so that nothing is written after it.
    fn keep_failure(&mut self, result: Result<(), JournalError>) -> Result<(), JournalError> {
        if let Err(failure) = &result {
            self.failure = Some(failure.clone());
            // An error leaves records in the file that were not reported as recorded. They are whole or torn, and a run
            // that resumes this one reads them as from a crash.
            let _ = self.file.set_len(self.flushed);
        }
        result
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.failure.is_none() {
            // A failure is ignored here: a record that was never flushed was never promised to be durable.
            let _ = self.flush();
        }
        // The syncer's last sync has to end before the lock is released.
        self.syncer = None;
        // Closing the file is not enough: a child that was forked and has not executed its program yet still shares the
        // open file, and with it the lock.
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

/// Opens a journal and takes its lock. It fails with [`JournalError::InUse`] if another process holds the lock.
fn open_locked(path: &Path, how: &OpenOptions) -> Result<File, JournalError> {
    for _ in 0..LOCK_TRIES {
        let file = how
            .open(path)
            .map_err(|error| JournalError::io("open", path, error))?;
        lock(path, &file)?;
        // Between opening and locking, the last owner may have replaced this file by a compacted journal, or another
        // process may have removed it. Records that are written to a file without a name are lost, so the journal is
        // opened again.
        if is_at(path, &file).map_err(|error| JournalError::io("open", path, error))? {
            return Ok(file);
        }
    }
    Err(JournalError::InUse {
        path: path.to_path_buf(),
    })
}

/// Whether the file at this path is still the one that was opened.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Takes the lock of a journal. It fails with [`JournalError::InUse`] if another process holds the lock.
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

/// Syncs the folder of a file. Without that, a new or renamed file may be missing after a crash of the machine.
fn sync_folder_of(path: &Path) -> Result<(), JournalError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or_else(|error| match error.kind() {
            // Some file systems cannot sync folders, and there is no alternative on them.
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
            _ => Err(JournalError::io("sync", folder, error)),
        })
}
