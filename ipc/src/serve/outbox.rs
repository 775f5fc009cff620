//! What tasks say while they work, on its way to the conversation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::messages::{Event, Log, LogLevel};

/// Enough for a burst of log lines; what a task says faster than the host reads has to go somewhere
/// else than into memory.
const CAPACITY: usize = 1024;

/// More of a text than this is no message to a person.
const TEXT_BYTES: usize = 16 * 1024;

/// Where a task puts what it has to say; it never waits.
#[derive(Clone)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

/// Where the conversation finds what tasks have said.
pub(super) struct Said {
    receiver: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

pub(super) fn channel() -> (Outbox, Said) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let dropped = Arc::new(AtomicU64::new(0));
    (
        Outbox {
            sender,
            dropped: Arc::clone(&dropped),
        },
        Said { receiver, dropped },
    )
}

impl Outbox {
    pub(super) fn report(&self, event: Event) {
        // Progress that finds no room is superseded by the next; nobody has to know.
        let _ = self.sender.try_send(event);
    }

    pub(super) fn log(&self, log: Log) {
        if self.sender.try_send(Event::Log(log)).is_err() {
            // A count only: it orders nothing.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The beginning of a text that is too long to be sent as a message to a person.
pub(super) fn shorten(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        text.push('\u{2026}');
    }
    text
}

impl Said {
    /// Waits for something to be said; cancel safe. The conversation holds a sender, so there is
    /// always a next.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// What has been said already.
    pub(super) fn try_next(&mut self) -> Option<Event> {
        self.receiver
            .try_recv()
            .ok()
            .or_else(|| self.dropped_lines())
    }

    /// How much has been said already, the word of what was dropped included.
    pub(super) fn len(&self) -> usize {
        self.receiver.len() + 1
    }

    fn dropped_lines(&self) -> Option<Event> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        (dropped > 0).then(|| {
            Event::Log(Log {
                id: None,
                level: LogLevel::Warn,
                message: format!("{dropped} log lines were dropped: they came too fast"),
            })
        })
    }
}
