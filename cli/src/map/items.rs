//! Reads items one by one, as there is room for their jobs.

mod cut;
mod read_ahead;
mod records;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use ratchet_runtime::PlaceName;

pub(crate) use self::cut::Cut;
use self::cut::CutItems;
use self::read_ahead::ReadAhead;
use self::records::Records;
use super::groups::{GroupRule, Groups};
use super::item::Item;
use super::lists::Lists;
use super::template::Template;
use crate::error::CliError;
use crate::job_file::{LONGEST, LineRead, read_until};
use crate::value;

/// How much of a file is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The capacity that the buffer of a line keeps after a longer line.
const KEPT: usize = 1 << 20;

/// Why an item cannot be had. It becomes a failed job, and the other items go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemError(pub(crate) String);

/// Where the items of a map come from.
pub(crate) enum Items {
    /// Each line is an item.
    LineItems(LineItems),
    /// Each record of CSV files is an item.
    Csv(Box<Records>),
    /// The columns of each item are cut by a regular expression.
    Cut(Box<CutItems>),
    /// Several items are joined to one.
    Groups(Box<Groups>),
    /// Each combination of the lists after `:::` is an item.
    Lists(Lists),
    /// Each host is an item: its name.
    Hosts(HostItems),
}

/// The hosts on each of which a command is run once.
#[derive(Debug)]
pub(crate) struct HostItems {
    hosts: std::vec::IntoIter<PlaceName>,
    /// The name of the only column.
    columns: [Vec<u8>; 1],
}

impl Items {
    /// The items in these files, one file after the other, or in stdin if no file is named.
    pub(crate) fn lines(files: &[PathBuf], end: ItemEnd) -> Result<Self, CliError> {
        Ok(Self::LineItems(LineItems {
            sources: open(files)?,
            end,
            line: Vec::new(),
            number: 0,
        }))
    }

    /// The records of these files, whose columns are separated by this byte and may stand in quotes. With `header`, the first
    /// record of each file names the columns.
    pub(crate) fn records(
        files: &[PathBuf],
        separator: u8,
        header: bool,
    ) -> Result<Self, CliError> {
        let records = Records::open(open(files)?, separator, header)?;
        Ok(Self::Csv(Box::new(records)))
    }

    /// Cuts each item into columns. With `header`, the first item names the columns.
    #[must_use]
    pub(crate) fn cut(self, cut: Cut, header: bool) -> Self {
        Self::Cut(Box::new(CutItems::open(self, cut, header)))
    }

    /// Joins several items for each command.
    #[must_use]
    pub(crate) fn grouped(self, rule: GroupRule, template: Template) -> Self {
        Self::Groups(Box::new(Groups::new(self, rule, template)))
    }

    /// The names of these hosts.
    pub(crate) fn hosts(hosts: Vec<PlaceName>) -> Self {
        Self::Hosts(HostItems {
            hosts: hosts.into_iter(),
            columns: [b"host".to_vec()],
        })
    }

    /// How many columns each item has. The name of a host is none, so it is not added to a command that does not ask for it.
    pub(crate) fn column_count(&self) -> usize {
        match self {
            Self::LineItems(_) => 1,
            Self::Csv(records) => records.columns,
            Self::Cut(items) => items.columns,
            Self::Lists(lists) => lists.columns(),
            // How many there are is not the same for all.
            Self::Hosts(_) | Self::Groups(_) => 0,
        }
    }

    /// The names of the columns, if they have any.
    pub(crate) fn column_names(&self) -> &[Vec<u8>] {
        match self {
            Self::Csv(records) => &records.names,
            Self::Cut(items) => &items.names,
            Self::Hosts(hosts) => &hosts.columns,
            Self::LineItems(_) | Self::Lists(_) | Self::Groups(_) => &[],
        }
    }

    /// How many items there are, if that is known before they are read.
    pub(crate) fn total(&self) -> Option<u64> {
        match self {
            Self::Lists(lists) => Some(lists.total()),
            Self::Hosts(hosts) => u64::try_from(hosts.hosts.len()).ok(),
            Self::Cut(items) => items.total(),
            Self::LineItems(_) | Self::Csv(_) | Self::Groups(_) => None,
        }
    }

    /// Reads ahead on a thread of its own, so that the number of items is known early. Several files and CSV files are
    /// not read ahead, because their number is known only when all of them are read.
    pub(crate) fn count_ahead(
        &mut self,
        announce: impl FnOnce(u64) + Send + 'static,
    ) -> io::Result<()> {
        let Self::LineItems(lines) = self else {
            return Ok(());
        };
        let end = lines.end;
        if lines.sources.len() == 1
            && let Some(source) = lines.sources.front_mut()
        {
            // Nothing was read from it yet, so its buffer is empty and may be replaced.
            let reader =
                std::mem::replace(&mut source.reader, BufReader::new(Box::new(io::empty())));
            let ahead = ReadAhead::start(reader.into_inner(), end, announce)?;
            source.reader = BufReader::with_capacity(BUFFER_BYTES, Box::new(ahead));
        }
        Ok(())
    }

    /// Whether reading the next item may wait. Nobody can tell for CSV, so it counts as if it did.
    pub(crate) fn may_wait(&self) -> bool {
        match self {
            Self::Lists(_) | Self::Hosts(_) => false,
            Self::LineItems(lines) => lines.may_wait(),
            Self::Cut(items) => items.may_wait(),
            Self::Groups(groups) => groups.may_wait(),
            Self::Csv(_) => true,
        }
    }
}

impl Iterator for Items {
    type Item = Result<Item, ItemError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::LineItems(lines) => lines.next(),
            Self::Csv(records) => records.next(),
            Self::Cut(items) => items.next(),
            Self::Groups(groups) => groups.next(),
            Self::Lists(lists) => lists.next().map(Ok),
            Self::Hosts(hosts) => hosts.hosts.next().map(|host| Ok(host.as_str().into())),
        }
    }
}

/// The character that ends an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemEnd {
    /// A newline, with or without a carriage return. Empty lines are no items.
    Line,
    /// This byte. Items are taken as they are, even empty ones.
    Byte(u8),
}

impl ItemEnd {
    /// NUL, which ends the names that `find -print0` writes.
    pub(crate) const NULL: Self = Self::Byte(0);

    /// The name of what is counted in messages.
    fn word(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Byte(_) => "item",
        }
    }

    fn delimiter(self) -> u8 {
        match self {
            Self::Line => b'\n',
            Self::Byte(byte) => byte,
        }
    }
}

/// A file with items, and its name in messages.
struct ItemFile {
    /// What messages call the source: a path, or `stdin`.
    name: String,
    reader: ItemReader,
}

/// A reader whose buffered bytes can be looked at.
type ItemReader = BufReader<Box<dyn Read + Send>>;

fn open(files: &[PathBuf]) -> Result<VecDeque<ItemFile>, CliError> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    files.iter().map(|path| open_one(path)).collect()
}

fn open_one(path: &Path) -> Result<ItemFile, CliError> {
    if path.as_os_str() == "-" {
        return Ok(ItemFile {
            name: "stdin".to_owned(),
            reader: BufReader::with_capacity(BUFFER_BYTES, Box::new(io::stdin())),
        });
    }
    let unreadable = |error| CliError::unreadable(path, error);
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    Ok(ItemFile {
        name: format!("`{}`", path.display()),
        reader: BufReader::with_capacity(BUFFER_BYTES, Box::new(file)),
    })
}

/// The lines of the sources, one source after the other.
pub(crate) struct LineItems {
    /// The sources that are not read to their ends, the current one first.
    sources: VecDeque<ItemFile>,
    /// The byte that ends an item.
    end: ItemEnd,
    /// The item that is being read; it is kept so that its memory is reused.
    line: Vec<u8>,
    /// The number of the last line in the first source.
    number: u64,
}

impl LineItems {
    fn may_wait(&self) -> bool {
        let ends = |source: &ItemFile| {
            let buffered = source.reader.buffer();
            memchr::memchr(self.end.delimiter(), buffered).is_some()
        };
        !self.sources.front().is_some_and(ends)
    }

    fn next(&mut self) -> Option<Result<Item, ItemError>> {
        loop {
            let source = self.sources.front_mut()?;
            self.line.clear();
            self.line.shrink_to(KEPT);
            self.number += 1;
            let delimiter = self.end.delimiter();
            match read_until(&mut source.reader, delimiter, &mut self.line) {
                Ok(LineRead::End) => {
                    self.sources.pop_front();
                    self.number = 0;
                }
                Ok(LineRead::TooLong) => {
                    return Some(Err(ItemError(format!(
                        "{} {} of {} is longer than {}",
                        self.end.word(),
                        self.number,
                        source.name,
                        value::show_size(LONGEST as u64)
                    ))));
                }
                Ok(LineRead::Line) => {
                    if self.end == ItemEnd::Line && self.line.last() == Some(&b'\r') {
                        self.line.pop();
                    }
                    if self.end != ItemEnd::Line || !self.line.is_empty() {
                        return Some(Ok(Item::from(self.line.as_slice())));
                    }
                }
                Err(error) => {
                    let bad = ItemError(format!("{} cannot be read further: {error}", source.name));
                    self.sources.pop_front();
                    self.number = 0;
                    return Some(Err(bad));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    pub(super) fn source(text: &[u8]) -> ItemFile {
        ItemFile {
            name: "stdin".to_owned(),
            reader: BufReader::new(Box::new(Cursor::new(text.to_vec()))),
        }
    }

    fn lines(texts: &[&[u8]], end: ItemEnd) -> Vec<Item> {
        let mut items = Items::LineItems(LineItems {
            sources: texts.iter().map(|text| source(text)).collect(),
            end,
            line: Vec::new(),
            number: 0,
        });
        items.by_ref().map(Result::unwrap).collect()
    }

    #[test]
    fn lines_end_as_they_may_and_empty_ones_are_skipped() {
        let items = lines(&[b"a\r\n\n  b \n\xff", b"c\n"], ItemEnd::Line);
        assert_eq!(items, [&b"a"[..], b"  b ", b"\xff", b"c"].map(Item::from));
        assert_eq!(lines(&[b"", b"\n\r\n"], ItemEnd::Line), []);
    }

    #[test]
    fn nul_keeps_items_as_they_are() {
        let items = lines(&[b"a\n\r\0\0b"], ItemEnd::NULL);
        assert_eq!(items, [&b"a\n\r"[..], b"", b"b"].map(Item::from));
    }

    #[test]
    fn a_source_that_fails_is_said_and_the_next_goes_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let broken = ItemFile {
            name: "`x`".to_owned(),
            reader: BufReader::new(Box::new(Broken)),
        };
        let mut items = Items::LineItems(LineItems {
            sources: [broken, source(b"a\n")].into(),
            end: ItemEnd::Line,
            line: Vec::new(),
            number: 0,
        });
        let bad = items.next().unwrap().unwrap_err();
        assert!(
            bad.0.starts_with("`x` cannot be read further: "),
            "{}",
            bad.0
        );
        assert_eq!(items.next(), Some(Ok(Item::from("a"))));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn an_endless_item_is_refused_in_bounded_memory() {
        let endless = |before: &'static [u8], after: &'static [u8]| ItemFile {
            name: "stdin".to_owned(),
            reader: BufReader::new(Box::new(
                before
                    .chain(io::repeat(b'x').take(2 * LONGEST as u64))
                    .chain(after),
            )),
        };
        let mut lines = LineItems {
            sources: [endless(b"a\n", b"\nb\n")].into(),
            end: ItemEnd::Line,
            line: Vec::new(),
            number: 0,
        };
        assert_eq!(lines.next(), Some(Ok(Item::from("a"))));
        let bad = lines.next().unwrap().unwrap_err();
        assert_eq!(bad.0, "line 2 of stdin is longer than 32MiB");
        assert!(lines.line.capacity() <= 3 * LONGEST);
        assert_eq!(lines.next(), Some(Ok(Item::from("b"))));
        assert!(lines.line.capacity() <= KEPT);

        let records = Records::open([endless(b"a\n", b"")].into(), b',', false).unwrap();
        let mut items = Items::Csv(Box::new(records));
        assert!(items.next().unwrap().is_ok());
        let bad = items.next().unwrap().unwrap_err();
        assert!(
            bad.0.ends_with("a record is longer than 32MiB"),
            "{}",
            bad.0
        );
        assert!(items.next().is_none());
    }

    #[test]
    fn records_have_columns_and_names() {
        let text = b"email,name\n\"a,b\",\"x\ny\"\nshort\nc,\xff\n";
        let records = Records::open([source(text)].into(), b',', true).unwrap();
        let mut items = Items::Csv(Box::new(records));
        assert_eq!((items.column_count(), items.column_names().len()), (2, 2));
        let first = items.next().unwrap().unwrap();
        assert_eq!(first.columns().collect::<Vec<_>>(), [&b"a,b"[..], b"x\ny"]);
        assert_eq!(first.joined(), b"a,b x\ny");
        let bad = items.next().unwrap().unwrap_err();
        assert_eq!(
            bad.0,
            "line 4 of stdin has another number of columns (1) than the first record (2)"
        );
        assert_eq!(items.next().unwrap().unwrap().column(1), Some(&b"\xff"[..]));
        assert!(items.next().is_none());

        let records = Records::open([source(b"a,b\nc,d\n")].into(), b',', false).unwrap();
        assert_eq!(
            Items::Csv(Box::new(records)).count(),
            2,
            "the first record is one too"
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_is_said_and_the_next_source_goes_on() {
        let text = b"id,note\n1,ok\n2,\"oops\n3,fine\n";
        let sources = [source(text), source(b"id,note\n4,good\n")];
        let records = Records::open(sources.into(), b',', true).unwrap();
        let items: Vec<_> = Items::Csv(Box::new(records)).collect();
        let bad = "stdin cannot be read further: the quote that opens on line 3 is never closed";
        let [Ok(first), Err(broken), Ok(last)] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(
            (first.column(1), last.column(1)),
            (Some(&b"ok"[..]), Some(&b"good"[..]))
        );
        assert_eq!(broken.0, bad);
    }

    #[test]
    fn names_of_columns_are_different() {
        let open = |header| Records::open([source(b"a,b,a\n1,2,3\n")].into(), b',', header);
        let error = open(true).err().unwrap();
        assert!(error.to_string().contains("two columns `a`"), "{error}");
        assert!(open(false).is_ok());
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_it() {
        let Err(error) = Items::lines(&["/no/such/file".into()], ItemEnd::Line) else {
            panic!("it cannot be there")
        };
        assert_eq!(error.to_string(), "`/no/such/file` cannot be read");
        assert!(Items::lines(&["/".into()], ItemEnd::Line).is_err());
    }
}
