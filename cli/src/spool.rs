//! Bytes that wait to be written: few in memory, many in an unnamed file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// How many bytes stay in memory; further ones go to a file.
const MEMORY_BYTES: usize = 256 * 1024;

/// Any number of bytes, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    /// The file, and how many of its bytes count.
    file: Option<(File, u64)>,
    /// The bytes after those in the file.
    memory: Vec<u8>,
    /// Whether everything stays in memory, because no file can be written.
    full: bool,
}

impl Spool {
    /// Appends bytes. If the file cannot be written, they stay in memory.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() >= MEMORY_BYTES && !self.full {
            // A full disk or a lack of descriptors must not lose output.
            self.full = self.spill().is_err();
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        let (file, length) = match &mut self.file {
            Some(file) => file,
            none => none.insert((tempfile::tempfile()?, 0)),
        };
        file.write_all_at(&self.memory, *length)?;
        *length += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// Returns the number of bytes that the spool has.
    pub(crate) fn len(&self) -> u64 {
        let in_file = self.file.as_ref().map_or(0, |(_, length)| *length);
        in_file + self.memory.len() as u64
    }

    /// Whether another spool has the same bytes.
    pub(crate) fn has_bytes_of(&self, other: &Self) -> io::Result<bool> {
        if self.len() != other.len() {
            return Ok(false);
        }
        if self.file.is_none() && other.file.is_none() {
            return Ok(self.memory == other.memory);
        }
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        self.write_to(&mut mine)?;
        other.write_to(&mut theirs)?;
        Ok(mine == theirs)
    }

    /// Passes all bytes to a function, in pieces.
    pub(crate) fn read(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if let Some((file, length)) = &self.file {
            let mut chunk = vec![0; MEMORY_BYTES];
            let mut offset = 0;
            while offset < *length {
                let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
                let size = left.min(chunk.len());
                file.read_exact_at(&mut chunk[..size], offset)?;
                take(&chunk[..size])?;
                offset += size as u64;
            }
        }
        take(&self.memory)
    }

    /// Writes all bytes to a writer.
    pub(crate) fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        self.read(|bytes| out.write_all(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_got_however_much() {
        for pieces in [0_u32, 1, 3000, 40_000] {
            let mut spool = Spool::default();
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let text = format!("piece {piece:>20}\n");
                spool.push(text.as_bytes());
                expected.extend_from_slice(text.as_bytes());
            }
            let mut out = Vec::new();
            spool.write_to(&mut out).unwrap();
            assert!(out == expected, "{pieces}");
            assert_eq!(spool.len(), expected.len() as u64);
            let mut same = Spool::default();
            same.push(&expected);
            assert!(spool.has_bytes_of(&same).unwrap());
            if expected.pop().is_some() {
                let mut other = Spool::default();
                other.push(&expected);
                other.push(b"x");
                assert!(!spool.has_bytes_of(&other).unwrap());
                expected.push(b'\n');
            }
            assert!(spool.memory.len() < MEMORY_BYTES);
            assert_eq!(spool.file.is_some(), expected.len() >= MEMORY_BYTES);
        }
    }

    #[test]
    fn loses_nothing_where_no_file_can_be_written() {
        let mut spool = Spool::default();
        let unwritable = File::open("/dev/null").unwrap();
        spool.file = Some((unwritable, 0));
        let bytes = vec![7; MEMORY_BYTES + 1];
        spool.push(&bytes);
        spool.push(&bytes);
        assert_eq!(spool.len(), 2 * bytes.len() as u64);
        let mut out = Vec::new();
        spool.write_to(&mut out).unwrap();
        assert_eq!(out.len(), 2 * bytes.len());
    }
}
