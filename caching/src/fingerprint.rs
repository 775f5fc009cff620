//! What a result depends on.

mod canonical;
mod explain;
mod files;
mod json_error;
mod number;
mod text;
mod walk;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::error::CacheError;
use crate::key::Key;
use canonical::canonical_bytes;

pub use canonical::canonical_json;
pub use explain::{Change, Difference, explain};
pub use files::{FileHasher, InputChanged, InputFiles};
pub use json_error::{JsonError, JsonProblem};

/// Changes when the meaning of a part changes, so that no key of an older build is ever met again.
const SCHEMA: u32 = 1;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    key: Key,
    parts: Vec<Part>,
}

impl Fingerprint {
    /// Begins a fingerprint with the schema and the platform.
    pub fn builder() -> FingerprintBuilder {
        let mut builder = FingerprintBuilder {
            parts: Vec::with_capacity(12),
        };
        builder.set(Component::Schema, String::new(), |hash| {
            hash.update(&SCHEMA.to_le_bytes())
        });
        builder.set(Component::Platform, String::new(), |hash| {
            field(hash, std::env::consts::OS.as_bytes());
            field(hash, std::env::consts::ARCH.as_bytes())
        });
        builder
    }

    /// The name of the result.
    pub fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Makes the fingerprint of parts that are sorted.
    pub(crate) fn of_parts(parts: Vec<Part>) -> Self {
        // One buffer and one call, because this is done for every job.
        let mut buffer = Vec::with_capacity(parts.len() * 48);
        for part in &parts {
            buffer.push(part.component as u8);
            buffer.extend_from_slice(&(part.name.len() as u64).to_le_bytes());
            buffer.extend_from_slice(part.name.as_bytes());
            buffer.extend_from_slice(&part.digest);
        }
        let key = Key::of(&buffer);
        Self { key, parts }
    }
}

/// Hashes a field so that it cannot run into the next one.
fn field<'a>(hash: &'a mut blake3::Hasher, bytes: &[u8]) -> &'a mut blake3::Hasher {
    hash.update(&(bytes.len() as u64).to_le_bytes())
        .update(bytes)
}

/// A name as people read it; names that are not valid Unicode stay apart from each other.
fn printable(name: &OsStr) -> String {
    match name.to_str() {
        Some(name) => name.to_owned(),
        None => format!(
            "{} (blake3 {})",
            name.to_string_lossy(),
            blake3::hash(name.as_encoded_bytes())
        ),
    }
}

/// Gathers what a result depends on.
///
/// A part that is set twice keeps what was set last. A part that is not set differs from one that is set to nothing.
/// What is common to many jobs is set once: cloning a builder is much cheaper than filling it.
///
/// ```
/// use ratchet_caching::Fingerprint;
///
/// let worker = Fingerprint::builder().worker_command(["python3", "resize.py"]).worker_version("2");
/// let job = |input: &str| Ok::<_, ratchet_caching::CacheError>(worker.clone().task("resize").input(input)?.build());
///
/// assert_eq!(job(r#"{"path": "a.png", "width": 100}"#)?.key(), job(r#"{"width":100,"path":"a.png"}"#)?.key());
/// assert_ne!(job(r#"{"width": 100}"#)?.key(), job(r#"{"width": 101}"#)?.key());
/// # Ok::<(), ratchet_caching::CacheError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FingerprintBuilder {
    /// Sorted by component and name.
    parts: Vec<Part>,
}

impl FingerprintBuilder {
    fn set(
        &mut self,
        component: Component,
        name: String,
        content: impl FnOnce(&mut blake3::Hasher) -> &mut blake3::Hasher,
    ) {
        let mut hash = blake3::Hasher::new();
        let digest = *content(&mut hash).finalize().as_bytes();
        self.set_digest(component, name, digest);
    }

    fn set_digest(&mut self, component: Component, name: String, digest: [u8; 32]) {
        let part = Part {
            component,
            name,
            digest,
        };
        match self
            .parts
            .binary_search_by(|other| other.name().cmp(&part.name()))
        {
            Ok(index) => self.parts[index] = part,
            Err(index) => self.parts.insert(index, part),
        }
    }

    fn with_bytes(mut self, component: Component, content: &[u8]) -> Self {
        self.set_digest(component, String::new(), *blake3::hash(content).as_bytes());
        self
    }

    fn with_text(self, component: Component, text: &str) -> Self {
        self.with_bytes(component, text.as_bytes())
    }

    /// A text that users change to start afresh.
    #[must_use]
    pub fn salt(self, salt: &str) -> Self {
        self.with_text(Component::Salt, salt)
    }

    /// The command line of the worker.
    #[must_use]
    pub fn worker_command<I>(mut self, command: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.set(Component::WorkerCommand, String::new(), |hash| {
            for argument in command {
                field(hash, argument.into().as_encoded_bytes());
            }
            hash
        });
        self
    }

    /// The files that the command line runs or names, see [`FileHasher::programs`].
    #[must_use]
    pub fn worker_programs(self, programs: &InputFiles) -> Self {
        self.with_files(Component::WorkerProgram, programs)
    }

    /// The version that the worker declares.
    #[must_use]
    pub fn worker_version(self, version: &str) -> Self {
        self.with_text(Component::WorkerVersion, version)
    }

    /// The name of the task.
    #[must_use]
    pub fn task(self, task: &str) -> Self {
        self.with_text(Component::Task, task)
    }

    /// The version that the task declares.
    #[must_use]
    pub fn task_version(self, version: &str) -> Self {
        self.with_text(Component::TaskVersion, version)
    }

    /// The JSON input, of which only the meaning counts, see [`canonical_json`].
    pub fn input(self, json: &str) -> Result<Self, CacheError> {
        let canonical = canonical_bytes(json).map_err(CacheError::Json)?;
        Ok(self.with_bytes(Component::Input, &canonical))
    }

    /// A declared environment variable; `None` says that it is not set, which differs from being empty.
    #[must_use]
    pub fn environment(
        mut self,
        name: impl AsRef<OsStr>,
        value: Option<impl AsRef<OsStr>>,
    ) -> Self {
        let name = name.as_ref();
        self.set(Component::Environment, printable(name), |hash| {
            field(hash, name.as_encoded_bytes());
            match value {
                Some(value) => hash.update(b"=").update(value.as_ref().as_encoded_bytes()),
                None => hash.update(b"-"),
            }
        });
        self
    }

    /// The declared input files, see [`FileHasher::snapshot`].
    #[must_use]
    pub fn files(self, files: &InputFiles) -> Self {
        self.with_files(Component::File, files)
    }

    fn with_files(mut self, component: Component, files: &InputFiles) -> Self {
        for file in files.iter() {
            self.set(component, printable(file.declared.as_os_str()), |hash| {
                field(hash, file.declared.as_os_str().as_encoded_bytes()).update(&file.content)
            });
        }
        self
    }

    /// The time the job may take: a result that took long may not be had in less.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.set(Component::Timeout, String::new(), |hash| {
            hash.update(&timeout.as_nanos().to_le_bytes())
        });
        self
    }

    /// Anything else that the result depends on, such as the folder a command runs in.
    #[must_use]
    pub fn extra(mut self, name: &str, content: &[u8]) -> Self {
        self.set_digest(
            Component::Extra,
            name.to_owned(),
            *blake3::hash(content).as_bytes(),
        );
        self
    }

    /// The fingerprint of all that was set.
    pub fn build(self) -> Fingerprint {
        Fingerprint::of_parts(self.parts)
    }
}
