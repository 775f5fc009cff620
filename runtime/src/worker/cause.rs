//! Why workers end.

use std::fmt;
use std::time::Duration;

use ratchet_ipc::HandshakeError;

use crate::dispatch::Retirement;
use crate::os::{Exit, ProcessError};

/// Why a worker is no more.
#[derive(Debug)]
pub(crate) enum Cause {
    /// It could not be started at all.
    Spawn(ProcessError),
    /// Host and worker cannot talk.
    Refused(HandshakeError),
    /// It took too long to be ready.
    NotReady(Duration),
    /// It ended by itself.
    Exited(Exit),
    /// It lived on, and closed the pipe it answers into.
    ClosedOutput,
    /// It lived on, and closed the pipe it is asked through.
    ClosedInput,
    /// It was killed to stop a job that was out of time.
    OutOfTime,
    /// It was killed to stop a job that nobody wanted any more.
    Unwanted,
    /// The terminal stopped it because it used the terminal in the background, so it was killed.
    WantedTerminal,
    /// It was killed for its memory.
    Memory { used: u64, limit: u64 },
    /// It did not answer a ping.
    NoPong(Duration),
    /// It printed what is no message, which its pool does not forgive.
    Stray(String),
    /// It printed what is no message, which failed the job that it worked on.
    Spoiled(String),
    /// A filter printed more lines than it was given: nobody can tell any more which answers what.
    Surplus {
        /// The line that was one too many.
        line: String,
        /// It has never answered as it should, so that its successors will not either.
        is_fresh: bool,
    },
    /// It was asked to end, nothing being wrong with it.
    Retired(Retirement),
}

impl Cause {
    /// A filter printed this line too many. It is fresh if it has never answered as it should.
    pub(crate) fn surplus(line: &str, is_fresh: bool) -> Self {
        Self::Surplus {
            line: line.to_owned(),
            is_fresh,
        }
    }

    /// Whether its kind is to blame, whatever job the worker had: the next worker would end like it.
    pub(crate) fn blames_kind(&self) -> bool {
        matches!(self, Self::Surplus { is_fresh: true, .. }) || self.is_final()
    }

    /// Whether nobody wanted it to end.
    pub(crate) fn is_unexpected(&self) -> bool {
        match self {
            Self::Spawn(_)
            | Self::Refused(_)
            | Self::NotReady(_)
            | Self::Exited(_)
            | Self::ClosedOutput
            | Self::ClosedInput
            | Self::WantedTerminal
            | Self::Memory { .. }
            | Self::NoPong(_)
            | Self::Stray(_)
            | Self::Surplus { .. } => true,
            Self::OutOfTime | Self::Unwanted | Self::Spoiled(_) | Self::Retired(_) => false,
        }
    }

    /// Whether trying again is of no use: the next start ends like this one.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Spawn(error) => matches!(
                error,
                ProcessError::NotFound { .. }
                    | ProcessError::NotExecutable { .. }
                    | ProcessError::WrongFormat { .. }
                    | ProcessError::NoFolder { .. }
            ),
            Self::Refused(error) => matches!(
                error,
                HandshakeError::NoCommonVersion { .. } | HandshakeError::MalformedHello { .. }
            ),
            _ => false,
        }
    }

    /// What a count of such ends is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Spawn(_) => "spawn",
            Self::Refused(_) => "handshake",
            Self::NotReady(_) => "not_ready",
            Self::Exited(_) => "exit",
            Self::ClosedOutput => "closed_output",
            Self::ClosedInput => "closed_input",
            Self::WantedTerminal => "terminal",
            Self::OutOfTime => "timeout",
            Self::Unwanted => "cancelled",
            Self::Memory { .. } => "memory",
            Self::NoPong(_) => "no_pong",
            Self::Stray(_) | Self::Spoiled(_) => "stray",
            Self::Surplus { .. } => "surplus",
            Self::Retired(why) => why.name(),
        }
    }
}

impl fmt::Display for Cause {
    /// Completes "worker resize/2 ..".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => {
                write!(f, "could not be started: {error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::Refused(error) => write!(f, "cannot be talked to: {error}"),
            Self::NotReady(limit) => write!(f, "was not ready within {limit:?}"),
            Self::Exited(exit) => exit.fmt(f),
            Self::ClosedOutput => f.write_str(
                "closed its stdout, so that it could not answer any more, and was killed",
            ),
            Self::ClosedInput => f.write_str(
                "closed its stdin, so that it could not be asked any more, and was ended",
            ),
            Self::WantedTerminal => f.write_str(
                "was stopped because it wants the terminal (/dev/tty), which workers do not get, and was killed: give it \
                 what it asks for by an option, a variable or a file",
            ),
            Self::OutOfTime => f.write_str("was killed to stop a job that was out of time"),
            Self::Unwanted => f.write_str("was killed to stop a job that was cancelled"),
            Self::Memory { used, limit } => write!(
                f,
                "was killed for its memory: {} MiB, and {} MiB are allowed",
                used >> 20,
                limit >> 20
            ),
            Self::NoPong(limit) => {
                write!(f, "did not answer a ping within {limit:?} and was killed")
            }
            Self::Stray(line) => write!(
                f,
                "was killed because it printed what is no message (`stray: kill`): {line}"
            ),
            Self::Spoiled(line) => write!(
                f,
                "was replaced because it printed what is no message while it had a job (`stray: fail`): {line}"
            ),
            Self::Surplus { line, .. } => write!(
                f,
                "was killed: it printed a line that answers nothing (`{line}`); a filter has to answer each line \
                 with one line: leave out --warm (`protocol: lines`), or pass over a banner with --skip-lines N \
                 (`skip_lines`)"
            ),
            Self::Retired(why) => write!(f, "was retired ({})", why.name()),
        }
    }
}
