//! Moves the conversation away from descriptors 0 and 1, which any library may read from or print to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;

/// The reading end of the conversation, for any kind of file.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The writing end of the conversation, for any kind of file.
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The first descriptor after stdin, stdout and stderr.
const FIRST_FREE: i32 = 3;

/// Moves stdin and stdout to descriptors that no child inherits.
///
/// From then on stdin is empty, and all output of this process, its libraries and its children goes to stderr.
pub(super) fn take_over() -> io::Result<(Reader, Writer)> {
    let input = fcntl_dupfd_cloexec(io::stdin().as_fd(), FIRST_FREE)?;
    let output = fcntl_dupfd_cloexec(io::stdout().as_fd(), FIRST_FREE)?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(io::stderr().as_fd())?;
    Ok((reader(input)?, writer(output)?))
}

/// Makes an async reader of stdin, for any kind of file.
fn reader(input: OwnedFd) -> io::Result<Reader> {
    Ok(match kind(&input)? {
        FileType::Fifo => {
            let input = reopen(input, OFlags::RDONLY);
            Box::new(pipe::Receiver::from_owned_fd(input)?)
        }
        FileType::Socket => Box::new(stream(input)?),
        // Only a thread can wait for a terminal or a file. At its end, the runtime would wait for one of its own
        // threads, so this is a separate thread, which the worker leaves behind.
        _ => {
            let (pipe, mut filler) = io::pipe()?;
            std::thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || {
                    // It fails when the worker no longer reads, and then the rest is not needed.
                    let _ = io::copy(&mut File::from(input), &mut filler);
                })?;
            Box::new(pipe::Receiver::from_owned_fd(pipe.into())?)
        }
    })
}

/// Makes an async writer of stdout, for any kind of file.
fn writer(output: OwnedFd) -> io::Result<Writer> {
    Ok(match kind(&output)? {
        FileType::Fifo => {
            let output = reopen(output, OFlags::WRONLY);
            Box::new(pipe::Sender::from_owned_fd(output)?)
        }
        FileType::Socket => Box::new(stream(output)?),
        _ => Box::new(tokio::fs::File::from_std(output.into())),
    })
}

fn kind(descriptor: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(
        rustix::fs::fstat(descriptor)?.st_mode,
    ))
}

fn stream(socket: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}

/// Opens the same end of the same pipe again.
///
/// To wait for a pipe, it has to be non-blocking, which would affect every process that shares the open pipe: the next
/// program in a shell's list, or this process itself through its stderr. If the pipe cannot be opened again, it is
/// shared.
fn reopen(shared: OwnedFd, access: OFlags) -> OwnedFd {
    let name = format!("/proc/self/fd/{}", shared.as_raw_fd());
    // Without NONBLOCK, opening a pipe would wait until its other end is open, which may never happen.
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(name, flags, Mode::empty()).unwrap_or(shared)
}
