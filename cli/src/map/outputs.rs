//! The outputs of commands that have ended, which are kept until the outcomes of their jobs arrive.
//!
//! The result of a job is text of bounded length, but a command may print any bytes, and any number of them. So the
//! output does not travel with the outcome. The runner stores it here under the id of the job, and the report takes it
//! from here when the outcome arrives. The output of a retried attempt replaces that of the attempt before.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ratchet_runtime::JobKey;
use ratchet_runtime::process::Exit;

use super::item::Item;
use crate::spool::Spool;

/// The record of a command that has ended: its words, when and how it ran, and what it printed.
#[derive(Debug)]
pub(crate) struct CommandRecord {
    /// The number of the job.
    pub(crate) number: u64,
    /// The item that the command ran for.
    pub(crate) item: Arc<Item>,
    /// The command with the item filled in.
    pub(crate) command: Vec<OsString>,
    /// When the command started.
    pub(crate) started: SystemTime,
    /// How long the command ran.
    pub(crate) ran: Duration,
    /// How the command ended.
    pub(crate) exit: Exit,
    /// The whole stdout, if it is kept.
    pub(crate) stdout: Spool,
    /// The whole stderr, if it is kept.
    pub(crate) stderr: Spool,
}

#[cfg(test)]
impl CommandRecord {
    /// Returns the record of a command that has ended well at once, without output.
    pub(crate) fn without_output(number: u64, item: Item) -> Self {
        Self {
            number,
            item: Arc::new(item),
            command: Vec::new(),
            started: SystemTime::UNIX_EPOCH,
            ran: Duration::ZERO,
            exit: Exit::Code(0),
            stdout: Spool::default(),
            stderr: Spool::default(),
        }
    }
}

/// The items and outputs of jobs whose outcomes have not arrived. There are as many as jobs in flight.
#[derive(Debug, Default)]
pub(crate) struct PendingOutputs(Mutex<HashMap<JobKey, OutputEntry>>);

/// The item of a job, and the record of its command once that has ended.
#[derive(Debug)]
struct OutputEntry {
    number: u64,
    item: Arc<Item>,
    record: Option<CommandRecord>,
}

/// What was stored for a job until its outcome arrived.
pub(super) enum PendingOutput {
    /// A command ran in this part of the run, and ended.
    Command(Box<CommandRecord>),
    /// No command ran. These are the number and the item of the job.
    Item(u64, Arc<Item>),
}

impl PendingOutputs {
    /// Adds a job that was made from an item.
    pub(super) fn add(&self, id: JobKey, number: u64, item: Item) {
        let entry = OutputEntry {
            number,
            item: Arc::new(item),
            record: None,
        };
        self.lock().insert(id, entry);
    }

    /// Returns the number and the item of a job.
    pub(super) fn item(&self, id: &JobKey) -> Option<(u64, Arc<Item>)> {
        let entries = self.lock();
        let entry = entries.get(id)?;
        Some((entry.number, Arc::clone(&entry.item)))
    }

    /// Stores what an attempt of a job printed.
    pub(super) fn put(&self, id: &JobKey, record: CommandRecord) {
        let before = match self.lock().get_mut(id) {
            Some(entry) => entry.record.replace(record),
            None => Some(record),
        };
        // The output may have a file to close, so it is dropped after the lock is released.
        drop(before);
    }

    /// Removes a job whose outcome has arrived, and returns what was stored for it.
    pub(super) fn take(&self, id: &JobKey) -> Option<PendingOutput> {
        let entry = self.lock().remove(id)?;
        Some(match entry.record {
            Some(record) => PendingOutput::Command(Box::new(record)),
            None => PendingOutput::Item(entry.number, entry.item),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobKey, OutputEntry>> {
        // The map is whole between two calls, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
