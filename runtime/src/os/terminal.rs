//! Gives the terminal to one program at a time.
//!
//! A terminal has one foreground group, which may read from it and gets Ctrl-C and Ctrl-Z. A program with
//! [`ProgramInput::Terminal`](super::ProgramInput::Terminal) leads that group while it runs; afterwards this process's
//! group gets the terminal back, as in a shell.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as Blocked};
use rustix::fs::OFlags;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgrp, getpid, kill_process, kill_process_group,
    test_kill_process_group, waitid,
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

use super::groups;

/// The device that is the controlling terminal of a process.
const PATH: &str = "/dev/tty";

/// How often a process that does not have the terminal is checked for a stop by it. The kernel reports stops only to a
/// handler of SIGCHLD, which a library must not install.
pub(super) const STOP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The number of checks after which a program that Ctrl-Z has stopped is continued, if this process keeps running: then
/// nothing in this process has handled the SIGTSTP, or there is no shell that could continue it.
const CHECKS_BEFORE_CONTINUE: u32 = 10;

/// Held by the thread whose program has the terminal.
static TERMINAL_LOCK: Mutex<()> = Mutex::new(());

/// Keeps the terminal assigned to a program. Dropping it gives the terminal back to this process, with its earlier
/// modes.
#[derive(Debug)]
pub(super) struct TerminalGuard {
    terminal: File,
    /// The earlier modes of the terminal, which are restored at the end.
    modes: Termios,
    /// The modes that the program had set when it was stopped.
    program_modes: Option<Termios>,
    /// The program's group; `None` until the program has started.
    group: Option<Pid>,
    /// How many checks in a row have found the program stopped.
    checks_while_stopped: u32,
    // This is the last field, so that it is dropped last.
    _turn: MutexGuard<'static, ()>,
}

/// The result of a check of a program that has the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TerminalCheck {
    /// The program continues.
    GoesOn,
    /// The program is stopped because it wants the terminal, which is not available any more.
    Lost,
}

impl TerminalGuard {
    /// Waits until no other program has the terminal and this process is in its foreground.
    pub(super) fn take() -> io::Result<Self> {
        let turn = TERMINAL_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let no_terminal = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("there is no terminal ({PATH}): {error}"),
            )
        };
        let terminal = open().map_err(no_terminal)?;
        wait_for_foreground(&terminal).map_err(no_terminal)?;
        Ok(Self {
            modes: tcgetattr(&terminal)?,
            terminal,
            program_modes: None,
            group: None,
            checks_while_stopped: 0,
            _turn: turn,
        })
    }

    /// Gives the terminal to a program that was started. On Linux the program has taken it before its exec.
    pub(super) fn begin(&mut self, group: Pid) {
        self.group = Some(group);
        // A program that has the terminal may have been stopped by Ctrl-Z already, and must not be continued here.
        if tcgetpgrp(&self.terminal).ok() != Some(group) {
            self.give(group);
        }
    }

    /// Checks whether the program was stopped, by Ctrl-Z or because another process had the terminal, and reacts to
    /// that.
    pub(super) fn check(&mut self, program: Pid) -> TerminalCheck {
        // This waits for the end of a suspension: while everything is stopped, a stopped program has no meaning.
        let _no_suspension = groups::begin_start();
        let owner = tcgetpgrp(&self.terminal).ok();
        let stopped_by = stopping_signal(program);
        let wants_terminal = stopped_by.is_some_and(is_of_terminal);
        if stopped_by.is_some() && !wants_terminal {
            if owner == Some(program) {
                self.program_modes = tcgetattr(&self.terminal).ok();
                self.take_back();
                // The effect is as if Ctrl-Z had been typed for this process, too: it stops everything, and itself. The
                // call fails only for processes of other users.
                let _ = kill_process(getpid(), Signal::TSTP);
                self.checks_while_stopped = 0;
                return TerminalCheck::GoesOn;
            }
            self.checks_while_stopped += 1;
            if self.checks_while_stopped < CHECKS_BEFORE_CONTINUE {
                return TerminalCheck::GoesOn;
            }
        }
        if owner == Some(program) {
            return TerminalCheck::GoesOn;
        }
        // This process was continued, and so was the program, which is not in the foreground. After `fg` this process
        // is in the foreground; after `bg` this call stops it again.
        if stopped_by.is_some() || owner == Some(getpgrp()) {
            if wait_for_foreground(&self.terminal).is_err() {
                return if wants_terminal {
                    TerminalCheck::Lost
                } else {
                    TerminalCheck::GoesOn
                };
            }
            self.checks_while_stopped = 0;
            self.give(program);
        }
        TerminalCheck::GoesOn
    }

    /// Makes a group the foreground group, with the modes that it had set before it was stopped.
    fn give(&mut self, group: Pid) {
        let modes = self.program_modes.take();
        with_sigttou_blocked(|| {
            // If the program has ended already, its group does not exist any more.
            if tcsetpgrp(&self.terminal, group).is_ok()
                && let Some(modes) = &modes
            {
                let _ = tcsetattr(&self.terminal, OptionalActions::Drain, modes);
            }
        });
        // The program may have been stopped because it used the terminal before it had it.
        let _ = kill_process_group(group, Signal::CONT);
    }

    /// Makes the group of this process the foreground group again, with the earlier modes.
    fn take_back(&self) {
        with_sigttou_blocked(|| {
            // An error means that the terminal is gone, and then this is not needed.
            if tcsetpgrp(&self.terminal, getpgrp()).is_ok() {
                let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.modes);
            }
        });
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        let Ok(owner) = tcgetpgrp(&self.terminal) else {
            return;
        };
        // A child that could not execute its program may have taken the terminal before that.
        let is_nobodys = || test_kill_process_group(owner) == Err(rustix::io::Errno::SRCH);
        if self.group == Some(owner) || is_nobodys() {
            self.take_back();
        }
    }
}

/// Opens the terminal, for a program to read from.
pub(super) fn open() -> io::Result<File> {
    let flags = (OFlags::NOCTTY | OFlags::CLOEXEC).bits();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.cast_signed())
        .open(PATH)
}

/// Passes on a Ctrl-C that only a program got from the terminal: a user who types it means all jobs that are still to
/// come as well.
///
/// Await it on the event loop before the end of the program is reported: the handler of the signal has to run before
/// the next job begins. The signal is delivered before `kill_process` returns, if this is the main thread, and the
/// event loop checks for signals before it continues after a yield.
pub(super) async fn pass_on_interrupt() {
    // `kill` fails only for processes of other users.
    let _ = kill_process(getpid(), Signal::INT);
    tokio::task::yield_now().await;
    // The handler has been woken, and runs before this continues.
    tokio::task::yield_now().await;
}

/// Waits until this process is in the foreground: in the background, the kernel stops it here, as it stops every
/// process that wants to change the terminal, and `fg` continues it.
fn wait_for_foreground(terminal: impl AsFd) -> io::Result<()> {
    Ok(tcsetpgrp(terminal, getpgrp())?)
}

/// Performs an action with SIGTTOU blocked, so that the kernel does not stop this process for changing the terminal
/// from the background.
fn with_sigttou_blocked(action: impl FnOnce()) {
    let mut blocked = SigSet::empty();
    blocked.add(Blocked::SIGTTOU);
    // The call fails only for invalid arguments.
    let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    action();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}

/// Whether the kernel has stopped a child because it reads from the terminal, or changes it, in the background.
///
/// Such a child would never be continued: job control is for shells. A child that another signal has stopped was
/// stopped on purpose, for example by [`suspend_while`](super::suspend_while), which sends SIGSTOP.
pub(super) fn is_stopped_by_terminal(child: Pid) -> bool {
    stopping_signal(child).is_some_and(is_of_terminal)
}

/// Returns the signal that has stopped a child; `None` if it is not stopped.
fn stopping_signal(child: Pid) -> Option<i32> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(child), options).ok()??.stopping_signal()
}

/// Whether the terminal sends this signal to a background process that uses it.
fn is_of_terminal(signal: i32) -> bool {
    signal == Signal::TTIN.as_raw() || signal == Signal::TTOU.as_raw()
}
