//! The error for wrong input of the user.

use std::error::Error;
use std::io;
use std::path::Path;

use crate::diagnostic::Diagnostics;

/// A problem with files or arguments, because of which nothing can run.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    help: Option<String>,
    diagnostics: Vec<Diagnostics>,
}

impl InputError {
    /// Makes an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
            help: None,
            diagnostics: Vec::new(),
        }
    }

    /// Makes the error for a file or folder that cannot be read.
    pub fn unreadable(path: &Path, source: io::Error) -> Self {
        Self::new(format!("`{}` cannot be read", path.display())).because(source)
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds advice for the user.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the problems of files.
    #[must_use]
    pub fn with_diagnostics(mut self, diagnostics: Vec<Diagnostics>) -> Self {
        self.diagnostics = diagnostics;
        self
    }

    /// Returns the advice for the user.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Takes the problems of files.
    pub fn take_diagnostics(&mut self) -> Vec<Diagnostics> {
        std::mem::take(&mut self.diagnostics)
    }
}
