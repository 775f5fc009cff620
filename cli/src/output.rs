//! Output that knows where it goes, so that an error can say what could not be written.

use std::io::{self, Write};
use std::path::PathBuf;

use thiserror::Error;

use crate::error::CliError;
use crate::exit;

/// How many bytes are collected before they are written; a result has a few hundred.
const BUFFER_BYTES: usize = 256 * 1024;

/// The file or stream to which output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The stdout of this process.
    Stdout,
    /// A file, which is created or emptied.
    File(PathBuf),
}

impl Destination {
    /// Makes the destination that a path names; `-` is stdout.
    pub(crate) fn of(path: PathBuf) -> Self {
        if path.as_os_str() == "-" {
            Self::Stdout
        } else {
            Self::File(path)
        }
    }

    /// Makes the error of a failed write to this destination.
    pub(crate) fn error(&self, source: io::Error) -> OutputError {
        match self {
            Self::Stdout => OutputError::Stdout(source),
            Self::File(path) => OutputError::File {
                path: path.clone(),
                source,
            },
        }
    }
}

/// Output that could not be written, after the call began to write.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// Stdout cannot be written.
    #[error("stdout cannot be written")]
    Stdout(#[source] io::Error),
    /// The output file cannot be written.
    #[error("`{}` cannot be written", path.display())]
    File {
        /// The path as the user typed it.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl OutputError {
    /// Whether the reader of stdout has closed it. It has read what it wanted, so this is not reported as an error.
    pub(crate) fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Stdout(source) | Self::File { source, .. } => source.kind(),
        }
    }
}

impl From<OutputError> for CliError {
    fn from(error: OutputError) -> Self {
        if error.is_reader_gone() {
            return Self::new(exit::UNREAD, error);
        }
        let is_full = error.kind() == io::ErrorKind::StorageFull;
        let error = Self::new(exit::INTERNAL, error);
        if !is_full {
            return error;
        }
        error.with_help(
            "the disk is full: free some space and try again; `ratchet resume` continues a recorded run",
        )
    }
}

/// A buffered writer and its destination.
pub(crate) struct Output<'a> {
    writer: io::BufWriter<Box<dyn Write + Send + 'a>>,
    destination: Destination,
}

impl<'a> Output<'a> {
    /// Makes an output from a writer; errors name the destination.
    pub(crate) fn new(writer: Box<dyn Write + Send + 'a>, destination: Destination) -> Self {
        Self {
            writer: io::BufWriter::with_capacity(BUFFER_BYTES, writer),
            destination,
        }
    }

    /// Writes bytes, perhaps only into a buffer.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.write_by(|writer| writer.write_all(bytes))
    }

    /// Writes by a function that needs a writer.
    pub(crate) fn write_by(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        write(&mut self.writer).map_err(|error| self.destination.error(error))
    }

    /// Writes what is still in the buffer.
    pub(crate) fn flush(&mut self) -> Result<(), OutputError> {
        self.write_by(|writer| writer.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_the_exit_code_of_sigpipe_and_a_full_disk_is_not() {
        let error = |kind: io::ErrorKind| CliError::from(Destination::Stdout.error(kind.into()));
        assert_eq!(error(io::ErrorKind::BrokenPipe).exit_code(), exit::UNREAD);
        let full = error(io::ErrorKind::StorageFull);
        assert_eq!(full.exit_code(), exit::INTERNAL);
        assert!(full.help().unwrap().contains("ratchet resume"));
    }
}
