//! The real `ratchet`, as it is called from a shell, with nothing of the machine in its surroundings.

mod binary;
mod folder;
mod gathered;
mod running;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub use folder::Folder;
pub use running::{Ended, Running, Signal};
pub use terminal::Shown;

use gathered::Gathered;
use terminal::Terminal;

use crate::signals::default_signals;

/// A call of `ratchet` that is being put together.
///
/// Its environment is empty but for `PATH` and a `HOME` that is the folder it runs in, so neither the machine's
/// config files nor its variables have a say. Stdin is empty unless something is given.
///
/// ```no_run
/// let ended = ratchet_tests::Ratchet::new().args(["check", "-"]).stdin("{}").run();
/// assert_eq!(ended.code, Some(2));
/// assert!(ended.stderr().contains("<stdin>:1:1"));
/// ```
#[derive(Debug)]
#[must_use]
pub struct Ratchet {
    folder: Folder,
    args: Vec<OsString>,
    variables: Vec<(OsString, Option<OsString>)>,
    cwd: Option<PathBuf>,
    stdin: Input,
    stdout: Output,
    stderr: Output,
    script: Option<String>,
    terminal: Option<(u16, u16, Shown)>,
    /// Whether somebody looks at the terminal.
    watched: bool,
}

#[derive(Debug)]
enum Input {
    Bytes(Vec<u8>),
    /// A pipe that stays open.
    Open,
    From(Stdio),
}

#[derive(Debug)]
enum Output {
    Gathered,
    To(Stdio),
}

impl Default for Ratchet {
    fn default() -> Self {
        Self::new()
    }
}

impl Ratchet {
    /// Where the program is, for those who call it in another way or have it as their worker.
    pub fn program() -> &'static std::path::Path {
        binary::path()
    }

    /// In an empty folder of its own.
    pub fn new() -> Self {
        Self::within(&Folder::new())
    }

    /// In a folder that is there already.
    pub fn within(folder: &Folder) -> Self {
        Self {
            folder: folder.clone(),
            args: Vec::new(),
            variables: Vec::new(),
            cwd: None,
            stdin: Input::Bytes(Vec::new()),
            stdout: Output::Gathered,
            stderr: Output::Gathered,
            script: None,
            terminal: None,
            watched: true,
        }
    }

    /// With these words, after those that were given before.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let value = Some(value.as_ref().to_owned());
        self.variables.push((name.as_ref().to_owned(), value));
        self
    }

    /// Without a variable, `HOME` or `PATH`.
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), None));
        self
    }

    /// Called from a folder below its own.
    pub fn below(mut self, path: &str) -> Self {
        self.cwd = Some(self.folder.path().join(path));
        self
    }

    /// With this to read, and then the end.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(bytes.into());
        self
    }

    /// With a pipe to read from that stays open until [`Running::close_stdin`].
    pub fn stdin_open(mut self) -> Self {
        self.stdin = Input::Open;
        self
    }

    /// With something else to read from, as a file or a pipe of one's own.
    pub fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Input::From(stdin.into());
        self
    }

    /// Writing to something else than the harness.
    pub fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Output::To(stdout.into());
        self
    }

    /// Complaining to something else than the harness.
    pub fn stderr_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Output::To(stderr.into());
        self
    }

    /// With a pipe for stdout that nobody reads, as `head` leaves one behind.
    pub fn unread(self) -> Self {
        let (reader, writer) =
            std::io::pipe().unwrap_or_else(|error| panic!("there is no pipe: {error}"));
        drop(reader);
        self.stdout_to(writer)
    }

    /// Called by `sh`, in whose script it is `"$@"`: for pipelines, and for closed descriptors.
    pub fn by_shell(mut self, script: &str) -> Self {
        self.script = Some(script.to_owned());
        self
    }

    /// On a terminal of this size.
    pub fn on_terminal(mut self, columns: u16, rows: u16, shown: Shown) -> Self {
        self.terminal = Some((columns, rows, shown));
        self
    }

    /// On a terminal that nobody reads, as one where Ctrl-S was typed: it is soon full, and takes no more.
    pub fn on_stuck_terminal(mut self, shown: Shown) -> Self {
        self.watched = false;
        self.on_terminal(100, 40, shown)
    }

    /// Runs it to its end.
    pub fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let name = format!("{:?}", self.args);
        let mut command = match &self.script {
            None => Command::new(binary::path()),
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script, "sh"]).arg(binary::path());
                shell
            }
        };
        command
            .args(&self.args)
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.cwd.as_deref().unwrap_or(self.folder.path()));
        // The second says where a program that was built to be measured writes what was covered.
        for name in ["PATH", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.terminal.is_some() {
            command.env("TERM", "xterm-256color");
        }
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut input = None;
        match self.stdin {
            Input::Bytes(bytes) => {
                command.stdin(Stdio::piped());
                input = Some(bytes);
            }
            Input::Open => {
                command.stdin(Stdio::piped());
            }
            Input::From(stdin) => {
                command.stdin(stdin);
            }
        }
        let gathers = |output: Output| match output {
            Output::Gathered => Stdio::piped(),
            Output::To(stdio) => stdio,
        };
        command.stdout(gathers(self.stdout));
        command.stderr(gathers(self.stderr));
        let terminal = self
            .terminal
            .map(|(columns, rows, shown)| Terminal::open(columns, rows, shown, &mut command));
        default_signals(&mut command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("ratchet does not start: {error}"));
        // It holds the other ends of what it was given.
        drop(command);
        let mut stdin = child.stdin.take();
        if let Some(bytes) = input
            && let Some(mut pipe) = stdin.take()
        {
            // Beside the test, because what is written may be more than fits into the pipe. Who refuses at once
            // does not read it, which is no fault.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        let stdout = child.stdout.take().map(Gathered::from_pipe);
        let stderr = child.stderr.take().map(Gathered::from_pipe);
        Running {
            name,
            folder: self.folder,
            child: Some(child),
            stdin,
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
            screen: terminal
                .as_ref()
                .filter(|_| self.watched)
                .map(Terminal::gather)
                .unwrap_or_default(),
            terminal,
        }
    }
}
