//! Passes events from the tasks of a worker to its conversation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::messages::{Event, Log, LogLevel};

/// How many events may be queued: enough for a burst of log lines. A task that logs faster than the host reads must not
/// fill the memory.
const CAPACITY: usize = 1024;

/// The longest text of a log line or a progress message.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Accepts the events of a task, and never waits.
#[derive(Clone)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Event>,
    /// How many log messages were dropped because the queue was full. The receiver reports and resets the number.
    dropped_lines: Arc<AtomicU64>,
}

/// Passes the events of all tasks to the conversation.
pub(super) struct OutboxReceiver {
    receiver: mpsc::Receiver<Event>,
    /// The counter that all outboxes of this receiver share.
    dropped_lines: Arc<AtomicU64>,
}

/// Makes an outbox and its receiver.
pub(super) fn channel() -> (Outbox, OutboxReceiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let dropped_lines = Arc::new(AtomicU64::new(0));
    (
        Outbox {
            sender,
            dropped_lines: Arc::clone(&dropped_lines),
        },
        OutboxReceiver {
            receiver,
            dropped_lines,
        },
    )
}

impl Outbox {
    /// Adds a progress event, or drops it if there is no room.
    pub(super) fn progress(&self, event: Event) {
        // The next progress event supersedes one that is dropped here, so the loss is not reported.
        let _ = self.sender.try_send(event);
    }

    /// Adds a log message, or drops and counts it if there is no room.
    pub(super) fn log(&self, log: Log) {
        if self.sender.try_send(Event::Log(log)).is_err() {
            // Relaxed: the count orders nothing.
            self.dropped_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Truncates a text that is too long for a log line or a progress message.
pub(super) fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('\u{2026}');
    }
    text
}

impl OutboxReceiver {
    /// Waits for the next event. Cancel safe. It never returns `None` while the conversation owns an [`Outbox`].
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// Returns the next event that is already queued. If there is none, it reports the dropped log lines.
    pub(super) fn try_next(&mut self) -> Option<Event> {
        self.receiver
            .try_recv()
            .ok()
            .or_else(|| self.report_dropped_lines())
    }

    /// Returns the number of events that are already queued, including the report of dropped lines.
    pub(super) fn len(&self) -> usize {
        self.receiver.len() + 1
    }

    /// Makes a log message with the number of dropped ones, if there are any.
    fn report_dropped_lines(&self) -> Option<Event> {
        let dropped = self.dropped_lines.swap(0, Ordering::Relaxed);
        (dropped > 0).then(|| {
            Event::Log(Log {
                id: None,
                level: LogLevel::Warn,
                message: format!("{dropped} log lines were dropped: they came too fast"),
            })
        })
    }
}
