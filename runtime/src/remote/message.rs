//! The messages between dispatcher and agent: lines of JSON on a stream of their own, apart from the bytes of
//! processes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::RemoteError;
use super::fence::BootTime;
use super::text::printable;
use crate::monitor::{Reading, Usage};
use crate::os::{
    Ended, Ending, Environment, Exit, ProcessConfig, ProcessError, ProcessId, ProcessUsage,
};

/// The highest length of a line. The longest one has the usage of all processes of a connection.
const LINE_BYTES: usize = 1 << 20;

/// The highest number of bytes of a program with its arguments and its environment. Linux takes no more than 6 MiB.
pub(super) const SPEC_BYTES: usize = 8 << 20;

/// The highest number of survivors of a process that is reported. A host that is not trusted could name any number.
const MAX_SURVIVORS: usize = 1000;

/// How many characters of an error of another host are kept.
const ERROR_CHARACTERS: usize = 500;

/// One of the two output pipes of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputStream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// A message from the dispatcher to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum ToAgent {
    /// Asks a process to end, and kills it after the grace.
    Terminate { id: u64, grace_ms: u64 },
    /// Stops a process.
    Stop { id: u64 },
    /// Continues a process.
    Continue { id: u64 },
    /// Closes the output pipe of a process, because it is not read any more.
    CloseOutput { id: u64, output: OutputStream },
    /// Asks how many bytes a process has printed to its stdout.
    CountOutput { id: u64 },
    /// Asks for the usage of processes.
    Measure { question: u64, ids: Vec<u64> },
    /// Shows that the dispatcher is alive, and asks for an answer.
    Beat {
        number: u64,
        /// Whether the agent is to measure its machine, too.
        measures: bool,
    },
    /// Stops all processes while the dispatcher, which sends nothing from now on, is stopped.
    Suspend,
    /// Continues all processes.
    Resume,
    /// Answers the keeper's question of this time: the processes may run for a while, counted from that time.
    TimeGranted { asked_at: BootTime },
}

/// A message from an agent to the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum FromAgent {
    /// A process has ended, and all of its output was sent.
    Ended {
        id: u64,
        exit: WireExit,
        ending: WireEnding,
        left_behind: bool,
        survivors: Vec<u32>,
        /// How many bytes of its stdin the process has read, if that is known.
        read: Option<u64>,
        /// For how many milliseconds the process surely ran.
        ran_ms: u64,
    },
    /// A process has closed its stdin.
    InputClosed {
        id: u64,
        /// How many bytes of its stdin the process has read, if that is known.
        read: Option<u64>,
    },
    /// A process has printed this many bytes to its stdout when it was asked, if that is known.
    OutputCounted { id: u64, printed: Option<u64> },
    /// The usage of processes: the process, its memory in bytes, and its processor time in milliseconds.
    Measured {
        question: u64,
        usage: Vec<(u64, u64, u64)>,
    },
    /// Shows that the agent is alive.
    Beat,
    /// Answers the beat of this number.
    Answer { beat: u64 },
    /// The memory and the load of the agent's machine.
    Machine(WireReading),
    /// The keeper asks, at this time of its own clock, whether the processes may continue to run.
    TimeAsked { at: BootTime },
}

/// A reading of a machine in the form that is sent: memory in bytes, and the load in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireReading {
    memory_total: u64,
    memory_available: u64,
    load: u32,
    /// How many bytes of memory are used by the processes that the agent has started.
    used: u64,
}

impl From<&Reading> for WireReading {
    fn from(reading: &Reading) -> Self {
        Self {
            memory_total: reading.memory_total,
            memory_available: reading.memory_available,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a load is a small positive number, and the cast saturates"
            )]
            load: (reading.load * 1000.0) as u32,
            used: reading.workers.memory,
        }
    }
}

impl From<WireReading> for Reading {
    fn from(wire: WireReading) -> Self {
        Self {
            memory_total: wire.memory_total,
            memory_available: wire.memory_available,
            load: f64::from(wire.load) / 1000.0,
            workers: Usage {
                memory: wire.used,
                ..Usage::default()
            },
            ..Self::default()
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireExit {
    Code(i32),
    Signal(i32),
    Unknown,
}

/// What it took for the agent to end a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireEnding {
    ByItself,
    Asked,
    Killed,
    WantedTerminal,
}

impl FromAgent {
    /// Makes the message that a process has ended.
    pub(super) fn ended(id: u64, ended: Ended, read: Option<u64>, ran: Duration) -> Self {
        Self::Ended {
            id,
            exit: match ended.exit {
                Exit::Code(code) => WireExit::Code(code),
                Exit::Signal(signal) => WireExit::Signal(signal),
                Exit::Unknown => WireExit::Unknown,
            },
            ending: match ended.ending {
                Ending::ByItself => WireEnding::ByItself,
                Ending::Asked => WireEnding::Asked,
                Ending::Killed | Ending::HostLost => WireEnding::Killed,
                Ending::WantedTerminal => WireEnding::WantedTerminal,
            },
            left_behind: ended.left_behind,
            survivors: ended.survivors,
            read,
            ran_ms: grace_ms(ran),
        }
    }
}

/// Converts the end of a process to the form that is reported here.
pub(super) fn ended(
    exit: WireExit,
    ending: WireEnding,
    left_behind: bool,
    mut survivors: Vec<u32>,
) -> Ended {
    survivors.truncate(MAX_SURVIVORS);
    Ended {
        exit: match exit {
            WireExit::Code(code) => Exit::Code(code),
            // A host could name a number that is not a signal.
            WireExit::Signal(signal) if (1..=127).contains(&signal) => Exit::Signal(signal),
            WireExit::Signal(_) | WireExit::Unknown => Exit::Unknown,
        },
        ending: match ending {
            WireEnding::ByItself => Ending::ByItself,
            WireEnding::Asked => Ending::Asked,
            WireEnding::Killed => Ending::Killed,
            WireEnding::WantedTerminal => Ending::WantedTerminal,
        },
        left_behind,
        survivors,
    }
}

/// Converts a grace to the form that is sent: a grace out of range is unlimited.
pub(super) fn grace_ms(grace: Duration) -> u64 {
    u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)
}

/// Converts a usage to the form that is sent.
pub(super) fn usage_to_wire(id: u64, usage: ProcessUsage) -> (u64, u64, u64) {
    (id, usage.memory, grace_ms(usage.processor_time))
}

/// Converts a usage from the form that is sent.
pub(super) fn usage_from_wire((id, memory, time): (u64, u64, u64)) -> (ProcessId, ProcessUsage) {
    let usage = ProcessUsage::new(memory, Duration::from_millis(time));
    (ProcessId::new(id), usage)
}

/// Converts the id of a process to the form that is sent.
pub(super) fn wire_id(id: ProcessId) -> u64 {
    id.number()
}

/// Encodes a message as a line.
pub(super) fn line(message: &impl Serialize) -> Result<Bytes, RemoteError> {
    let mut line = serde_json::to_vec(message)
        .map_err(|error| RemoteError::Malformed(format!("our own message: {error}")))?;
    line.push(b'\n');
    Ok(line.into())
}

/// Reassembles the lines of a stream, and decodes a message from each.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unread: BytesMut,
}

impl Lines {
    /// Adds the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Takes the next message, if it is complete.
    pub(super) fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<T>, RemoteError> {
        let Some(newline) = memchr(&self.unread) else {
            if self.unread.len() > LINE_BYTES {
                let message = format!("a message has more than {LINE_BYTES} bytes");
                return Err(RemoteError::Malformed(message));
            }
            return Ok(None);
        };
        let line = self.unread.split_to(newline + 1);
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|error| RemoteError::Malformed(format!("a message: {error}")))
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// A string of the operating system. It is sent as text where it is text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum WireText {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&OsStr> for WireText {
    fn from(text: &OsStr) -> Self {
        match text.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(text.as_bytes().to_vec()),
        }
    }
}

impl From<WireText> for OsString {
    fn from(text: WireText) -> Self {
        match text {
            WireText::Text(text) => text.into(),
            WireText::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

/// A program to start. The environment that it inherits is that of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spec {
    command: WireText,
    args: Vec<WireText>,
    inherits: bool,
    env: Vec<(WireText, WireText)>,
    folder: Option<WireText>,
}

impl Spec {
    /// Encodes a program: the length of its JSON in four bytes, and the JSON.
    pub(super) fn encode(config: &ProcessConfig) -> Result<Bytes, ProcessError> {
        let spec = Self {
            command: config.command.as_os_str().into(),
            args: config
                .args
                .iter()
                .map(|arg| arg.as_os_str().into())
                .collect(),
            inherits: config.env.inherits(),
            env: config
                .env
                .declared()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            folder: config
                .working_dir
                .as_deref()
                .map(Path::as_os_str)
                .map(Into::into),
        };
        let refused = |source| ProcessError::Spawn {
            command: config.command.clone(),
            source,
        };
        let json = serde_json::to_vec(&spec).map_err(|error| refused(error.into()))?;
        let length = u32::try_from(json.len())
            .ok()
            .filter(|_| json.len() <= SPEC_BYTES);
        let Some(length) = length else {
            return Err(refused(rustix::io::Errno::TOOBIG.into()));
        };
        let mut bytes = BytesMut::with_capacity(4 + json.len());
        bytes.put_u32(length);
        bytes.extend_from_slice(&json);
        Ok(bytes.freeze())
    }

    /// Decodes a program from what has come so far. Returns `None` if more has to come.
    pub(super) fn decode(bytes: &mut BytesMut) -> Result<Option<ProcessConfig>, RemoteError> {
        let malformed =
            |what: String| RemoteError::Malformed(format!("a program to start: {what}"));
        let Some(length) = bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        // A u32 fits into a usize here.
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > SPEC_BYTES {
            return Err(malformed(format!("{length} bytes are too many")));
        }
        if bytes.len() < 4 + length {
            return Ok(None);
        }
        bytes.advance(4);
        let json = bytes.split_to(length);
        let spec: Self =
            serde_json::from_slice(&json).map_err(|error| malformed(error.to_string()))?;
        let mut env = if spec.inherits {
            Environment::inherited()
        } else {
            Environment::clean()
        };
        for (name, value) in spec.env {
            env = env.set(OsString::from(name), OsString::from(value));
        }
        let mut config = ProcessConfig::new(PathBuf::from(OsString::from(spec.command)))
            .args(spec.args)
            .env(env);
        config.working_dir = spec.folder.map(|folder| OsString::from(folder).into());
        Ok(Some(config))
    }
}

/// The reason for which a program was not started, in the form that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub(super) enum StartError {
    NotFound,
    NotExecutable,
    WrongFormat,
    NoFolder,
    TooMany { most: u32 },
    Other { message: String },
}

impl From<&ProcessError> for StartError {
    fn from(error: &ProcessError) -> Self {
        match error {
            ProcessError::NotFound { .. } => Self::NotFound,
            ProcessError::NotExecutable { .. } => Self::NotExecutable,
            ProcessError::WrongFormat { .. } => Self::WrongFormat,
            ProcessError::NoFolder { .. } => Self::NoFolder,
            ProcessError::Spawn { source, .. } => Self::Other {
                message: source.to_string(),
            },
            other => Self::Other {
                message: other.to_string(),
            },
        }
    }
}

impl StartError {
    /// Converts this to the error of a program that was to be started.
    pub(super) fn of(self, config: &ProcessConfig) -> ProcessError {
        let command = config.command.clone();
        match (self, &config.working_dir) {
            (Self::NotFound, _) => ProcessError::NotFound { command },
            (Self::NotExecutable, _) => ProcessError::NotExecutable { command },
            (Self::WrongFormat, _) => ProcessError::WrongFormat { command },
            (Self::NoFolder, Some(folder)) => ProcessError::NoFolder {
                command,
                folder: folder.clone(),
            },
            (Self::NoFolder, None) => ProcessError::Spawn {
                command,
                source: io::ErrorKind::NotFound.into(),
            },
            (Self::TooMany { most }, _) => ProcessError::Spawn {
                command,
                source: io::Error::other(format!("{most} processes run there, and no more may")),
            },
            (Self::Other { message }, _) => ProcessError::Spawn {
                command,
                source: io::Error::other(printable(message.as_bytes(), ERROR_CHARACTERS)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_of_messages_panic_or_hang(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let (mut to, mut from) = (Lines::default(), Lines::default());
            let mut spec = BytesMut::new();
            for chunk in &chunks {
                to.push(chunk);
                from.push(chunk);
                spec.extend_from_slice(chunk);
                while let Ok(Some(_)) = to.next::<ToAgent>() {}
                while let Ok(Some(_)) = from.next::<FromAgent>() {}
                let _ = Spec::decode(&mut spec);
            }
        }

        #[test]
        fn a_program_arrives_as_it_was_sent_however_it_is_cut(
            words in proptest::collection::vec(proptest::collection::vec(1..=255_u8, 0..20), 1..6),
            folder in proptest::option::of("[a-z/]{1,9}"),
            inherits in any::<bool>(),
            cut in 1..50_usize,
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            let env = if inherits { Environment::inherited() } else { Environment::clean() };
            let mut config = ProcessConfig::new(PathBuf::from(&words[0]))
                .args(&words[1..])
                .env(words.iter().fold(env, |env, word| env.set(word, word)));
            config.working_dir = folder.map(Into::into);
            let sent = Spec::encode(&config).unwrap();
            let mut received = BytesMut::new();
            let mut decoded = None;
            for chunk in sent.chunks(cut) {
                prop_assert!(decoded.is_none());
                received.extend_from_slice(chunk);
                decoded = Spec::decode(&mut received).unwrap();
            }
            prop_assert_eq!(decoded, Some(config));
            prop_assert!(received.is_empty());
        }
    }

    #[test]
    fn a_program_that_claims_to_be_huge_is_refused_before_it_is_read() {
        let mut bytes = BytesMut::from(&[0xff; 8][..]);
        assert!(Spec::decode(&mut bytes).is_err());
        let huge = ProcessConfig::new("echo").arg("x".repeat(SPEC_BYTES));
        assert!(matches!(
            Spec::encode(&huge),
            Err(ProcessError::Spawn { .. })
        ));
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut lines = Lines::default();
        let ended = Ended {
            exit: Exit::Signal(9),
            ending: Ending::Killed,
            left_behind: true,
            survivors: vec![7],
        };
        let usage = vec![(3, 4, 5)];
        let question = u64::MAX;
        let sent = [
            FromAgent::ended(1, ended, Some(5), Duration::from_secs(2)),
            FromAgent::OutputCounted {
                id: 2,
                printed: Some(9),
            },
            FromAgent::Measured { question, usage },
            FromAgent::InputClosed { id: 2, read: None },
            FromAgent::Beat,
            FromAgent::Answer { beat: 3 },
            FromAgent::Machine(WireReading::from(&Reading {
                load: 1.25,
                ..Reading::default()
            })),
            FromAgent::TimeAsked {
                at: BootTime::now(),
            },
        ];
        for message in sent {
            lines.push(&line(&message).unwrap());
            assert_eq!(lines.next().unwrap(), Some(message));
        }
        let sent = [
            ToAgent::Terminate {
                id: 1,
                grace_ms: u64::MAX,
            },
            ToAgent::CountOutput { id: 1 },
            ToAgent::Measure {
                question: 1,
                ids: vec![1, 2],
            },
            ToAgent::CloseOutput {
                id: 3,
                output: OutputStream::Stderr,
            },
            ToAgent::Suspend,
            ToAgent::TimeGranted {
                asked_at: BootTime::now(),
            },
        ];
        for message in sent {
            lines.push(&line(&message).unwrap());
            assert_eq!(lines.next().unwrap(), Some(message));
        }
        assert_eq!(lines.next::<ToAgent>().unwrap(), None);
    }

    #[test]
    fn a_message_without_an_end_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b' '; LINE_BYTES + 1]);
        assert!(lines.next::<ToAgent>().is_err());
    }
}
