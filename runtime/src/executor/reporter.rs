//! The way of reports to the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::crew::Report;

/// How much talk (steps and logs) may lie on its way; what comes beyond that is counted and dropped.
/// It is for people to read, and nobody reads faster.
const TALK: usize = 4096;

/// Brings reports to the loop; cloning it costs a counter.
///
/// What became of an attempt is never dropped and never waits, since there is no more of it than
/// there are attempts. A worker can talk without end, so talk can be dropped.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<Lines>);

#[derive(Debug)]
struct Lines {
    /// Unlike that of any other run in this process.
    number: u64,
    news: mpsc::UnboundedSender<Report>,
    talk: mpsc::Sender<Report>,
    unheard: AtomicU64,
}

/// The loop's end of it.
#[derive(Debug)]
pub(crate) struct Reports {
    pub(crate) news: mpsc::UnboundedReceiver<Report>,
    pub(crate) talk: mpsc::Receiver<Report>,
}

impl Reporter {
    pub(crate) fn new() -> (Self, Reports) {
        // Only uniqueness matters, no order with anything else.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (news, heard_news) = mpsc::unbounded_channel();
        let (talk, heard_talk) = mpsc::channel(TALK);
        let lines = Lines {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            news,
            talk,
            unheard: AtomicU64::new(0),
        };
        let reports = Reports {
            news: heard_news,
            talk: heard_talk,
        };
        (Self(Arc::new(lines)), reports)
    }

    /// Reports. After the run has ended nobody listens, which is fine.
    pub(crate) fn tell(&self, report: Report) {
        match report {
            Report::Step { .. } | Report::Log { .. } => {
                if self.0.talk.try_send(report).is_err() {
                    // Relaxed: a figure for people.
                    self.0.unheard.fetch_add(1, Ordering::Relaxed);
                }
            }
            news => {
                // The run has ended, and with it the interest in this.
                let _ = self.0.news.send(news);
            }
        }
    }

    /// Which run it brings reports to: each counts its tickets from zero.
    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether both bring reports to the same run.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.number() == other.number()
    }

    /// Whether the run has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.news.is_closed()
    }

    /// How many steps and log lines were dropped because nobody could read that fast.
    pub(super) fn unheard(&self) -> u64 {
        self.0.unheard.load(Ordering::Relaxed)
    }
}
