//! What a job amounts to, as a digest: by it a later run tells whether a job is still the same.

use std::ffi::OsStr;
use std::fmt;

use blake3::Hasher;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::item::{JobIdentity, first_half, from_hex, to_hex};
use crate::job::{Job, Work};
use crate::os::ProcessConfig;

/// Fields up to this size are put together before they are hashed: small updates cost the hasher more than
/// copying them does.
const GATHERED: usize = 1024;

/// A digest of all that a job does: its task and input, or its command with arguments, environment and
/// folder; and its host.
///
/// The terms of a job (hint, timeouts, retries, priority) are not part of it: they say how it is done, not
/// what. Inputs count byte for byte. A closure cannot be looked into, so all closures on one host are the
/// same content; their ids tell them apart.
///
/// ```
/// use ratchet_runtime::{Content, Job, Payload};
///
/// let job = Job::task("a", "resize", Payload::from_json(r#"{"path":"a.png"}"#)?);
/// let other = Job::task("b", "resize", Payload::from_json(r#"{"path":"b.png"}"#)?);
/// assert_eq!(Content::of(&job), Content::of(&job.clone()));
/// assert_ne!(Content::of(&job), Content::of(&other));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content([u8; 16]);

impl Content {
    /// The content of a job.
    pub fn of(job: &Job) -> Self {
        let mut digest = Digest::new();
        match &job.work {
            Work::Task { task, input } => {
                digest.field(b"task");
                digest.field(task.as_str().as_bytes());
                digest.field(input.as_str().as_bytes());
            }
            Work::Command(config) => digest.command(config),
            Work::Closure(_) => digest.field(b"closure"),
            Work::Refused { .. } => digest.field(b"refused"),
            Work::Ended(_) => digest.field(b"ended"),
        }
        match &job.host {
            Some(host) => digest.field(host.as_str().as_bytes()),
            None => digest.count(u64::MAX),
        }
        Self(digest.finish())
    }
}

/// The digest by which a job is found again: its identity, or that of its id where it has none.
pub(super) fn key_of(id: &str, identity: Option<JobIdentity>) -> [u8; 16] {
    identity.map_or_else(
        || first_half(blake3::hash(id.as_bytes())),
        |identity| identity.0,
    )
}

/// Fields, each after its length, so that no two lists of them look the same.
struct Digest {
    gathered: [u8; GATHERED],
    filled: usize,
    /// Made when the fields outgrow what is gathered.
    hasher: Option<Box<Hasher>>,
}

impl Digest {
    fn new() -> Self {
        Self {
            gathered: [0; GATHERED],
            filled: 0,
            hasher: None,
        }
    }

    fn command(&mut self, config: &ProcessConfig) {
        self.field(b"command");
        self.text(config.command.as_os_str());
        self.count(config.args.len() as u64);
        for arg in &config.args {
            self.text(arg);
        }
        self.count(u64::from(config.env.inherits()));
        self.count(config.env.declared().count() as u64);
        for (name, value) in config.env.declared() {
            self.text(name);
            self.text(value);
        }
        match &config.working_dir {
            Some(folder) => self.text(folder.as_os_str()),
            None => self.count(u64::MAX),
        }
    }

    fn text(&mut self, text: &OsStr) {
        self.field(text.as_encoded_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len() as u64);
        self.put(bytes);
    }

    fn count(&mut self, count: u64) {
        self.put(&count.to_le_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self
            .gathered
            .get_mut(self.filled..)
            .and_then(|rest| rest.get_mut(..bytes.len()))
        {
            room.copy_from_slice(bytes);
            self.filled += bytes.len();
            return;
        }
        let hasher = self.hasher.get_or_insert_default();
        hasher.update(&self.gathered[..self.filled]);
        hasher.update(bytes);
        self.filled = 0;
    }

    fn finish(self) -> [u8; 16] {
        let rest = &self.gathered[..self.filled];
        first_half(match self.hasher {
            Some(mut hasher) => hasher.update(rest).finalize(),
            None => blake3::hash(rest),
        })
    }
}

impl Content {
    /// The digest as text of 32 hexadecimal digits.
    pub(super) fn to_hex(self) -> [u8; 32] {
        to_hex(self.0)
    }

    fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_hex()))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({self})")
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("a digest is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ratchet_ipc::Payload;

    use super::*;
    use crate::os::Environment;

    fn task(task: &str, input: &str) -> Job {
        Job::task("a", task, Payload::from_json(input).unwrap())
    }

    fn command() -> ProcessConfig {
        ProcessConfig::new("convert").args(["a", "b"])
    }

    #[test]
    fn whatever_a_job_does_counts() {
        let clean = Environment::clean();
        let jobs = [
            task("t", "1"),
            task("t", "1.0"),
            task("t1", "1"),
            task("t", "1").on_host("h"),
            task("t", "1").on_host(""),
            Job::command("a", command()),
            Job::command("a", command()).on_host("h"),
            Job::command("a", ProcessConfig::new("convert").args(["ab"])),
            Job::command("a", ProcessConfig::new("convert").args(["a", "b", ""])),
            Job::command("a", command().env(clean.clone())),
            Job::command("a", command().env(clean.clone().set("A", "BC"))),
            Job::command("a", command().env(clean.set("AB", "C"))),
            Job::command("a", command().working_dir("/")),
            Job::closure("a", async |_| Ok(Payload::null())),
        ];
        let contents: HashSet<_> = jobs.iter().map(Content::of).collect();
        assert_eq!(contents.len(), jobs.len());
    }

    #[test]
    fn ids_needs_and_terms_do_not_count() {
        let job = task("t", "1");
        let same = Job {
            id: "b".into(),
            ..task("t", "1").needs(["c"])
        };
        assert_eq!(Content::of(&job), Content::of(&same));
    }

    /// What is gathered and what is hashed piece by piece come to the same.
    #[test]
    fn any_size_is_hashed_whole() {
        for size in [0, 1, GATHERED - 60, GATHERED - 20, GATHERED, 5 * GATHERED] {
            let input = Payload::from_text(&"x".repeat(size));
            let job = Job::task("a", "t", input.clone()).on_host("h");
            let mut all = Vec::new();
            for field in [&b"task"[..], b"t", input.as_str().as_bytes(), b"h"] {
                all.extend((field.len() as u64).to_le_bytes());
                all.extend(field);
            }
            assert_eq!(Content::of(&job).0, first_half(blake3::hash(&all)));
        }
    }

    #[test]
    fn a_digest_is_read_back_and_nothing_else_is_one() {
        let content = Content::of(&task("t", "1"));
        assert_eq!(Content::from_hex(&content.to_string()), Some(content));
        for wrong in ["", "ab", &"A".repeat(32), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(Content::from_hex(wrong), None, "{wrong:?}");
        }
    }
}
