//! The stdin and the stdout of an agent, as asynchronous pipes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;

use rustix::fs::{FileType, fstat};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// The stream that an agent reads from.
pub(super) type Input = Box<dyn AsyncRead + Send + Unpin>;
/// The stream that an agent writes to.
pub(super) type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// Opens stdin and stdout. Both have to be pipes or sockets, as they are under ssh, docker and the like.
pub(super) fn open() -> io::Result<(Input, Output)> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let input: Input = match kind(stdin.as_fd())? {
        FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(copy(stdin.as_fd())?)?),
        FileType::Socket => Box::new(socket(copy(stdin.as_fd())?)?),
        _ => return Err(io::Error::other("stdin is neither a pipe nor a socket")),
    };
    let output: Output = match kind(stdout.as_fd())? {
        FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(copy(stdout.as_fd())?)?),
        FileType::Socket => Box::new(socket(copy(stdout.as_fd())?)?),
        _ => return Err(io::Error::other("stdout is neither a pipe nor a socket")),
    };
    Ok((input, output))
}

fn kind(descriptor: BorrowedFd<'_>) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(descriptor)?.st_mode))
}

fn copy(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Copies are closed on exec, so that no process that the agent starts keeps the connection open.
    descriptor.try_clone_to_owned()
}

fn socket(descriptor: OwnedFd) -> io::Result<UnixStream> {
    let socket = net::UnixStream::from(descriptor);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
