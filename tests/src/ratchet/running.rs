//! A running call of `ratchet`, and its end.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin};
use std::sync::mpsc;

use rustix::process::{Pid, kill_process};

use super::folder::Folder;
use super::gathered::Gathered;
use super::terminal::Terminal;
use crate::condition::PATIENCE;

/// A signal that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, as Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGSTOP, which the process cannot notice.
    Stop,
    /// SIGCONT.
    Continue,
}

/// A running call of `ratchet`. Dropping it kills the process.
#[derive(Debug)]
pub struct Running {
    /// The command line, for messages.
    pub(super) name: String,
    /// The folder that the call runs in.
    pub(super) folder: Folder,
    /// The process, or `None` after it was waited for.
    pub(super) child: Option<Child>,
    /// The pipe to the process, if it is still open.
    pub(super) stdin: Option<ChildStdin>,
    /// What the process has printed to stdout.
    pub(super) stdout: Gathered,
    /// What the process has printed to stderr.
    pub(super) stderr: Gathered,
    /// What was printed on the terminal, if there is one.
    pub(super) screen: Gathered,
    /// The terminal of the process, if it has one.
    pub(super) terminal: Option<Terminal>,
}

/// The exit and all output of a call that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, or `None` if a signal ended the process.
    pub code: Option<i32>,
    /// The signal that ended the process.
    pub signal: Option<i32>,
    /// The bytes on stdout. It is empty if stdout was redirected.
    pub stdout: Vec<u8>,
    /// The bytes on stderr. It is empty if stderr was redirected.
    pub stderr: Vec<u8>,
    /// The bytes on the terminal, with colours, movements of the cursor, and lines that end in `\r\n`.
    pub screen: Vec<u8>,
    /// The folder in which the call ran.
    pub folder: Folder,
}

impl Running {
    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::User1 => rustix::process::Signal::USR1,
            Signal::User2 => rustix::process::Signal::USR2,
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        // The process was not waited for, so the system has not given its id to another process.
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let Some(id) = id else { panic!("it has ended") };
        kill_process(id, signal).unwrap_or_else(|error| panic!("no signal is sent: {error}"));
    }

    /// Polls a condition that does not follow from the output, and fails the test if that takes too long.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap_or_else(|error| panic!("there is no clock: {error}"));
        clock.block_on(crate::eventually(what, holds));
    }

    /// Returns the pipe to stdin, for a call made with [`Ratchet::stdin_open`](super::Ratchet::stdin_open).
    pub fn stdin(&mut self) -> &mut ChildStdin {
        let Some(stdin) = &mut self.stdin else {
            panic!("its stdin is not open")
        };
        stdin
    }

    /// Closes stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, columns: u16, rows: u16) {
        let Some(terminal) = &self.terminal else {
            panic!("it has no terminal")
        };
        terminal.resize(columns, rows);
    }

    /// Types keys on the terminal. `\x1a` is Ctrl-Z.
    pub fn type_on_terminal(&self, keys: &str) {
        let Some(terminal) = &self.terminal else {
            panic!("it has no terminal")
        };
        terminal.write(keys);
    }

    /// Waits until this text is on stdout, and returns all of stdout so far.
    pub fn wait_for_stdout(&self, text: &str) -> String {
        self.stdout.wait_for(text, |said| said.contains(text))
    }

    /// Waits until this text is on stderr, and returns all of stderr so far.
    pub fn wait_for_stderr(&self, text: &str) -> String {
        self.stderr.wait_for(text, |said| said.contains(text))
    }

    /// Waits until this text is on the terminal, and returns all that was printed there so far.
    pub fn wait_for_screen(&self, text: &str) -> String {
        self.screen.wait_for(text, |said| said.contains(text))
    }

    /// Returns all that was printed on the terminal so far.
    pub fn printed(&self) -> Vec<u8> {
        self.screen.so_far()
    }

    /// Waits for the end of the process and of its output.
    pub fn wait(mut self) -> Ended {
        let Some(mut child) = self.child.take() else {
            unreachable!("it is waited for once")
        };
        self.stdin = None;
        let id = child.id();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(child.wait()));
        let Ok(waited) = told.recv_timeout(PATIENCE) else {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                // The error is ignored, because the test fails anyway.
                let _ = kill_process(id, rustix::process::Signal::KILL);
            }
            panic!("ratchet {} does not end", self.name)
        };
        let status = waited.unwrap_or_else(|error| panic!("it cannot be waited for: {error}"));
        Ended {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
            screen: self.screen.end(),
            folder: self.folder.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A failing test must not leave a process behind. Errors are ignored, because there is nothing else to do.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// Returns all of stdout, as text.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Returns all of stderr, as text.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Returns all that was printed on the terminal, as text.
    pub fn screen(&self) -> String {
        text(&self.screen)
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    #[must_use]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "signal {:?}\nstdout: {}\nstderr: {}\nscreen: {}",
            self.signal,
            String::from_utf8_lossy(&self.stdout),
            String::from_utf8_lossy(&self.stderr),
            String::from_utf8_lossy(&self.screen)
        );
        self
    }

    /// Fails the test unless stderr is empty.
    #[track_caller]
    #[must_use]
    pub fn quiet(self) -> Self {
        assert_eq!(String::from_utf8_lossy(&self.stderr), "");
        self
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec());
    text.unwrap_or_else(|error| panic!("it does not say UTF-8: {error}"))
}
