//! The client of a run in progress.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ratchet_runtime::{RunId, RunStore};
use serde::de::DeserializeOwned;

use super::message::{Question, Refusal, Reply, VERSION};
use super::place;
use crate::error::CliError;
use crate::exit;

/// How long an answer may take before the client gives up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// The connection failed.
    #[error("the run does not answer: {0}")]
    Broken(io::Error),
}

impl From<AskError> for CliError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(Refusal { message, help, .. }) => {
                let error = Self::usage(message);
                match help {
                    Some(help) => error.with_help(help),
                    None => error,
                }
            }
            AskError::Ended => Self::usage("the run ended before it answered"),
            AskError::Broken(_) => Self::new(exit::INTERNAL, error),
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
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
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
        let mut limited = Read::take(&mut self.reader, LONGEST_ANSWER);
        limited.read_until(b'\n', &mut line).map_err(broken)?;
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

fn broken(error: io::Error) -> AskError {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::BrokenPipe | Kind::ConnectionReset | Kind::UnexpectedEof => AskError::Ended,
        _ => AskError::Broken(error),
    }
}
