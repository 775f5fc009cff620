//! A `ratchet` that runs, and how it ended.

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
}

/// A `ratchet` that runs. Dropped before its end, it is killed.
#[derive(Debug)]
pub struct Running {
    pub(super) name: String,
    pub(super) folder: Folder,
    /// Nothing once it was waited for.
    pub(super) child: Option<Child>,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Gathered,
    pub(super) stderr: Gathered,
    pub(super) screen: Gathered,
    pub(super) terminal: Option<Terminal>,
}

/// How it ended, and all that it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to stdout; nothing where that went elsewhere.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr; nothing where that went elsewhere.
    pub stderr: Vec<u8>,
    /// What it wrote to its terminal, as bytes: colours, movements of the cursor, and lines that end in `\r\n`.
    pub screen: Vec<u8>,
    /// Where it ran.
    pub folder: Folder,
}

impl Running {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::User1 => rustix::process::Signal::USR1,
        };
        // It was not waited for, so the number is still its own.
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let Some(id) = id else { panic!("it has ended") };
        kill_process(id, signal).unwrap_or_else(|error| panic!("no signal is sent: {error}"));
    }

    /// Waits while it runs until something holds that it does not tell of.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap_or_else(|error| panic!("there is no clock: {error}"));
        clock.block_on(crate::eventually(what, holds));
    }

    /// What it reads from, where that stays open.
    pub fn stdin(&mut self) -> &mut ChildStdin {
        let Some(stdin) = &mut self.stdin else {
            panic!("its stdin is not open")
        };
        stdin
    }

    /// Ends what it reads.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Changes the size of its terminal.
    pub fn resize(&self, columns: u16, rows: u16) {
        let Some(terminal) = &self.terminal else {
            panic!("it has no terminal")
        };
        terminal.resize(columns, rows);
    }

    /// Types on its terminal: `\x1a` is Ctrl-Z.
    pub fn type_on_terminal(&self, keys: &str) {
        let Some(terminal) = &self.terminal else {
            panic!("it has no terminal")
        };
        terminal.write(keys);
    }

    /// Waits until it has written this to stdout, and gives all that it wrote so far.
    pub fn wait_for_stdout(&self, text: &str) -> String {
        self.stdout.wait_for(text, |said| said.contains(text))
    }

    /// Waits until it has written this to stderr, and gives all that it wrote so far.
    pub fn wait_for_stderr(&self, text: &str) -> String {
        self.stderr.wait_for(text, |said| said.contains(text))
    }

    /// Waits until it has written this to its terminal, and gives all that it wrote so far.
    pub fn wait_for_screen(&self, text: &str) -> String {
        self.screen.wait_for(text, |said| said.contains(text))
    }

    /// Waits for its end, and for the end of everything it writes to.
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
                // The test fails, whether or not this succeeds.
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
            // A test that fails leaves nothing behind; there is nobody to tell.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// What it wrote to stdout, as text.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it wrote to stderr, as text.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// What it wrote to its terminal, as text.
    pub fn screen(&self) -> String {
        text(&self.screen)
    }

    /// Fails unless it has ended with this code, and gives it back.
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

    /// Fails unless it said nothing at all to stderr, and gives it back.
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
