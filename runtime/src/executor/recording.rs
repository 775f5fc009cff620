//! Outcomes on their way through the ledger, a batch at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::ledger::Ledger;
use crate::job::Job;
use crate::outcome::Outcome;

/// A ledger that runs use one after the other.
pub(super) type SharedLedger = Arc<Mutex<Box<dyn Ledger>>>;

type Batch = Vec<(Arc<Job>, u64, Arc<Outcome>)>;

/// While one batch is written and flushed, the next gathers: the slower the disk, the larger the batch.
pub(super) struct Recording {
    ledger: Option<SharedLedger>,
    gathering: Batch,
    writing: Option<JoinHandle<(Batch, io::Result<()>)>>,
    in_writing: usize,
    written: VecDeque<(u64, Arc<Outcome>)>,
    failure: Option<String>,
}

impl Recording {
    pub(super) fn new(ledger: Option<SharedLedger>) -> Self {
        Self {
            ledger,
            gathering: Vec::new(),
            writing: None,
            in_writing: 0,
            written: VecDeque::new(),
            failure: None,
        }
    }

    /// Whether outcomes are to be written down at all.
    pub(super) fn is_wanted(&self) -> bool {
        self.ledger.is_some()
    }

    pub(super) fn push(&mut self, job: Arc<Job>, place: u64, outcome: Arc<Outcome>) {
        self.gathering.push((job, place, outcome));
    }

    /// How many outcomes are in it.
    pub(super) fn len(&self) -> usize {
        self.gathering.len() + self.in_writing + self.written.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.len() == 0
    }

    /// Writes what has gathered, unless a batch is being written.
    pub(super) fn begin(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        if self.writing.is_some() || self.gathering.is_empty() {
            return;
        }
        let (ledger, batch) = (Arc::clone(ledger), std::mem::take(&mut self.gathering));
        self.in_writing = batch.len();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = write(&ledger, &batch);
            (batch, written)
        }));
    }

    /// Returns when the batch is written. Cancel safe.
    pub(super) async fn done(&mut self) {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let done = writing.await;
        self.writing = None;
        self.in_writing = 0;
        match done {
            Ok((batch, result)) => {
                let outcomes = batch
                    .into_iter()
                    .map(|(_, place, outcome)| (place, outcome));
                self.written.extend(outcomes);
                if let Err(error) = result {
                    self.fail(with_causes(&error));
                }
            }
            // The runtime is going down, and the run with it.
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// One failure is enough: nothing more is written, and what has gathered goes out as it is.
    fn fail(&mut self, reason: String) {
        self.ledger = None;
        let gathered = self
            .gathering
            .drain(..)
            .map(|(_, place, outcome)| (place, outcome));
        self.written.extend(gathered);
        self.failure.get_or_insert(reason);
    }

    /// The next outcome that may be heard of.
    pub(super) fn pop(&mut self) -> Option<(u64, Arc<Outcome>)> {
        self.written.pop_front()
    }

    /// Why outcomes could not be written, told once.
    pub(super) fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }
}

/// Why, and why that: a file that cannot be written is one thing, a full disk another.
fn with_causes(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn write(ledger: &SharedLedger, batch: &Batch) -> io::Result<()> {
    let writing = std::panic::AssertUnwindSafe(|| {
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for (job, _, outcome) in batch {
            ledger.append(job, outcome)?;
        }
        ledger.flush()
    });
    std::panic::catch_unwind(writing).unwrap_or_else(|panic| {
        let said = super::attempt::said(&*panic);
        Err(io::Error::other(format!("the ledger panicked: {said}")))
    })
}
