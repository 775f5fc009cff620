//! The way of messages between two processes.

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
/// A transport moves both directions whenever it is waited on: [`receive`](Self::receive) writes what
/// is queued, and [`flush`](Self::flush) reads what arrives. So one task can hold both ends of a
/// conversation and cannot deadlock with a peer that wants to be read before it reads.
///
/// Queue many and then wait once: they leave in one write. Take with
/// [`try_receive`](Self::try_receive) until there is nothing: what one read brought costs no second.
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
    /// Adds a message to the next write; no input or output happens.
    ///
    /// After an error nothing of the message is sent, and the conversation goes on.
    fn queue(&mut self, message: &IpcMessage) -> Result<(), IpcError>;

    /// Waits until everything queued is with the operating system.
    ///
    /// What the peer says meanwhile is kept, up to the largest message; a peer that may say more than
    /// that before it reads has to be met with [`receive`](Self::receive), which keeps taking.
    /// Cancel safe: what was not written yet stays queued.
    async fn flush(&mut self) -> Result<(), IpcError>;

    /// Queues one message and waits until it is with the operating system.
    ///
    /// Cancel safe in that the message is never sent in part; it may be sent later.
    async fn send(&mut self, message: IpcMessage) -> Result<(), IpcError> {
        self.queue(&message)?;
        self.flush().await
    }

    /// Waits for the next thing that comes in, writing what is queued meanwhile.
    ///
    /// Cancel safe: nothing that came in is lost. A failure to write is told once, here or by
    /// [`flush`](Self::flush), and reading goes on; after [`Incoming::End`] or a failure to read there
    /// is nothing more.
    async fn receive(&mut self) -> Result<Incoming, IpcError>;

    /// How many bytes wait to be written: more than a pipe holds means that the peer is behind.
    fn unsent_bytes(&self) -> usize;

    /// What has come in already, without waiting and without a system call.
    fn try_receive(&mut self) -> Option<Incoming>;

    /// Closes the sending side as soon as everything queued is written; no input or output happens here.
    ///
    /// [`receive`](Self::receive) writes and closes while it waits. Use it instead of [`close`](Self::close) for
    /// a peer that has to be read before it reads on, or both would wait for each other.
    fn finish(&mut self);

    /// Sends what is queued and closes the sending side, which the peer sees as the end.
    ///
    /// Receiving goes on, so that last answers are not lost. Cancel safe: called again, it goes on.
    async fn close(&mut self) -> Result<(), IpcError>;
}
