//! A conversation within one process, for tests.

use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::StdioTransport;
use crate::serialization::{Limits, Native};

/// One end of a conversation within one process.
///
/// It is the real transport over an in-memory pipe, so a test covers every byte of the protocol.
pub type MemoryTransport = StdioTransport<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

/// The default capacity of an in-memory pipe: that of a Linux pipe.
const PIPE_BYTES: usize = 64 * 1024;

/// Makes both ends of a conversation within one process.
pub fn memory_pair() -> (MemoryTransport, MemoryTransport) {
    memory_pair_with(PIPE_BYTES, Limits::default())
}

/// Makes both ends of a conversation over a pipe of this capacity, within these limits.
///
/// ```
/// use ratchet_ipc::{IpcError, IpcTransport, Limits, Payload, Request, memory_pair_with};
///
/// let limits = Limits { max_message_bytes: 100, ..Limits::default() };
/// let (mut host, _worker) = memory_pair_with(1024, limits);
/// let request = Request::new(1, "t", Payload::from_text(&"x".repeat(200)));
/// assert!(matches!(host.queue(&request.into()), Err(IpcError::TooLarge { .. })));
/// ```
pub fn memory_pair_with(pipe_bytes: usize, limits: Limits) -> (MemoryTransport, MemoryTransport) {
    let (host, worker) = duplex(pipe_bytes);
    let end = |stream| {
        let (reader, writer) = split(stream);
        StdioTransport::with(reader, writer, Native, limits)
    };
    (end(host), end(worker))
}
