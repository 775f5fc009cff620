//! The pipes to and from a process, and the system's current view of them and of the process.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{ChildStdin, ChildStdout};

use super::handle::{InputCount, OutputCount, ProcessView};

/// The writing end of the pipe to the stdin of a process.
pub(super) struct StdinPipe(Arc<Mutex<Stdin>>);

/// The pipe to the stdin of a process, with counts of the bytes that went through it.
struct Stdin {
    /// The pipe; `None` once it is closed.
    pipe: Option<ChildStdin>,
    /// How many bytes have been written.
    written: u64,
    /// How many bytes the process had read when it broke the pipe. The rest cannot be read any more.
    read_when_broken: Option<u64>,
}

/// The reading end of the pipe from the stdout of a process.
pub(super) struct StdoutPipe(Arc<Mutex<Stdout>>);

/// The pipe from the stdout of a process, with counts of the bytes that went through it.
struct Stdout {
    pipe: ChildStdout,
    /// How many bytes have been read.
    read: u64,
    /// How many bytes the process had printed when [`ProcessView::output`] was last asked.
    printed: u64,
}

/// The view of a process of this system. It does not keep the pipe open, or the process would never reach the end of
/// its stdin.
pub(super) struct LocalView {
    /// The state of stdin. It still has the number of bytes that the process has read after the process has closed the
    /// pipe.
    stdin: Arc<Mutex<Stdin>>,
    /// The state of stdout, which is gone once the reader of the pipe is dropped.
    stdout: Weak<Mutex<Stdout>>,
    /// A descriptor that is readable when the process has ended. It is gone once the process is reaped.
    ended: Weak<AsyncFd<OwnedFd>>,
}

impl LocalView {
    /// Makes the view of a process from its pipes and the descriptor that is readable once the process has ended.
    pub(super) fn new(
        stdin: &StdinPipe,
        stdout: &StdoutPipe,
        ended: &Arc<AsyncFd<OwnedFd>>,
    ) -> Self {
        Self {
            stdin: Arc::clone(&stdin.0),
            stdout: Arc::downgrade(&stdout.0),
            ended: Arc::downgrade(ended),
        }
    }
}

impl ProcessView for LocalView {
    fn input(&self) -> Option<InputCount> {
        let stdin = lock(&self.stdin);
        let read = stdin.read_when_broken.or_else(|| stdin.read())?;
        Some(InputCount {
            written: stdin.written,
            read,
        })
    }

    fn written_input(&self) -> Option<u64> {
        Some(lock(&self.stdin).written)
    }

    fn output(&self) -> Option<OutputCount> {
        let stdout = self.stdout.upgrade()?;
        let mut stdout = lock(&stdout);
        let unread = rustix::io::ioctl_fionread(&stdout.pipe).ok()?;
        stdout.printed = stdout.read + unread;
        Some(OutputCount {
            printed: stdout.printed,
            read: stdout.read,
        })
    }

    fn has_ended(&self) -> bool {
        let Some(ended) = self.ended.upgrade() else {
            return true;
        };
        let mut polled = [PollFd::new(ended.get_ref(), PollFlags::IN)];
        // An error has no meaning here, and the caller will ask again.
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Locks a pipe. A panic of an earlier holder is ignored, because no use leaves a pipe in an inconsistent state. The
/// lock is never held for longer than one system call takes, so `poll` functions may take it.
fn lock<T>(pipe: &Mutex<T>) -> MutexGuard<'_, T> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stdin {
    /// Returns how many bytes the process has read, if the pipe is open.
    fn read(&self) -> Option<u64> {
        // The system counts the bytes in a pipe at either end of it, even when they cannot be read any more.
        let unread = rustix::io::ioctl_fionread(self.pipe.as_ref()?).ok()?;
        // Both counts are taken under one lock, and only this end writes.
        self.written.checked_sub(unread)
    }

    /// Forwards a call to the pipe, and records what was written or that the process has broken the pipe.
    fn poll_with(
        &mut self,
        call: impl FnOnce(Pin<&mut ChildStdin>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let result = ready!(call(Pin::new(pipe)));
        match &result {
            Ok(bytes) => self.written += *bytes as u64,
            Err(_) => self.read_when_broken = self.read_when_broken.or_else(|| self.read()),
        }
        Poll::Ready(result)
    }
}

impl StdinPipe {
    /// Wraps the pipe to the stdin of a process.
    pub(super) fn new(pipe: ChildStdin) -> Self {
        Self(Arc::new(Mutex::new(Stdin {
            pipe: Some(pipe),
            written: 0,
            read_when_broken: None,
        })))
    }
}

impl Drop for StdinPipe {
    fn drop(&mut self) {
        // The view lives on, and must not keep the pipe open.
        lock(&self.0).pipe = None;
    }
}

impl AsyncWrite for StdinPipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_with(|pipe| pipe.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_with(|pipe| pipe.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe has no buffer of its own: what was written is already in the system.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).pipe = None;
        Poll::Ready(Ok(()))
    }
}

impl StdoutPipe {
    /// Wraps the pipe from the stdout of a process.
    pub(super) fn new(pipe: ChildStdout) -> Self {
        Self(Arc::new(Mutex::new(Stdout {
            pipe,
            read: 0,
            printed: 0,
        })))
    }
}

impl AsyncRead for StdoutPipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stdout = lock(&self.0);
        let before = buffer.filled().len();
        // The system has reported these bytes. The event loop may not know of them yet, and would not even try to read.
        while stdout.read < stdout.printed && buffer.remaining() > 0 {
            match rustix::io::read(&stdout.pipe, buffer.initialize_unfilled()) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    stdout.read += bytes as u64;
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        ready!(Pin::new(&mut stdout.pipe).poll_read(cx, buffer))?;
        stdout.read += (buffer.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::super::child::Child;
    use super::super::{InputCount, ProcessConfig, ProcessView};

    /// Waits without a turn of the event loop, so that the event loop notices nothing.
    fn block_until(holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !holds() {
            assert!(Instant::now() < deadline);
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn it_is_known_how_far_a_process_came_that_has_broken_the_pipe_to_its_stdin() {
        let config = ProcessConfig::new("sh").args(["-c", "read line; exec 0<&-; sleep 600"]);
        let (_child, group, (mut stdin, _stdout, _stderr), view) =
            Child::start(&config, None).unwrap();
        stdin.write_all(b"one\ntwo\n").await.unwrap();
        // The shell reads byte by byte, so that it takes nothing beyond its line.
        block_until(|| view.input().unwrap().read == 4);
        let mut more = 0;
        while stdin.write_all(b"three\n").await.is_ok() {
            more += 6;
            block_until(|| view.input().unwrap().written == 8 + more);
        }
        let count = InputCount {
            written: 8 + more,
            read: 4,
        };
        assert_eq!(view.input(), Some(count));
        drop(stdin);
        assert_eq!(view.input(), Some(count), "also once the pipe is closed");
        group.kill();
    }

    #[tokio::test]
    async fn it_is_not_known_how_far_a_process_came_once_the_host_has_closed_its_stdin() {
        let config = ProcessConfig::new("sh").args(["-c", "exec sleep 600"]);
        let (_child, group, (mut stdin, _stdout, _stderr), view) =
            Child::start(&config, None).unwrap();
        stdin.write_all(b"one\n").await.unwrap();
        let count = InputCount {
            written: 4,
            read: 0,
        };
        assert_eq!(view.input(), Some(count));
        stdin.shutdown().await.unwrap();
        assert_eq!(view.input(), None);
        group.kill();
    }

    #[tokio::test]
    async fn what_a_process_has_printed_can_be_read_and_its_end_be_seen_before_the_event_loop_knows()
     {
        let script = "printf he; read line; printf llo; exec sleep 600";
        let config = ProcessConfig::new("sh").args(["-c", script]);
        let (_child, group, (mut stdin, mut stdout, _stderr), view) =
            Child::start(&config, None).unwrap();
        let mut read = [0; 9];
        assert_eq!(stdout.read(&mut read).await.unwrap(), 2);
        // The event loop has found the pipe empty, and the rest is printed while the event loop does not poll.
        stdin.write_all(b"go\n").await.unwrap();
        block_until(|| view.output().unwrap().printed == 5);
        assert_eq!(view.output().unwrap().read, 2);
        assert!(!view.has_ended());
        let bytes = tokio::select! {
            biased;
            bytes = stdout.read(&mut read) => bytes.unwrap(),
            () = std::future::ready(()) => 0,
        };
        assert_eq!(&read[..bytes], b"llo");
        assert_eq!(view.output().unwrap().read, 5);
        group.kill();
        block_until(|| view.has_ended());
    }
}
