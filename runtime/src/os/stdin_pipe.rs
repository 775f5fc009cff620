//! The stdin of a process, which tells how much of it the process has not read yet.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::process::ChildStdin;

/// The writing end of the pipe to a process.
pub(super) struct StdinPipe(Arc<Mutex<ChildStdin>>);

/// Tells how much of the pipe is unread. It does not keep the pipe open, or the process would never read its end.
pub(super) struct UnreadStdin(Weak<Mutex<ChildStdin>>);

impl StdinPipe {
    pub(super) fn new(stdin: ChildStdin) -> Self {
        Self(Arc::new(Mutex::new(stdin)))
    }

    pub(super) fn unread(&self) -> UnreadStdin {
        UnreadStdin(Arc::downgrade(&self.0))
    }

    /// Each use of the pipe leaves it whole, and a look at it takes a system call at most.
    fn lock(&self) -> MutexGuard<'_, ChildStdin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnreadStdin {
    /// How many bytes lie in the pipe, which the system counts at either end of it.
    pub(super) fn bytes(&self) -> Option<u64> {
        let stdin = self.0.upgrade()?;
        let stdin = stdin.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::io::ioctl_fionread(&*stdin).ok()
    }
}

impl AsyncWrite for StdinPipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(cx)
    }
}
