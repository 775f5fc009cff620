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
/// A transport serves both directions whenever it is awaited: [`receive`](Self::receive) writes what is queued, and
/// [`flush`](Self::flush) reads what arrives. So one task can own a conversation, and cannot deadlock with a peer that
/// wants to be read before it reads.
///
/// Queue many messages and then await once, and they leave in one write. After [`receive`](Self::receive), call
/// [`try_receive`](Self::try_receive) until it returns nothing: one read often brings many messages.
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
    /// Adds a message to the next write. No input or output happens here.
    ///
    /// After an error nothing of the message is sent, and the conversation goes on.
    fn queue(&mut self, message: &IpcMessage) -> Result<(), IpcError>;

    /// Waits until the operating system has taken everything that is queued.
    ///
    /// What the peer sends meanwhile is kept, up to the size of the largest message. For a peer that may send more than
    /// that before it reads, use [`receive`](Self::receive), which never stops reading.
    /// Cancel safe: what was not written yet stays queued.
    async fn flush(&mut self) -> Result<(), IpcError>;

    /// Queues one message and waits until the operating system has taken it.
    ///
    /// Cancel safe: the message is never sent in part, but it may still be sent later.
    async fn send(&mut self, message: IpcMessage) -> Result<(), IpcError> {
        self.queue(&message)?;
        self.flush().await
    }

    /// Waits for the next thing that comes in, and writes what is queued meanwhile.
    ///
    /// Cancel safe: nothing that came in is lost. A failure to write is reported once, here or by
    /// [`flush`](Self::flush), and reading goes on. After [`Incoming::End`] or a failure to read nothing more comes.
    async fn receive(&mut self) -> Result<Incoming, IpcError>;

    /// The number of bytes that wait to be written. If it is more than a pipe holds, the peer is behind.
    fn unsent_bytes(&self) -> usize;

    /// Returns what has come in already, without waiting and without a system call.
    fn try_receive(&mut self) -> Option<Incoming>;

    /// Has the sending side closed as soon as everything queued is written. No input or output happens here.
    ///
    /// [`receive`](Self::receive) writes and closes while it waits. Use `finish` instead of [`close`](Self::close) for a
    /// peer that has to be read before it reads on, or both sides would wait for each other.
    fn finish(&mut self);

    /// Sends what is queued and closes the sending side, which the peer sees as the end of its input.
    ///
    /// Receiving goes on, so that the last answers are not lost. Cancel safe: call it again to continue.
    async fn close(&mut self) -> Result<(), IpcError>;
}
