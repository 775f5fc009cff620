//! Outcomes on their way out, on a thread of their own: a reader that is stuck holds up results, and in
//! time new jobs, but neither signals nor workers.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ratchet_ipc::JobKey;
use ratchet_runtime::summary::{Counts, Tally};
use ratchet_runtime::{Outcome, Summary};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::error::CliError;
use crate::report::Digest;

/// How many batches lie between the run and whoever writes them.
const BATCHES: usize = 4;

/// How many KiB of results lie there at the most, or one batch.
const KIB: u32 = 32 * 1024;

/// Who takes outcomes.
pub(crate) trait Recipient: Send {
    /// A job has ended.
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), CliError>;

    /// Nothing happens for the moment: what was held for the sake of speed is written.
    fn idle(&mut self) -> Result<(), CliError>;

    /// The run has ended.
    fn finish(&mut self, summary: &Summary) -> Result<(), CliError>;
}

/// The end of the run that outcomes go into.
pub(super) struct Delivery {
    outcomes: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    thread: JoinHandle<()>,
    /// What came of it, when the thread ends.
    delivered: oneshot::Receiver<Delivered>,
    /// Set when nothing more can be written.
    failed: watch::Receiver<Option<Unwritable>>,
}

/// Why results cannot be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwritable {
    /// The reader of stdout has closed it.
    ReaderGone,
    /// Anything else; the end of the run says what.
    Failed,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ReaderGone => "the reader of stdout has gone",
            Self::Failed => "results cannot be written",
        })
    }
}

enum Message {
    Outcomes(Vec<Arc<Outcome>>, Option<OwnedSemaphorePermit>),
    /// The run has ended.
    End(Closing),
}

/// What outcomes do not tell of a run.
pub(super) struct Closing {
    pub(super) elapsed: Duration,
    /// How many attempts ran at once at the most.
    pub(super) peak: u64,
    /// How many workers were replaced.
    pub(super) restarts: u64,
    /// Jobs whose results may be wrong.
    pub(super) suspects: Vec<JobKey>,
}

/// What came of it.
pub(super) struct Delivered {
    pub(super) digest: Digest,
    pub(super) summary: Option<Summary>,
    pub(super) result: Result<(), CliError>,
}

impl Delivery {
    pub(super) fn begin(recipient: Box<dyn Recipient>) -> Result<Self, CliError> {
        let (outcomes, messages) = mpsc::channel(BATCHES);
        let (fail, failed) = watch::channel(None);
        let (tell, delivered) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("results".to_owned())
            .spawn(move || {
                // Nobody waits for the end of a run that was given up.
                let _ = tell.send(deliver(recipient, messages, &fail));
            })
            .map_err(|error| CliError::Internal(format!("no thread for results: {error}")))?;
        Ok(Self {
            outcomes,
            room: Arc::new(Semaphore::new(KIB as usize)),
            thread,
            delivered,
            failed,
        })
    }

    /// Hands over what has ended; waits while the writer is behind.
    pub(super) async fn send(&self, outcomes: Vec<Arc<Outcome>>) {
        let bytes: usize = outcomes.iter().map(|outcome| outcome.weight()).sum();
        let kib = u32::try_from(bytes / 1024).unwrap_or(KIB).min(KIB);
        // Nobody closes it.
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.ok();
        // The thread takes everything until it is told of the end, whatever happens to what it writes.
        let _ = self.outcomes.send(Message::Outcomes(outcomes, room)).await;
    }

    /// Resolves when nothing more can be written.
    pub(super) fn failed(&self) -> impl Future<Output = Unwritable> + Send + use<> {
        let mut failed = self.failed.clone();
        async move {
            let why = failed.wait_for(Option::is_some).await.ok();
            match why.and_then(|why| *why) {
                Some(why) => why,
                // All results were written: the writer has ended, and it did not fail.
                None => std::future::pending().await,
            }
        }
    }

    /// The run has ended: waits until all is written.
    pub(super) async fn end(self, closing: Closing) -> Result<Delivered, CliError> {
        let _ = self.outcomes.send(Message::End(closing)).await;
        let delivered = self.delivered.await;
        // The thread has nothing left to do, so this does not block: either it has told, or it has panicked.
        let _ = self.thread.join();
        delivered.map_err(|_| {
            CliError::Internal("the thread that writes the results has panicked".to_owned())
        })
    }
}

fn deliver(
    mut recipient: Box<dyn Recipient>,
    mut messages: mpsc::Receiver<Message>,
    fail: &watch::Sender<Option<Unwritable>>,
) -> Delivered {
    let mut tally = Tally::default();
    let mut digest = Digest::default();
    let mut result = Ok(());
    let note = |result: &mut Result<(), CliError>, written: Result<(), CliError>| {
        if let Err(error) = written {
            let why = if error.is_broken_pipe() {
                Unwritable::ReaderGone
            } else {
                Unwritable::Failed
            };
            *result = Err(error);
            fail.send_replace(Some(why));
        }
    };
    loop {
        let message = if let Ok(message) = messages.try_recv() {
            Some(message)
        } else {
            if result.is_ok() {
                note(&mut result, recipient.idle());
            }
            messages.blocking_recv()
        };
        match message {
            Some(Message::Outcomes(outcomes, _room)) => {
                for outcome in outcomes {
                    tally.record(&outcome);
                    digest.outcome(&outcome);
                    if result.is_ok() {
                        note(&mut result, recipient.outcome(&outcome));
                    }
                }
            }
            Some(Message::End(closing)) => {
                let Closing {
                    elapsed,
                    peak,
                    restarts,
                    suspects,
                } = closing;
                tally.suspect(suspects);
                tally.concurrency(peak);
                (0..restarts).for_each(|_| tally.restart());
                let summary = tally.summary(elapsed);
                if result.is_ok() {
                    note(&mut result, recipient.finish(&summary));
                }
                return Delivered {
                    digest,
                    summary: Some(summary),
                    result,
                };
            }
            // The run was given up.
            None => {
                return Delivered {
                    digest,
                    summary: None,
                    result,
                };
            }
        }
    }
}

/// Counts as they are known while the run goes on.
pub(super) fn count(counts: &mut Counts, outcomes: &[Arc<Outcome>]) {
    for outcome in outcomes {
        counts.add(outcome.status());
    }
}
