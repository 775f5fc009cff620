//! What an attempt prints, kept while it runs.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::os::{HeadTail, OutputSink, ProcessCost, Stream};
use crate::outcome::{AttemptUsage, Failure};

/// How much of the beginning of stdout, and of stderr, goes with a failure.
const HEAD_BYTES: usize = 8 * 1024;

/// How many bytes of the end of an output are kept: what went wrong mostly stands there.
const TAIL_BYTES: usize = 24 * 1024;

/// The head and the tail of what an attempt has printed so far.
///
/// It is shared by whoever reads the program's pipes and whoever reports the end of the attempt. An attempt that is
/// killed ends by a drop of its future, and what that future had gathered would be lost with it.
#[derive(Debug)]
pub(crate) struct AttemptOutput(Mutex<Kept>);

/// What is kept of an attempt of a program.
#[derive(Debug)]
struct Kept {
    /// The head and the tail of stdout and stderr, in this order.
    streams: [HeadTail; 2],
    /// How many bytes were printed in all.
    bytes: u64,
    /// What the program has cost, once it has ended.
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
    /// Keeps what was printed next.
    pub(crate) fn push(&self, stream: Stream, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += bytes.len() as u64;
        let [stdout, stderr] = &mut kept.streams;
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
            .streams
            .clone()
    }

    /// Notes what the program has cost, which has ended.
    pub(crate) fn ended(&self, cost: Option<ProcessCost>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).cost = cost;
    }

    /// What the program has used, as far as that is known.
    pub(crate) fn usage(&self) -> Option<AttemptUsage> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        AttemptUsage::of_program(kept.cost, kept.bytes)
    }

    /// Adds what was printed so far to a failure that says nothing of it.
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
