//! Splits a stream of bytes into lines, and drops lines that are too long.

/// The capacity that an empty buffer keeps: that of a Linux pipe.
pub(super) const KEPT_CAPACITY: usize = 64 * 1024;

/// Empties a buffer, and frees memory that only a single large message needed.
pub(super) fn clear(bytes: &mut Vec<u8>) {
    let kept = KEPT_CAPACITY.max(2 * bytes.len());
    bytes.clear();
    bytes.shrink_to(kept);
}

/// How many bytes are kept of each end of an overlong line, so that its type and its id can be read.
const KEPT_OF_OVERLONG: usize = 1024;

/// One line without its newline, or the rest of a line that was too long.
pub(super) enum Frame<'a> {
    /// A complete line.
    Line(&'a [u8]),
    /// What is left of a line that was too long to keep.
    Overlong(DroppedLine),
}

/// Collects bytes until they form a line.
///
/// The lines do not depend on where the bytes were cut.
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    /// The position at which the next line begins.
    start: usize,
    /// There is no newline between `start` and this position, so these bytes are never searched again.
    searched: usize,
    /// The maximum length of a line. A longer one is dropped.
    limit: usize,
    /// The line that is being dropped, if there is one.
    dropped: Option<DroppedLine>,
}

/// What is left of a line that was dropped, or is being dropped.
#[derive(Default)]
pub(super) struct DroppedLine {
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// Its last bytes, as far as it has arrived.
    pub(super) tail: Vec<u8>,
    /// How many bytes of it have arrived.
    pub(super) bytes: u64,
}

impl LineBuffer {
    /// Makes a buffer for lines of at most this many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            searched: 0,
            limit,
            dropped: None,
        }
    }

    /// Adds bytes, cut at any position.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.searched -= self.start;
        if self.start == self.bytes.len() {
            clear(&mut self.bytes);
        } else {
            self.bytes.drain(..self.start);
        }
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
        self.drop_overlong();
    }

    /// Drops the beginning of a line that is already too long, although its end has not arrived yet.
    fn drop_overlong(&mut self) {
        let is_too_long = self.dropped.is_some() || self.is_too_long(self.bytes.len());
        // If there is a newline, complete lines have to be taken first.
        if is_too_long && memchr::memchr(b'\n', &self.bytes[self.start..]).is_none() {
            self.searched = self.bytes.len();
            self.drop_until(self.bytes.len());
        }
    }

    /// Whether the line that begins at `start` is too long if it goes up to `end`. A carriage return at its end may belong to the
    /// line break.
    fn is_too_long(&self, end: usize) -> bool {
        let line = &self.bytes[self.start..end];
        line.strip_suffix(b"\r").unwrap_or(line).len() > self.limit
    }

    /// Drops the text after the last newline, because the stream broke off there.
    pub(super) fn discard_unfinished(&mut self) {
        let end = memchr::memrchr(b'\n', &self.bytes).map_or(self.start, |newline| newline + 1);
        self.bytes.truncate(end.max(self.start));
        self.searched = self.searched.min(self.bytes.len());
        self.dropped = None;
    }

    /// Returns the number of bytes that were not returned as lines yet.
    pub(super) fn unread(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Returns the next complete line.
    pub(super) fn next(&mut self) -> Option<Frame<'_>> {
        let Some(offset) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            if self.dropped.is_some() || self.is_too_long(self.bytes.len()) {
                self.drop_until(self.bytes.len());
            }
            return None;
        };
        let end = self.searched + offset;
        let frame = if self.dropped.is_some() || self.is_too_long(end) {
            self.drop_until(end);
            self.dropped.take().map(Frame::Overlong)
        } else {
            Some(Frame::Line(&self.bytes[self.start..end]))
        };
        self.start = end + 1;
        self.searched = end + 1;
        frame
    }

    /// Returns the text after the last newline. Call it only if no more bytes can come.
    pub(super) fn take_unfinished(&mut self) -> Option<Frame<'_>> {
        if let Some(dropped) = self.dropped.take() {
            return Some(Frame::Overlong(dropped));
        }
        let start = std::mem::replace(&mut self.start, self.bytes.len());
        (start < self.bytes.len()).then(|| Frame::Line(&self.bytes[start..]))
    }

    /// Drops the bytes of the current line up to `end`, and counts them.
    fn drop_until(&mut self, end: usize) {
        let line = &self.bytes[self.start..end];
        let dropped = self.dropped.get_or_insert_default();
        let missing = KEPT_OF_OVERLONG - dropped.head.len();
        dropped
            .head
            .extend_from_slice(&line[..line.len().min(missing)]);
        let last = &line[line.len().saturating_sub(KEPT_OF_OVERLONG)..];
        let surplus = (dropped.tail.len() + last.len()).saturating_sub(KEPT_OF_OVERLONG);
        dropped.tail.drain(..surplus);
        dropped.tail.extend_from_slice(last);
        dropped.bytes += line.len() as u64;
        self.start = end;
    }
}
