//! Takes the conversation off descriptors 0 and 1, where anybody may read and print.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The first descriptor that is none of the standard three.
const FIRST_FREE: i32 = 3;

/// Moves stdin and stdout to descriptors that no child inherits.
///
/// From here on, stdin is empty and what is printed goes to stderr, by this process, by libraries in
/// other languages, and by its children.
pub(super) fn take() -> io::Result<(Reader, Writer)> {
    let input = fcntl_dupfd_cloexec(io::stdin().as_fd(), FIRST_FREE)?;
    let output = fcntl_dupfd_cloexec(io::stdout().as_fd(), FIRST_FREE)?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(io::stderr().as_fd())?;
    Ok((reader(input)?, writer(output)?))
}

/// A host uses pipes; by hand there may be a terminal or a file, which are read by a thread.
fn reader(input: OwnedFd) -> io::Result<Reader> {
    if is_pipe(&input)? {
        return Ok(Box::new(pipe::Receiver::from_owned_fd(input)?));
    }
    Ok(Box::new(tokio::fs::File::from_std(input.into())))
}

fn writer(output: OwnedFd) -> io::Result<Writer> {
    if is_pipe(&output)? {
        return Ok(Box::new(pipe::Sender::from_owned_fd(output)?));
    }
    Ok(Box::new(tokio::fs::File::from_std(output.into())))
}

fn is_pipe(descriptor: &OwnedFd) -> io::Result<bool> {
    let mode = rustix::fs::fstat(descriptor)?.st_mode;
    Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Fifo)
}
