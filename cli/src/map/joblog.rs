//! The file of `--joblog`, with a line for each command that has ended, in the columns of GNU parallel.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_runtime::process::Exit;

use super::outputs::CommandRecord;
use crate::error::CliError;
use crate::output::{Destination, OutputError};
use crate::output_file::{FormerContent, OutputFile};
use crate::shell_quote::shell_line;

/// The first line of the log, with the columns of GNU parallel.
const COLUMNS: &[u8] =
    b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// The file of a log as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoblogFile {
    /// The path; `-` is stdout.
    pub(crate) path: PathBuf,
    /// Whether lines are added to a file that exists, because a `+` stands before the path.
    appends: bool,
}

impl JoblogFile {
    /// Reads what was typed: a path, or `+` and a path.
    pub(crate) fn typed(typed: OsString) -> Self {
        match typed.as_bytes() {
            [b'+', path @ ..] if !path.is_empty() => Self {
                path: OsString::from_vec(path.to_vec()).into(),
                appends: true,
            },
            _ => Self {
                path: typed.into(),
                appends: false,
            },
        }
    }

    /// Returns what becomes of the lines that the file has. A run that is resumed continues its log.
    pub(crate) fn former_content(&self, is_resumed: bool) -> FormerContent {
        if self.appends || is_resumed {
            FormerContent::Kept
        } else {
            FormerContent::Lost
        }
    }
}

/// The log of finished jobs, in the columns of GNU parallel.
pub(crate) struct Joblog {
    out: Box<dyn Write + Send>,
    destination: Destination,
}

impl Joblog {
    /// Makes the log that is part of stdout.
    pub(crate) fn to_stdout(out: Box<dyn Write + Send>) -> Result<Self, CliError> {
        let begun = Self::begin(out, Destination::Stdout);
        begun.map_err(|error| Destination::Stdout.error(error).into())
    }

    /// Makes the log in a file, which was opened at this path.
    pub(crate) fn to_file(file: OutputFile, path: &Path) -> Result<Self, CliError> {
        let starts_anew = file.starts_anew();
        let (out, destination) = (Box::new(file), Destination::File(path.to_owned()));
        if !starts_anew {
            return Ok(Self { out, destination });
        }
        let begun = Self::begin(out, destination);
        begun.map_err(|error| CliError::unwritable(path, error))
    }

    /// Begins a log with the names of the columns.
    fn begin(mut out: Box<dyn Write + Send>, destination: Destination) -> io::Result<Self> {
        out.write_all(COLUMNS)?;
        Ok(Self { out, destination })
    }

    /// Writes the line of a command. It is not buffered, because people read the log while the run goes on.
    pub(super) fn write(&mut self, record: &CommandRecord) -> Result<(), OutputError> {
        let written = self.out.write_all(&line(record));
        written
            .and_then(|()| self.out.flush())
            .map_err(|error| self.destination.error(error))
    }
}

fn line(record: &CommandRecord) -> Vec<u8> {
    let started = record
        .started
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (exit, signal) = match record.exit {
        Exit::Code(code) => (code, 0),
        Exit::Signal(signal) => (0, signal),
        Exit::Unknown => (-1, 0),
    };
    let mut line = format!(
        "{}\t:\t{:.3}\t{:10.3}\t0\t{}\t{exit}\t{signal}\t",
        record.number,
        started.as_secs_f64(),
        record.ran.as_secs_f64(),
        record.stdout.len(),
    )
    .into_bytes();
    for byte in shell_line(&record.command) {
        match byte {
            // If a word is not UTF-8, the quoting leaves a newline in it as it is.
            b'\n' => line.extend_from_slice(b"\\n"),
            byte => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::map::item::Item;
    use crate::shared_buffer::SharedBuffer;
    use crate::spool::Spool;

    #[test]
    fn has_the_columns_of_gnu_parallel() {
        let mut stdout = Spool::default();
        stdout.push(b"12345");
        let mut record = CommandRecord {
            number: 3,
            item: Arc::new(Item::from("a b")),
            command: ["gzip", "a b\nc"].map(Into::into).into(),
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            ran: Duration::from_millis(1_500),
            exit: Exit::Code(2),
            stdout,
            stderr: Spool::default(),
        };
        let out = SharedBuffer::default();
        let mut log = Joblog::begin(Box::new(out.clone()), Destination::Stdout).unwrap();
        log.write(&record).unwrap();
        record.exit = Exit::Signal(9);
        log.write(&record).unwrap();
        assert_eq!(
            out.text(),
            "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n\
             3\t:\t1700000000.250\t     1.500\t0\t5\t2\t0\tgzip $'a b\\nc'\n\
             3\t:\t1700000000.250\t     1.500\t0\t5\t0\t9\tgzip $'a b\\nc'\n"
        );
    }
}
