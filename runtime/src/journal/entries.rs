//! Reads everything that a journal records in one pass, for reports.

use std::io::{BufRead, BufReader};
use std::time::SystemTime;

use super::error::JournalError;
use super::history::{History, ReadAt, suspect};
use super::plan::{JobPlan, RunPlan};
use super::record::{self, FullRecord};
use super::{CHUNK, content};
use crate::event::EventRecord;
use crate::outcome::{Outcome, Status};

/// Something that a journal records about its run.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalEntry {
    /// The last outcome of a job, with what the job needed in order to start.
    Job {
        /// The outcome.
        outcome: Box<Outcome>,
        /// What the job needed; `None` if that was only a slot, and in journals of versions that did not record it.
        plan: Option<Box<JobPlan<'static>>>,
    },
    /// The run, or another part of it, began with these slots and limits.
    Planned {
        /// When it began.
        at: SystemTime,
        /// The slots and limits.
        plan: RunPlan,
    },
    /// An event of the run that is not part of any outcome, such as the unexpected end of a worker.
    Event(EventRecord),
    /// The process was stopped with all its jobs, as by Ctrl-Z.
    Suspended(SystemTime),
    /// The process continued after it was stopped.
    Continued(SystemTime),
    /// The run was resumed. In a compacted journal this stands for the last of several resumptions.
    Resumed(SystemTime),
}

/// The entries of a journal, in the order in which they were recorded.
#[derive(Debug)]
pub struct JournalEntries<'a> {
    history: &'a History,
    input: BufReader<ReadAt<'a>>,
    line: Vec<u8>,
    /// The byte at which the next line begins.
    offset: u64,
}

impl History {
    /// Reads all entries of the journal that count, from its beginning up to the end that it had when it was loaded:
    /// one outcome for each job, and everything else that is recorded. Damaged lines are left out.
    pub fn entries(&self) -> JournalEntries<'_> {
        JournalEntries {
            history: self,
            input: BufReader::with_capacity(CHUNK, self.reader()),
            line: Vec::new(),
            offset: 0,
        }
    }
}

impl Iterator for JournalEntries<'_> {
    type Item = Result<JournalEntry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.offset;
            if begin >= self.history.end() {
                return None;
            }
            self.line.clear();
            match self.input.read_until(b'\n', &mut self.line) {
                // The file is shorter than it was, which happens only if another program changes it.
                Ok(0) => return None,
                Ok(read) => self.offset += read as u64,
                Err(error) => {
                    self.offset = self.history.end();
                    return Some(Err(JournalError::io("read", self.history.path(), error)));
                }
            }
            self.line.pop_if(|last| *last == b'\n');
            let Ok(record) = record::read_full(&self.line) else {
                continue;
            };
            return Some(Ok(match record {
                FullRecord::Job {
                    mut outcome,
                    identity,
                    plan,
                } => {
                    let key = content::key_of(outcome.id.as_str(), identity);
                    let Some(status) = self.history.status_at(key, begin) else {
                        continue; // It was superseded by a later outcome of the job.
                    };
                    if outcome.is_success() && status != Status::Succeeded {
                        outcome.result = Err(Box::new(suspect()));
                    }
                    JournalEntry::Job { outcome, plan }
                }
                FullRecord::Planned { at, plan } => JournalEntry::Planned { at, plan },
                FullRecord::Event(event) => JournalEntry::Event(event),
                FullRecord::Suspended(at) => JournalEntry::Suspended(at),
                FullRecord::Continued(at) => JournalEntry::Continued(at),
                FullRecord::Resumed(at) => JournalEntry::Resumed(at),
                FullRecord::Other => continue,
            }));
        }
    }
}
