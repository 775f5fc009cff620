//! Takes the conversation off descriptors 0 and 1, where anybody may read and print.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{FileType, Mode, OFlags};
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

fn reader(input: OwnedFd) -> io::Result<Reader> {
    Ok(match kind(&input)? {
        FileType::Fifo => {
            let input = private(input, OFlags::RDONLY);
            Box::new(pipe::Receiver::from_owned_fd(input)?)
        }
        FileType::Socket => Box::new(stream(input)?),
        // A terminal or a file can only be waited for by a thread. One of our own may be left behind
        // when the worker ends; the runtime would wait for one of its.
        _ => {
            let (pipe, mut filler) = io::pipe()?;
            std::thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || {
                    // If nobody reads any more, nothing more has to be read.
                    let _ = io::copy(&mut File::from(input), &mut filler);
                })?;
            Box::new(pipe::Receiver::from_owned_fd(pipe.into())?)
        }
    })
}

fn writer(output: OwnedFd) -> io::Result<Writer> {
    Ok(match kind(&output)? {
        FileType::Fifo => {
            let output = private(output, OFlags::WRONLY);
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

/// The same end of the same pipe, opened anew.
///
/// Waiting for a pipe makes it non-blocking, and that shows to everybody who shares it: the next
/// program of a shell's list, or this one's own stderr. Where a pipe cannot be opened by its name, it
/// is shared after all.
fn private(shared: OwnedFd, access: OFlags) -> OwnedFd {
    let name = format!("/proc/self/fd/{}", shared.as_raw_fd());
    // Without NONBLOCK, opening a pipe would wait for its other end, which may be gone.
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(name, flags, Mode::empty()).unwrap_or(shared)
}
