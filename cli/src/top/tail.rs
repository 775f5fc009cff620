//! The last lines that a job has printed.

use std::collections::VecDeque;

use crate::escape::{plain, text_of};
use crate::live::{OutputPiece, Printed};

/// How many lines are kept: more than the highest terminal shows.
const LINES: usize = 300;

/// The most bytes of a line that are kept. A longer one is split.
const LONGEST: usize = 4096;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// On stdout.
    Stdout,
    /// On stderr, or said by the worker.
    Stderr,
    /// By nobody: the line says what is left out.
    Remark,
}

/// The last lines that a job has printed.
#[derive(Debug, Default)]
pub(super) struct Tail {
    attempt: u32,
    lines: VecDeque<(Stream, String)>,
    /// What has no newline yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Tail {
    /// Adds what was printed since it was asked for last.
    pub(super) fn add(&mut self, printed: &Printed) {
        if printed.attempt == 0 {
            return;
        }
        if self.attempt != 0 && printed.attempt != self.attempt {
            self.end_line(Stream::Stdout);
            self.end_line(Stream::Stderr);
            self.push(Stream::Remark, format!("attempt {}", printed.attempt));
        }
        self.attempt = printed.attempt;
        self.add_piece(Stream::Stdout, &printed.stdout);
        self.add_piece(Stream::Stderr, &printed.stderr);
    }

    /// Returns up to this many of the last lines, including lines without a newline yet.
    pub(super) fn last(&self, count: usize) -> Vec<(Stream, String)> {
        let open = [
            (Stream::Stdout, &self.stdout),
            (Stream::Stderr, &self.stderr),
        ];
        let open = open.into_iter().filter(|(_, line)| !line.is_empty());
        let mut lines: Vec<_> = open.map(|(stream, line)| (stream, shown(line))).collect();
        let rest = count.saturating_sub(lines.len());
        let from = self.lines.len().saturating_sub(rest);
        lines.splice(0..0, self.lines.iter().skip(from).cloned());
        lines
    }

    fn add_piece(&mut self, stream: Stream, piece: &OutputPiece) {
        if piece.dropped > 0 {
            self.end_line(stream);
            self.push(
                Stream::Remark,
                format!("{} bytes are left out", piece.dropped),
            );
        }
        // What is no hexadecimal digits is nothing that could be shown.
        let bytes = piece.decode().unwrap_or_default();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            for chunk in text.chunks(LONGEST) {
                if self.open(stream).len() + chunk.len() > LONGEST {
                    self.end_line(stream);
                }
                self.open(stream).extend_from_slice(chunk);
            }
            if ends {
                let line = std::mem::take(self.open(stream));
                self.push(stream, shown(&line));
            }
        }
    }

    fn open(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout | Stream::Remark => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Ends a line that has no newline.
    fn end_line(&mut self, stream: Stream) {
        let line = std::mem::take(self.open(stream));
        if !line.is_empty() {
            self.push(stream, shown(&line));
        }
    }

    fn push(&mut self, stream: Stream, line: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back((stream, line));
    }
}

/// Returns a line as it is safe to show. What a program has overwritten by a carriage return is left out, as on a
/// terminal.
fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let after = memchr::memrchr(b'\r', line).map_or(0, |at| at + 1);
    let text = text_of(&line[after..]).replace('\t', "    ");
    plain(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8]) -> OutputPiece {
        use std::fmt::Write as _;
        let mut digits = String::new();
        for byte in bytes {
            write!(digits, "{byte:02x}").unwrap();
        }
        OutputPiece {
            bytes: digits,
            ..OutputPiece::default()
        }
    }

    fn printed(attempt: u32, stdout: &[u8], stderr: &[u8]) -> Printed {
        Printed {
            running: true,
            attempt,
            stdout: piece(stdout),
            stderr: piece(stderr),
        }
    }

    fn told(tail: &Tail, count: usize) -> Vec<String> {
        tail.last(count).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn lines_are_put_together_from_pieces_and_made_safe() {
        let mut tail = Tail::default();
        tail.add(&printed(1, b"one\ntw", b"oops\n"));
        tail.add(&printed(1, b"o\n\xc3", b""));
        assert_eq!(told(&tail, 9), ["one", "oops", "two", "\\xc3"]);
        tail.add(&printed(1, b"\xa4\n", b"\x1b[2Jx\t1\n10 %\r20 %\r\n"));
        let expected = ["one", "oops", "two", "ä", "\\u{1b}[2Jx    1", "20 %"];
        assert_eq!(told(&tail, 9), expected);
        assert_eq!(told(&tail, 1), ["20 %"]);
    }

    #[test]
    fn another_attempt_and_what_is_left_out_are_told() {
        let mut tail = Tail::default();
        tail.add(&printed(1, b"one", b""));
        tail.add(&printed(2, b"two\n", b""));
        let mut cut = printed(2, b"four\n", b"");
        cut.stdout.dropped = 7;
        tail.add(&cut);
        let expected = ["one", "attempt 2", "two", "7 bytes are left out", "four"];
        assert_eq!(told(&tail, 9), expected);
        assert_eq!(tail.last(9)[1].0, Stream::Remark);
    }

    #[test]
    fn memory_is_bounded_whatever_is_printed() {
        let mut tail = Tail::default();
        for _ in 0..20 {
            tail.add(&printed(1, &[b'x'; 3000], &b"y\n".repeat(100)));
        }
        assert!(tail.lines.len() <= LINES && tail.stdout.len() <= LONGEST);
        assert!(tail.lines.iter().all(|(_, line)| line.len() <= LONGEST));
    }
}
