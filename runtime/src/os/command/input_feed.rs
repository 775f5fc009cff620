//! Writes the input of a program into the pipe to its stdin, as far as the pipe has room.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;

use crate::os::program_input::{FilePart, InputBytes, OpenedInput};
use crate::os::start::Stdin;

/// How many bytes a pipe holds by default.
const USUAL_PIPE_BYTES: usize = 64 * 1024;

/// How many bytes the pipe of a large input holds, so that two processes alternate less often for the same bytes. The
/// system allows a user 64 MiB of pipes, and then makes new ones very small.
const LARGE_PIPE_BYTES: usize = 256 * 1024;

/// The size of one read of a file.
const READ_BYTES: usize = 64 * 1024;

/// The part of an input that is still to be written to a program.
#[derive(Debug)]
pub(super) enum InputRest {
    /// The bytes from this offset on.
    Bytes { bytes: InputBytes, written: usize },
    /// The rest of a part of a file, and the bytes that were read of it and are not written yet.
    File { part: FilePart, read: Vec<u8> },
}

impl InputRest {
    /// Splits an input into the stdin with which a program starts, and the rest that is written to it after that.
    pub(super) fn of(input: OpenedInput) -> (Stdin, Option<Self>) {
        match input {
            OpenedInput::Nothing => (Stdin::Empty, None),
            OpenedInput::Terminal => (Stdin::Terminal, None),
            OpenedInput::Whole(descriptor) => (Stdin::Given(descriptor), None),
            OpenedInput::Bytes(bytes) => (Stdin::Piped, Some(Self::Bytes { bytes, written: 0 })),
            OpenedInput::Part(part) => {
                let read = Vec::new();
                (Stdin::Piped, Some(Self::File { part, read }))
            }
        }
    }

    /// Returns the next bytes; none after the last ones.
    pub(super) fn next_bytes(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Bytes { bytes, written } => Ok(&bytes.as_slice()[*written..]),
            Self::File { part, read } => {
                if read.is_empty() && part.bytes > 0 {
                    let most = usize::try_from(part.bytes).unwrap_or(usize::MAX);
                    read.resize(most.min(READ_BYTES), 0);
                    let count = part.read(read)?;
                    read.truncate(count);
                }
                Ok(read)
            }
        }
    }

    /// Records that this many of the next bytes were written.
    pub(super) fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes { written, .. } => *written += count,
            Self::File { read, .. } => drop(read.drain(..count)),
        }
    }

    /// Returns the highest number of bytes that can be left.
    fn length(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.as_slice().len(),
            Self::File { part, .. } => usize::try_from(part.bytes).unwrap_or(usize::MAX),
        }
    }
}

/// The pipe to the stdin of a program, and what is still to be written to it.
#[derive(Debug)]
pub(super) struct InputFeed {
    pipe: io::PipeWriter,
    rest: InputRest,
}

impl InputFeed {
    /// Begins to write. Returns `None` if everything is written already, so that the pipe is closed.
    pub(super) fn begin(pipe: OwnedFd, rest: InputRest) -> io::Result<Option<Self>> {
        // The flag applies only to this end: the reading end has flags of its own, so the program still reads as from
        // any pipe.
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        if rest.length() > USUAL_PIPE_BYTES {
            enlarge(&pipe);
        }
        let pipe = pipe.into();
        Self { pipe, rest }.write()
    }

    /// Writes as much as the pipe has room for. Returns `None` when everything is written, or when the pipe has no
    /// reader any more.
    pub(super) fn write(mut self) -> io::Result<Option<Self>> {
        loop {
            let bytes = self.rest.next_bytes()?;
            if bytes.is_empty() {
                return Ok(None);
            }
            match self.pipe.write(bytes) {
                Ok(count) => self.rest.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(self)),
                // The program has closed its stdin, or has ended.
                Err(_) => return Ok(None),
            }
        }
    }
}

impl AsFd for InputFeed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(target_os = "linux")]
fn enlarge(pipe: &OwnedFd) {
    // An error means that the user has too many large pipes already, so this one stays small.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, LARGE_PIPE_BYTES);
}

#[cfg(not(target_os = "linux"))]
fn enlarge(_: &OwnedFd) {
    // Other systems enlarge pipes by themselves.
    const { assert!(LARGE_PIPE_BYTES > USUAL_PIPE_BYTES) };
}
