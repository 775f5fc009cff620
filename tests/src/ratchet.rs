//! Calls the real `ratchet` as from a shell, isolated from the settings of the machine.

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

/// Builds a call of `ratchet`.
///
/// The environment has only `PATH` and a `HOME` that is the folder of the call, so that neither config files nor variables
/// of the machine have an effect. Stdin is empty unless it is set.
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
    /// Whether the test reads what is printed on the terminal.
    watched: bool,
}

/// The stdin of a call.
#[derive(Debug)]
enum Input {
    Bytes(Vec<u8>),
    /// A pipe that stays open.
    Open,
    From(Stdio),
}

/// The destination of the stdout or stderr of a call.
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
    /// Returns the path of the program, for tests that start it in another way or use it as a worker.
    pub fn program() -> &'static std::path::Path {
        binary::path()
    }

    /// Makes a call in a new empty folder.
    pub fn new() -> Self {
        Self::within(&Folder::new())
    }

    /// Makes a call in a given folder.
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

    /// Appends arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let value = Some(value.as_ref().to_owned());
        self.variables.push((name.as_ref().to_owned(), value));
        self
    }

    /// Removes an environment variable: `HOME` or `PATH`.
    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), None));
        self
    }

    /// Makes a folder below that of the call the working directory.
    pub fn below(mut self, path: &str) -> Self {
        self.cwd = Some(self.folder.path().join(path));
        self
    }

    /// Writes these bytes to stdin, and closes it after them.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Bytes(bytes.into());
        self
    }

    /// Makes stdin a pipe that stays open until [`Running::close_stdin`].
    pub fn stdin_open(mut self) -> Self {
        self.stdin = Input::Open;
        self
    }

    /// Makes stdin a file or a pipe of the test.
    pub fn stdin_from(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Input::From(stdin.into());
        self
    }

    /// Redirects stdout away from the harness.
    pub fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Output::To(stdout.into());
        self
    }

    /// Redirects stderr away from the harness.
    pub fn stderr_to(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Output::To(stderr.into());
        self
    }

    /// Makes stdout a pipe without a reader, as after the exit of `head`.
    pub fn unread(self) -> Self {
        let (reader, writer) =
            std::io::pipe().unwrap_or_else(|error| panic!("there is no pipe: {error}"));
        drop(reader);
        self.stdout_to(writer)
    }

    /// Runs the call from a script of `sh`, in which it is `"$@"`. Use it for pipelines and closed descriptors.
    pub fn by_shell(mut self, script: &str) -> Self {
        self.script = Some(script.to_owned());
        self
    }

    /// Runs the call on a terminal of this size.
    pub fn on_terminal(mut self, columns: u16, rows: u16, shown: Shown) -> Self {
        self.terminal = Some((columns, rows, shown));
        self
    }

    /// Runs the call on a terminal that is not read, as after Ctrl-S. It is soon full, and then writes to it block.
    pub fn on_stuck_terminal(mut self, shown: Shown) -> Self {
        self.watched = false;
        self.on_terminal(100, 40, shown)
    }

    /// Runs the call and waits for its end.
    pub fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts the call.
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
        // `LLVM_PROFILE_FILE` is where a program that is built for coverage writes its profile.
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
        // The command holds the child's ends of the pipes. While it lives, no pipe would end.
        drop(command);
        let mut stdin = child.stdin.take();
        if let Some(bytes) = input
            && let Some(mut pipe) = stdin.take()
        {
            // A thread writes, because the bytes may not fit into the pipe. Its error is ignored: a call that is
            // refused at once does not read its stdin.
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
