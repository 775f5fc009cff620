//! What an attempt prints, kept while it runs.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::os::{HeadTail, OutputSink, Stream};
use crate::outcome::Failure;

/// How much of the beginning of stdout, and of stderr, goes with a failure.
const HEAD_BYTES: usize = 8 * 1024;

/// How many bytes of the end of an output are kept: what went wrong mostly stands there.
const TAIL_BYTES: usize = 24 * 1024;

/// The head and the tail of what an attempt has printed so far.
///
/// It is shared by whoever reads the program's pipes and whoever reports the end of the attempt. An attempt that is
/// killed ends by a drop of its future, and what that future had gathered would be lost with it.
#[derive(Debug)]
pub(crate) struct AttemptOutput(Mutex<[HeadTail; 2]>);

impl Default for AttemptOutput {
    fn default() -> Self {
        Self(Mutex::new(
            [(); 2].map(|()| HeadTail::new(HEAD_BYTES, TAIL_BYTES)),
        ))
    }
}

impl AttemptOutput {
    /// Keeps what was printed next.
    pub(crate) fn push(&self, stream: Stream, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &mut *kept;
        match stream {
            Stream::Stdout => stdout.push(bytes),
            Stream::Stderr => stderr.push(bytes),
        }
    }

    /// Copies what was kept of stdout and of stderr so far.
    pub(crate) fn copy(&self) -> [HeadTail; 2] {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Adds what was printed so far to a failure that says nothing of it.
    pub(crate) fn add_to(&self, failure: Failure) -> Failure {
        if failure.stdout.is_some() || failure.stderr.is_some() {
            return failure;
        }
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &*kept;
        failure
            .stdout(stdout.to_excerpt())
            .stderr(stderr.to_excerpt())
    }
}

impl OutputSink for AttemptOutput {
    fn receive(&self, stream: Stream, bytes: &[u8]) -> ControlFlow<()> {
        self.push(stream, bytes);
        ControlFlow::Continue(())
    }
}
