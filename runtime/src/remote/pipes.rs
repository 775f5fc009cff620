//! The pipes of a process on another host.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::message::{OutputStream, ToAgent};
use super::stream::{CHUNK, Inbox, poll_capacity};
use super::view::RemoteView;
use crate::os::InputWatch;

/// Reads one output pipe of a process on another host. Dropping it closes the pipe there.
pub(super) struct RemoteReader {
    pub(super) view: Arc<RemoteView>,
    pub(super) id: u64,
    pub(super) output: OutputStream,
    pub(super) messages: mpsc::UnboundedSender<ToAgent>,
}

impl RemoteReader {
    fn inbox(&self) -> &Inbox {
        match self.output {
            OutputStream::Stdout => &self.view.stdout,
            OutputStream::Stderr => &self.view.stderr,
        }
    }
}

impl AsyncRead for RemoteReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inbox().poll_read(cx, buffer)
    }
}

impl Drop for RemoteReader {
    fn drop(&mut self) {
        let has_ended = self.inbox().abandon();
        if !has_ended {
            // An error means that the connection has ended, and the process with it.
            let _ = self.messages.send(ToAgent::CloseOutput {
                id: self.id,
                output: self.output,
            });
        }
    }
}

/// Writes to the stdin of a process on another host. Dropping it ends the stdin.
pub(super) struct RemoteWriter {
    stream: SendStream<Bytes>,
    closed: InputWatch,
    written: Arc<AtomicU64>,
    is_ended: bool,
}

impl RemoteWriter {
    /// Makes the writer of a stream. The watch shows whether the process has closed its stdin.
    pub(super) fn new(
        stream: SendStream<Bytes>,
        closed: InputWatch,
        written: Arc<AtomicU64>,
    ) -> Self {
        Self {
            stream,
            closed,
            written,
            is_ended: false,
        }
    }

    fn end(&mut self) {
        if !self.is_ended {
            self.is_ended = true;
            // An error means that the stream has ended already.
            let _ = self.stream.send_data(Bytes::new(), true);
        }
    }
}

impl AsyncWrite for RemoteWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        if self.closed.is_closed() || self.is_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = bytes.len().min(CHUNK);
        let taken = ready!(poll_capacity(&mut self.stream, wanted, cx)).map_err(broken)?;
        let data = Bytes::copy_from_slice(&bytes[..taken]);
        self.stream.send_data(data, false).map_err(broken)?;
        // Relaxed: the count orders nothing.
        self.written.fetch_add(taken as u64, Ordering::Relaxed);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection sends the bytes that were taken.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for RemoteWriter {
    fn drop(&mut self) {
        self.end();
    }
}
