//! A pseudo-terminal for tests.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::gathered::Gathered;

/// Which standard streams of a program are on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Stdin, stdout and stderr, as when it is typed into a shell.
    Everything,
    /// Stderr alone, as in `ratchet run jobs.yaml > results`.
    Stderr,
    /// Stdout alone, as in `ratchet run jobs.yaml 2> log`.
    Stdout,
}

/// The test's end of a pseudo-terminal, which reads what programs print and types keys.
#[derive(Debug)]
pub(super) struct Terminal {
    controller: OwnedFd,
}

impl Terminal {
    /// Opens a terminal, and gives its other end to a command.
    pub(super) fn open(columns: u16, rows: u16, shown: Shown, command: &mut Command) -> Self {
        let opened = pair();
        let (controller, user) =
            opened.unwrap_or_else(|error| panic!("there is no terminal: {error}"));
        let terminal = Self { controller };
        terminal.resize(columns, rows);
        let end = || {
            let end = user.try_clone();
            Stdio::from(end.unwrap_or_else(|error| panic!("too many files are open: {error}")))
        };
        if shown == Shown::Everything {
            command.stdin(end());
        }
        if shown != Shown::Stderr {
            command.stdout(end());
        }
        if shown != Shown::Stdout {
            command.stderr(end());
        }
        terminal
    }

    /// Changes the size of the terminal. SIGWINCH notifies the foreground group.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let resized = tcsetwinsize(&self.controller, size);
        resized.unwrap_or_else(|error| panic!("the terminal has no size: {error}"));
    }

    /// Types keys on the terminal.
    pub(super) fn write(&self, keys: &str) {
        let mut rest = keys.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(&self.controller, rest);
            let written = written.unwrap_or_else(|error| panic!("nobody can type: {error}"));
            rest = &rest[written..];
        }
    }

    /// Starts to collect what is printed on the terminal.
    pub(super) fn gather(&self) -> Gathered {
        let controller = self.controller.try_clone();
        let controller =
            controller.unwrap_or_else(|error| panic!("too many files are open: {error}"));
        Gathered::from_pipe(File::from(controller))
    }
}

/// Opens both ends of a terminal, without making it the controlling terminal of this process.
fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let name = ptsname(&controller, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let user = rustix::fs::open(name, flags, Mode::empty())?;
    Ok((controller, user))
}
