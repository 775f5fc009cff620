//! Items that are the lines of files, or that end with another byte than a newline.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;

use super::item::{Item, ItemError};
use crate::error::CliError;
use crate::job_file::{LONGEST, LineRead, read_until};
use crate::standard_streams::need_stdin;
use crate::value;

/// How much of a file is read at once.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// The capacity to which the buffer of a line shrinks after a longer line.
pub(super) const KEPT: usize = 1 << 20;

/// The mark with which some programs begin a text in UTF-8. It is no part of the first line.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How an item ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemEnd {
    /// With a newline, before which a carriage return may stand. Empty lines are skipped.
    Line,
    /// With this byte. Items are taken as they are, even empty ones.
    Byte(u8),
    /// With these bytes, of which there are two or more. Items are taken as they are.
    Text(Arc<[u8]>),
}

impl ItemEnd {
    /// NUL, which ends the names that `find -print0` writes.
    pub(crate) const NULL: Self = Self::Byte(0);

    /// Returns the end that these bytes are; `None` if there are none.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => None,
            [byte] => Some(Self::Byte(*byte)),
            _ => Some(Self::Text(bytes.into())),
        }
    }

    /// Returns what messages call the things that are counted.
    fn word(&self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Byte(_) | Self::Text(_) => "item",
        }
    }

    /// Whether an item ends in these bytes.
    fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Line => memchr::memchr(b'\n', bytes).is_some(),
            Self::Byte(byte) => memchr::memchr(*byte, bytes).is_some(),
            Self::Text(text) => memmem::find(bytes, text).is_some(),
        }
    }

    /// Returns the byte by which items are counted, unless several bytes end an item.
    fn counted(&self) -> Option<CountedEnd> {
        match self {
            Self::Line => Some(CountedEnd::Line),
            Self::Byte(byte) => Some(CountedEnd::Byte(*byte)),
            Self::Text(_) => None,
        }
    }

    /// Reads an item without its end.
    fn read(&self, reader: &mut impl BufRead, item: &mut Vec<u8>) -> io::Result<LineRead> {
        match self {
            Self::Line => read_until(reader, b'\n', item),
            Self::Byte(byte) => read_until(reader, *byte, item),
            Self::Text(text) => read_until_text(reader, text, item),
        }
    }
}

/// Reads an item without the bytes that end it.
fn read_until_text(
    reader: &mut impl BufRead,
    text: &[u8],
    item: &mut Vec<u8>,
) -> io::Result<LineRead> {
    let Some(last) = text.last() else {
        return Ok(LineRead::End);
    };
    let (mut any, mut is_too_long) = (false, false);
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            break;
        }
        any = true;
        let taken = memchr::memchr(*last, bytes).map_or(bytes.len(), |at| at + 1);
        item.extend_from_slice(&bytes[..taken]);
        reader.consume(taken);
        if item.ends_with(text) {
            item.truncate(item.len() - text.len());
            break;
        }
        if item.len() > LONGEST + text.len() {
            // The end is still looked for, and it may have begun in the last bytes.
            is_too_long = true;
            item.drain(..item.len() - text.len());
        }
    }
    Ok(match any {
        false => LineRead::End,
        true if is_too_long || item.len() > LONGEST => LineRead::TooLong,
        true => LineRead::Line,
    })
}

/// How an item ends, if one byte ends it. Items are counted by these ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountedEnd {
    /// With a newline. Empty lines are not counted.
    Line,
    /// With this byte.
    Byte(u8),
}

impl CountedEnd {
    /// Returns the byte that ends an item.
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Line => b'\n',
            Self::Byte(byte) => byte,
        }
    }
}

/// How items are read from a file or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemRule {
    /// How an item of a file ends.
    pub(crate) end: ItemEnd,
    /// The item with which its file or list ends. It is left out itself.
    pub(crate) end_item: Option<Vec<u8>>,
    /// Whether items that are empty or blank are left out.
    pub(crate) skips_blank: bool,
    /// Whether an item that ends with a blank goes on in the next one.
    pub(crate) joins_after_blank: bool,
    /// Whether the first item of a file or list is its name.
    pub(crate) has_header: bool,
}

impl From<ItemEnd> for ItemRule {
    fn from(end: ItemEnd) -> Self {
        Self {
            end,
            end_item: None,
            skips_blank: false,
            joins_after_blank: false,
            has_header: false,
        }
    }
}

impl ItemRule {
    /// Whether each item of a file becomes an item of the map.
    fn takes_all(&self) -> bool {
        self.end_item.is_none() && !self.skips_blank && !self.joins_after_blank && !self.has_header
    }

    /// Whether a file or list ends with this item.
    pub(super) fn ends_at(&self, item: &[u8]) -> bool {
        self.end_item.as_deref() == Some(item)
    }

    /// Whether this item goes on in the next one.
    pub(super) fn goes_on(&self, item: &[u8]) -> bool {
        self.joins_after_blank && item.last().is_some_and(|last| matches!(last, b' ' | b'\t'))
    }

    /// Whether this item is left out.
    pub(super) fn skips(&self, item: &[u8]) -> bool {
        self.skips_blank && item.trim_ascii().is_empty()
    }
}

/// An open file with items, and its name in messages.
pub(super) struct ItemFile {
    /// What messages call the source: a path, or `stdin`.
    pub(super) name: String,
    /// Reads the content.
    pub(super) reader: ItemReader,
}

/// The reader of a file with items. Its buffer shows whether a whole item was read already.
pub(super) type ItemReader = BufReader<Box<dyn Read + Send>>;

/// Opens files, or stdin if no file is named.
pub(super) fn open(files: &[PathBuf]) -> Result<VecDeque<ItemFile>, CliError> {
    let stdin = [PathBuf::from("-")];
    let files = if files.is_empty() { &stdin } else { files };
    files.iter().map(|path| open_one(path)).collect()
}

fn open_one(path: &Path) -> Result<ItemFile, CliError> {
    if path.as_os_str() == "-" {
        need_stdin()?;
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
    /// The sources that have not ended, the current one first.
    pub(super) sources: VecDeque<ItemFile>,
    rule: ItemRule,
    /// The name of the items, if the first item is a header. Otherwise it is empty.
    pub(super) names: Vec<Vec<u8>>,
    /// Whether the next item is the header of its file.
    is_header: bool,
    /// The item that is being read; it is kept so that its memory is reused.
    pub(super) line: Vec<u8>,
    /// The beginning of an item that goes on in the next line.
    begun: Vec<u8>,
    /// The number of the last line in the first source.
    number: u64,
}

impl LineItems {
    /// Opens these files, whose lines are read one file after the other, or stdin if no file is named.
    ///
    /// If the first item is a header, it is read here.
    pub(super) fn open(files: &[PathBuf], rule: ItemRule) -> Result<Self, CliError> {
        let mut lines = Self::of(open(files)?, rule);
        if lines.rule.has_header {
            lines.is_header = false;
            let header = lines
                .next()
                .transpose()
                .map_err(|bad| CliError::usage(bad.0))?;
            lines.names = header.iter().map(Item::joined).collect();
        }
        Ok(lines)
    }

    /// Takes these files, none of which has been read.
    pub(super) fn of(sources: VecDeque<ItemFile>, rule: impl Into<ItemRule>) -> Self {
        let rule = rule.into();
        Self {
            sources,
            is_header: rule.has_header,
            rule,
            names: Vec::new(),
            line: Vec::new(),
            begun: Vec::new(),
            number: 0,
        }
    }

    /// Returns how an item ends, if the number of items can be counted by their ends.
    pub(super) fn end_to_count(&self) -> Option<CountedEnd> {
        self.rule.end.counted().filter(|_| self.rule.takes_all())
    }

    /// Takes the item that was begun, if there is one.
    fn take_begun(&mut self) -> Option<Item> {
        if self.begun.is_empty() {
            return None;
        }
        Some(Item::from(std::mem::take(&mut self.begun).as_slice()))
    }

    /// Goes on with the next file.
    fn leave_source(&mut self) {
        self.sources.pop_front();
        self.number = 0;
        self.is_header = self.rule.has_header;
    }

    /// Whether reading the next line may wait.
    pub(super) fn may_wait(&self) -> bool {
        let ends = |source: &ItemFile| self.rule.end.is_in(source.reader.buffer());
        !self.sources.front().is_some_and(ends)
    }

    /// Reads the next line.
    pub(super) fn next(&mut self) -> Option<Result<Item, ItemError>> {
        loop {
            let source = self.sources.front_mut()?;
            self.line.clear();
            self.line.shrink_to(KEPT);
            self.number += 1;
            let end = &self.rule.end;
            match end.read(&mut source.reader, &mut self.line) {
                Ok(LineRead::End) => {
                    self.leave_source();
                    if let Some(item) = self.take_begun() {
                        return Some(Ok(item));
                    }
                }
                Ok(LineRead::TooLong) => {
                    return Some(Err(too_long(end, self.number, &source.name)));
                }
                Ok(LineRead::Line) => {
                    if self.number == 1 && *end == ItemEnd::Line && self.line.starts_with(BOM) {
                        self.line.drain(..BOM.len());
                    }
                    if *end == ItemEnd::Line && self.line.last() == Some(&b'\r') {
                        self.line.pop();
                    }
                    let is_nothing = *end == ItemEnd::Line && self.line.is_empty();
                    if is_nothing || self.rule.skips(&self.line) {
                        continue;
                    }
                    if std::mem::take(&mut self.is_header) {
                        continue;
                    }
                    if self.rule.ends_at(&self.line) {
                        self.leave_source();
                        match self.take_begun() {
                            Some(item) => return Some(Ok(item)),
                            None => continue,
                        }
                    }
                    let goes_on = self.rule.goes_on(&self.line);
                    if !goes_on && self.begun.is_empty() {
                        return Some(Ok(Item::from(self.line.as_slice())));
                    }
                    if self.begun.len() + self.line.len() > LONGEST {
                        self.begun = Vec::new();
                        return Some(Err(too_long(end, self.number, &source.name)));
                    }
                    self.begun.extend_from_slice(&self.line);
                    if !goes_on {
                        return self.take_begun().map(Ok);
                    }
                }
                Err(error) => {
                    let bad = ItemError(format!("{} cannot be read further: {error}", source.name));
                    self.leave_source();
                    return Some(Err(bad));
                }
            }
        }
    }
}

fn too_long(end: &ItemEnd, number: u64, source: &str) -> ItemError {
    ItemError(format!(
        "{} {number} of {source} is longer than {}",
        end.word(),
        value::show_size(LONGEST as u64)
    ))
}
