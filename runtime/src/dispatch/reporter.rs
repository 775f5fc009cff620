//! The channels through which reports get to the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::report::Report;
use crate::context::{Step, StepListener};
use crate::ids::Ticket;

/// The capacity of the channel of steps and log lines. Messages beyond it are counted and dropped: people read them,
/// and no one reads faster than this.
const MESSAGE_CAPACITY: usize = 4096;

/// Sends reports to the loop of a run. A clone costs one reference count.
///
/// A report about the outcome of an attempt is never dropped and never waits: each attempt causes only a few of them. A
/// worker can log without end, so steps and log lines can be dropped.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<Channels>);

/// The sending ends of the channels to the loop of one run. All clones of its reporter share them.
#[derive(Debug)]
struct Channels {
    /// The channel of reports that the loop must get, such as the end of an attempt. It is unbounded: each attempt
    /// causes few.
    reports: mpsc::UnboundedSender<Report>,
    /// The channel of progress and log lines. A message that finds it full is dropped and counted.
    messages: mpsc::Sender<Report>,
    /// How many messages were dropped in this run.
    dropped: AtomicU64,
}

/// The receiving ends of a [`Reporter`], which the loop holds.
#[derive(Debug)]
pub(crate) struct ReportReceiver {
    /// Receives the outcomes of attempts and the changes of workers. None of them is ever dropped.
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    /// Receives steps and log lines, some of which are dropped if they come too fast.
    pub(crate) messages: mpsc::Receiver<Report>,
}

impl Reporter {
    /// Makes a reporter, and the receiver of all reports from it and its clones.
    pub(crate) fn new() -> (Self, ReportReceiver) {
        let (reports, received_reports) = mpsc::unbounded_channel();
        let (messages, received_messages) = mpsc::channel(MESSAGE_CAPACITY);
        let channels = Channels {
            reports,
            messages,
            dropped: AtomicU64::new(0),
        };
        let receiver = ReportReceiver {
            reports: received_reports,
            messages: received_messages,
        };
        (Self(Arc::new(channels)), receiver)
    }

    /// Sends a report. It is silently dropped once the run has ended.
    pub(crate) fn send(&self, report: Report) {
        self.0.send(report);
    }

    /// Returns a listener that sends the steps of attempts to the loop.
    pub(crate) fn step_listener(&self) -> Arc<dyn StepListener> {
        Arc::clone(&self.0) as Arc<dyn StepListener>
    }

    /// Whether both reporters send to the same run.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns how many steps and log lines were dropped because the channel was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Channels {
    fn send(&self, report: Report) {
        match report {
            Report::Step { .. } | Report::Log { .. } => {
                if self.messages.try_send(report).is_err() {
                    // Relaxed: a figure for people.
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            report => {
                // An error means that the run has ended, so no task waits for the report.
                let _ = self.reports.send(report);
            }
        }
    }
}

impl StepListener for Channels {
    fn step(&self, ticket: Ticket, step: Step) {
        self.send(Report::Step { ticket, step });
    }
}
