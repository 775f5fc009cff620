//! The errors of starting processes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{FileError, ProcessConfig, ProgramInput};

/// The reason for which a process could not be started or found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program does not exist.
    #[error("there is no program `{}`", command.display())]
    NotFound {
        /// The program.
        command: PathBuf,
    },
    /// The file exists, but may not be executed.
    #[error("`{}` may not be run: it is not executable", command.display())]
    NotExecutable {
        /// The program.
        command: PathBuf,
    },
    /// The file may be executed, but is not a program.
    #[error("`{}` is not a program for this system, and has no `#!` line", command.display())]
    WrongFormat {
        /// The program.
        command: PathBuf,
    },
    /// The file is a script, and the interpreter that it names does not exist.
    #[error("`{}` cannot be run: there is no `{interpreter}`, which its `#!` line names", command.display())]
    NoInterpreter {
        /// The script.
        command: PathBuf,
        /// The program that its first line names.
        interpreter: String,
    },
    /// The folder to start it in does not exist.
    #[error("`{}` cannot be started in `{}`: there is no such folder", command.display(), folder.display())]
    NoFolder {
        /// The program.
        command: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused for another reason.
    #[error("`{}` could not be started", command.display())]
    Spawn {
        /// The program.
        command: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The program wants the terminal, which only a program on this system can get.
    #[error("`{}` cannot get the terminal: only a program that runs here can", command.display())]
    NoTerminal {
        /// The program.
        command: PathBuf,
    },
    /// The file for its stdin cannot be opened.
    #[error("{} cannot be read as stdin", name_of_input(path))]
    Input {
        /// The file. It is empty for the output of another job, which the reason names.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The usage of processes could not be read.
    #[error("the memory and the processor time of processes cannot be read")]
    Measure(#[source] io::Error),
    /// The host of the process is lost.
    #[error("host `{host}` is lost: {reason}")]
    HostLost {
        /// The name of the host.
        host: String,
        /// The reason for which it is lost.
        reason: String,
        /// Whether the process may have been started, and has been killed since.
        has_begun: bool,
    },
    /// The files of the process could not be pushed or pulled.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The manager has ended, and all its processes with it.
    #[error("the process manager has ended")]
    Ended,
}

/// Returns the name of an input in messages.
fn name_of_input(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        "the output of another job".to_owned()
    } else {
        format!("`{}`", path.display())
    }
}

impl ProcessError {
    /// Makes the error of an input that cannot be opened.
    pub(super) fn input(input: &ProgramInput, source: io::Error) -> Self {
        let path = match input {
            ProgramInput::File(path) | ProgramInput::Part { path, .. } => path.clone(),
            _ => PathBuf::new(),
        };
        Self::Input { path, source }
    }

    /// Distinguishes the usual reasons: the system has one error for a missing program and a missing folder.
    pub(super) fn spawn(config: &ProcessConfig, source: io::Error) -> Self {
        let command = config.command.clone();
        if let Some(folder) = config
            .working_dir
            .as_deref()
            .filter(|folder| !folder.is_dir())
        {
            return Self::NoFolder {
                command,
                folder: folder.to_path_buf(),
            };
        }
        match source.kind() {
            // The system has the same error for a missing interpreter, and for a missing loader of a program.
            io::ErrorKind::NotFound if is_there(config) => match interpreter_of(&command) {
                Some(interpreter) => Self::NoInterpreter {
                    command,
                    interpreter,
                },
                None => Self::WrongFormat { command },
            },
            io::ErrorKind::NotFound => Self::NotFound { command },
            io::ErrorKind::PermissionDenied => Self::NotExecutable { command },
            _ if source.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                Self::WrongFormat { command }
            }
            _ => Self::Spawn { command, source },
        }
    }
}

/// Whether a program that was not found exists after all.
fn is_there(config: &ProcessConfig) -> bool {
    let path: &Path = &config.command;
    path.components().count() > 1 && config.working_dir.is_none() && path.is_file()
}

/// Returns the program that the `#!` line of a script names; `None` if the file has no such line or cannot be read.
fn interpreter_of(script: &Path) -> Option<String> {
    let mut start = [0; 256];
    let length = File::open(script).ok()?.read(&mut start).ok()?;
    let line = start[..length].strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let name = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_without_its_interpreter_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#! /nonexistent/python3 -u\nprint(1)\n").unwrap();
        let config = ProcessConfig::new(&script);
        let error = ProcessError::spawn(&config, io::ErrorKind::NotFound.into());
        let expected = format!(
            "`{}` cannot be run: there is no `/nonexistent/python3`, which its `#!` line names",
            script.display()
        );
        assert_eq!(error.to_string(), expected);
        std::fs::write(&script, [0x7f, b'E', b'L', b'F']).unwrap();
        let error = ProcessError::spawn(&config, io::ErrorKind::NotFound.into());
        assert!(matches!(error, ProcessError::WrongFormat { .. }), "{error}");
    }
}
