//! The output of an attempt, kept while it runs.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::os::{HeadTail, OutputSink, ProcessCost, Stream};
use crate::outcome::{AttemptUsage, Failure};

/// How many bytes of the beginning of stdout, and of stderr, are kept for a failure.
const HEAD_BYTES: usize = 8 * 1024;

/// How many bytes of the end of an output are kept: the cause of a failure is mostly printed there.
const TAIL_BYTES: usize = 24 * 1024;

/// The head and the tail of what an attempt has printed so far.
///
/// It is shared by the reader of the program's pipes and the code that reports the end of the attempt. Killing an
/// attempt drops its future, and output that the future had gathered would be lost with it.
#[derive(Debug)]
pub(crate) struct AttemptOutput(Mutex<Kept>);

/// The kept output and usage of an attempt of a program.
#[derive(Debug)]
struct Kept {
    /// The head and the tail of stdout and stderr, in this order.
    streams: [HeadTail; 2],
    /// How many bytes were printed in all.
    bytes: u64,
    /// The resource usage of the program, once it has ended.
    cost: Option<ProcessCost>,
}

impl Default for AttemptOutput {
    fn default() -> Self {
        Self(Mutex::new(Kept {
            streams: [(); 2].map(|()| HeadTail::new(HEAD_BYTES, TAIL_BYTES)),
            bytes: 0,
            cost: None,
        }))
    }
}

impl AttemptOutput {
    /// Adds bytes that were printed.
    pub(crate) fn push(&self, stream: Stream, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += bytes.len() as u64;
        let [stdout, stderr] = &mut kept.streams;
        match stream {
            Stream::Stdout => stdout.push(bytes),
            Stream::Stderr => stderr.push(bytes),
        }
    }

    /// Copies what is kept of stdout and of stderr so far.
    pub(crate) fn copy(&self) -> [HeadTail; 2] {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .streams
            .clone()
    }

    /// Records the resource usage of the program, which has ended.
    pub(crate) fn ended(&self, cost: Option<ProcessCost>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cost = cost;
    }

    /// Returns the resource usage of the program, as far as it is known.
    pub(crate) fn usage(&self) -> Option<AttemptUsage> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        AttemptUsage::of_program(kept.cost, kept.bytes)
    }

    /// Adds what was printed so far to a failure that has no output.
    pub(crate) fn add_to(&self, failure: Failure) -> Failure {
        if failure.stdout.is_some() || failure.stderr.is_some() {
            return failure;
        }
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [stdout, stderr] = &kept.streams;
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
