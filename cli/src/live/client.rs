//! The client of a run in progress.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ratchet_runtime::process::working_now;
use ratchet_runtime::{RunId, RunStore};
use rustix::process::Pid;
use serde::de::DeserializeOwned;

use super::message::{Question, Refusal, Reply, VERSION};
use super::place;
use crate::error::CliError;
use crate::exit;

/// How long an answer may take before the client gives up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the client waits for an answer before it looks whether the run is stopped.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The most bytes that an answer may have.
const LONGEST_ANSWER: u64 = 16 << 20;

/// The reason why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The run has ended in the meantime.
    #[error("the run has ended")]
    Ended,
    /// The run refused the question.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The process of the run is stopped, so it does not answer. It will drop the question.
    #[error("the run is stopped, by Ctrl-Z or SIGSTOP, so it does not answer")]
    Stopped {
        /// The process of the run.
        process: Pid,
    },
    /// The connection failed.
    #[error("the run does not answer: {0}")]
    Broken(io::Error),
}

impl AskError {
    /// Returns what the user can do about the error, if there is something.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.help.clone(),
            Self::Stopped { process } => Some(format!(
                "`fg` in its terminal or `kill -CONT {process}` lets it go on"
            )),
            Self::Ended | Self::Broken(_) => None,
        }
    }
}

impl From<AskError> for CliError {
    fn from(error: AskError) -> Self {
        let help = error.help();
        let error = match error {
            AskError::Refused(Refusal { message, .. }) => Self::usage(message),
            AskError::Ended => Self::usage("the run ended before it answered"),
            AskError::Stopped { .. } => Self::usage(error.to_string()),
            AskError::Broken(_) => Self::new(exit::INTERNAL, error),
        };
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

/// A connection to a run in progress.
#[derive(Debug)]
pub(crate) struct LiveClient {
    reader: BufReader<UnixStream>,
}

impl LiveClient {
    /// Connects to a run. Returns `None` if the run is not in progress, or has no socket.
    pub(crate) fn connect(store: &RunStore, id: RunId) -> io::Result<Option<Self>> {
        let Some(stream) = place::connect(&store.folder().join(id.to_string()))? else {
            return Ok(None);
        };
        Self::on(stream).map(Some)
    }

    /// Makes a client that asks over this connection.
    pub(super) fn on(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LOOK_AFTER))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Asks a question, and waits for the answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, question: &Question) -> Result<T, AskError> {
        let mut line = serde_json::to_vec(question)
            .map_err(|error| AskError::Broken(io::Error::other(error)))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(broken)?;
        line.clear();
        self.read_answer(&mut line)?;
        if line.is_empty() {
            return Err(AskError::Ended);
        }
        let invalid =
            |reason: String| AskError::Broken(io::Error::new(io::ErrorKind::InvalidData, reason));
        let reply: Reply<T> =
            serde_json::from_slice(&line).map_err(|error| invalid(error.to_string()))?;
        if reply.v != VERSION {
            return Err(invalid(format!(
                "its answers have version {}, and this ratchet reads version {VERSION}",
                reply.v
            )));
        }
        match reply {
            Reply {
                error: Some(refusal),
                ..
            } => Err(AskError::Refused(refusal)),
            Reply {
                answer: Some(answer),
                ..
            } => Ok(answer),
            Reply { .. } => Err(invalid("the answer is empty".to_owned())),
        }
    }
}

impl LiveClient {
    /// Reads the line of an answer. It ends early if the run has closed the connection.
    fn read_answer(&mut self, line: &mut Vec<u8>) -> Result<(), AskError> {
        let asked_at = working_now();
        let mut limited = Read::take(&mut self.reader, LONGEST_ANSWER);
        loop {
            // What was read before the time was up stays in the line.
            let Err(error) = limited.read_until(b'\n', line) else {
                return Ok(());
            };
            // The system has two names for a time that is up.
            let is_late = matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            );
            if !is_late {
                return Err(broken(error));
            }
            let process = peer_of(limited.get_ref().get_ref());
            if let Some(process) = process.filter(|process| is_stopped(*process)) {
                return Err(AskError::Stopped { process });
            }
            if working_now().saturating_duration_since(asked_at) >= ANSWER_TIMEOUT {
                let reason = format!("it has not answered within {ANSWER_TIMEOUT:?}");
                return Err(AskError::Broken(io::Error::new(
                    io::ErrorKind::TimedOut,
                    reason,
                )));
            }
        }
    }
}

/// Returns the process at the other end of a connection, where the system tells it.
#[cfg(target_os = "linux")]
fn peer_of(stream: &UnixStream) -> Option<Pid> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    Some(peer.pid)
}

/// Returns the process at the other end of a connection, where the system tells it.
#[cfg(not(target_os = "linux"))]
fn peer_of(_stream: &UnixStream) -> Option<Pid> {
    None
}

/// Whether a process is stopped.
fn is_stopped(process: Pid) -> bool {
    let told = fs::read_to_string(format!("/proc/{process}/stat"));
    // The name of the program stands in brackets and may have any characters. The state follows it.
    told.is_ok_and(|told| {
        let state = told.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_some_and(|state| state.starts_with(['T', 't']))
    })
}

fn broken(error: io::Error) -> AskError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::BrokenPipe | Kind::ConnectionReset | Kind::UnexpectedEof => AskError::Ended,
        _ => AskError::Broken(error),
    }
}
