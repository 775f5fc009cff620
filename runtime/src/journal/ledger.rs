//! Implements the ledger of an executor with a journal.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use ratchet_ipc::JobKey;

use super::Journal;
use crate::executor::Ledger;
use crate::job::Job;
use crate::outcome::Outcome;

impl Ledger for Journal {
    fn append(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()> {
        Ok(Self::append(self, job, outcome)?)
    }

    fn append_at(&mut self, job: &Job, outcome: &Outcome, position: u64) -> io::Result<()> {
        Ok(Self::append_at(self, job, outcome, position)?)
    }

    fn suspect(&mut self, ids: &[JobKey]) -> io::Result<()> {
        Ok(Self::suspect(self, ids)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(Self::flush(self)?)
    }
}

/// A journal that the executor shares with its owner, which records the end of the run.
impl Ledger for Arc<Mutex<Journal>> {
    fn append(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()> {
        Ok(lock(self)?.append(job, outcome)?)
    }

    fn append_at(&mut self, job: &Job, outcome: &Outcome, position: u64) -> io::Result<()> {
        Ok(lock(self)?.append_at(job, outcome, position)?)
    }

    fn suspect(&mut self, ids: &[JobKey]) -> io::Result<()> {
        Ok(lock(self)?.suspect(ids)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(lock(self)?.flush()?)
    }
}

/// Locks a journal. After a panic under the lock a record may be half written, so the journal is not used any more.
fn lock(journal: &Mutex<Journal>) -> io::Result<MutexGuard<'_, Journal>> {
    journal
        .lock()
        .map_err(|_| io::Error::other("the thread that wrote the journal has panicked"))
}
