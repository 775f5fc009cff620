//! The conversation between ratchet and its workers.

mod error;
mod messages;
mod protocol;
mod serialization;
#[cfg(feature = "serve")]
pub mod serve;
mod transport;

pub use error::IpcError;
pub use messages::{
    Cancel, Capabilities, Capability, Event, Hello, HostName, IpcMessage, JobKey, Log, LogLevel,
    MessageId, Nonce, Payload, Progress, Request, Response, Started, TaskDeclaration, TaskError,
    TaskName, UnknownEvent,
};
pub use protocol::{
    Handshake, HandshakeError, HandshakeMode, HandshakeState, PROTOCOLS_ENV, Profile,
    ProtocolVersion, WORKER_ID_ENV, offer,
};
pub use serialization::{
    Codec, Dialect, Found, Incoming, Limits, LineFormat, Lines, Malformed, Native, StrayLine,
    StrayMode, TooLarge,
};
pub use transport::{IpcTransport, MemoryTransport, StdioTransport, memory_pair, memory_pair_with};

/// Mocks of the traits of this crate, for tests of one's own code.
#[cfg(any(test, feature = "mock"))]
pub mod mock {
    pub use crate::transport::MockIpcTransport;
}
