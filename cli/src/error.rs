//! The error that ends a call of `ratchet`: its message, its exit code, and what to do about it.
//!
//! This module knows no other module's errors. A module whose errors can end a call converts them into a
//! [`CliError`] beside their definition, because only that module knows whether the user or the system is at fault.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

use ratchet_caching::CacheError;
use ratchet_input::InputError;
use ratchet_runtime::JournalError;

use crate::diagnostic::Diagnostics;
use crate::exit;
use crate::style::Style;
use crate::value::ValueError;

/// An error that ends the call, with the exit code that it leads to.
#[derive(Debug)]
pub(crate) struct CliError {
    exit_code: u8,
    error: Box<dyn Error + Send + Sync>,
    /// What the user can do about it, printed below the message.
    help: Option<String>,
    /// The problems of files with their places, which are printed before the message.
    diagnostics: Vec<Diagnostics>,
}

impl CliError {
    /// Makes an error with the message and the causes of `error`.
    pub(crate) fn new(exit_code: u8, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit_code,
            error: error.into(),
            help: None,
            diagnostics: Vec::new(),
        }
    }

    /// Makes the error of a call that makes no sense, in a way that the parser of arguments cannot see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message.into())
    }

    /// Makes an error for which the machine or ratchet itself is at fault.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(exit::INTERNAL, message.into())
    }

    /// Makes the error for a file or folder that cannot be read, which was noticed before anything ran.
    pub(crate) fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::usage(format!("`{}` cannot be read", path.display())).because(source)
    }

    /// Makes the error for a file or folder that cannot be written, which was noticed before anything ran.
    pub(crate) fn unwritable(path: &Path, source: io::Error) -> Self {
        Self::usage(format!("`{}` cannot be written", path.display())).because(source)
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.error = Box::new(MessageWithCause {
            message: self.error.to_string(),
            source: source.into(),
        });
        self
    }

    /// Adds what the user can do about it.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what is wrong with files.
    pub(crate) fn with_diagnostics(mut self, diagnostics: Vec<Diagnostics>) -> Self {
        self.diagnostics = diagnostics;
        self
    }

    /// Returns the exit code of a call that fails with this error.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Returns what the user can do about it.
    pub(crate) fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns the places in files that are wrong, as text.
    pub(crate) fn render_diagnostics(&self, style: Style) -> String {
        let rendered = self.diagnostics.iter().map(|found| found.render(style));
        rendered.collect()
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(out)
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// A message with its cause.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct MessageWithCause {
    message: String,
    source: Box<dyn Error + Send + Sync>,
}

impl From<ValueError> for CliError {
    fn from(error: ValueError) -> Self {
        let mut usage = Self::usage(error.reason);
        usage.help = error.hint;
        usage
    }
}

/// What a user wrote is refused.
impl From<InputError> for CliError {
    fn from(mut error: InputError) -> Self {
        let (help, diagnostics) = (error.help().map(str::to_owned), error.take_diagnostics());
        Self {
            help,
            ..Self::new(exit::USAGE, error).with_diagnostics(diagnostics)
        }
    }
}

/// The executor refuses a setting or a job before anything runs.
impl From<ratchet_runtime::Error> for CliError {
    fn from(error: ratchet_runtime::Error) -> Self {
        Self::new(exit::USAGE, error)
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        let exit_code = if is_for_the_user(error.kind()) {
            exit::USAGE
        } else {
            exit::INTERNAL
        };
        Self::new(exit_code, error)
    }
}

/// A command that is about the cache itself cannot use it.
impl From<CacheError> for CliError {
    fn from(error: CacheError) -> Self {
        Self::new(exit::INTERNAL, error)
    }
}

/// Whether an error is about what the user named or may not read, and not about a machine that fails.
fn is_for_the_user(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::NotFound
            | Kind::PermissionDenied
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidData
            | Kind::InvalidInput
            | Kind::Unsupported
            | Kind::ResourceBusy
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_cause_and_its_exit_code() {
        let cause = io::Error::from(io::ErrorKind::TimedOut);
        let error = CliError::unreadable(Path::new("jobs.jsonl"), cause).with_help("try again");
        assert_eq!(error.exit_code(), exit::USAGE);
        assert_eq!(error.to_string(), "`jobs.jsonl` cannot be read");
        assert_eq!(error.source().unwrap().to_string(), "timed out");
        assert_eq!(error.help(), Some("try again"));
    }
}
