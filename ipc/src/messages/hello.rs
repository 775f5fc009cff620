//! How a worker introduces itself.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::field::read;
use super::{Payload, ProtocolVersion, TaskName};

/// What a worker says of itself before anything else.
///
/// Only the versions are needed; a worker that says no more takes one request at a time, of any task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hello {
    /// The versions of the protocol that it speaks.
    pub protocol: Vec<ProtocolVersion>,
    /// What it is called, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own version; part of the key of cached results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many requests it works on at the same time.
    pub concurrency: NonZeroU32,
    /// What it can do beyond answering.
    pub capabilities: Capabilities,
    /// The tasks that it knows; absent means that it takes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<BTreeMap<TaskName, TaskDeclaration>>,
}

impl Hello {
    /// The least that a worker can say.
    pub fn new(protocol: impl IntoIterator<Item = ProtocolVersion>) -> Self {
        Self {
            protocol: protocol.into_iter().collect(),
            name: None,
            version: None,
            concurrency: NonZeroU32::MIN,
            capabilities: Capabilities::default(),
            tasks: None,
        }
    }
}

impl<'de> Deserialize<'de> for Hello {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            protocol: Option<&'a RawValue>,
            name: Option<&'a RawValue>,
            version: Option<&'a RawValue>,
            concurrency: Option<&'a RawValue>,
            capabilities: Option<&'a RawValue>,
            tasks: Option<&'a RawValue>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let read = || {
            let protocol = read(
                wire.protocol,
                "`protocol`",
                "a list of version numbers, as in [1]",
            )?;
            let concurrency = "a whole number from 1";
            let capabilities = "a list of names";
            Ok(Self {
                protocol: protocol.ok_or(
                    "`protocol` is missing: it lists the versions that the worker speaks, as in [1]",
                )?,
                name: read(wire.name, "`name`", "a text")?,
                version: read(wire.version, "`version`", "a text")?,
                concurrency: read(wire.concurrency, "`concurrency`", concurrency)?
                    .unwrap_or(NonZeroU32::MIN),
                capabilities: read(wire.capabilities, "`capabilities`", capabilities)?
                    .unwrap_or_default(),
                tasks: read_tasks(wire.tasks)?,
            })
        };
        read().map_err(|wrong: String| serde::de::Error::custom(wrong))
    }
}

fn read_tasks(
    value: Option<&RawValue>,
) -> Result<Option<BTreeMap<TaskName, TaskDeclaration>>, String> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        hint: Option<&'a RawValue>,
        cacheable: Option<&'a RawValue>,
        description: Option<&'a RawValue>,
    }
    let expected = "an object with the name of each task as a key";
    let tasks = read::<BTreeMap<TaskName, Option<&RawValue>>>(value, "`tasks`", expected)?;
    let Some(tasks) = tasks else { return Ok(None) };
    let tasks = tasks.into_iter().map(|(task, value)| {
        let of = |field: &str| format!("`{field}` of the task `{task}`");
        let wire = read::<Wire<'_>>(value, format!("what `tasks` says of `{task}`"), "an object")?;
        let declaration = match wire {
            None => TaskDeclaration::default(),
            Some(wire) => TaskDeclaration {
                hint: read(wire.hint, of("hint"), "JSON")?,
                cacheable: read(wire.cacheable, of("cacheable"), "true or false")?
                    .unwrap_or_default(),
                description: read(wire.description, of("description"), "a text")?,
            },
        };
        Ok((task, declaration))
    });
    tasks.collect::<Result<_, String>>().map(Some)
}

/// What a worker says of one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TaskDeclaration {
    /// How parallel it may be, as in a job file: a name, or an object with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Payload>,
    /// Whether the same input always gives the same result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cacheable: bool,
    /// What it does, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
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
