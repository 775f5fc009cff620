//! Cuts a stream of bytes into lines, and keeps its place when one is too long.

/// What a buffer keeps when it is empty: a pipe's worth.
pub(crate) const KEPT_CAPACITY: usize = 64 * 1024;

/// Empties a buffer, and lets go of memory that only a message long past had needed.
pub(crate) fn clear(bytes: &mut Vec<u8>) {
    let kept = KEPT_CAPACITY.max(2 * bytes.len());
    bytes.clear();
    bytes.shrink_to(kept);
}

/// How much of an overlong line is kept, to see what it was about.
const HEAD_BYTES: usize = 1024;

/// One line without its newline, or what is left of one that was too long.
pub(crate) enum Frame<'a> {
    Line(&'a [u8]),
    Overlong { head: Vec<u8>, bytes: u64 },
}

/// Collects bytes until they make a line.
///
/// Which lines come out does not depend on how the bytes were cut when they went in.
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is no newline; never searched twice.
    searched: usize,
    limit: usize,
    /// The line that is being dropped, if one is.
    dropping: Option<Dropping>,
}

#[derive(Default)]
struct Dropping {
    head: Vec<u8>,
    bytes: u64,
}

impl LineBuffer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            searched: 0,
            limit,
            dropping: None,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
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

    /// Lets go of a line that is too long already, though its end is not in sight.
    fn drop_overlong(&mut self) {
        let too_long = self.dropping.is_some() || self.unread() > self.limit;
        // With a newline in sight there are whole lines to be taken first.
        if too_long && memchr::memchr(b'\n', &self.bytes[self.start..]).is_none() {
            self.searched = self.bytes.len();
            self.drop_until(self.bytes.len());
        }
    }

    /// Forgets what stands after the last newline: the stream broke off there.
    pub(crate) fn discard_unfinished(&mut self) {
        let end = memchr::memrchr(b'\n', &self.bytes).map_or(self.start, |newline| newline + 1);
        self.bytes.truncate(end.max(self.start));
        self.searched = self.searched.min(self.bytes.len());
        self.dropping = None;
    }

    pub(crate) fn unread(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The next complete line.
    pub(crate) fn next(&mut self) -> Option<Frame<'_>> {
        let Some(offset) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            if self.dropping.is_some() || self.unread() > self.limit {
                self.drop_until(self.bytes.len());
            }
            return None;
        };
        let end = self.searched + offset;
        let frame = if self.dropping.is_some() || end - self.start > self.limit {
            self.drop_until(end);
            self.dropping
                .take()
                .map(|Dropping { head, bytes }| Frame::Overlong { head, bytes })
        } else {
            Some(Frame::Line(&self.bytes[self.start..end]))
        };
        self.start = end + 1;
        self.searched = end + 1;
        frame
    }

    /// What stands after the last newline, once nothing more will come.
    pub(crate) fn take_unfinished(&mut self) -> Option<Frame<'_>> {
        if let Some(Dropping { head, bytes }) = self.dropping.take() {
            return Some(Frame::Overlong { head, bytes });
        }
        let start = std::mem::replace(&mut self.start, self.bytes.len());
        (start < self.bytes.len()).then(|| Frame::Line(&self.bytes[start..]))
    }

    /// Drops the bytes of the current line up to `end` and counts them.
    fn drop_until(&mut self, end: usize) {
        let line = &self.bytes[self.start..end];
        let dropping = self.dropping.get_or_insert_default();
        let missing = HEAD_BYTES - dropping.head.len();
        dropping
            .head
            .extend_from_slice(&line[..line.len().min(missing)]);
        dropping.bytes += line.len() as u64;
        self.start = end;
    }
}
