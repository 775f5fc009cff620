//! Versions of the protocol and how host and worker agree on one.

use std::fmt;

/// The environment variable in which the host offers its protocol versions, as in `1` or `1,2`.
pub const PROTOCOLS_ENV: &str = "RATCHET_PROTOCOLS";

/// The environment variable that tells a worker who it is, as in `resize/2`.
pub const WORKER_ID_ENV: &str = "RATCHET_WORKER_ID";

/// One version of the worker protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// The first version, and so far the only one.
    pub const V1: Self = Self(1);
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
