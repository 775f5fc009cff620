//! What a result depends on.

mod builder;
mod canonical;
mod explain;
mod files;
mod walk;

use std::sync::Arc;

use crate::key::Key;
use canonical::canonical;

pub use builder::FingerprintBuilder;
pub use explain::{Change, Difference, explain};
pub use files::{FileHasher, InputChanged, InputFiles, ProgramStamps};

/// Changes when the meaning of a part changes, so that no key of an older build is ever met again.
const SCHEMA: u32 = 2;

/// A part of what a result depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Component {
    /// The way fingerprints are made.
    Schema,
    /// The operating system and the kind of processor.
    Platform,
    /// A text that users change to start afresh.
    Salt,
    /// The command line of the worker.
    WorkerCommand,
    /// A file that the command line runs or names.
    WorkerProgram,
    /// The version that the worker declares.
    WorkerVersion,
    /// The name of the task.
    Task,
    /// The version that the task declares.
    TaskVersion,
    /// The JSON input.
    Input,
    /// A declared environment variable.
    Environment,
    /// A declared input file or folder.
    File,
    /// The time the job may take.
    Timeout,
    /// Anything else that a caller knows to matter.
    Extra,
}

impl Component {
    /// The component whose discriminant this is. Discriminants are stored: a new component goes to the end.
    #[cfg(feature = "disk")]
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        const ALL: [Component; 13] = [
            Component::Schema,
            Component::Platform,
            Component::Salt,
            Component::WorkerCommand,
            Component::WorkerProgram,
            Component::WorkerVersion,
            Component::Task,
            Component::TaskVersion,
            Component::Input,
            Component::Environment,
            Component::File,
            Component::Timeout,
            Component::Extra,
        ];
        ALL.into_iter().find(|component| *component as u8 == code)
    }
}

/// A part and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) component: Component,
    /// Which one, where there may be several.
    pub(crate) name: String,
    pub(crate) digest: [u8; 32],
}

impl Part {
    fn name(&self) -> (Component, &str) {
        (self.component, &self.name)
    }
}

/// What a result depends on, as a key and as the digests it was made of.
///
/// Contents are not kept, only their digests: neither inputs nor the values of environment variables can be read back.
/// Cloning it is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    key: Key,
    common: Arc<Common>,
    input: Option<Part>,
}

impl Fingerprint {
    /// Begins a fingerprint with the schema and the platform.
    pub fn builder() -> FingerprintBuilder {
        FingerprintBuilder::new()
    }

    /// The name of the result.
    pub fn key(&self) -> Key {
        self.key
    }

    /// All parts, sorted by component and name.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        let parts = &self.common.parts;
        let (before, after) =
            parts.split_at(parts.partition_point(|part| part.component < Component::Input));
        before.iter().chain(&self.input).chain(after)
    }

    /// Makes the fingerprint of parts that are sorted.
    #[cfg(feature = "disk")]
    pub(crate) fn of_parts(mut parts: Vec<Part>) -> Self {
        let input = parts
            .iter()
            .position(|part| part.component == Component::Input)
            .map(|index| parts.remove(index));
        Self::with_input(Arc::new(Common::of(parts)), input)
    }

    /// The common parts are hashed once for many inputs, so that each job adds one block to what its input takes.
    fn with_input(common: Arc<Common>, input: Option<Part>) -> Self {
        let content = input.as_ref().map_or(&[][..], |input| &input.digest);
        let key = Key::from_bytes(*blake3::keyed_hash(&common.digest, content).as_bytes());
        Self { key, common, input }
    }
}

/// All parts but the input.
#[derive(Debug, PartialEq, Eq)]
struct Common {
    /// Sorted by component and name.
    parts: Vec<Part>,
    digest: [u8; 32],
}

impl Common {
    fn of(parts: Vec<Part>) -> Self {
        // One buffer and one call, because a builder does this for every job.
        let mut buffer = Vec::with_capacity(parts.len() * 48);
        for part in &parts {
            buffer.push(part.component as u8);
            buffer.extend_from_slice(&(part.name.len() as u64).to_le_bytes());
            buffer.extend_from_slice(part.name.as_bytes());
            buffer.extend_from_slice(&part.digest);
        }
        let digest = *blake3::hash(&buffer).as_bytes();
        Self { parts, digest }
    }
}

/// The fingerprints of jobs that differ in their input only.
///
/// ```
/// use ratchet_caching::Fingerprint;
///
/// let task = Fingerprint::builder().worker_command(["python3", "resize.py"]).task("resize").prepare();
///
/// let fingerprint = task.fingerprint(r#"{"path": "a.png", "width": 100}"#);
/// assert_eq!(fingerprint.key(), task.fingerprint(r#"{"width":100,"path":"a.png"}"#).key());
/// assert_ne!(fingerprint.key(), task.fingerprint(r#"{"width": 101}"#).key());
/// ```
#[derive(Debug, Clone)]
pub struct FingerprintTemplate {
    common: Arc<Common>,
}

impl FingerprintTemplate {
    /// The fingerprint of a job with this input, see [`FingerprintBuilder::input`].
    pub fn fingerprint(&self, json: &str) -> Fingerprint {
        Fingerprint::with_input(Arc::clone(&self.common), Some(input_part(json)))
    }
}

fn input_part(json: &str) -> Part {
    Part {
        component: Component::Input,
        name: String::new(),
        digest: *blake3::hash(&canonical(json)).as_bytes(),
    }
}

/// Hashes a field so that it cannot run into the next one.
fn field<'a>(hash: &'a mut blake3::Hasher, bytes: &[u8]) -> &'a mut blake3::Hasher {
    hash.update(&(bytes.len() as u64).to_le_bytes())
        .update(bytes)
}

#[cfg(test)]
mod tests;
