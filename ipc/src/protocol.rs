//! Versions of the protocol, and what host and worker agree on before the first job.

mod handshake;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::messages::{Capabilities, Hello, TaskDeclaration, TaskName};
pub use handshake::{Handshake, HandshakeMode, HandshakeState};

/// The environment variable in which the host offers its protocol versions, as in `1` or `1,2`.
pub const PROTOCOLS_ENV: &str = "RATCHET_PROTOCOLS";

/// The environment variable that tells a worker who it is, as in `resize/2`.
pub const WORKER_ID_ENV: &str = "RATCHET_WORKER_ID";

/// One version of the worker protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// The first version, and so far the only one.
    pub const V1: Self = Self(1);

    /// Every version that this crate speaks.
    pub const SUPPORTED: &'static [Self] = &[Self::V1];
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why host and worker cannot talk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// They have no version in common.
    #[error(
        "no common protocol version: the host speaks {}, the worker {}",
        Versions(host),
        Versions(worker)
    )]
    NoCommonVersion {
        /// What the host offers.
        host: Vec<ProtocolVersion>,
        /// What the worker says.
        worker: Vec<ProtocolVersion>,
    },
    /// The worker introduced itself wrongly.
    #[error("its hello is malformed: {reason}")]
    MalformedHello {
        /// What is wrong with it.
        reason: String,
    },
    /// The worker had to introduce itself and did not.
    #[error("the worker said no hello in time, and its handshake is required")]
    NoHello,
}

/// Prints `1, 2`, or says that there is none.
struct Versions<'a>(&'a [ProtocolVersion]);

impl fmt::Display for Versions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, version) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            version.fmt(f)?;
        }
        if self.0.is_empty() {
            f.write_str("none")
        } else {
            Ok(())
        }
    }
}

/// What a host may expect of one worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The version that both speak.
    pub version: ProtocolVersion,
    /// What the worker is called.
    pub worker_name: Option<String>,
    /// The worker's own version.
    pub worker_version: Option<String>,
    /// How many requests it works on at the same time.
    pub concurrency: NonZeroU32,
    /// What it can do beyond answering.
    pub capabilities: Capabilities,
    /// The tasks that it knows; `None` means any.
    pub tasks: Option<BTreeMap<TaskName, TaskDeclaration>>,
}

impl Profile {
    /// What may be expected of a worker that says nothing: one request at a time, no cancel, no ping.
    pub fn minimal() -> Self {
        Self {
            version: ProtocolVersion::V1,
            worker_name: None,
            worker_version: None,
            concurrency: NonZeroU32::MIN,
            capabilities: Capabilities::default(),
            tasks: None,
        }
    }

    /// Settles on the highest version that both speak.
    pub fn negotiate(offered: &[ProtocolVersion], hello: Hello) -> Result<Self, HandshakeError> {
        let common = hello
            .protocol
            .iter()
            .filter(|version| offered.contains(version))
            .max();
        let Some(&version) = common else {
            return Err(HandshakeError::NoCommonVersion {
                host: offered.to_vec(),
                worker: hello.protocol,
            });
        };
        Ok(Self {
            version,
            worker_name: hello.name,
            worker_version: hello.version,
            concurrency: hello.concurrency,
            capabilities: hello.capabilities,
            tasks: hello.tasks,
        })
    }
}

/// The value of [`PROTOCOLS_ENV`] that offers these versions.
pub fn offer(versions: &[ProtocolVersion]) -> String {
    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
    versions.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_on_the_highest_common_version() {
        let offered = [1, 2, 3].map(ProtocolVersion);
        let hello = Hello::new([0, 2, 1, 9].map(ProtocolVersion));
        assert_eq!(
            Profile::negotiate(&offered, hello).unwrap().version,
            ProtocolVersion(2)
        );
    }

    #[test]
    fn a_refusal_names_both_lists() {
        let refusal = |worker: &[u32]| {
            let hello = Hello::new(worker.iter().copied().map(ProtocolVersion));
            Profile::negotiate(&[1, 2].map(ProtocolVersion), hello)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refusal(&[7, 8]),
            "no common protocol version: the host speaks 1, 2, the worker 7, 8"
        );
        assert_eq!(
            refusal(&[]),
            "no common protocol version: the host speaks 1, 2, the worker none"
        );
    }

    #[test]
    fn versions_are_offered_as_a_list() {
        assert_eq!(offer(ProtocolVersion::SUPPORTED), "1");
        assert_eq!(offer(&[1, 2].map(ProtocolVersion)), "1,2");
    }
}
