//! Collects the parts of a fingerprint.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::fingerprint::{
    CommonParts, Component, Fingerprint, FingerprintTemplate, InputFiles, Part, SCHEMA, hash_field,
    input_part,
};

/// Returns a name for display. Two names that are not Unicode may look the same, but their digests differ.
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

/// Collects the parts of a fingerprint.
///
/// If a part is set twice, the last value wins. A part that is not set differs from a part that is set to an empty
/// value. Set the parts that many jobs share once, and clone the builder for each job, which is much cheaper. If the
/// jobs differ only in their input, [`prepare`](Self::prepare) is even cheaper.
///
/// ```
/// use ratchet_caching::Fingerprint;
///
/// let worker = Fingerprint::builder().worker_command(["python3", "resize.py"]).worker_version("2");
/// let job = |input: &str| worker.clone().task("resize").task_version("3").input(input).build();
///
/// assert_eq!(job(r#"{"path": "a.png", "width": 100}"#).key(), job(r#"{"width":100,"path":"a.png"}"#).key());
/// assert_ne!(job(r#"{"width": 100}"#).key(), job(r#"{"width": 101}"#).key());
/// ```
#[derive(Debug, Clone)]
pub struct FingerprintBuilder {
    /// All parts except for the input, sorted by component and name.
    parts: Vec<Part>,
    input: Option<Part>,
}

impl FingerprintBuilder {
    /// Makes a builder without parts.
    pub(super) fn new() -> Self {
        let mut builder = Self {
            parts: Vec::with_capacity(12),
            input: None,
        };
        builder.set(Component::Schema, String::new(), |hash| {
            hash.update(&SCHEMA.to_le_bytes())
        });
        builder.platform(std::env::consts::OS, std::env::consts::ARCH)
    }

    /// Sets the operating system and the processor architecture, if they are not those of this machine.
    #[must_use]
    pub fn platform(mut self, system: &str, processor: &str) -> Self {
        self.set(Component::Platform, String::new(), |hash| {
            hash_field(hash, system.as_bytes());
            hash_field(hash, processor.as_bytes())
        });
        self
    }

    /// Sets a part to the digest of the content that a function hashes.
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

    /// Sets a part, and keeps the parts sorted.
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

    /// Sets a text that the user changes to make all stored results unusable.
    #[must_use]
    pub fn salt(self, salt: &str) -> Self {
        self.with_text(Component::Salt, salt)
    }

    /// Sets the command line of the worker.
    #[must_use]
    pub fn worker_command<I>(mut self, command: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.set(Component::WorkerCommand, String::new(), |hash| {
            for argument in command {
                hash_field(hash, argument.into().as_encoded_bytes());
            }
            hash
        });
        self
    }

    /// Sets the files that the command line runs or mentions, see [`InputFiles::of_command`].
    #[must_use]
    pub fn worker_programs(self, programs: &InputFiles) -> Self {
        self.with_files(Component::WorkerProgram, programs)
    }

    /// Sets the version that the worker declares.
    #[must_use]
    pub fn worker_version(self, version: &str) -> Self {
        self.with_text(Component::WorkerVersion, version)
    }

    /// Sets the name of the task.
    #[must_use]
    pub fn task(self, task: &str) -> Self {
        self.with_text(Component::Task, task)
    }

    /// Sets the version that the task declares.
    #[must_use]
    pub fn task_version(self, version: &str) -> Self {
        self.with_text(Component::TaskVersion, version)
    }

    /// Sets the JSON input. White space and the order of the members of an object do not matter. Everything else
    /// matters as it is spelled. A text that is not JSON is compared byte by byte, and so is an object that has a key
    /// twice.
    #[must_use]
    pub fn input(mut self, json: &str) -> Self {
        self.input = Some(input_part(json));
        self
    }

    /// Sets a declared environment variable. `None` means that it is not set, which differs from an empty value.
    #[must_use]
    pub fn environment(
        mut self,
        name: impl AsRef<OsStr>,
        value: Option<impl AsRef<OsStr>>,
    ) -> Self {
        let name = name.as_ref();
        self.set(Component::Environment, printable(name), |hash| {
            hash_field(hash, name.as_encoded_bytes());
            match value {
                Some(value) => hash.update(b"=").update(value.as_ref().as_encoded_bytes()),
                None => hash.update(b"-"),
            }
        });
        self
    }

    /// Sets all other environment variables as one part. Pass them sorted by name.
    #[must_use]
    pub fn inherited_environment<I, N, V>(mut self, variables: I) -> Self
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.set(Component::Environment, String::new(), |hash| {
            for (name, value) in variables {
                hash_field(hash, name.as_ref().as_encoded_bytes());
                hash_field(hash, value.as_ref().as_encoded_bytes());
            }
            hash
        });
        self
    }

    /// Sets the declared input files, see [`InputFiles::read`].
    #[must_use]
    pub fn files(self, files: &InputFiles) -> Self {
        self.with_files(Component::File, files)
    }

    /// Sets a part for each file.
    fn with_files(mut self, component: Component, files: &InputFiles) -> Self {
        for file in files.iter() {
            self.set(component, printable(file.declared.as_os_str()), |hash| {
                hash_field(hash, file.declared.as_os_str().as_encoded_bytes()).update(&file.content)
            });
        }
        self
    }

    /// Sets the time limit of the job. With a shorter limit, the job might have no result.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.set(Component::Timeout, String::new(), |hash| {
            hash.update(&timeout.as_nanos().to_le_bytes())
        });
        self
    }

    /// Sets anything else that the result depends on, such as the folder that a command runs in.
    #[must_use]
    pub fn extra(mut self, name: &str, content: &[u8]) -> Self {
        self.set_digest(
            Component::Extra,
            name.to_owned(),
            *blake3::hash(content).as_bytes(),
        );
        self
    }

    /// Makes the fingerprint of all parts.
    pub fn build(self) -> Fingerprint {
        Fingerprint::with_input(Arc::new(CommonParts::of(self.parts)), self.input)
    }

    /// Makes a template for jobs that differ only in their input. An input that was set is ignored.
    pub fn prepare(self) -> FingerprintTemplate {
        FingerprintTemplate {
            common: Arc::new(CommonParts::of(self.parts)),
        }
    }
}
