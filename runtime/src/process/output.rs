//! What a process printed, within limits.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

/// One of the two pipes that a program prints into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// For results.
    Stdout,
    /// For everything else.
    Stderr,
}

/// Takes what a program prints, as it comes.
///
/// It is called on the thread that the program has to itself while it runs, and may block there: a
/// program whose output nobody takes waits, as it does in a shell's pipeline. Breaking off closes the
/// pipe, and a program that goes on printing into it gets SIGPIPE.
pub trait OutputSink: Send + Sync {
    /// Takes the next bytes, cut wherever the pipe cut them.
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()>;
}

/// Keeps the beginning of both streams.
#[derive(Debug)]
pub(super) struct Capture {
    limit: usize,
    kept: Mutex<[Captured; 2]>,
}

impl Capture {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Mutex::default(),
        }
    }

    /// What was printed to stdout and to stderr.
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

/// The beginning of what a process printed, and how much more there was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// What was kept.
    pub bytes: Vec<u8>,
    /// How many bytes were not.
    pub dropped: u64,
}

impl Captured {
    /// Adds what was printed next, as far as there is room.
    pub(super) fn push(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.dropped += (bytes.len() - room) as u64;
    }

    /// As text: what is not UTF-8 is replaced, and what was dropped is said at the end.
    ///
    /// ```
    /// use ratchet_runtime::process::Captured;
    ///
    /// let whole = Captured { bytes: b"done\n".to_vec(), dropped: 0 };
    /// assert_eq!(whole.to_text(), "done\n");
    /// let cut = Captured { bytes: b"beginning".to_vec(), dropped: 7 };
    /// assert_eq!(cut.to_text(), "beginning\n[7 more bytes were dropped]\n");
    /// ```
    pub fn to_text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.dropped {
            0 => text.into_owned(),
            dropped => format!(
                "{text}
[{dropped} more bytes were dropped]
"
            ),
        }
    }
}

/// The end of what a process printed: a ring that never grows beyond its size.
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
    size: usize,
    dropped: u64,
}

impl Tail {
    /// A ring of so many bytes.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            size,
            dropped: 0,
        }
    }

    /// Adds what was printed next, and forgets the oldest where there is no room.
    pub fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.size)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.size);
        self.bytes.drain(..surplus);
        self.dropped += (surplus + bytes.len() - kept.len()) as u64;
        self.bytes.extend(kept);
    }

    /// How many bytes there were before the [text](Self::to_text): those that were forgotten, and what is left of
    /// the line that they cut.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.start() as u64
    }

    /// As text, from the first whole line on: what is not UTF-8 is replaced.
    pub fn to_text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.range(self.start()..).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where the first whole line begins.
    fn start(&self) -> usize {
        if self.dropped == 0 {
            return 0;
        }
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        let first_line = end.map_or(0, |end| end + 1);
        // Half a line is better than nothing at all.
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
    fn captures_the_beginning() {
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
