//! A conversation over a reader and a writer, usually the pipes of a child process.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::IpcTransport;
use crate::error::IpcError;
use crate::messages::IpcMessage;
use crate::serialization::{Codec, Dialect, Incoming, Limits, Native};

/// The maximum size of one read: the default capacity of a Linux pipe.
const READ_BYTES: usize = 64 * 1024;

/// A conversation over a reader and a writer.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::process::Stdio;
/// use ratchet_ipc::{Incoming, IpcTransport, Payload, Request, StdioTransport};
///
/// let mut child = tokio::process::Command::new("./worker.py")
///     .stdin(Stdio::piped())
///     .stdout(Stdio::piped())
///     .spawn()?;
/// let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
///
/// let mut worker = StdioTransport::new(stdout, stdin);
/// worker.send(Request::new(1, "resize", Payload::from_json(r#"{"path": "a.png"}"#)?).into()).await?;
/// while let Incoming::Message(message) = worker.receive().await? {
///     println!("{message}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct StdioTransport<R, W> {
    reader: R,
    /// `None` after the sending side is closed or broken.
    writer: Option<W>,
    /// Whether to close the sending side after everything is written.
    is_finishing: bool,
    /// A read failure that occurred during a write. The next `receive` reports it.
    read_error: Option<io::Error>,
    codec: Codec,
    read_buffer: Box<[u8]>,
    /// The maximum size of a message in bytes.
    limit: usize,
    /// Whether the reader has reached its end.
    has_ended: bool,
    /// The time of the last read.
    read_at: Instant,
}

impl<R, W> StdioTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Starts a conversation in the native dialect, within the default limits.
    pub fn new(reader: R, writer: W) -> Self {
        Self::with(reader, writer, Native, Limits::default())
    }

    /// Starts a conversation in this dialect, within these limits.
    pub fn with(reader: R, writer: W, dialect: impl Dialect + 'static, limits: Limits) -> Self {
        Self {
            reader,
            writer: Some(writer),
            is_finishing: false,
            read_error: None,
            codec: Codec::new(dialect, limits),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            limit: limits.max_message_bytes,
            has_ended: false,
            read_at: tokio::time::Instant::now().into_std(),
        }
    }

    /// Writes as much of the queued data as the peer accepts.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), IpcError>> {
        if self.writer.is_none() {
            // The session may still answer what arrives, but the peer no longer reads these answers.
            self.codec.discard_outgoing();
            return Poll::Ready(Ok(()));
        }
        while !self.codec.outgoing().is_empty() {
            let Some(writer) = &mut self.writer else {
                return Poll::Ready(Err(IpcError::Closed));
            };
            match ready!(Pin::new(writer).poll_write(cx, self.codec.outgoing())) {
                Ok(0) => {
                    return Poll::Ready(Err(self.lose_writer(io::ErrorKind::WriteZero.into())));
                }
                Ok(bytes) => self.codec.mark_written(bytes),
                Err(error) => return Poll::Ready(Err(self.lose_writer(error))),
            }
        }
        let Some(writer) = &mut self.writer else {
            return Poll::Ready(Ok(()));
        };
        let mut written = ready!(Pin::new(&mut *writer).poll_flush(cx));
        if self.is_finishing && written.is_ok() {
            written = ready!(Pin::new(writer).poll_shutdown(cx));
            self.writer = None;
        }
        Poll::Ready(written.map_err(|error| self.lose_writer(error)))
    }

    /// Closes the sending side after a failure, so that the failure is reported only once.
    fn lose_writer(&mut self, error: io::Error) -> IpcError {
        self.writer = None;
        self.codec.discard_outgoing();
        IpcError::Write(error)
    }

    /// Reads once, and passes the bytes to the codec.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.read_buffer);
        let read = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
        self.read_at = tokio::time::Instant::now().into_std();
        self.has_ended = read.is_err() || buffer.filled().is_empty();
        match read {
            Ok(()) if self.has_ended => self.codec.finish(),
            Ok(()) => self.codec.feed(buffer.filled()),
            Err(_) => self.codec.mark_broken(),
        }
        Poll::Ready(read)
    }

    /// Writes what is queued, and reads until there is a result.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, IpcError>> {
        // Write first: the queued data is work that the peer could already be doing.
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        if let Some(next) = self.next() {
            return Poll::Ready(next);
        }
        if self.codec.is_backlogged() {
            // The writer wakes this task when the peer reads answers again.
            return Poll::Pending;
        }
        ready!(self.poll_read(cx)).map_err(IpcError::Read)?;
        if let Some(next) = self.next() {
            return Poll::Ready(next);
        }
        // A peer may print without end, and none of it may be passed on. So this function returns after each read;
        // otherwise the timers of a caller in a `select!` would never fire.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns the next result that is already available.
    fn next(&mut self) -> Option<Result<Incoming, IpcError>> {
        let next = self.codec.next(self.read_at)?;
        let error = (next == Incoming::End)
            .then(|| self.read_error.take())
            .flatten();
        Some(error.map_or(Ok(next), |error| Err(IpcError::Read(error))))
    }

    /// Writes everything that is queued, and at the same time reads what the codec can hold.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), IpcError>> {
        loop {
            if let Poll::Ready(done) = self.poll_write(cx) {
                return Poll::Ready(done);
            }
            // The peer may not read before its own output is read. That output is kept, up to the size of one message.
            if self.has_ended || self.codec.unread() > self.limit {
                return Poll::Pending;
            }
            // The caller waits for the write, so the next `receive` reports a read failure.
            self.read_error = ready!(self.poll_read(cx)).err();
        }
    }
}

#[async_trait]
impl<R, W> IpcTransport for StdioTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    fn queue(&mut self, message: &IpcMessage) -> Result<(), IpcError> {
        if self.writer.is_none() || self.is_finishing {
            return Err(IpcError::Closed);
        }
        self.codec.encode(message)
    }

    async fn flush(&mut self) -> Result<(), IpcError> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    async fn receive(&mut self) -> Result<Incoming, IpcError> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn unsent_bytes(&self) -> usize {
        self.codec.outgoing().len()
    }

    fn try_receive(&mut self) -> Option<Incoming> {
        // At the end there may be an error, which only `receive` can return.
        self.codec
            .next(self.read_at)
            .filter(|incoming| *incoming != Incoming::End)
    }

    fn finish(&mut self) {
        self.is_finishing = true;
    }

    async fn close(&mut self) -> Result<(), IpcError> {
        let flushed = self.flush().await;
        let closed = match &mut self.writer {
            Some(writer) => poll_fn(|cx| Pin::new(&mut *writer).poll_shutdown(cx)).await,
            None => Ok(()),
        };
        self.writer = None;
        flushed?;
        closed.map_err(IpcError::Write)
    }
}
