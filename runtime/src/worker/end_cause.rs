//! The causes for which workers end.

use std::fmt;
use std::time::Duration;

use ratchet_ipc::HandshakeError;

use crate::dispatch::Retirement;
use crate::os::{Exit, ProcessError};

/// The cause for which a worker has ended.
#[derive(Debug)]
pub(crate) enum EndCause {
    /// The worker's process could not be started.
    StartFailed(ProcessError),
    /// The handshake failed: host and worker have no common version, or the hello is malformed.
    HandshakeFailed(HandshakeError),
    /// The worker was not ready within its pool's `start_timeout`.
    NotReady(Duration),
    /// The process ended by itself.
    Exited(Exit),
    /// The process closed its stdout and lived on, so it was killed.
    ClosedOutput,
    /// The process closed its stdin and lived on, so it was ended.
    ClosedInput,
    /// The worker was killed to stop an attempt whose timeout was over.
    AttemptTimedOut,
    /// The worker was killed to stop an attempt that was cancelled.
    AttemptCancelled,
    /// The process used the terminal in the background and was stopped by it, so it was killed.
    WantedTerminal,
    /// The host of the worker was lost.
    HostLost,
    /// The worker used more memory than its pool allows, so it was killed.
    Memory { used: u64, limit: u64 },
    /// The worker did not answer a ping in time, so it was killed.
    PingUnanswered(Duration),
    /// The worker printed a line that is not a message, and its pool has `stray: kill`.
    StrayOutput(String),
    /// The worker printed a line that is not a message while it had a job, and its pool has `stray: fail`.
    StrayOutputDuringJob(String),
    /// A filter printed more lines than it was given, so its lines can no longer be matched to items.
    SurplusLine {
        /// The first line that does not answer an item.
        line: String,
        /// The filter has never answered correctly. Its successors would not either, so the pool is given up.
        is_fresh: bool,
    },
    /// The worker was asked to end although nothing was wrong with it.
    Retired(Retirement),
    /// The connection to the worker panicked with this message, which is a bug in this crate.
    ConnectionBroke(String),
}

impl EndCause {
    /// Makes the cause for a filter that printed one line too many; see [`SurplusLine`](Self::SurplusLine).
    pub(crate) fn surplus_line(line: &str, is_fresh: bool) -> Self {
        Self::SurplusLine {
            line: line.to_owned(),
            is_fresh,
        }
    }

    /// Whether the pool is to blame, whatever job the worker had: the next worker would end in the same way.
    pub(crate) fn is_fault_of_pool(&self) -> bool {
        matches!(self, Self::SurplusLine { is_fresh: true, .. }) || self.is_final()
    }

    /// Whether the end counts as a failure of the pool, because it was not requested.
    pub(crate) fn is_unexpected(&self) -> bool {
        match self {
            Self::StartFailed(_)
            | Self::HandshakeFailed(_)
            | Self::NotReady(_)
            | Self::Exited(_)
            | Self::ClosedOutput
            | Self::ClosedInput
            | Self::WantedTerminal
            | Self::Memory { .. }
            | Self::PingUnanswered(_)
            | Self::StrayOutput(_)
            | Self::SurplusLine { .. }
            | Self::ConnectionBroke(_) => true,
            Self::AttemptTimedOut
            | Self::AttemptCancelled
            | Self::StrayOutputDuringJob(_)
            // Its successors are started when the host is available again.
            | Self::HostLost
            | Self::Retired(_) => false,
        }
    }

    /// Whether another start would fail in the same way, so that the pool is given up at once.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::StartFailed(error) => matches!(
                error,
                ProcessError::NotFound { .. }
                    | ProcessError::NotExecutable { .. }
                    | ProcessError::WrongFormat { .. }
                    | ProcessError::NoInterpreter { .. }
                    | ProcessError::NoFolder { .. }
            ),
            Self::HandshakeFailed(error) => matches!(
                error,
                HandshakeError::NoCommonVersion { .. } | HandshakeError::MalformedHello { .. }
            ),
            _ => false,
        }
    }

    /// Returns the name under which metrics count ends of this cause.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::StartFailed(_) => "spawn",
            Self::HandshakeFailed(_) => "handshake",
            Self::NotReady(_) => "not_ready",
            Self::Exited(_) => "exit",
            Self::ClosedOutput => "closed_output",
            Self::ClosedInput => "closed_input",
            Self::WantedTerminal => "terminal",
            Self::HostLost => "host",
            Self::AttemptTimedOut => "timeout",
            Self::AttemptCancelled => "cancelled",
            Self::Memory { .. } => "memory",
            Self::PingUnanswered(_) => "no_pong",
            Self::StrayOutput(_) | Self::StrayOutputDuringJob(_) => "stray",
            Self::SurplusLine { .. } => "surplus",
            Self::Retired(why) => why.name(),
            Self::ConnectionBroke(_) => "bug",
        }
    }
}

impl fmt::Display for EndCause {
    /// Completes "worker resize/2 ..".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartFailed(error) => {
                write!(f, "could not be started: {error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::HandshakeFailed(error) => write!(f, "cannot be used: {error}"),
            Self::NotReady(limit) => write!(f, "was not ready within {limit:?}"),
            Self::Exited(exit) => exit.fmt(f),
            Self::ClosedOutput => f.write_str(
                "closed its stdout, so it could not answer any more and was killed",
            ),
            Self::ClosedInput => f.write_str(
                "closed its stdin, so it could get no more jobs and was ended",
            ),
            Self::WantedTerminal => f.write_str(
                "was stopped because it wants the terminal (/dev/tty), which workers do not get, and was killed: give it \
                 what it asks for by an option, a variable or a file",
            ),
            Self::HostLost => f.write_str("was on a host that was lost"),
            Self::AttemptTimedOut => f.write_str("was killed to stop a job that was out of time"),
            Self::AttemptCancelled => f.write_str("was killed to stop a job that was cancelled"),
            Self::Memory { used, limit } => write!(
                f,
                "was killed for its memory: {} MiB, and {} MiB are allowed",
                used >> 20,
                limit >> 20
            ),
            Self::PingUnanswered(limit) => {
                write!(f, "did not answer a ping within {limit:?} and was killed")
            }
            Self::StrayOutput(line) => write!(
                f,
                "was killed because it printed a line that is not a message (`stray: kill`): {line}"
            ),
            Self::StrayOutputDuringJob(line) => write!(
                f,
                "was replaced because it printed a line that is not a message while it had a job (`stray: fail`): {line}"
            ),
            Self::SurplusLine { line, .. } => write!(
                f,
                "was killed: it printed a line that answers nothing (`{line}`); a filter has to answer each line \
                 with one line: leave out --warm (`protocol: lines`), or pass over a banner with --skip-lines N \
                 (`skip_lines`)"
            ),
            Self::Retired(why) => write!(f, "was retired ({})", why.name()),
            Self::ConnectionBroke(reason) => {
                write!(f, "was lost, because its connection broke, which is a bug in ratchet: {reason}")
            }
        }
    }
}
