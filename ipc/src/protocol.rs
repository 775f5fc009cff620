//! The agreement of a host and a worker before the first job: versions, capabilities and readiness.

mod handshake;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use thiserror::Error;

use crate::messages::{Capabilities, Hello, ProtocolVersion, TaskDeclaration, TaskName};
pub use handshake::{Handshake, HandshakeKind, HandshakeMode, HandshakeState, Readiness};

/// The environment variable in which the host offers its protocol versions, as in `1` or `1,2`.
pub const PROTOCOLS_ENV: &str = "RATCHET_PROTOCOLS";

/// The environment variable that contains the worker's own id, as in `resize/2`.
pub const WORKER_ID_ENV: &str = "RATCHET_WORKER_ID";

/// The reason why a host and a worker cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The host and the worker have no version in common.
    #[error(
        "no common protocol version: the host speaks {}, the worker {}",
        VersionList(host),
        VersionList(worker)
    )]
    NoCommonVersion {
        /// The versions that the host offers.
        host: Vec<ProtocolVersion>,
        /// The versions that the worker speaks.
        worker: Vec<ProtocolVersion>,
    },
    /// The hello of the worker breaks the protocol.
    #[error("its hello is malformed: {reason}")]
    MalformedHello {
        /// What is wrong with the hello.
        reason: String,
    },
    /// The worker had to say hello, but did not.
    #[error("the worker said no hello in time, and its handshake is required")]
    NoHello,
    /// The handshake of the dialect failed.
    #[error("the handshake failed: {reason}")]
    Dialect {
        /// What went wrong, in the terms of the dialect.
        reason: String,
    },
}

/// Prints versions as `1, 2`, or as `none`.
struct VersionList<'a>(&'a [ProtocolVersion]);

impl fmt::Display for VersionList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&join_versions(self.0, ", "))
    }
}

/// The properties of one worker that a host relies on.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The version that the host and the worker use.
    pub version: ProtocolVersion,
    /// The name that the worker gives itself.
    pub worker_name: Option<String>,
    /// The worker's own version.
    pub worker_version: Option<String>,
    /// The number of requests that the worker works on at the same time.
    pub concurrency: NonZeroU32,
    /// What the worker can do besides answering requests.
    pub capabilities: Capabilities,
    /// The tasks that the worker knows; `None` if it accepts any task.
    pub tasks: Option<BTreeMap<TaskName, TaskDeclaration>>,
}

impl Profile {
    /// Returns the profile of a worker without a hello: one request at a time, no cancel, no ping.
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

    /// Makes a profile from a hello, with the highest version that both sides speak.
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

/// Returns the value of [`PROTOCOLS_ENV`] that offers these versions to a worker.
pub fn offer_versions(versions: &[ProtocolVersion]) -> String {
    join_versions(versions, ",")
}

fn join_versions(versions: &[ProtocolVersion], separator: &str) -> String {
    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
    versions.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_settles_on_the_highest_common_version() {
        let offered = [1, 2, 3].map(ProtocolVersion);
        let hello = Hello::new([0, 2, 1, 9].map(ProtocolVersion));
        assert_eq!(
            Profile::negotiate(&offered, hello).unwrap().version,
            ProtocolVersion(2)
        );
    }

    #[test]
    fn a_refused_version_is_reported_with_both_lists() {
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
        assert_eq!(offer_versions(ProtocolVersion::SUPPORTED), "1");
        assert_eq!(offer_versions(&[1, 2].map(ProtocolVersion)), "1,2");
    }
}
