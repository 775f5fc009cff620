//! The table of `--results FILE.csv`: a row for each command that has ended, with its output, in the columns of GNU
//! parallel.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

use ratchet_runtime::process::Exit;
use serde_json::json;

use super::item::Item;
use super::outputs::CommandRecord;
use crate::error::CliError;
use crate::escape::text_of;
use crate::output::{Destination, OutputError};
use crate::output_file::OutputFile;
use crate::shell_quote::shell_line;
use crate::spool::Spool;

/// The first columns, which are those of the joblog.
const COLUMNS: [&str; 9] = [
    "Seq",
    "Host",
    "Starttime",
    "JobRuntime",
    "Send",
    "Receive",
    "Exitval",
    "Signal",
    "Command",
];

/// A file with a row for each command.
pub(crate) struct ResultsTable {
    out: BufWriter<Box<dyn Write + Send>>,
    destination: Destination,
    format: TableFormat,
    /// How many columns the table has for the item. If items differ in this number, it is 1.
    columns: usize,
}

/// How the rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableFormat {
    /// Fields that this byte separates.
    Separated(u8),
    /// A JSON object for each row.
    JsonLines,
}

impl TableFormat {
    /// Returns the format that the extension of a file stands for. Other names are those of folders.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str)? {
            "csv" => Some(Self::Separated(b',')),
            "tsv" => Some(Self::Separated(b'\t')),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

impl ResultsTable {
    /// Makes the table in a file, which was opened at this path.
    pub(crate) fn to_file(
        file: OutputFile,
        path: &Path,
        format: TableFormat,
        columns: usize,
    ) -> Result<Self, CliError> {
        let starts_anew = file.starts_anew();
        let destination = Destination::File(path.to_owned());
        let mut table = Self::to(Box::new(file), destination, format, columns);
        if starts_anew {
            let written = table.write_header();
            written.map_err(|error| CliError::unwritable(path, error))?;
        }
        Ok(table)
    }

    fn to(
        out: Box<dyn Write + Send>,
        destination: Destination,
        format: TableFormat,
        columns: usize,
    ) -> Self {
        Self {
            out: BufWriter::new(out),
            destination,
            format,
            columns: columns.max(1),
        }
    }

    fn write_header(&mut self) -> io::Result<()> {
        let TableFormat::Separated(separator) = self.format else {
            return Ok(());
        };
        let columns = (1..=self.columns).map(|number| format!("V{number}"));
        let names = COLUMNS.map(str::to_owned).into_iter().chain(columns);
        let names: Vec<String> = names.chain(["Stdout".into(), "Stderr".into()]).collect();
        let separator = char::from(separator).to_string();
        writeln!(self.out, "{}", names.join(&separator))?;
        self.out.flush()
    }

    /// Writes the row of a command, so that it is in the file when this returns.
    pub(super) fn write(&mut self, record: &CommandRecord) -> Result<(), OutputError> {
        let written = match self.format {
            TableFormat::Separated(separator) => self.write_fields(record, separator),
            TableFormat::JsonLines => self.write_object(record),
        };
        written
            .and_then(|()| self.out.flush())
            .map_err(|error| self.destination.error(error))
    }

    fn write_fields(&mut self, record: &CommandRecord, separator: u8) -> io::Result<()> {
        let (started, exit, signal) = figures(record);
        let separated = char::from(separator);
        let figures = [
            record.number.to_string(),
            ":".to_owned(),
            format!("{started:.3}"),
            format!("{:.3}", record.ran.as_secs_f64()),
            "0".to_owned(),
            record.stdout.len().to_string(),
            exit.to_string(),
            signal.to_string(),
        ];
        write!(self.out, "{}", figures.join(&separated.to_string()))?;
        let mut fields = vec![shell_line(&record.command)];
        fields.extend(item_fields(&record.item, self.columns));
        for field in fields {
            self.out.write_all(&[separator])?;
            self.write_quoted(|write| write(&field))?;
        }
        for spool in [&record.stdout, &record.stderr] {
            self.out.write_all(&[separator])?;
            self.write_quoted(|write| spool.read(write))?;
        }
        self.out.write_all(b"\n")
    }

    /// Writes a field in quotes, in which a quote is doubled.
    fn write_quoted(
        &mut self,
        field: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.out.write_all(b"\"")?;
        let out = &mut self.out;
        field(&mut |bytes| {
            for (index, part) in bytes.split(|byte| *byte == b'"').enumerate() {
                if index > 0 {
                    out.write_all(b"\"\"")?;
                }
                out.write_all(part)?;
            }
            Ok(())
        })?;
        self.out.write_all(b"\"")
    }

    fn write_object(&mut self, record: &CommandRecord) -> io::Result<()> {
        let (started, exit, signal) = figures(record);
        let text = |spool: &Spool| {
            let mut bytes = Vec::new();
            spool.write_to(&mut bytes)?;
            Ok::<_, io::Error>(text_of(&bytes).into_owned())
        };
        let columns: Vec<_> = record.item.columns().map(text_of).collect();
        let object = json!({
            "Seq": record.number,
            "Host": ":",
            "Starttime": started,
            "JobRuntime": record.ran.as_secs_f64(),
            "Send": 0,
            "Receive": record.stdout.len(),
            "Exitval": exit,
            "Signal": signal,
            "Command": text_of(&shell_line(&record.command)),
            "V": columns,
            "Stdout": text(&record.stdout)?,
            "Stderr": text(&record.stderr)?,
        });
        serde_json::to_writer(&mut self.out, &object)?;
        self.out.write_all(b"\n")
    }
}

/// Returns the time at which a command started, in seconds since 1970, its exit code and its signal.
fn figures(record: &CommandRecord) -> (f64, i32, i32) {
    let started = record.started.duration_since(SystemTime::UNIX_EPOCH);
    let (exit, signal) = match record.exit {
        Exit::Code(code) => (code, 0),
        Exit::Signal(signal) => (0, signal),
        Exit::Unknown => (-1, 0),
    };
    (started.unwrap_or_default().as_secs_f64(), exit, signal)
}

/// Returns the fields of an item, as many as the table has columns for it.
fn item_fields(item: &Item, columns: usize) -> Vec<Vec<u8>> {
    if columns == 1 {
        return vec![item.joined()];
    }
    let column = |index| item.column(index).unwrap_or_default().to_vec();
    (0..columns).map(column).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shared_buffer::SharedBuffer;

    fn written(format: TableFormat) -> String {
        let mut record = CommandRecord::without_output(3, Item::from_columns([&b"a\"b"[..], b"c"]));
        record.command = ["echo", "a b"].map(Into::into).into();
        record.ran = Duration::from_millis(1500);
        record.exit = Exit::Code(2);
        record.stdout.push(b"x,\"y\"\n");
        let out = SharedBuffer::default();
        let destination = Destination::Stdout;
        let mut table = ResultsTable::to(Box::new(out.clone()), destination, format, 2);
        table.write_header().unwrap();
        table.write(&record).unwrap();
        out.text()
    }

    #[test]
    fn a_row_has_the_columns_of_gnu_parallel() {
        let rows = written(TableFormat::Separated(b','));
        let mut lines = rows.splitn(2, '\n');
        assert_eq!(
            lines.next(),
            Some(
                "Seq,Host,Starttime,JobRuntime,Send,Receive,Exitval,Signal,Command,V1,V2,Stdout,Stderr"
            )
        );
        let row = lines.next().unwrap();
        assert!(
            row.starts_with(
                "3,:,0.000,1.500,0,6,2,0,\"echo 'a b'\",\"a\"\"b\",\"c\",\"x,\"\"y\"\"\n"
            ),
            "{row}"
        );
        assert!(row.ends_with(",\"\"\n"), "{row}");
    }

    #[test]
    fn a_line_of_json_has_the_same() {
        let line: serde_json::Value =
            serde_json::from_str(&written(TableFormat::JsonLines)).unwrap();
        assert_eq!((&line["Seq"], &line["Exitval"]), (&json!(3), &json!(2)));
        assert_eq!(
            (&line["V"], &line["Command"]),
            (&json!(["a\"b", "c"]), &json!("echo 'a b'"))
        );
        assert_eq!(line["Stdout"], json!("x,\"y\"\n"));
    }

    #[test]
    fn the_name_of_a_file_says_its_format() {
        let of = |name: &str| TableFormat::of(Path::new(name));
        assert_eq!(of("a/b.csv"), Some(TableFormat::Separated(b',')));
        assert_eq!(of("b.jsonl"), Some(TableFormat::JsonLines));
        assert_eq!((of("csv"), of("out"), of("a.d")), (None, None, None));
    }
}
