//! The introduction of a worker.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::field::read_field;
use super::{Payload, ProtocolVersion, TaskName};

/// The introduction of a worker, which is its first message.
///
/// Only the versions are required. By default a worker takes one request at a time, of any task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hello {
    /// The versions of the protocol that the worker speaks.
    pub protocol: Vec<ProtocolVersion>,
    /// The name of the worker, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The worker's own version, which is part of the key of cached results.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The number of requests that the worker works on at the same time.
    pub concurrency: NonZeroU32,
    /// What the worker can do besides answering requests.
    pub capabilities: Capabilities,
    /// The tasks that the worker knows; `None` if it accepts any task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<BTreeMap<TaskName, TaskDeclaration>>,
}

impl Hello {
    /// Makes a hello that contains only the versions.
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
            let protocol = read_field(
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
                name: read_field(wire.name, "`name`", "a text")?,
                version: read_field(wire.version, "`version`", "a text")?,
                concurrency: read_field(wire.concurrency, "`concurrency`", concurrency)?
                    .unwrap_or(NonZeroU32::MIN),
                capabilities: read_field(wire.capabilities, "`capabilities`", capabilities)?
                    .unwrap_or_default(),
                tasks: read_tasks(wire.tasks)?,
            })
        };
        read().map_err(|wrong: String| serde::de::Error::custom(wrong))
    }
}

/// Reads the declarations of all tasks. An error names the task and the field.
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
    let Some(Entries(entries)) = read_field(value, "`tasks`", expected)? else {
        return Ok(None);
    };
    let mut tasks = BTreeMap::new();
    for (task, value) in entries {
        let of = |field: &str| format!("`{field}` of the task `{task}`");
        let wire =
            read_field::<Wire<'_>>(value, format!("what `tasks` says of `{task}`"), "an object")?;
        let declaration = match wire {
            None => TaskDeclaration::default(),
            Some(wire) => TaskDeclaration {
                hint: read_field(wire.hint, of("hint"), "JSON")?,
                cacheable: read_field(wire.cacheable, of("cacheable"), "true or false")?
                    .unwrap_or_default(),
                description: read_field(wire.description, of("description"), "a text")?,
            },
        };
        match tasks.entry(task) {
            Entry::Vacant(place) => place.insert(declaration),
            Entry::Occupied(first) => {
                return Err(format!("`tasks` declares `{}` twice", first.key()));
            }
        };
    }
    Ok(Some(tasks))
}

/// The entries of an object in their order. A key may come twice.
struct Entries<'a>(Vec<(TaskName, Option<&'a RawValue>)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collector;

        impl<'de> Visitor<'de> for Collector {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collector)
    }
}

/// What a worker declares about one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TaskDeclaration {
    /// The parallelization hint of the task, as in a job file: a name, or an object with one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Payload>,
    /// Whether the same input always gives the same result.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cacheable: bool,
    /// The description of the task, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The capabilities of a worker.
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
    /// Whether the worker has this capability.
    pub fn has(&self, capability: &Capability) -> bool {
        self.0.contains(capability)
    }

    /// Adds a capability.
    pub fn add(&mut self, capability: Capability) {
        self.0.insert(capability);
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

/// Something that a worker can do besides answering requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Capability {
    /// The worker stops a request on `cancel`, and answers it.
    Cancel,
    /// The worker reports `progress`.
    Progress,
    /// The worker answers `ping` at any time, even while it works.
    Ping,
    /// The worker sends `ready` when it can take work, and gets no work before.
    Ready,
    /// The worker ends by itself on `drain`.
    Drain,
    /// A capability that this version does not know.
    #[serde(untagged)]
    Other(String),
}
