//! Records when a byte last came from the other side.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};

use crate::suspension::{until, working_now};

/// The time at which the last byte came. Any byte shows that the other side is alive.
#[derive(Debug, Clone)]
pub(super) struct LastActivity(Arc<Mutex<Instant>>);

impl LastActivity {
    /// Starts to measure the silence now.
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(working_now())))
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a byte came just now.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = working_now();
    }

    /// Waits until nothing has come for this long; cancel safe.
    ///
    /// If this process itself was stopped, it waits a moment longer, so that what is already in the pipe can be read.
    pub(super) async fn silence(&self, limit: Duration) {
        loop {
            let by = self.get() + limit;
            until(Some(by)).await;
            if self.get() + limit <= working_now() {
                return;
            }
        }
    }
}

/// A reader that records when bytes arrive.
#[derive(Debug)]
pub(super) struct ActivityReader<R> {
    reader: R,
    heard: LastActivity,
}

impl<R> ActivityReader<R> {
    /// Wraps a reader.
    pub(super) fn new(reader: R, heard: LastActivity) -> Self {
        Self { reader, heard }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for ActivityReader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.note();
        }
        polled
    }
}
