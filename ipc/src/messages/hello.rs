//! How a worker introduces itself.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Payload, TaskName};
use crate::protocol::ProtocolVersion;

/// What a worker says of itself before anything else.
///
/// Only the versions are needed; a worker that says no more takes one request at a time, of any task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The versions of the protocol that it speaks.
    pub protocol: Vec<ProtocolVersion>,
    /// What it is called, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own version; part of the key of cached results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many requests it works on at the same time.
    #[serde(default = "one")]
    pub concurrency: NonZeroU32,
    /// What it can do beyond answering.
    #[serde(default, deserialize_with = "super::null_is_default")]
    pub capabilities: Capabilities,
    /// The tasks that it knows; absent means that it takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<BTreeMap<TaskName, TaskDeclaration>>,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl Hello {
    /// The least that a worker can say.
    pub fn new(protocol: impl IntoIterator<Item = ProtocolVersion>) -> Self {
        Self {
            protocol: protocol.into_iter().collect(),
            name: None,
            version: None,
            concurrency: one(),
            capabilities: Capabilities::default(),
            tasks: None,
        }
    }
}

/// What a worker says of one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskDeclaration {
    /// How parallel it may be, as in a job file: a name, or an object with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Payload>,
    /// Whether the same input always gives the same result.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        deserialize_with = "super::null_is_default"
    )]
    pub cacheable: bool,
    /// What it does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What a worker can do beyond answering requests.
///
/// ```
/// use ratchet_ipc::{Capabilities, Capability};
///
/// let capabilities: Capabilities = [Capability::Cancel, Capability::Ping].into_iter().collect();
/// assert!(capabilities.has(&Capability::Ping));
/// assert!(!capabilities.has(&Capability::Drain));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// Whether this one is among them.
    pub fn has(&self, capability: &Capability) -> bool {
        self.0.contains(capability)
    }

    /// Adds one.
    pub fn add(&mut self, capability: Capability) {
        self.0.insert(capability);
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

/// One thing that a worker can do beyond answering requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Capability {
    /// It stops a request on `cancel`, and answers it.
    Cancel,
    /// It reports `progress`.
    Progress,
    /// It answers `ping` at any time, while it works too.
    Ping,
    /// It says `ready` when it can take work, and wants none before.
    Ready,
    /// It ends by itself on `drain`.
    Drain,
    /// One that this version does not know.
    #[serde(untagged)]
    Other(String),
}
