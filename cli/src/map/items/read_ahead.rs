//! Reads items ahead of their jobs, so that their number is known early.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::CountedEnd;

/// The size of a chunk. All chunks together have 4 MiB, which are some hundred thousand items.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many chunks may wait for the reader. This bounds the memory.
const CHUNKS: usize = 64;

/// A source that a thread reads ahead of its reader.
///
/// The thread counts items as it reads. At the end of the source their number is known, although most of the items may
/// still wait in chunks. The thread ends at the end of the source, or with the first chunk that it reads after its
/// reader was dropped. A thread that waits for the writer of a pipe ends with the process.
pub(super) struct ReadAhead {
    /// What the thread has read, or the error that ended it.
    chunks: Receiver<io::Result<Vec<u8>>>,
    /// The chunk that is being read.
    chunk: Vec<u8>,
    /// How many bytes of the chunk were returned.
    given: usize,
}

impl ReadAhead {
    /// Starts the thread. `announce` is called with the number of items, unless reading fails before the end.
    pub(super) fn start(
        source: Box<dyn Read + Send>,
        end: CountedEnd,
        announce: impl FnOnce(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let (send, chunks) = mpsc::sync_channel(CHUNKS);
        std::thread::Builder::new()
            .name("items".to_owned())
            .spawn(move || {
                if let Some(count) = read(source, end, &send) {
                    announce(count);
                }
            })?;
        Ok(Self {
            chunks,
            chunk: Vec::new(),
            given: 0,
        })
    }
}

/// Reads to the end of the source. Returns the number of items, or nothing if the end was not reached.
fn read(
    mut source: Box<dyn Read + Send>,
    end: CountedEnd,
    chunks: &SyncSender<io::Result<Vec<u8>>>,
) -> Option<u64> {
    let mut counter = Counter::new(end);
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        match source.read(&mut chunk) {
            Ok(0) => return Some(counter.count()),
            Ok(length) => {
                chunk.truncate(length);
                counter.take(&chunk);
                // `send` fails only if the reader was dropped, and then nobody needs the chunk.
                chunks.send(Ok(chunk)).ok()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = chunks.send(Err(error));
                return None;
            }
        }
    }
}

/// Counts items by the same rules as [`LineItems`](super::LineItems).
struct Counter {
    end: CountedEnd,
    count: u64,
    /// Whether the current item has bytes, apart from a carriage return that may belong to its end.
    has_bytes: bool,
    /// Whether the last byte was a carriage return.
    held_return: bool,
}

impl Counter {
    fn new(end: CountedEnd) -> Self {
        Self {
            end,
            count: 0,
            has_bytes: false,
            held_return: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(self.end.byte(), rest) {
            self.part(&rest[..at]);
            if self.has_bytes || self.end != CountedEnd::Line {
                self.count += 1;
            }
            (self.has_bytes, self.held_return) = (false, false);
            rest = &rest[at + 1..];
        }
        self.part(rest);
    }

    fn part(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else {
            return;
        };
        // A carriage return that is followed by another byte belongs to the item.
        self.has_bytes |= self.held_return || bytes.len() > 1 || *last != b'\r';
        self.held_return = *last == b'\r';
    }

    /// Returns the number of items, including one after the last delimiter.
    fn count(&self) -> u64 {
        let is_some = match self.end {
            CountedEnd::Line => self.has_bytes,
            CountedEnd::Byte(_) => self.has_bytes || self.held_return,
        };
        self.count + u64::from(is_some)
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.chunk.len() {
            match self.chunks.recv() {
                Ok(chunk) => (self.chunk, self.given) = (chunk?, 0),
                // The thread has ended. It sends an error before it ends with one, so this is the end of the source.
                Err(mpsc::RecvError) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len() - self.given);
        buffer[..length].copy_from_slice(&self.chunk[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{Items, LineItems, tests::source};
    use super::*;
    use crate::map::lines::ItemEnd;

    #[test]
    fn as_many_items_are_announced_as_there_are() {
        let many = "item\n".repeat(100_000);
        for (end, text) in [
            (ItemEnd::Line, &b""[..]),
            (ItemEnd::Line, b"a"),
            (ItemEnd::Line, b"a\n\nb\r\n\r\n\rc"),
            (ItemEnd::Line, b"a\n\r"),
            (ItemEnd::Line, b"\r\r\n"),
            (ItemEnd::NULL, b"a\0\0b"),
            (ItemEnd::NULL, b"\r"),
            (ItemEnd::NULL, b"a\0"),
            (ItemEnd::Line, many.as_bytes()),
        ] {
            let sources = [source(text)].into_iter().collect();
            let mut items = Items::LineItems(LineItems::of(sources, end));
            let (tell, told) = mpsc::channel();
            items
                .count_ahead(move |count| tell.send(count).unwrap())
                .unwrap();
            let read = items.by_ref().map(Result::unwrap).count() as u64;
            assert_eq!(told.recv(), Ok(read), "{:?}", &text[..text.len().min(20)]);
        }
    }

    #[test]
    fn the_number_is_told_before_the_items_are_used_up() {
        let text = Cursor::new("item\n".repeat(100_000));
        let (tell, told) = mpsc::channel();
        let ahead = ReadAhead::start(Box::new(text), CountedEnd::Line, move |count| {
            tell.send(count).unwrap();
        });
        assert_eq!(told.recv(), Ok(100_000));
        drop(ahead);
    }
}
