//! Gathering what a result depends on.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::fingerprint::{
    Common, Component, Fingerprint, FingerprintTemplate, InputFiles, Part, SCHEMA, field,
    input_part,
};

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
/// What is common to many jobs is set once: cloning a builder is much cheaper than filling it, and [`prepare`](Self::prepare)
/// is for jobs that differ in their input only.
///
/// ```
/// use ratchet_caching::Fingerprint;
///
/// let worker = Fingerprint::builder().worker_command(["python3", "resize.py"]).worker_version("2");
/// let job = |input: &str| worker.clone().task("resize").input(input).build();
///
/// assert_eq!(job(r#"{"path": "a.png", "width": 100}"#).key(), job(r#"{"width":100,"path":"a.png"}"#).key());
/// assert_ne!(job(r#"{"width": 100}"#).key(), job(r#"{"width": 101}"#).key());
/// ```
#[derive(Debug, Clone)]
pub struct FingerprintBuilder {
    /// All but the input, sorted by component and name.
    parts: Vec<Part>,
    input: Option<Part>,
}

impl FingerprintBuilder {
    pub(super) fn new() -> Self {
        let mut builder = Self {
            parts: Vec::with_capacity(12),
            input: None,
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

    /// The files that the command line runs or names, see [`FileHasher::programs`](crate::FileHasher::programs).
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

    /// The JSON input. White space and the order of an object's members do not count; everything else does, as it is
    /// spelled. What is no JSON counts as it stands, and so do objects that have a key twice.
    #[must_use]
    pub fn input(mut self, json: &str) -> Self {
        self.input = Some(input_part(json));
        self
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

    /// Everything else that the work has in its environment, as one part: names and values, sorted by name.
    #[must_use]
    pub fn inherited_environment<I, N, V>(mut self, variables: I) -> Self
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.set(Component::Environment, String::new(), |hash| {
            for (name, value) in variables {
                field(hash, name.as_ref().as_encoded_bytes());
                field(hash, value.as_ref().as_encoded_bytes());
            }
            hash
        });
        self
    }

    /// The declared input files, see [`FileHasher::snapshot`](crate::FileHasher::snapshot).
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
        Fingerprint::with_input(Arc::new(Common::of(self.parts)), self.input)
    }

    /// What jobs that differ in their input only have in common. An input that was set is left out.
    pub fn prepare(self) -> FingerprintTemplate {
        FingerprintTemplate {
            common: Arc::new(Common::of(self.parts)),
        }
    }
}
