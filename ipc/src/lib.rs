//! The conversation between ratchet and its workers.

mod protocol;

pub use protocol::{PROTOCOLS_ENV, ProtocolVersion, WORKER_ID_ENV};
