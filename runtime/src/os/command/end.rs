//! How a program that was run ended, and its output.

use crate::os::{Captured, Ended, Ending, Exit, ProcessCost};
use crate::stop_clock::StopReason;

/// The reason for which a program was made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The program ran for longer than its soft or hard limit.
    Timeout,
    /// The run of the program was cancelled.
    Cancelled,
    /// The program used more memory than its soft or hard limit allows, together with all that it had started.
    Memory {
        /// How many bytes were used.
        used: u64,
        /// The limit that was exceeded.
        limit: u64,
    },
    /// The system stopped the program because it read from the terminal or changed it in the background, so it was
    /// killed.
    Terminal,
    /// The file for its stdin could not be read to the end, so it was killed.
    InputFailed(std::io::ErrorKind),
}

impl From<StopReason> for StopCause {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Time(_) | StopReason::Silence(_) => Self::Timeout,
            StopReason::Unwanted => Self::Cancelled,
        }
    }
}

/// How a program ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEnd {
    /// How the process ended.
    pub ended: Ended,
    /// The reason for which the program was made to end, if it was.
    pub stopped: Option<StopCause>,
    /// What the program has cost; `None` if it was not reaped here, or the system does not report it.
    pub cost: Option<ProcessCost>,
}

impl StopCause {
    /// The failure message for a program that the terminal stopped.
    pub const WANTED_TERMINAL: &str = "it was stopped because it wants the terminal (/dev/tty), which jobs do not get, \
         and was killed: give it what it asks for by an option, a variable or a file, or give it the terminal (--tty)";
}

impl CommandEnd {
    /// Makes the end of a program that was cancelled while it waited for its start.
    pub(super) fn never_started() -> Self {
        Self {
            ended: Ended {
                exit: Exit::Unknown,
                ending: Ending::Asked,
                left_behind: false,
                survivors: Vec::new(),
            },
            stopped: Some(StopCause::Cancelled),
            cost: None,
        }
    }

    /// Whether the program ended by itself, with exit code 0.
    pub fn is_success(&self) -> bool {
        self.ended.exit.is_success() && self.stopped.is_none()
    }
}

/// The end of a program, and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// How the process ended.
    pub ended: Ended,
    /// The reason for which the program was made to end, if it was.
    pub stopped: Option<StopCause>,
    /// The beginning of the program's stdout.
    pub stdout: Captured,
    /// The beginning of the program's stderr.
    pub stderr: Captured,
}

impl CommandOutput {
    /// Whether the program ended by itself, with exit code 0.
    pub fn is_success(&self) -> bool {
        self.ended.exit.is_success() && self.stopped.is_none()
    }
}
