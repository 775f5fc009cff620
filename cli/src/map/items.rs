//! The sources of items, which are read one by one when there is room for their jobs.

mod cut;
mod read_ahead;
mod records;

use std::io::{self, BufReader};
use std::path::PathBuf;

use ratchet_runtime::PlaceName;

pub(crate) use self::cut::ColumnSplitter;
use self::cut::CutItems;
use self::read_ahead::ReadAhead;
use self::records::Records;
use super::groups::{GroupRule, Groups};
use super::item::{Item, ItemError};
use super::lines::{BUFFER_BYTES, CountedEnd, ItemFile, ItemReader, ItemRule, LineItems, open};
use super::lists::{CombinedLists, ListSources};
use super::shuffle::shuffle;
use super::template::Template;
use crate::error::CliError;

/// A source of the items of a map.
pub(crate) enum Items {
    /// Each line is an item.
    LineItems(LineItems),
    /// Each record of CSV files is an item.
    Csv(Box<Records>),
    /// The columns of each item are cut by a regular expression.
    Cut(Box<CutItems>),
    /// Each group of several items is an item.
    Groups(Box<Groups>),
    /// Each combination of the lists after `:::` is an item.
    CombinedLists(CombinedLists),
    /// Each host is an item: its name.
    Hosts(HostItems),
    /// The items of another source, in random order.
    Shuffled(ShuffledItems),
}

/// The hosts on each of which a command is run once.
#[derive(Debug)]
pub(crate) struct HostItems {
    hosts: std::vec::IntoIter<PlaceName>,
    /// The name of the only column.
    columns: [Vec<u8>; 1],
}

/// Items in random order, which were all read before the first one is returned.
pub(crate) struct ShuffledItems {
    items: std::vec::IntoIter<Result<Item, ItemError>>,
    columns: usize,
    names: Vec<Vec<u8>>,
}

impl Items {
    /// Returns the items of these files, one file after the other, or those of stdin if no file is named.
    pub(crate) fn lines(files: &[PathBuf], rule: impl Into<ItemRule>) -> Result<Self, CliError> {
        LineItems::open(files, rule.into()).map(Self::LineItems)
    }

    /// Returns the items of lists. A single file is read as there is room for its jobs. If there are several lists,
    /// their files are read now, each as a whole.
    pub(crate) fn lists(lists: ListSources, rule: impl Into<ItemRule>) -> Result<Self, CliError> {
        let rule = rule.into();
        match lists.single_file() {
            Some(path) => Self::lines(&[path.to_owned()], rule),
            None => lists.read(&rule).map(Self::CombinedLists),
        }
    }

    /// Returns the records of these files, whose columns are separated by this byte and may stand in quotes. With
    /// `header`, the first record of each file names the columns.
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
    pub(crate) fn cut(self, cut: ColumnSplitter, header: bool) -> Self {
        Self::Cut(Box::new(CutItems::open(self, cut, header)))
    }

    /// Reads all items, and puts them into random order.
    #[must_use]
    pub(crate) fn shuffled(mut self) -> Self {
        let mut items: Vec<_> = self.by_ref().collect();
        shuffle(&mut items);
        Self::Shuffled(ShuffledItems {
            items: items.into_iter(),
            columns: self.column_count(),
            names: self.column_names().to_vec(),
        })
    }

    /// Joins several items for each command.
    #[must_use]
    pub(crate) fn grouped(self, rule: GroupRule, template: Template) -> Self {
        let are_all_there = self.total().is_some();
        Self::Groups(Box::new(Groups::new(self, are_all_there, rule, template)))
    }

    /// Returns the names of these hosts.
    pub(crate) fn hosts(hosts: Vec<PlaceName>) -> Self {
        Self::Hosts(HostItems {
            hosts: hosts.into_iter(),
            columns: [b"host".to_vec()],
        })
    }

    /// Returns how many columns each item has. The name of a host is not counted as a column, so it is not added to a
    /// command without a placeholder.
    pub(crate) fn column_count(&self) -> usize {
        match self {
            Self::LineItems(_) => 1,
            Self::Csv(records) => records.columns,
            Self::Cut(items) => items.columns,
            Self::CombinedLists(lists) => lists.columns(),
            Self::Shuffled(shuffled) => shuffled.columns,
            // Groups differ in how many columns they have.
            Self::Hosts(_) | Self::Groups(_) => 0,
        }
    }

    /// Returns the names of the columns, if they have any.
    pub(crate) fn column_names(&self) -> &[Vec<u8>] {
        match self {
            Self::Csv(records) => &records.names,
            Self::Cut(items) => &items.names,
            Self::Hosts(hosts) => &hosts.columns,
            Self::Shuffled(shuffled) => &shuffled.names,
            Self::LineItems(lines) => &lines.names,
            Self::CombinedLists(lists) => lists.names(),
            Self::Groups(_) => &[],
        }
    }

    /// Returns how many items there are, if that is known before they are read.
    pub(crate) fn total(&self) -> Option<u64> {
        match self {
            Self::CombinedLists(lists) => Some(lists.total()),
            Self::Hosts(hosts) => u64::try_from(hosts.hosts.len()).ok(),
            Self::Cut(items) => items.total(),
            Self::Shuffled(shuffled) => u64::try_from(shuffled.items.len()).ok(),
            Self::LineItems(_) | Self::Csv(_) | Self::Groups(_) => None,
        }
    }

    /// Reads ahead on a thread of its own, so that the number of items is known early. Only a single source of lines is
    /// read ahead.
    pub(crate) fn count_ahead(
        &mut self,
        announce: impl FnOnce(u64) + Send + 'static,
    ) -> io::Result<()> {
        let Self::LineItems(lines) = self else {
            return Ok(());
        };
        let Some(end) = lines.end_to_count() else {
            return Ok(());
        };
        if lines.sources.len() == 1
            && let Some(source) = lines.sources.front_mut()
        {
            // Nothing was read from the source yet, so its buffer is empty and no byte is lost with it.
            let reader =
                std::mem::replace(&mut source.reader, BufReader::new(Box::new(io::empty())));
            let ahead = ReadAhead::start(reader.into_inner(), end, announce)?;
            source.reader = BufReader::with_capacity(BUFFER_BYTES, Box::new(ahead));
        }
        Ok(())
    }

    /// Whether reading the next item may wait. For CSV this cannot be known, so it is true.
    pub(crate) fn may_wait(&self) -> bool {
        match self {
            Self::CombinedLists(_) | Self::Hosts(_) | Self::Shuffled(_) => false,
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
            Self::CombinedLists(lists) => lists.next().map(Ok),
            Self::Shuffled(shuffled) => shuffled.items.next(),
            Self::Hosts(hosts) => hosts.hosts.next().map(|host| Ok(host.as_str().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use super::super::lines::{ItemEnd, KEPT};
    use super::*;
    use crate::job_file::LONGEST;

    pub(super) fn source(text: &[u8]) -> ItemFile {
        ItemFile {
            name: "stdin".to_owned(),
            reader: BufReader::new(Box::new(Cursor::new(text.to_vec()))),
        }
    }

    fn lines(texts: &[&[u8]], end: ItemEnd) -> Vec<Item> {
        let sources = texts.iter().map(|text| source(text)).collect();
        let mut items = Items::LineItems(LineItems::of(sources, end));
        items.by_ref().map(Result::unwrap).collect()
    }

    #[test]
    fn lines_end_as_they_may_and_empty_ones_are_skipped() {
        let items = lines(&[b"a\r\n\n  b \n\xff", b"c\n"], ItemEnd::Line);
        assert_eq!(items, [&b"a"[..], b"  b ", b"\xff", b"c"].map(Item::from));
        assert_eq!(lines(&[b"", b"\n\r\n"], ItemEnd::Line), []);
    }

    #[test]
    fn a_text_ends_its_file_blank_items_are_left_out_and_a_header_names_the_items() {
        let rule = ItemRule {
            end: ItemEnd::Line,
            end_item: Some(b"END".to_vec()),
            skips_blank: true,
            joins_after_blank: false,
            has_header: false,
        };
        let sources = || [source(b"n\na\n \t\nEND\nb\n"), source(b"n\nc\n")].into();
        let read = |rule: ItemRule| -> Vec<Item> {
            let mut lines = LineItems::of(sources(), rule);
            std::iter::from_fn(|| lines.next())
                .map(Result::unwrap)
                .collect()
        };
        let text = |items: &[&str]| items.iter().map(|it| Item::from(*it)).collect::<Vec<_>>();
        assert_eq!(read(rule.clone()), text(&["n", "a", "n", "c"]));
        let headed = ItemRule {
            has_header: true,
            ..rule
        };
        assert_eq!(read(headed.clone()), text(&["a", "c"]));
        assert!(LineItems::of(sources(), headed).end_to_count().is_none());
        let all = LineItems::of(sources(), ItemEnd::Line);
        assert_eq!(all.end_to_count(), Some(CountedEnd::Line));
        assert_eq!(
            LineItems::of(sources(), ItemEnd::Text(b"--".as_slice().into())).end_to_count(),
            None
        );
    }

    #[test]
    fn nul_keeps_items_as_they_are() {
        let items = lines(&[b"a\n\r\0\0b"], ItemEnd::NULL);
        assert_eq!(items, [&b"a\n\r"[..], b"", b"b"].map(Item::from));
    }

    #[test]
    fn several_bytes_end_an_item_and_parts_of_them_do_not() {
        let end = || ItemEnd::of(b"--").unwrap();
        let items = lines(&[b"a-b--\n----c-", b"--d--"], end());
        assert_eq!(
            items,
            [&b"a-b"[..], b"\n", b"", b"c-", b"", b"d"].map(Item::from)
        );
        let slow = ItemFile {
            name: "stdin".to_owned(),
            reader: BufReader::with_capacity(1, Box::new(Cursor::new(b"a--b"))),
        };
        let mut lines = LineItems::of([slow].into(), end());
        assert_eq!(lines.next(), Some(Ok(Item::from("a"))));
        assert_eq!(lines.next(), Some(Ok(Item::from("b"))));
        let endless = io::repeat(b'-')
            .take(3)
            .chain(io::repeat(b'x').take(2 * LONGEST as u64));
        let long = ItemFile {
            name: "stdin".to_owned(),
            reader: BufReader::new(Box::new(endless.chain(&b"--b"[..]))),
        };
        let mut lines = LineItems::of([long].into(), end());
        assert_eq!(lines.next(), Some(Ok(Item::from(""))));
        let bad = lines.next().unwrap().unwrap_err();
        assert_eq!(bad.0, "item 2 of stdin is longer than 32MiB");
        assert_eq!(lines.next(), Some(Ok(Item::from("b"))));
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
        let sources = [broken, source(b"a\n")].into();
        let mut items = Items::LineItems(LineItems::of(sources, ItemEnd::Line));
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
        let mut lines = LineItems::of([endless(b"a\n", b"\nb\n")].into(), ItemEnd::Line);
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
