//! A writer to the other side that leaves the reading alone when it fails.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;

use super::RemoteError;

/// Records that nothing more can be sent to the other side, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct SendFailure {
    has_failed: CancellationToken,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl SendFailure {
    /// Waits until a write fails.
    pub(super) async fn failed(&self) {
        self.has_failed.cancelled().await;
    }

    /// Returns the reason for the end of a connection: the first write that failed, or else this error, or else that
    /// the other side has ended it.
    pub(super) fn or(&self, other: Option<RemoteError>) -> RemoteError {
        let error = self.error().take();
        let error = error.map(RemoteError::Io).or(other);
        error.unwrap_or(RemoteError::Closed)
    }

    fn error(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, error: io::Error) {
        *self.error() = Some(error);
        self.has_failed.cancel();
    }
}

/// A writer that drops everything after a write has failed, and reports success.
///
/// The streams within a connection all break with the first error, whether that is one of reading or of writing. But a
/// process that has ended may have left much in its pipe, such as the ends of programs, and all of it has to be read.
#[derive(Debug)]
pub(super) struct TolerantWriter<W> {
    writer: W,
    failure: SendFailure,
}

impl<W> TolerantWriter<W> {
    /// Wraps a writer. The failure is recorded.
    pub(super) fn new(writer: W, failure: SendFailure) -> Self {
        Self { writer, failure }
    }

    /// Returns the result of a write, or if one has failed, that it has `succeeded`.
    fn tolerate<T>(&self, polled: Poll<io::Result<T>>, succeeded: T) -> Poll<io::Result<T>> {
        polled.map(|result| {
            Ok(result.unwrap_or_else(|error| {
                self.failure.set(error);
                succeeded
            }))
        })
    }

    fn has_failed(&self) -> bool {
        self.failure.has_failed.is_cancelled()
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for TolerantWriter<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.has_failed() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.writer).poll_write(cx, bytes);
        self.tolerate(polled, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum();
        if self.has_failed() {
            return Poll::Ready(Ok(all));
        }
        let polled = Pin::new(&mut self.writer).poll_write_vectored(cx, slices);
        self.tolerate(polled, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_failed() {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.writer).poll_flush(cx);
        self.tolerate(polled, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_failed() {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.writer).poll_shutdown(cx);
        self.tolerate(polled, ())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_writer_to_nobody_drops_what_it_gets_and_records_the_error() {
        let (here, there) = tokio::io::duplex(16);
        let failure = SendFailure::default();
        let mut writer = TolerantWriter::new(here, failure.clone());
        writer.write_all(b"heard").await.unwrap();
        let other = failure.or(Some(RemoteError::Closed));
        assert!(matches!(other, RemoteError::Closed), "nothing has failed");
        drop(there);
        for _ in 0..3 {
            writer.write_all(&[0; 100]).await.unwrap();
        }
        writer.shutdown().await.unwrap();
        failure.failed().await;
        let error = failure.or(Some(RemoteError::Closed));
        assert!(
            matches!(&error, RemoteError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe),
            "{error:?}"
        );
    }
}
