//! The ends of processes.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Pid;

use super::{ProcessCost, platform};

/// The exit status of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The process ended by itself with this code.
    Code(i32),
    /// This signal ended the process.
    Signal(i32),
    /// The status is unknown: another part of this process has reaped the process, or the kernel did not release it.
    Unknown,
}

impl Exit {
    /// Whether the exit code is 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// Returns the exit code, or 128 plus the number of the signal, as shells do.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Unknown => None,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was killed by signal {signal} ({name})"),
                None => write!(f, "was killed by signal {signal}"),
            },
            Self::Unknown => f.write_str("ended, and its exit status is lost"),
        }
    }
}

/// Returns the name of a signal, for those that end processes most often.
fn signal_name(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    const NAMES: [(Signal, &str); 12] = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::HUP, "SIGHUP"),
        (Signal::ILL, "SIGILL"),
        (Signal::INT, "SIGINT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::TERM, "SIGTERM"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map(|(_, name)| *name)
}

/// What it took to end a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The process was not asked to end.
    ByItself,
    /// The process was asked to end, and did.
    Asked,
    /// The process had to be killed.
    Killed,
    /// The connection to the host of the process was lost, and the process is dead by now, killed by the keeper there.
    HostLost,
    /// The process was killed because the terminal had stopped it: it used the terminal in the background.
    WantedTerminal,
}

/// The end of a process and of everything that it had started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The exit status of the process.
    pub exit: Exit,
    /// Whether the process ended by itself, was asked to end, or was killed.
    pub ending: Ending,
    /// Whether a process of its group was still alive after it, and was killed.
    pub left_behind: bool,
    /// The ids of the processes that could not be killed in time.
    pub survivors: Vec<u32>,
}

/// Waits for a child that has ended, or is about to, and returns its exit.
pub(super) fn reap(child: Pid) -> Exit {
    reap_with_cost(child).0
}

/// Waits for a child that has ended, or is about to, and returns its exit and its cost, if the system reports that.
pub(super) fn reap_with_cost(child: Pid) -> (Exit, Option<ProcessCost>) {
    match platform::wait_for(child) {
        Ok((status, cost)) => (Exit::from(ExitStatus::from_raw(status)), cost),
        // Another part of this process has reaped it.
        Err(_) => (Exit::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_displayed_as_a_code_or_the_name_of_a_signal() {
        for (exit, said, code) in [
            (Exit::Code(3), "ended with exit code 3", Some(3)),
            (
                Exit::Signal(9),
                "was killed by signal 9 (SIGKILL)",
                Some(137),
            ),
            (Exit::Signal(64), "was killed by signal 64", Some(192)),
            (Exit::Unknown, "ended, and its exit status is lost", None),
        ] {
            assert_eq!((exit.to_string().as_str(), exit.code()), (said, code));
            assert!(!exit.is_success());
        }
        assert!(Exit::from(ExitStatus::from_raw(0)).is_success());
        assert_eq!(Exit::from(ExitStatus::from_raw(3 << 8)), Exit::Code(3));
        assert_eq!(Exit::from(ExitStatus::from_raw(15)), Exit::Signal(15));
    }
}
