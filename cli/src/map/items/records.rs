//! Items that are the records of CSV files.

mod quote_tracker;

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read};

use self::quote_tracker::QuoteTracker;
use super::{ItemError, ItemFile, ItemReader};
use crate::error::CliError;
use crate::job_file::LONGEST;
use crate::map::item::Item;
use crate::value;

/// The records of CSV files, one file after the other.
pub(crate) struct Records {
    /// The file that is being read. It is nothing after the last file.
    current: Option<RecordReader>,
    /// The files that come after it.
    waiting: VecDeque<ItemFile>,
    /// The byte between two columns.
    separator: u8,
    /// Whether the first record of each file is a header.
    header: bool,
    /// The names of the columns, if the first record is a header.
    pub(super) names: Vec<Vec<u8>>,
    /// The number of columns of each record.
    pub(super) columns: usize,
    /// The record that was read last. It is kept so that its memory is used again.
    record: csv::ByteRecord,
}

/// Reads the records of one file.
struct RecordReader {
    /// What messages call the file.
    name: String,
    csv: csv::Reader<BoundedRecords>,
}

/// A reader that limits the bytes of a record, and fails if the text ends within quotes.
struct BoundedRecords {
    reader: ItemReader,
    /// How many more bytes the current record may have.
    left: usize,
    quotes: QuoteTracker,
}

impl Read for BoundedRecords {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let most = value::show_size(LONGEST as u64);
            return Err(io::Error::other(format!("a record is longer than {most}")));
        }
        let room = bytes.len().min(self.left);
        let read = self.reader.read(&mut bytes[..room])?;
        self.left -= read;
        if let Some(line) = self.quotes.open().filter(|_| read == 0 && room > 0) {
            let message = format!("the quote that opens on line {line} is never closed");
            return Err(io::Error::other(message));
        }
        self.quotes.pass(&bytes[..read]);
        Ok(read)
    }
}

impl Records {
    /// Opens the files, and reads the first record, which tells how many columns there are.
    pub(super) fn open(
        sources: VecDeque<ItemFile>,
        separator: u8,
        header: bool,
    ) -> Result<Self, CliError> {
        let mut records = Self {
            current: None,
            waiting: sources,
            separator,
            header,
            names: Vec::new(),
            columns: 1,
            record: csv::ByteRecord::new(),
        };
        records.advance();
        if let Some(RecordReader { name, csv }) = &mut records.current {
            let first = csv.byte_headers().map_err(|error| {
                CliError::usage(format!(
                    "the first record of {name} has no columns: {error}"
                ))
            })?;
            records.columns = first.len().max(1);
            if header {
                let seen = &mut HashSet::new();
                if let Some(twice) = first.iter().find(|column| !seen.insert(*column)) {
                    let twice = twice.escape_ascii();
                    let message = format!("the first record of {name} names two columns `{twice}`");
                    return Err(
                        CliError::usage(message).with_help("give each column a different name")
                    );
                }
                records.names = first.iter().map(<[u8]>::to_vec).collect();
            }
        }
        Ok(records)
    }

    fn advance(&mut self) {
        self.current = self
            .waiting
            .pop_front()
            .map(|ItemFile { name, reader }| RecordReader {
                name,
                csv: csv::ReaderBuilder::new()
                    .has_headers(self.header)
                    .delimiter(self.separator)
                    .flexible(true)
                    .from_reader(BoundedRecords {
                        reader,
                        left: LONGEST,
                        quotes: QuoteTracker::new(self.separator),
                    }),
            });
    }

    /// Reads the next item.
    pub(super) fn next(&mut self) -> Option<Result<Item, ItemError>> {
        loop {
            let RecordReader { name, csv } = self.current.as_mut()?;
            csv.get_mut().left = LONGEST;
            match csv.read_byte_record(&mut self.record) {
                Ok(false) => self.advance(),
                Ok(true) if self.record.len() == self.columns => {
                    return Some(Ok(Item::from_columns(self.record.iter())));
                }
                Ok(true) => {
                    let line = self.record.position().map_or(0, csv::Position::line);
                    return Some(Err(ItemError(format!(
                        "line {line} of {name} has another number of columns ({}) than the first record ({})",
                        self.record.len(),
                        self.columns
                    ))));
                }
                Err(error) => {
                    let bad = ItemError(format!("{name} cannot be read further: {error}"));
                    self.advance();
                    return Some(Err(bad));
                }
            }
        }
    }
}
