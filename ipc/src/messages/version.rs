//! Versions of the worker protocol.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One version of the worker protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// The first version, and so far the only one.
    pub const V1: Self = Self(1);

    /// All versions that this crate speaks.
    pub const SUPPORTED: &'static [Self] = &[Self::V1];
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
