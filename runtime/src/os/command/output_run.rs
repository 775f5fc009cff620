//! Takes the output of one program that a process manager has started, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::os::{OutputSink, Stream};

/// One of the two pipes that a program prints into.
pub(super) type OutputPipe = Box<dyn AsyncRead + Send + Unpin>;

/// The output of one program, as its thread gets it.
pub(super) struct OutputRun {
    /// The runtime that drives the pipes.
    pub(super) runtime: Handle,
    /// Brings the pipes once the program is started.
    pub(super) pipes: oneshot::Receiver<(OutputPipe, OutputPipe)>,
    /// The receiver of the output.
    pub(super) sink: Arc<dyn OutputSink>,
    /// Counts the calls of the sink, at their beginnings and at their ends. It is odd while the sink holds up the thread.
    pub(super) calls: Arc<AtomicUsize>,
    /// Cancelled when the rest of the output is not waited for any longer.
    pub(super) enough: CancellationToken,
    /// Told when everything has been read.
    pub(super) all_read: oneshot::Sender<()>,
}

impl OutputRun {
    /// Passes the output to the sink until it ends. Says whether the program was started.
    pub(super) fn carry_out(self, chunk: &mut [u8]) -> bool {
        let Self {
            runtime,
            pipes,
            sink,
            calls,
            enough,
            all_read,
        } = self;
        // Relaxed: the count tells only whether time passes in the sink, and orders nothing.
        let give = |stream, bytes: &[u8]| {
            calls.fetch_add(1, Ordering::Relaxed);
            let flow = sink.receive(stream, bytes);
            calls.fetch_add(1, Ordering::Relaxed);
            flow
        };
        // Without them the program was not started, which its manager has reported.
        let Ok((stdout, stderr)) = pipes.blocking_recv() else {
            return true;
        };
        let (one, other) = chunk.split_at_mut(chunk.len() / 2);
        let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
        runtime.block_on(async {
            while stdout.is_some() || stderr.is_some() {
                let (stream, read) = tokio::select! {
                    () = enough.cancelled() => return,
                    read = read(&mut stdout, one), if stdout.is_some() => (Stream::Stdout, read),
                    read = read(&mut stderr, other), if stderr.is_some() => (Stream::Stderr, read),
                };
                let (pipe, chunk) = match stream {
                    Stream::Stdout => (&mut stdout, &*one),
                    Stream::Stderr => (&mut stderr, &*other),
                };
                // A pipe that cannot be read has no more to say than one that has ended.
                let bytes = read.unwrap_or(0);
                if bytes == 0 || give(stream, &chunk[..bytes]).is_break() {
                    *pipe = None;
                }
            }
        });
        // An error means that nobody waits any more.
        let _ = all_read.send(());
        true
    }
}

async fn read(pipe: &mut Option<OutputPipe>, chunk: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(chunk).await,
        None => Ok(0),
    }
}
