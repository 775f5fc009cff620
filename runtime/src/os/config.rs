//! The configuration of a process: program, arguments, environment and folder.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::{ProgramInput, WorkFiles};

/// A program with the arguments, the environment and the folder that it is started with.
///
/// ```
/// use ratchet_runtime::process::{Environment, ProcessConfig};
///
/// let config = ProcessConfig::new("convert")
///     .args(["a.png", "b.jpg"])
///     .env(Environment::clean().set("PATH", "/usr/bin"))
///     .working_dir("/srv/images");
/// assert_eq!(config.to_string(), "convert a.png b.jpg");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The program: a path, or a name that is searched in `PATH`.
    pub command: PathBuf,
    /// The arguments. They are passed on unchanged, because no shell is involved.
    pub args: Vec<OsString>,
    /// The environment that the program gets.
    pub env: Environment,
    /// The folder that the program is started in; `None` for the folder of this process.
    pub working_dir: Option<PathBuf>,
    /// What the program reads from its stdin, if it is not a worker.
    pub stdin: ProgramInput,
    /// The files that the program gets, and those that come back. On another host the program then runs in a work
    /// folder that was made for it, and [`working_dir`](Self::working_dir) is relative to that.
    pub files: Option<Arc<WorkFiles>>,
}

impl ProcessConfig {
    /// Makes the configuration of a program without arguments, in the environment and the folder of this process.
    pub fn new(command: impl Into<PathBuf>) -> Self {
        Self {
            command: command.into(),
            args: Vec::new(),
            env: Environment::inherited(),
            working_dir: None,
            stdin: ProgramInput::Nothing,
            files: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the environment.
    #[must_use]
    pub fn env(mut self, env: Environment) -> Self {
        self.env = env;
        self
    }

    /// Sets the folder that the program is started in.
    #[must_use]
    pub fn working_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(folder.into());
        self
    }

    /// Sets the files that the program gets, and those that come back.
    #[must_use]
    pub fn files(mut self, files: impl Into<Arc<WorkFiles>>) -> Self {
        self.files = Some(files.into());
        self
    }

    /// Gives the program the terminal.
    #[must_use]
    pub fn on_terminal(self) -> Self {
        self.stdin(ProgramInput::Terminal)
    }

    /// Sets what the program reads from its stdin.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ratchet_runtime::process::{
    ///     CommandLimits, CommandRunner, InputBytes, ProcessConfig, ProgramInput,
    /// };
    ///
    /// let lines = ProgramInput::Bytes(InputBytes::new("b\na\n"));
    /// let sort = ProcessConfig::new("sort").stdin(lines);
    /// let runner = CommandRunner::new(None);
    /// let output = runner.run(&sort, CommandLimits::default(), &Default::default()).await?;
    /// assert_eq!(output.stdout.to_text(), "a\nb\n");
    /// # Ok::<(), ratchet_runtime::process::ProcessError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn stdin(mut self, input: ProgramInput) -> Self {
        self.stdin = input;
        self
    }
}

impl std::fmt::Display for ProcessConfig {
    /// Writes the program and its arguments without quotes, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.command.display().fmt(f)?;
        for arg in &self.args {
            write!(f, " {}", arg.display())?;
        }
        Ok(())
    }
}

/// The environment of a process: that of this process or an empty one, with declared variables added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Whether the variables of this process are passed on.
    inherits: bool,
    /// The declared variables, which are added and replace inherited ones.
    declared: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Makes an environment that begins with the environment of this process.
    pub fn inherited() -> Self {
        Self {
            inherits: true,
            declared: BTreeMap::new(),
        }
    }

    /// Makes an environment that has only declared variables.
    pub fn clean() -> Self {
        Self {
            inherits: false,
            declared: BTreeMap::new(),
        }
    }

    /// Declares a variable.
    #[must_use]
    pub fn set(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.declared.insert(name.into(), value.into());
        self
    }

    /// Declares a variable, unless it is declared already.
    pub(crate) fn declare_missing(&mut self, name: &OsStr, value: &OsStr) {
        if !self.declared.contains_key(name) {
            self.declared.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Replaces the values of declared variables for which the function returns another value.
    pub(crate) fn map_declared(&mut self, change: impl Fn(&OsStr) -> Option<OsString>) {
        for value in self.declared.values_mut() {
            if let Some(changed) = change(value) {
                *value = changed;
            }
        }
    }

    /// Whether the environment begins with that of this process.
    pub fn inherits(&self) -> bool {
        self.inherits
    }

    /// Returns the value of a variable as the process sees it.
    pub(crate) fn value_of(&self, name: &OsStr) -> Option<OsString> {
        match self.declared.get(name) {
            Some(value) => Some(value.clone()),
            None if self.inherits => std::env::var_os(name),
            None => None,
        }
    }

    /// Returns the declared variables, by name.
    pub fn declared(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.declared
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}
