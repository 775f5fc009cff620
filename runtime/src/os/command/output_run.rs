//! Reads the output of one program that a process manager has started, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::os::{OutputSink, Stream};

/// One of the two output pipes of a program.
pub(super) type OutputPipe = Box<dyn AsyncRead + Send + Unpin>;

/// The work of the thread that reads the output of one program.
pub(super) struct OutputRun {
    /// The runtime that drives the pipes.
    pub(super) runtime: Handle,
    /// Receives the pipes once the program is started.
    pub(super) pipes: oneshot::Receiver<(OutputPipe, OutputPipe)>,
    /// The receiver of the output.
    pub(super) sink: Arc<dyn OutputSink>,
    /// Counts the calls of the sink, at their beginnings and at their ends. It is odd while a call blocks the thread.
    pub(super) calls: Arc<AtomicUsize>,
    /// Cancelled when no more output is awaited. The output that has come by then is still read.
    pub(super) enough: CancellationToken,
    /// Signalled when everything has been read.
    pub(super) all_read: oneshot::Sender<()>,
}

impl OutputRun {
    /// Passes the output to the sink until it ends. Returns whether the program was started.
    pub(super) fn carry_out(self, chunk: &mut [u8]) -> bool {
        let Self {
            runtime,
            pipes,
            sink,
            calls,
            enough,
            all_read,
        } = self;
        // Relaxed: the count shows only whether time is spent in the sink, and orders nothing.
        let give = |stream, bytes: &[u8]| {
            calls.fetch_add(1, Ordering::Relaxed);
            let flow = sink.receive(stream, bytes);
            calls.fetch_add(1, Ordering::Relaxed);
            flow
        };
        // Without the pipes the program was not started, which its manager has reported.
        let Ok((stdout, stderr)) = pipes.blocking_recv() else {
            return true;
        };
        let (one, other) = chunk.split_at_mut(chunk.len() / 2);
        let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
        runtime.block_on(async {
            while stdout.is_some() || stderr.is_some() {
                let next = async {
                    tokio::select! {
                        read = read(&mut stdout, one), if stdout.is_some() => (Stream::Stdout, read),
                        read = read(&mut stderr, other), if stderr.is_some() => (Stream::Stderr, read),
                    }
                };
                // Data in the pipes comes before `enough`. On a busy machine this thread may not have run since the
                // program ended, and would lose all that was printed.
                let (stream, read) = tokio::select! {
                    biased;
                    next = next => next,
                    () = enough.cancelled() => return,
                };
                let (pipe, chunk) = match stream {
                    Stream::Stdout => (&mut stdout, &*one),
                    Stream::Stderr => (&mut stderr, &*other),
                };
                // A pipe that cannot be read is treated like one that has ended.
                let bytes = read.unwrap_or(0);
                if bytes == 0 || give(stream, &chunk[..bytes]).is_break() {
                    *pipe = None;
                }
            }
        });
        // An error means that the end is not awaited any more.
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

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Mutex;

    use super::*;

    /// Collects the output of both streams.
    #[derive(Default)]
    struct Collected(Mutex<Vec<u8>>);

    impl OutputSink for Collected {
        fn receive(&self, _: Stream, bytes: &[u8]) -> ControlFlow<()> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn a_thread_that_comes_late_takes_all_that_was_printed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        // Without the order of the branches, each read would be lost in half of the runs.
        for _ in 0..20 {
            let printed: &[u8] = b"hello\n";
            let (_held_open, stderr) = tokio::io::duplex(1);
            let (send_pipes, pipes) = oneshot::channel();
            let sent = send_pipes.send((
                Box::new(printed) as OutputPipe,
                Box::new(stderr) as OutputPipe,
            ));
            assert!(sent.is_ok());
            let (all_read, mut read) = oneshot::channel();
            let enough = CancellationToken::new();
            enough.cancel();
            let sink = Arc::<Collected>::default();
            let run = OutputRun {
                runtime: runtime.handle().clone(),
                pipes,
                sink: Arc::<Collected>::clone(&sink),
                calls: Arc::default(),
                enough,
                all_read,
            };
            run.carry_out(&mut [0; 8]);
            assert_eq!(*sink.0.lock().unwrap(), printed);
            read.try_recv().unwrap();
        }
    }
}
