//! The channels by which reports reach the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::report::Report;
use crate::context::{Step, StepListener};
use crate::ids::Ticket;

/// The capacity of the channel of steps and log lines. What comes beyond that is counted and dropped: it is for people
/// to read, and nobody reads faster.
const MESSAGE_CAPACITY: usize = 4096;

/// Sends reports to the loop of a run. A clone costs one reference count.
///
/// A report on what became of an attempt is never dropped and never waits, since there are no more of them than there are
/// attempts. A worker can talk without end, so steps and logs can be dropped.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<Channels>);

/// The sending ends of the channels to the loop of one run, which all clones of its reporter share.
#[derive(Debug)]
struct Channels {
    /// The channel of reports that the loop must get, such as the end of an attempt. It has no limit: each attempt has few.
    reports: mpsc::UnboundedSender<Report>,
    /// Progress and log lines. What finds no room is dropped and counted.
    messages: mpsc::Sender<Report>,
    /// How many messages found no room since this was last reported.
    dropped: AtomicU64,
}

/// The receiving ends of a [`Reporter`], which the loop has.
#[derive(Debug)]
pub(crate) struct ReportReceiver {
    /// Receives what became of attempts and of workers. None of it is ever dropped.
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    /// Receives steps and log lines, some of which are dropped if they come too fast.
    pub(crate) messages: mpsc::Receiver<Report>,
}

impl Reporter {
    /// Makes a reporter, and the receiver of what is reported by it and its clones.
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

    /// How many steps and log lines were dropped because nobody could read that fast.
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
                // An error means that the run has ended, so nobody waits for the report.
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
