//! A digest of what a job does, by which a resumed run detects whether the job has changed.

use std::ffi::OsStr;
use std::fmt;

use blake3::Hasher;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::item::{JobIdentity, from_hex, to_hex, truncated};
use crate::job::{Job, Work};
use crate::os::{ProcessConfig, ProgramInput};

/// Fields are collected in a buffer of this size before they are hashed, because small updates cost the hasher more
/// than copying does.
const GATHERED: usize = 1024;

/// A digest of what a job does: of its task and input, or of its command with arguments, environment, folder and stdin,
/// and of its host. A file that is read as stdin counts by its name.
///
/// The terms of a job (hint, timeouts, retries, priority) are not part of it, because they define how the job is done,
/// not what it does. Inputs are compared byte for byte. The code of a closure cannot be hashed, so all closures on one
/// host have the same content, and only their ids distinguish them.
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
    /// Computes the content of a job.
    pub fn of(job: &Job) -> Self {
        let mut digest = Digest::new();
        match &job.work {
            Work::Task { task, input, pull } => {
                digest.field(b"task");
                digest.field(task.as_str().as_bytes());
                digest.field(input.as_str().as_bytes());
                for path in pull.iter().flat_map(|paths| paths.iter()) {
                    digest.field(path.here().as_os_str().as_encoded_bytes());
                }
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

/// Returns the key of a job in a journal: its identity, or the digest of its id if it has no identity.
pub(super) fn key_of(id: &str, identity: Option<JobIdentity>) -> [u8; 16] {
    identity.map_or_else(
        || truncated(blake3::hash(id.as_bytes())),
        |identity| identity.0,
    )
}

/// Hashes a list of fields. Each field is preceded by its length, so that no two different lists hash the same bytes.
struct Digest {
    /// The bytes of the fields so far, while they fit.
    gathered: [u8; GATHERED],
    /// How many bytes of `gathered` are in use.
    filled: usize,
    /// The hasher. It is made only when the fields do not fit into the buffer.
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

    /// Adds what a command does: program, arguments, environment, folder, stdin and files.
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
        self.stdin(&config.stdin);
        if let Some(files) = &config.files {
            for (direction, paths) in [("push", &files.push), ("pull", &files.pull)] {
                self.field(direction.as_bytes());
                self.count(paths.len() as u64);
                for path in paths {
                    self.text(path.folder().as_os_str());
                    self.text(path.name().as_os_str());
                }
            }
        }
    }

    /// Adds the stdin of a command. Files and pipes count by their names or kinds, not by their contents.
    fn stdin(&mut self, input: &ProgramInput) {
        match input {
            // Journals of earlier versions have no stdin.
            ProgramInput::Nothing | ProgramInput::Terminal => {}
            ProgramInput::Bytes(bytes) => {
                self.field(b"stdin");
                self.field(bytes.as_slice());
            }
            ProgramInput::File(path) => {
                self.field(b"stdin of a file");
                self.text(path.as_os_str());
            }
            ProgramInput::Part {
                path,
                start,
                bytes,
                header,
            } => {
                self.field(b"stdin of a part");
                self.text(path.as_os_str());
                self.count(*start);
                self.count(*bytes);
                // Journals of earlier versions knew no header.
                if let Some(header) = header {
                    self.field(header.as_slice());
                }
            }
            ProgramInput::Output(output) => {
                self.field(b"stdin of the output of a job");
                self.field(output.job().as_bytes());
            }
            ProgramInput::Pipe(_) => self.field(b"stdin of a pipe"),
        }
    }

    /// Adds a field of text in the encoding of the operating system.
    fn text(&mut self, text: &OsStr) {
        self.field(text.as_encoded_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len() as u64);
        self.put(bytes);
    }

    /// Adds a number, such as the length of the list that follows.
    fn count(&mut self, count: u64) {
        self.put(&count.to_le_bytes());
    }

    /// Adds raw bytes: to the buffer while they fit, else to the hasher.
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
        truncated(match self.hasher {
            Some(mut hasher) => hasher.update(rest).finalize(),
            None => blake3::hash(rest),
        })
    }
}

impl Content {
    /// Formats the digest as 32 hexadecimal digits.
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
    use crate::os::{Environment, InputBytes};

    fn task(task: &str, input: &str) -> Job {
        Job::task("a", task, Payload::from_json(input).unwrap())
    }

    fn command() -> ProcessConfig {
        ProcessConfig::new("convert").args(["a", "b"])
    }

    #[test]
    fn the_content_differs_for_jobs_that_do_different_things() {
        let clean = Environment::clean();
        let bytes = |text: &'static str| ProgramInput::Bytes(InputBytes::new(text));
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
            Job::command("a", command().stdin(bytes("x"))),
            Job::command("a", command().stdin(bytes("y"))),
            Job::command("a", command().stdin(ProgramInput::File("x".into()))),
            Job::closure("a", async |_| Ok(Payload::null())),
        ];
        let contents: HashSet<_> = jobs.iter().map(Content::of).collect();
        assert_eq!(contents.len(), jobs.len());
    }

    #[test]
    fn the_content_does_not_depend_on_ids_needs_and_terms() {
        let job = task("t", "1");
        let same = Job {
            id: "b".into(),
            ..task("t", "1").needs(["c"])
        };
        assert_eq!(Content::of(&job), Content::of(&same));
    }

    /// Fields that are gathered and fields that are hashed piece by piece give the same digest.
    #[test]
    fn the_content_of_an_input_of_any_size_covers_all_of_it() {
        for size in [0, 1, GATHERED - 60, GATHERED - 20, GATHERED, 5 * GATHERED] {
            let input = Payload::from_text(&"x".repeat(size));
            let job = Job::task("a", "t", input.clone()).on_host("h");
            let mut all = Vec::new();
            for field in [&b"task"[..], b"t", input.as_str().as_bytes(), b"h"] {
                all.extend((field.len() as u64).to_le_bytes());
                all.extend(field);
            }
            assert_eq!(Content::of(&job).0, truncated(blake3::hash(&all)));
        }
    }

    #[test]
    fn only_a_digest_of_32_small_hexadecimal_digits_is_read_back() {
        let content = Content::of(&task("t", "1"));
        assert_eq!(Content::from_hex(&content.to_string()), Some(content));
        for wrong in ["", "ab", &"A".repeat(32), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(Content::from_hex(wrong), None, "{wrong:?}");
        }
    }
}
