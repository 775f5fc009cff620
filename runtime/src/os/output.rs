//! Keeps the output of a process, within limits.

mod excerpt;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

pub use excerpt::OutputExcerpt;

/// One of the two output pipes of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The standard output, for results.
    Stdout,
    /// The standard error, for everything else.
    Stderr,
}

/// Receives the output of a program as it comes.
///
/// It is called on the thread that serves only this program while it runs, and may block there: a program whose output
/// is not read waits, as in a shell pipeline. Breaking off closes the pipe, and a program that continues to print into
/// it gets SIGPIPE.
pub trait OutputSink: Send + Sync {
    /// Receives the next bytes, in the pieces in which the pipe delivers them.
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()>;
}

/// Keeps the beginning of both streams.
#[derive(Debug)]
pub(super) struct Capture {
    /// The highest number of bytes of each stream that are kept.
    limit: usize,
    /// The beginnings of stdout and stderr, in this order.
    kept: Mutex<[Captured; 2]>,
}

impl Capture {
    /// Makes an empty output that keeps at most this many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Mutex::default(),
        }
    }

    /// Takes the kept parts of stdout and stderr.
    pub(super) fn take(&self) -> [Captured; 2] {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl OutputSink for Capture {
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &mut *kept;
        let captured = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        captured.push(bytes, self.limit);
        ControlFlow::Continue(())
    }
}

/// The beginning of the output of a process, and how many more bytes there were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The bytes that were kept.
    pub bytes: Vec<u8>,
    /// How many bytes were not kept.
    pub dropped: u64,
}

impl Captured {
    /// Adds the next output, up to the limit.
    pub fn push(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.dropped += (bytes.len() - room) as u64;
    }

    /// Converts the kept bytes to text. What is not UTF-8 is replaced, and nothing marks that bytes were
    /// [dropped](Self::dropped).
    ///
    /// ```
    /// use ratchet_runtime::process::Captured;
    ///
    /// let cut = Captured { bytes: b"beginning".to_vec(), dropped: 7 };
    /// assert_eq!(cut.to_text(), "beginning");
    /// ```
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// The beginning and the end of the output of a process, in bounded memory.
///
/// ```
/// use ratchet_runtime::process::HeadTail;
///
/// let mut kept = HeadTail::new(8, 8);
/// kept.push(b"first\nsecond\nthird\nfourth\n");
/// let excerpt = kept.to_excerpt();
/// assert_eq!(excerpt.parts(), ("first\n", "fourth\n"));
/// assert_eq!(excerpt.dropped(), 13);
/// ```
#[derive(Debug, Clone)]
pub struct HeadTail {
    /// The first bytes, up to `head_size`.
    head: Vec<u8>,
    /// The highest number of bytes of the head.
    head_size: usize,
    /// The last bytes of the output after the head.
    tail: Tail,
}

impl HeadTail {
    /// Makes a buffer for this many bytes of the beginning, and this many of the end.
    pub fn new(head_size: usize, tail_size: usize) -> Self {
        Self {
            head: Vec::new(),
            head_size,
            tail: Tail::new(tail_size),
        }
    }

    /// Adds the next output.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.head_size.saturating_sub(self.head.len());
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        self.tail.push(rest);
    }

    /// Returns how many bytes were printed in total, including those that were dropped.
    pub fn total(&self) -> u64 {
        (self.head.len() + self.tail.bytes.len()) as u64 + self.tail.dropped
    }

    /// Returns how many bytes after the first `offset` were dropped, and the kept bytes from there on. A caller that
    /// asks repeatedly, each time from the last [total](Self::total), can follow the output of a program.
    ///
    /// ```
    /// use ratchet_runtime::process::HeadTail;
    ///
    /// let mut kept = HeadTail::new(0, 8);
    /// kept.push(b"one ");
    /// assert_eq!(kept.since(0), (0, b"one ".to_vec()));
    /// kept.push(b"two three ");
    /// assert_eq!(kept.since(4), (2, b"o three ".to_vec()));
    /// assert_eq!(kept.since(kept.total()), (0, Vec::new()));
    /// ```
    pub fn since(&self, offset: u64) -> (u64, Vec<u8>) {
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let of_head = self.head.get(index(offset)..).unwrap_or_default();
        let tail_at = self.head.len() as u64 + self.tail.dropped;
        let skipped = index(offset.saturating_sub(tail_at)).min(self.tail.bytes.len());
        // The dropped bytes are between the head and the tail.
        let dropped = tail_at.saturating_sub(offset.max(self.head.len() as u64));
        let mut bytes = of_head.to_vec();
        bytes.extend(self.tail.bytes.range(skipped..));
        (dropped, bytes)
    }

    /// Makes an excerpt of the kept bytes, in which what is not UTF-8 is replaced. If bytes were dropped, the head ends
    /// and the tail begins with a complete line, if there is one.
    pub fn to_excerpt(&self) -> OutputExcerpt {
        if self.tail.dropped == 0 {
            let mut bytes = self.head.clone();
            bytes.extend(&self.tail.bytes);
            return String::from_utf8_lossy(&bytes).into_owned().into();
        }
        let last_newline = self.head.iter().rposition(|byte| *byte == b'\n');
        let (head, rest) = match last_newline {
            Some(newline) => self.head.split_at(newline + 1),
            None => (&self.head[..], &[][..]),
        };
        let dropped = rest.len() as u64 + self.tail.dropped();
        let head = String::from_utf8_lossy(head).into_owned();
        OutputExcerpt::with_gap(head, dropped, &self.tail.to_text())
    }
}

/// The end of the output of a process: a ring that never grows beyond its size.
///
/// ```
/// use ratchet_runtime::process::Tail;
///
/// let mut tail = Tail::new(8);
/// tail.push(b"first\nsecond\n");
/// assert_eq!(tail.to_text(), "second\n");
/// assert_eq!(tail.dropped(), 6);
/// ```
#[derive(Debug, Clone)]
pub struct Tail {
    bytes: VecDeque<u8>,
    /// The highest number of bytes that are kept.
    size: usize,
    /// How many bytes were dropped before those that are kept.
    dropped: u64,
}

impl Tail {
    /// Makes a ring of this many bytes.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            size,
            dropped: 0,
        }
    }

    /// Adds the next output, and drops the oldest bytes where there is no room.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.size)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.size);
        self.bytes.drain(..surplus);
        self.dropped += (surplus + bytes.len() - kept.len()) as u64;
        self.bytes.extend(kept);
    }

    /// Returns how many bytes came before the [text](Self::to_text): those that were dropped, and the rest of the line
    /// that was cut.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.start() as u64
    }

    /// Makes an excerpt. If bytes were dropped, it has only an end and no beginning.
    pub fn to_excerpt(&self) -> OutputExcerpt {
        OutputExcerpt::with_gap(String::new(), self.dropped(), &self.to_text())
    }

    /// Returns the kept text, beginning with the first complete line. What is not UTF-8 is replaced.
    pub fn to_text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.range(self.start()..).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the index at which the first complete line begins.
    fn start(&self) -> usize {
        if self.dropped == 0 {
            return 0;
        }
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        let first_line = end.map_or(0, |end| end + 1);
        // Without a complete line, half a line is better than nothing.
        if first_line < self.bytes.len() {
            first_line
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_the_beginning_and_counts_the_rest() {
        let mut captured = Captured::default();
        for bytes in ["abc", "def", "ghi"] {
            captured.push(bytes.as_bytes(), 4);
        }
        assert_eq!(
            (captured.bytes.as_slice(), captured.dropped),
            (&b"abcd"[..], 5)
        );
    }

    #[test]
    fn whoever_follows_an_output_sees_each_byte_once_or_hears_that_it_was_dropped() {
        let text: Vec<u8> = (0..2000_u32)
            .map(|number| number.to_le_bytes()[0])
            .collect();
        for (head, tail) in [(0, 10), (10, 0), (20, 30), (1000, 300)] {
            for size in [1, 7, 64, 500] {
                let mut kept = HeadTail::new(head, tail);
                let mut offset = 0;
                for bytes in text.chunks(size) {
                    kept.push(bytes);
                    let (dropped, seen) = kept.since(offset);
                    assert_eq!(dropped + seen.len() as u64, kept.total() - offset);
                    offset = kept.total();
                    assert!(
                        text[..usize::try_from(offset).unwrap()].ends_with(&seen) || dropped > 0
                    );
                }
                assert_eq!(offset, 2000);
            }
        }
    }

    #[test]
    fn head_tail_and_what_was_dropped_are_all_that_was_printed() {
        let lines: Vec<String> = (0..200).map(|number| format!("line {number}\n")).collect();
        let text = lines.concat();
        for (head, tail) in [(0, 10), (10, 0), (20, 30), (1000, 300), (500, 5000)] {
            for size in [1, 7, 64, 5000] {
                let mut kept = HeadTail::new(head, tail);
                text.as_bytes()
                    .chunks(size)
                    .for_each(|bytes| kept.push(bytes));
                let excerpt = kept.to_excerpt();
                let (first, last) = excerpt.parts();
                assert!(first.len() <= head || excerpt.dropped() == 0);
                assert!(text.starts_with(first) && text.ends_with(last));
                assert_eq!(
                    excerpt.as_str().len() as u64 + excerpt.dropped(),
                    text.len() as u64,
                    "{head} {tail} {size}"
                );
            }
        }
    }

    #[test]
    fn a_tail_keeps_the_end_however_it_came() {
        for cut in 0..=10 {
            let (first, second) = b"0123456789".split_at(cut);
            let mut tail = Tail::new(4);
            tail.push(first);
            tail.push(second);
            assert_eq!(
                (tail.to_text().as_str(), tail.dropped()),
                ("6789", 6),
                "cut at {cut}"
            );
        }
        let mut cut = Tail::new(9);
        cut.push(b"the first\nsecond\n");
        assert_eq!((cut.to_text().as_str(), cut.dropped()), ("second\n", 10));
        let mut nothing = Tail::new(0);
        nothing.push(b"abc");
        assert_eq!((nothing.to_text().as_str(), nothing.dropped()), ("", 3));
    }
}
