//! A conversation over any pair of byte streams; a child's pipes, as a rule.

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

/// How much one read takes: what a Linux pipe holds by default.
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
    /// Gone once the sending side is closed or broken.
    writer: Option<W>,
    /// The sending side is closed once everything is written.
    finishing: bool,
    /// A failure to read that came up while writing, and that nobody was told of yet.
    read_error: Option<io::Error>,
    codec: Codec,
    chunk: Box<[u8]>,
    limit: usize,
    ended: bool,
    read_at: Instant,
}

impl<R, W> StdioTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// A conversation in the native dialect, within the default limits.
    pub fn new(reader: R, writer: W) -> Self {
        Self::with(reader, writer, Native, Limits::default())
    }

    /// A conversation in a dialect and within limits of one's own choice.
    pub fn with(reader: R, writer: W, dialect: impl Dialect + 'static, limits: Limits) -> Self {
        Self {
            reader,
            writer: Some(writer),
            finishing: false,
            read_error: None,
            codec: Codec::new(dialect, limits),
            chunk: vec![0; READ_BYTES].into_boxed_slice(),
            limit: limits.max_message_bytes,
            ended: false,
            read_at: tokio::time::Instant::now().into_std(),
        }
    }

    /// Writes as much of what is queued as the peer takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), IpcError>> {
        while !self.codec.outgoing().is_empty() {
            let Some(writer) = &mut self.writer else {
                return Poll::Ready(Err(IpcError::Closed));
            };
            match ready!(Pin::new(writer).poll_write(cx, self.codec.outgoing())) {
                Ok(0) => {
                    return Poll::Ready(Err(self.lose_writer(io::ErrorKind::WriteZero.into())));
                }
                Ok(bytes) => self.codec.wrote(bytes),
                Err(error) => return Poll::Ready(Err(self.lose_writer(error))),
            }
        }
        let Some(writer) = &mut self.writer else {
            return Poll::Ready(Ok(()));
        };
        let mut written = ready!(Pin::new(&mut *writer).poll_flush(cx));
        if self.finishing && written.is_ok() {
            written = ready!(Pin::new(writer).poll_shutdown(cx));
            self.writer = None;
        }
        Poll::Ready(written.map_err(|error| self.lose_writer(error)))
    }

    /// A side that failed once is closed: the failure is told once.
    fn lose_writer(&mut self, error: io::Error) -> IpcError {
        self.writer = None;
        self.codec.discard_outgoing();
        IpcError::Write(error)
    }

    /// Reads once.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.chunk);
        let read = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
        self.read_at = tokio::time::Instant::now().into_std();
        self.ended = read.is_err() || buffer.filled().is_empty();
        match read {
            Ok(()) if self.ended => self.codec.finish(),
            Ok(()) => self.codec.feed(buffer.filled()),
            Err(_) => self.codec.break_off(),
        }
        Poll::Ready(read)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, IpcError>> {
        // Writing comes first: what is queued is work that somebody could be doing.
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Err(error));
        }
        if let Some(next) = self.next() {
            return Poll::Ready(next);
        }
        ready!(self.poll_read(cx)).map_err(IpcError::Read)?;
        if let Some(next) = self.next() {
            return Poll::Ready(next);
        }
        // A peer may print chatter without end, of which nothing is passed on. Whoever waits gets to look at
        // other things between two reads, or would never look at a clock.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What has come in already.
    fn next(&mut self) -> Option<Result<Incoming, IpcError>> {
        let next = self.codec.next(self.read_at)?;
        let error = (next == Incoming::End)
            .then(|| self.read_error.take())
            .flatten();
        Some(error.map_or(Ok(next), |error| Err(IpcError::Read(error))))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), IpcError>> {
        loop {
            if let Poll::Ready(done) = self.poll_write(cx) {
                return Poll::Ready(done);
            }
            // The peer may not read before it is read. What it says is kept, up to a message.
            if self.ended || self.codec.unread() > self.limit {
                return Poll::Pending;
            }
            // Here only writing matters: a failure to read is told to whoever receives next.
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
        if self.writer.is_none() || self.finishing {
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
        // The end may carry an error with it, which only `receive` can tell.
        self.codec
            .next(self.read_at)
            .filter(|incoming| *incoming != Incoming::End)
    }

    fn finish(&mut self) {
        self.finishing = true;
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
