//! The streams of processes within a connection: which parts of HTTP/2 are used, and how many bytes a stream may
//! buffer.
//!
//! Each stream has a window of its own, and the window of the whole connection is as large as HTTP/2 allows. So a
//! process whose output is not read stops when its window is full, and holds up no other process.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::{FlowControl, RecvStream, SendStream};
use tokio::io::ReadBuf;
use tokio::sync::Notify;

use super::RemoteError;
use super::config::MAX_PROCESSES;
use super::message::line;

/// How many bytes of one stream may be in flight.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;

/// How many bytes of all streams may be in flight: the most that HTTP/2 can count.
pub(super) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// How many files are transferred at once in each direction of a connection. More would only share its bandwidth.
pub(super) const MAX_TRANSFERS: u32 = 32;

/// How many streams there may be: two for each process, one for messages, those of files, and a few that are being
/// refused.
pub(super) const MAX_STREAMS: u32 = 2 * MAX_PROCESSES + 2 * MAX_TRANSFERS + 8;

// The windows of all streams fit into that of the connection, or one stream could hold up another.
const _: () = assert!(STREAM_WINDOW as u64 * MAX_STREAMS as u64 <= CONNECTION_WINDOW as u64);

/// The size of one frame, and of one read of a pipe.
pub(super) const CHUNK: usize = 64 * 1024;

/// How large the headers of a request may be. Ours have a few dozen bytes.
pub(super) const HEADER_BYTES: u32 = 4 * 1024;

/// How many bytes may wait to be sent on one stream.
pub(super) const SEND_BUFFER: usize = STREAM_WINDOW as usize;

/// How many beats are sent within the time after which a silent side is lost.
const HEARTBEATS_PER_TIMEOUT: u32 = 5;

/// The path of the requests for messages.
pub(super) const MESSAGES_PATH: &str = "/messages";
/// The path of the requests to start a process; the number of the process follows.
pub(super) const PROCESS_PATH: &str = "/process/";
/// The path of the requests for what a process prints to stderr; the number of the process follows.
pub(super) const STDERR_PATH: &str = "/stderr/";
/// The path of the requests for work folders; the number of their process follows.
pub(super) const FOLDER_PATH: &str = "/folder/";
/// The path of the requests to store a content; its digest, a slash and its size follow.
pub(super) const CONTENT_PATH: &str = "/content/";
/// The path of the requests for files of a work folder; the number of its process follows.
pub(super) const PULL_PATH: &str = "/pull/";
/// The header with the system's id of a process that was started.
pub(super) const SYSTEM_ID: &str = "ratchet-system-id";

/// Returns how often each side sends a beat.
pub(super) fn beat_interval(lost_after: Duration) -> Duration {
    (lost_after / HEARTBEATS_PER_TIMEOUT).max(Duration::from_millis(1))
}

/// Waits until at least one byte can be sent on a stream, and returns how many can be.
pub(super) async fn capacity(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
) -> Result<usize, h2::Error> {
    std::future::poll_fn(|cx| poll_capacity(stream, wanted, cx)).await
}

/// Polls for room on a stream, as [`capacity`] does.
pub(super) fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, h2::Error>> {
    stream.reserve_capacity(wanted);
    loop {
        let capacity = stream.capacity();
        if capacity > 0 {
            return Poll::Ready(Ok(capacity.min(wanted)));
        }
        match ready!(stream.poll_capacity(cx)) {
            Some(assigned) => drop(assigned?),
            None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
        }
    }
}

/// The buffer for one output pipe of a process on another host: what has come and is not read yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    /// Notifies that data came, or that the stream has ended.
    changed: Notify,
}

/// The state of an inbox.
#[derive(Debug, Default)]
struct InboxState {
    unread: BytesMut,
    /// How many bytes have come.
    received: u64,
    /// How many of them have been read.
    read: u64,
    end: Option<StreamEnd>,
    /// The stream has broken off, so no more data comes, and it is not known whether it was complete.
    is_broken: bool,
    /// The end of the process is known. After that, nothing else would end a stream that breaks off.
    has_process_ended: bool,
    reader: Option<Waker>,
    /// Gives the room of what was read back to the sender's window.
    flow: Option<FlowControl>,
    /// The output is not read any more, so what comes is dropped.
    is_abandoned: bool,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The process has closed the pipe, and everything has come.
    Whole,
    /// The connection broke, so something may be missing.
    Cut,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives the data of a stream, until the stream ends. A stream that is cut [breaks off](Self::break_off).
    pub(super) async fn fill(&self, mut stream: RecvStream) {
        self.state().flow = Some(stream.flow_control().clone());
        while let Some(bytes) = stream.data().await {
            let Ok(bytes) = bytes else {
                return self.mark_broken();
            };
            let mut state = self.state();
            state.received += bytes.len() as u64;
            if state.is_abandoned {
                state.read += bytes.len() as u64;
                state.release(bytes.len());
            } else {
                state.unread.extend_from_slice(&bytes);
                if let Some(reader) = state.reader.take() {
                    reader.wake();
                }
            }
            drop(state);
            self.changed.notify_waiters();
        }
        self.end(StreamEnd::Whole);
    }

    /// Ends the stream, unless it has ended.
    pub(super) fn end(&self, end: StreamEnd) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Records that no more data comes. While the process may still run, the stream does not end: the reader would take
    /// its end for that of the process.
    pub(super) fn mark_broken(&self) {
        self.change(|state| {
            state.is_broken = true;
            state.cut_if_over();
        });
    }

    /// Records that the end of the process is known. A stream that breaks off ends as cut from now on.
    pub(super) fn process_ended(&self) {
        self.change(|state| {
            state.has_process_ended = true;
            state.cut_if_over();
        });
    }

    /// Changes the state, and wakes the tasks that wait for a change.
    fn change(&self, change: impl FnOnce(&mut InboxState)) {
        let mut state = self.state();
        change(&mut state);
        if state.end.is_some()
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until the stream has ended or broken off, or until no more comes before something is read.
    pub(super) async fn is_settled(&self) {
        self.has_received(u64::MAX).await;
    }

    /// Waits until this many bytes have come, or until no more come, as [`is_settled`](Self::is_settled) does.
    pub(super) async fn has_received(&self, bytes: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // The waiter is registered before the state is looked at, or a change between the two would be missed.
            changed.as_mut().enable();
            {
                let state = self.state();
                // Room is given back in halves of a window, so a sender may be stuck with less than a whole window
                // unread.
                let is_full = state.unread.len() >= STREAM_WINDOW as usize / 2;
                let is_settled = state.end.is_some() || state.is_broken || is_full;
                if is_settled || state.received >= bytes {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Reads the data that has come.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.unread.is_empty() {
            return match state.end {
                Some(StreamEnd::Whole) => Poll::Ready(Ok(())),
                Some(StreamEnd::Cut) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let bytes = state.unread.len().min(buffer.remaining());
        buffer.put_slice(&state.unread[..bytes]);
        state.unread.advance(bytes);
        state.read += bytes as u64;
        state.release(bytes);
        Poll::Ready(Ok(()))
    }

    /// Returns how many bytes have come, and how many of them have been read.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.received, state.read)
    }

    /// Drops the data that has come and that will come. Returns whether the stream has ended.
    pub(super) fn abandon(&self) -> bool {
        let mut state = self.state();
        state.is_abandoned = true;
        let unread = state.unread.len();
        state.unread = BytesMut::new();
        state.read += unread as u64;
        state.release(unread);
        let has_ended = state.end.is_some();
        drop(state);
        self.changed.notify_waiters();
        has_ended
    }
}

impl InboxState {
    /// Ends a stream that has broken off, if the end of the process is known.
    fn cut_if_over(&mut self) {
        if self.is_broken && self.has_process_ended {
            self.end.get_or_insert(StreamEnd::Cut);
        }
    }

    fn release(&mut self, bytes: usize) {
        if let Some(flow) = &mut self.flow {
            // An error means that the stream or the connection has ended, so the room is not needed any more.
            let _ = flow.release_capacity(bytes);
        }
    }
}

/// Sends a message as a line.
pub(super) async fn send_line(
    stream: &mut SendStream<Bytes>,
    message: &impl serde::Serialize,
) -> Result<(), RemoteError> {
    let mut line = line(message)?;
    while !line.is_empty() {
        let room = capacity(stream, line.len()).await?;
        stream.send_data(line.split_to(room), false)?;
    }
    Ok(())
}
