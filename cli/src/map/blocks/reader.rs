//! Reads blocks of whole records.

use std::io::{self, Read};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::buffers::{Block, BlockBuffers};
use super::separator::{Found, RecordSeparator};
use super::{BlockRule, BlockSize};
use crate::job_file::LONGEST;
use crate::map::item::ItemError;
use crate::value;

/// How many bytes are read at once to count records.
const READ_BYTES: usize = 256 * 1024;

/// A reader that splits an input into blocks.
pub(crate) struct BlockReader {
    input: Box<dyn Read + Send>,
    size: BlockSize,
    separator: RecordSeparator,
    /// How many lines a record has.
    lines: NonZeroU32,
    buffers: Arc<BlockBuffers>,
    /// Whether the first line has to be read before the next block, because it is a header.
    needs_header: bool,
    /// Whether blocks that are blank are left out.
    skips_blank: bool,
    /// The first line, if it is written before each block. Otherwise it is empty.
    header: Vec<u8>,
    /// The bytes that were read and belong to later blocks.
    read: Vec<u8>,
    /// The offset of the next block in `read`.
    start: usize,
    /// Whether the input has ended.
    has_ended: bool,
}

impl BlockReader {
    /// Splits an input by a rule.
    pub(super) fn new(
        input: Box<dyn Read + Send>,
        rule: BlockRule,
        buffers: Arc<BlockBuffers>,
    ) -> Self {
        Self {
            input,
            size: rule.size,
            separator: rule.separator,
            lines: rule.lines,
            buffers,
            needs_header: rule.has_header,
            skips_blank: rule.skips_blank,
            header: Vec::new(),
            read: Vec::new(),
            start: 0,
            has_ended: false,
        }
    }

    /// Reads the next block. After an error there are no more.
    pub(super) fn next(&mut self) -> Option<Result<Block, ItemError>> {
        loop {
            let block = self.next_block()?;
            match &block {
                Ok(filled) if self.skips_blank => {
                    if !filled.bytes[self.header.len()..].trim_ascii().is_empty() {
                        return Some(block);
                    }
                }
                _ => return Some(block),
            }
        }
    }

    /// Reads the next block, which may be blank.
    fn next_block(&mut self) -> Option<Result<Block, ItemError>> {
        if self.needs_header {
            self.needs_header = false;
            if let Err(error) = self.read_header() {
                return Some(Err(self.fail(&error)));
            }
        }
        if self.has_ended && self.start == self.read.len() {
            return None;
        }
        let mut block = self.buffers.take();
        block.bytes.extend_from_slice(&self.header);
        let filled = match self.size {
            BlockSize::Bytes(bytes) => self.fill_by_bytes(&mut block.bytes, bytes),
            BlockSize::Records(records) => {
                let lines = records.saturating_mul(self.lines);
                self.fill_by_records(&mut block.bytes, lines)
            }
        };
        match filled {
            Ok(()) if block.bytes.len() == self.header.len() => None,
            Ok(()) => Some(Ok(block)),
            Err(error) => Some(Err(self.fail(&error))),
        }
    }

    /// Fills a block with as many records as fit, and with at least one.
    fn fill_by_bytes(&mut self, block: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
        let header = block.len();
        let pending = &self.read[self.start..];
        if (self.has_ended || pending.len() > bytes)
            && let Some(end) = self.end_of_block(pending, bytes)
        {
            block.extend_from_slice(&pending[..end]);
            self.start += end;
            return Ok(());
        }
        block.extend_from_slice(pending);
        self.read.clear();
        self.start = 0;
        let mut most = bytes;
        loop {
            let room = most.saturating_sub(block.len() - header);
            block.reserve(room);
            let read = self.input.by_ref().take(room as u64).read_to_end(block)?;
            self.has_ended |= read < room;
            let content = &block[header..];
            if let Some(end) = self.end_of_block(content, bytes) {
                self.read.extend_from_slice(&content[end..]);
                block.truncate(header + end);
                return Ok(());
            }
            if content.len() >= LONGEST.max(bytes) {
                return Err(too_long());
            }
            // The step is doubled each time. With a fixed step, a long record would be searched from its beginning
            // again and again.
            most = most.saturating_mul(2);
        }
    }

    /// Returns the end of the last record that fits into this many bytes, or else the end of the first record. It is
    /// nothing if more has to be read.
    fn end_of_block(&self, content: &[u8], bytes: usize) -> Option<usize> {
        // With several lines a record, what is left after the last whole record is a block of its own.
        if self.has_ended && content.len() <= bytes && self.lines == NonZeroU32::MIN {
            return Some(content.len());
        }
        let boundary = match self.lines.get() {
            1 => self
                .separator
                .find_last(content, bytes, self.has_ended)
                .or_else(|| match self.separator.find(content, 0, self.has_ended) {
                    Found::At { boundary, .. } => Some(boundary),
                    Found::Not { .. } => None,
                }),
            lines => self.end_of_lines(content, bytes, lines),
        };
        boundary.or_else(|| self.has_ended.then_some(content.len()))
    }

    /// Returns the end of the last record of several lines that fits into this many bytes, or else that of the first one.
    fn end_of_lines(&self, content: &[u8], bytes: usize, lines: u32) -> Option<usize> {
        let (mut last, mut from, mut count) = (None, 0, 0);
        while let Found::At { boundary, next } = self.separator.find(content, from, self.has_ended)
            && (last.is_none() || boundary <= bytes)
        {
            (from, count) = (next, count + 1);
            if count == lines {
                (last, count) = (Some(boundary), 0);
            }
        }
        last
    }

    /// Fills a block with this many records, or with all that are left.
    fn fill_by_records(&mut self, block: &mut Vec<u8>, records: NonZeroU32) -> io::Result<()> {
        let (mut count, mut from, mut record) = (0, 0, 0);
        loop {
            let bytes = &self.read[self.start..];
            match self.separator.find(bytes, from, self.has_ended) {
                Found::At { boundary, next } => {
                    count += 1;
                    (from, record) = (next, boundary);
                    if count == records.get() {
                        block.extend_from_slice(&bytes[..boundary]);
                        self.start += boundary;
                        return Ok(());
                    }
                }
                Found::Not { .. } if self.has_ended => {
                    block.extend_from_slice(bytes);
                    self.start = self.read.len();
                    return Ok(());
                }
                Found::Not { next } => {
                    if bytes.len() - record > LONGEST {
                        return Err(too_long());
                    }
                    from = next;
                    self.read_more()?;
                }
            }
        }
    }

    /// Reads the first line, which becomes the header.
    fn read_header(&mut self) -> io::Result<()> {
        let mut from = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read[from..]) {
                self.start = from + end + 1;
                self.header = self.read[..self.start].to_vec();
                return Ok(());
            }
            if self.has_ended {
                self.header = std::mem::take(&mut self.read);
                return Ok(());
            }
            if self.read.len() > LONGEST {
                return Err(too_long());
            }
            from = self.read.len();
            self.read_more()?;
        }
    }

    /// Reads more of the input, after dropping what earlier blocks took.
    fn read_more(&mut self) -> io::Result<()> {
        self.read.drain(..self.start);
        self.start = 0;
        let more = self.input.by_ref().take(READ_BYTES as u64);
        self.has_ended = { more }.read_to_end(&mut self.read)? < READ_BYTES;
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) -> ItemError {
        self.has_ended = true;
        self.read.clear();
        self.start = 0;
        ItemError(format!("the input cannot be split further: {error}"))
    }
}

fn too_long() -> io::Error {
    let most = value::show_size(LONGEST as u64);
    io::Error::other(format!(
        "a record is longer than {most}: set the end of a record with --recend, or a larger block with --block"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Gives one byte at a time, as a slow pipe may.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn blocks(
        text: &str,
        size: BlockSize,
        (start, end): (&str, &str),
        header: bool,
    ) -> Vec<String> {
        let rule = BlockRule {
            size,
            separator: RecordSeparator::of_texts(start.as_bytes(), end.as_bytes()).unwrap(),
            lines: NonZeroU32::MIN,
            has_header: header,
            skips_blank: false,
        };
        let read = |input: Box<dyn Read + Send>| {
            let mut reader = BlockReader::new(input, rule.clone(), BlockBuffers::new(1000));
            let blocks = std::iter::from_fn(|| reader.next());
            let text = |block: Block| String::from_utf8(block.bytes.clone()).unwrap();
            blocks.map(|block| text(block.unwrap())).collect::<Vec<_>>()
        };
        let input = Cursor::new(text.as_bytes().to_vec());
        let slow = read(Box::new(Slow(input.clone())));
        assert_eq!(slow, read(Box::new(input)));
        slow
    }

    const LINES: (&str, &str) = ("", "\n");

    fn records(count: u32) -> BlockSize {
        BlockSize::Records(NonZeroU32::new(count).unwrap())
    }

    #[test]
    fn blocks_have_as_many_whole_records_as_fit_and_one_at_least() {
        let of = |text, bytes| blocks(text, BlockSize::Bytes(bytes), LINES, false);
        assert_eq!(of("a\nb\nc\n", 4), ["a\nb\n", "c\n"]);
        assert_eq!(of("a\nb\nc", 5), ["a\nb\n", "c"]);
        assert_eq!(of("long line\nb\n", 4), ["long line\n", "b\n"]);
        assert_eq!(of("a\nlong last line", 2), ["a\n", "long last line"]);
        assert_eq!(of("", 4), [""; 0]);
        assert_eq!(of("\n\n", 1), ["\n", "\n"]);
    }

    #[test]
    fn blocks_have_so_many_records() {
        let of = |text, count, ends| blocks(text, records(count), ends, false);
        assert_eq!(of("a\nb\nc\n", 2, LINES), ["a\nb\n", "c\n"]);
        assert_eq!(of("a\nb\nc", 1, LINES), ["a\n", "b\n", "c"]);
        assert_eq!(
            of(">a\nx\n>b\n>c\n", 1, (">", "")),
            [">a\nx\n", ">b\n", ">c\n"]
        );
        assert_eq!(of("x>y\n>b\n", 1, (">", "\n")), ["x>y\n", ">b\n"]);
    }

    #[test]
    fn the_first_line_stands_before_each_block() {
        let of = |text, size| blocks(text, size, LINES, true);
        assert_eq!(of("h\na\nb\n", records(1)), ["h\na\n", "h\nb\n"]);
        assert_eq!(of("h\na\nb\n", BlockSize::Bytes(2)), ["h\na\n", "h\nb\n"]);
        assert_eq!(of("h\n", records(1)), [""; 0], "a header alone is no block");
    }

    #[test]
    fn an_endless_record_and_a_broken_input_are_said_and_end_the_blocks() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let endless = || io::repeat(b'x');
        for size in [BlockSize::Bytes(1000), records(3)] {
            for (input, said) in [
                (Box::new(endless()) as Box<dyn Read + Send>, "--recend"),
                (Box::new(Broken), "the input cannot be split further"),
            ] {
                let rule = BlockRule {
                    size,
                    separator: RecordSeparator::of_texts(b"", b"\n").unwrap(),
                    lines: NonZeroU32::MIN,
                    has_header: false,
                    skips_blank: false,
                };
                let mut reader = BlockReader::new(input, rule, BlockBuffers::new(3));
                let error = reader.next().unwrap().unwrap_err();
                assert!(error.0.contains(said), "{}", error.0);
                assert!(reader.next().is_none());
            }
        }
    }
}
