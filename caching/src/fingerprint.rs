//! Keys that cover everything that a result depends on.

mod builder;
mod canonical;
mod explain;
mod files;
mod hasher;
mod programs;
mod stamp;
mod walk;

use std::sync::Arc;

use crate::key::Key;
use canonical::canonical;

pub use builder::FingerprintBuilder;
pub use explain::{Change, Difference, explain};
pub use files::{InputChanged, InputFiles};
pub use hasher::{FileContent, FileHasher};
pub use programs::ProgramStamps;

/// The version of the keys. It changes when the meaning of a part changes, so that a key of an older build never
/// matches.
const SCHEMA: u32 = 2;

/// The kind of a part of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Component {
    /// The version of the fingerprint algorithm.
    Schema,
    /// The operating system and the processor architecture.
    Platform,
    /// A text that the user changes to make all stored results unusable.
    Salt,
    /// The command line of the worker.
    WorkerCommand,
    /// A file that the command line of the worker runs or mentions.
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
    /// The time limit of the job.
    Timeout,
    /// Anything else that the caller names.
    Extra,
}

impl Component {
    /// Returns the component with this discriminant. Discriminants are stored, so a new component goes to the end.
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

/// A part of a fingerprint, and the digest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The kind of the part, such as the input or a file.
    pub(crate) component: Component,
    /// The name of the variable, file or extra; empty for a component that occurs once.
    pub(crate) name: String,
    /// The digest of the content.
    pub(crate) digest: [u8; 32],
}

impl Part {
    fn name(&self) -> (Component, &str) {
        (self.component, &self.name)
    }
}

/// Everything that a result depends on: the key, and the digests from which it was computed.
///
/// Only digests are stored, so neither inputs nor the values of environment variables can be read back. Cloning it is
/// cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The digest of all parts, under which results are stored.
    key: Key,
    /// The parts that this fingerprint shares with those of other jobs of the same task.
    common: Arc<CommonParts>,
    /// The input, which is the part of this job only; `None` if no input was set.
    input: Option<Part>,
}

impl Fingerprint {
    /// Makes a builder that contains the schema and the platform.
    pub fn builder() -> FingerprintBuilder {
        FingerprintBuilder::new()
    }

    /// Returns the key of the result.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Iterates over all parts, sorted by component and name.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        let parts = &self.common.parts;
        let (before, after) =
            parts.split_at(parts.partition_point(|part| part.component < Component::Input));
        before.iter().chain(&self.input).chain(after)
    }

    /// Makes a fingerprint from parts that are already sorted.
    #[cfg(feature = "disk")]
    pub(crate) fn of_parts(mut parts: Vec<Part>) -> Self {
        let input = parts
            .iter()
            .position(|part| part.component == Component::Input)
            .map(|index| parts.remove(index));
        Self::with_input(Arc::new(CommonParts::of(parts)), input)
    }

    /// Adds an input to common parts. These are hashed once for many inputs, so each job hashes only its input and one
    /// block.
    fn with_input(common: Arc<CommonParts>, input: Option<Part>) -> Self {
        let content = input.as_ref().map_or(&[][..], |input| &input.digest);
        let key = Key::from_bytes(*blake3::keyed_hash(&common.digest, content).as_bytes());
        Self { key, common, input }
    }
}

/// All parts except for the input.
#[derive(Debug, PartialEq, Eq)]
struct CommonParts {
    /// Sorted by component and name.
    parts: Vec<Part>,
    /// The digest of `parts`, from which each key is computed.
    digest: [u8; 32],
}

impl CommonParts {
    fn of(parts: Vec<Part>) -> Self {
        // A builder does this for every job, and one large update is faster than many small ones.
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

/// Makes the fingerprints of jobs that differ only in their input.
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
    common: Arc<CommonParts>,
}

impl FingerprintTemplate {
    /// Returns the fingerprint of a job with this input, see [`FingerprintBuilder::input`].
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

/// Hashes a field with its length, so that no two sequences of fields give the same bytes.
fn hash_field<'a>(hash: &'a mut blake3::Hasher, bytes: &[u8]) -> &'a mut blake3::Hasher {
    hash.update(&(bytes.len() as u64).to_le_bytes())
        .update(bytes)
}

#[cfg(test)]
mod tests;
