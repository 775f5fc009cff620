//! Sends and receives messages between two processes.

mod memory;
mod stdio;

use async_trait::async_trait;

use crate::error::IpcError;
use crate::messages::IpcMessage;
use crate::serialization::Incoming;
pub use memory::{MemoryTransport, memory_pair, memory_pair_with};
pub use stdio::StdioTransport;

/// One end of a conversation.
///
/// A transport serves both directions whenever it is awaited: [`receive`](Self::receive) also writes what is queued,
/// and [`flush`](Self::flush) also reads what arrives. So a single task can own a conversation, and cannot deadlock
/// with a peer that does not read before its own output is read.
///
/// If you queue many messages and then await once, they are sent in one write. After [`receive`](Self::receive), call
/// [`try_receive`](Self::try_receive) until it returns `None`: one read often returns many messages.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ratchet_ipc::{Incoming, IpcTransport, Payload, Request, memory_pair};
///
/// let (mut host, mut worker) = memory_pair();
/// host.queue(&Request::new(1, "resize", Payload::null()).into())?;
/// host.queue(&Request::new(2, "resize", Payload::null()).into())?;
/// host.flush().await?;
///
/// assert!(matches!(worker.receive().await?, Incoming::Message(_)));
/// assert!(matches!(worker.try_receive(), Some(Incoming::Message(_))));
/// assert!(worker.try_receive().is_none());
/// # Ok::<(), ratchet_ipc::IpcError>(())
/// # }).unwrap();
/// ```
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait IpcTransport: Send {
    /// Adds a message to the next write. This does no I/O.
    ///
    /// After an error, no part of the message is sent, and the conversation continues.
    fn queue(&mut self, message: &IpcMessage) -> Result<(), IpcError>;

    /// Waits until the operating system has accepted everything that is queued.
    ///
    /// Input that arrives in the meantime is kept, up to the size of the largest message. For a peer that may send more
    /// than that before it reads, use [`receive`](Self::receive), which never stops reading. Cancel safe: data that is
    /// not written yet stays queued.
    async fn flush(&mut self) -> Result<(), IpcError>;

    /// Queues one message, and waits until the operating system has accepted it.
    ///
    /// Cancel safe: the message is never sent in part, but it may still be sent later.
    async fn send(&mut self, message: IpcMessage) -> Result<(), IpcError> {
        self.queue(&message)?;
        self.flush().await
    }

    /// Waits for the next result of the incoming bytes, and writes what is queued at the same time.
    ///
    /// Cancel safe: no input is lost. A write failure is reported once, here or by [`flush`](Self::flush), and reading
    /// continues. After [`Incoming::End`] or a read failure, nothing more arrives.
    async fn receive(&mut self) -> Result<Incoming, IpcError>;

    /// Returns the number of bytes that are not written yet. If it exceeds the capacity of a pipe, the peer is behind.
    fn unsent_bytes(&self) -> usize;

    /// Returns the next result that is already available, without waiting and without a system call.
    fn try_receive(&mut self) -> Option<Incoming>;

    /// Closes the sending side as soon as everything queued is written. This does no I/O itself.
    ///
    /// [`receive`](Self::receive) writes and closes while it waits. Use `finish` instead of [`close`](Self::close) for
    /// a peer that reads on only after its own output is read; otherwise both sides would wait for each other.
    fn finish(&mut self);

    /// Sends what is queued and closes the sending side, which the peer sees as the end of its input.
    ///
    /// Receiving continues to work, so that the last answers are not lost. Cancel safe: call it again to continue.
    async fn close(&mut self) -> Result<(), IpcError>;
}
