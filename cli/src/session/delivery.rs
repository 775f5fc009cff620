//! Delivers outcomes to the report on a thread of its own. A stuck reader holds up results, and in time new jobs, but
//! neither signals nor workers.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ratchet_ipc::JobKey;
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{BreakerReport, Outcome, Summary};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::error::CliError;
use crate::output::OutputError;
use crate::report::{HumanSummary, Report};

/// How many batches may be queued for the thread: enough that it never waits for the loop.
const WAITING_BATCHES: usize = 4;

/// How many KiB of results may be queued for the thread. One batch may always be queued, however large it is.
const WAITING_KIB: u32 = 32 * 1024;

/// Sends outcomes to the thread that writes the report.
pub(super) struct Delivery {
    /// Sends outcomes to the thread, and at the end the figures of the run.
    outcomes: mpsc::Sender<Message>,
    /// One permit for each KiB of outcomes that may be queued for the thread, so that memory stays bounded.
    room: Arc<Semaphore>,
    thread: JoinHandle<()>,
    /// Sent when the thread ends.
    result: oneshot::Receiver<DeliveryResult>,
    /// Set when no more results can be written.
    failed: watch::Receiver<Option<Unwritable>>,
}

/// The reason for which results cannot be written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwritable {
    /// The reader of stdout has closed it.
    ReaderGone,
    /// Any other error, which is reported at the end of the run.
    Failed,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ReaderGone => "the reader of stdout has closed it",
            Self::Failed => "results cannot be written",
        })
    }
}

/// A message to the thread that writes results.
enum Message {
    /// The permit is for the memory of the outcomes, and is given back when they are dropped.
    Outcomes(Vec<Arc<Outcome>>, OwnedSemaphorePermit),
    /// The run has ended.
    End(RunFigures),
}

/// The figures of a run that do not follow from its outcomes.
pub(super) struct RunFigures {
    /// How long all parts of the run took.
    pub(super) elapsed: Duration,
    /// The highest number of attempts that ran at once.
    pub(super) peak: u64,
    /// How many workers were replaced.
    pub(super) restarts: u64,
    /// How many jobs ran for longer than their terms call slow.
    pub(super) slow: u64,
    /// The jobs whose results may be wrong.
    pub(super) suspects: Vec<JobKey>,
    /// The reports of the breakers that have opened.
    pub(super) breakers: Vec<BreakerReport>,
    /// How many retries were not made because the retry budget was used up.
    pub(super) retries_refused: u64,
}

/// The summaries of all outcomes, and the first error in writing them.
pub(super) struct DeliveryResult {
    /// The summary of failures for people.
    pub(super) human_summary: HumanSummary,
    /// The figures of the run.
    pub(super) summary: Summary,
    /// The first error of the report.
    pub(super) written: Result<(), OutputError>,
}

impl Delivery {
    /// Starts the thread that writes results to this report. `is_repeated` is whether the same jobs are run again and
    /// again.
    pub(super) fn begin(mut report: Box<dyn Report>, is_repeated: bool) -> Result<Self, CliError> {
        let (outcomes, messages) = mpsc::channel(WAITING_BATCHES);
        let (fail, failed) = watch::channel(None);
        let (send, result) = oneshot::channel();
        let summary = if is_repeated {
            report.count_repetitions();
            HumanSummary::of_repetitions()
        } else {
            HumanSummary::default()
        };
        let thread = std::thread::Builder::new()
            .name("results".to_owned())
            .spawn(move || {
                if let Some(delivered) = deliver(report, summary, messages, &fail) {
                    // After a third signal, the receiver is dropped.
                    let _ = send.send(delivered);
                }
            })
            .map_err(|error| {
                CliError::internal("the thread for results cannot be started").because(error)
            })?;
        Ok(Self {
            outcomes,
            room: Arc::new(Semaphore::new(WAITING_KIB as usize)),
            thread,
            result,
            failed,
        })
    }

    /// Sends outcomes to the thread. Waits while the thread is behind.
    #[expect(clippy::expect_used, reason = "nothing closes the semaphore")]
    pub(super) async fn send(&self, outcomes: Vec<Arc<Outcome>>) {
        let bytes: usize = outcomes.iter().map(|outcome| outcome.weight()).sum();
        let kib = u32::try_from(bytes / 1024).map_or(WAITING_KIB, |kib| kib.min(WAITING_KIB));
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await;
        let room = room.expect("the semaphore is never closed");
        // Fails only if the thread has panicked, which `end` reports.
        let _ = self.outcomes.send(Message::Outcomes(outcomes, room)).await;
    }

    /// Resolves when no more results can be written.
    pub(super) fn failed(&self) -> impl Future<Output = Unwritable> + Send + use<> {
        let mut failed = self.failed.clone();
        async move {
            let why = failed.wait_for(Option::is_some).await.ok();
            match why.and_then(|why| *why) {
                Some(why) => why,
                // The thread has ended without an error: all results were written.
                None => std::future::pending().await,
            }
        }
    }

    /// Tells the thread that the run has ended, and waits until everything is written.
    pub(super) async fn end(self, figures: RunFigures) -> Result<DeliveryResult, CliError> {
        // Fails only if the thread has panicked, which the next lines report.
        let _ = self.outcomes.send(Message::End(figures)).await;
        let result = self.result.await;
        // This does not block: the thread has sent its result as its last act, or it has panicked.
        let _ = self.thread.join();
        result.map_err(|_| CliError::internal("the thread that writes the results has panicked"))
    }
}

/// Handles messages until the run has ended. Returns `None` if the run was given up before.
fn deliver(
    mut report: Box<dyn Report>,
    mut human_summary: HumanSummary,
    mut messages: mpsc::Receiver<Message>,
    fail: &watch::Sender<Option<Unwritable>>,
) -> Option<DeliveryResult> {
    let mut tally = Tally::default();
    let mut written = Ok(());
    let note = |written: &mut Result<(), OutputError>, result: Result<(), OutputError>| {
        if let Err(error) = result {
            let why = if error.is_reader_gone() {
                Unwritable::ReaderGone
            } else {
                Unwritable::Failed
            };
            *written = Err(error);
            fail.send_replace(Some(why));
        }
    };
    loop {
        let message = if let Ok(message) = messages.try_recv() {
            message
        } else {
            if written.is_ok() {
                note(&mut written, report.idle());
            }
            messages.blocking_recv()?
        };
        match message {
            Message::Outcomes(outcomes, _room) => {
                for outcome in outcomes {
                    tally.record(&outcome);
                    human_summary.add(&outcome);
                    if written.is_ok() {
                        note(&mut written, report.outcome(&outcome));
                    }
                }
            }
            Message::End(figures) => {
                let RunFigures {
                    elapsed,
                    peak,
                    restarts,
                    slow,
                    suspects,
                    breakers,
                    retries_refused,
                } = figures;
                tally.slow(slow);
                tally.suspect(suspects);
                tally.breakers(breakers);
                tally.retries_refused(retries_refused);
                tally.concurrency(peak);
                (0..restarts).for_each(|_| tally.restart());
                let summary = tally.summary(elapsed);
                if written.is_ok() {
                    note(&mut written, report.finish(&summary));
                }
                return Some(DeliveryResult {
                    human_summary,
                    summary,
                    written,
                });
            }
        }
    }
}
