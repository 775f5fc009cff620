//! The messages and the progress that workers report for their attempts.

use std::sync::Arc;

use crate::context::{AttemptOutput, Step};
use crate::os::Stream;

/// The messages and the progress that a worker has reported for an attempt. Most workers report nothing, so an entry
/// has this in a box.
#[derive(Debug)]
pub(super) struct AttemptMessages {
    /// The number of the attempt to which the messages belong.
    pub(super) attempt: u32,
    /// The messages, one on each line.
    pub(super) lines: Arc<AttemptOutput>,
    /// The progress that was reported last.
    pub(super) progress: Option<Step>,
}

impl AttemptMessages {
    /// Makes an empty record for an attempt.
    pub(super) fn new(attempt: u32) -> Self {
        Self {
            attempt,
            lines: Arc::default(),
            progress: None,
        }
    }

    /// Appends a message.
    pub(super) fn push_message(&mut self, message: &str) {
        self.lines.push(Stream::Stderr, message.as_bytes());
        self.lines.push(Stream::Stderr, b"\n");
    }

    /// Keeps the latest progress, and appends its message if that has changed.
    pub(super) fn step(&mut self, step: &Step) {
        let before = self
            .progress
            .as_ref()
            .and_then(|step| step.message.as_ref());
        if let Some(message) = &step.message
            && before != Some(message)
        {
            self.push_message(message);
        }
        self.progress = Some(step.clone());
    }
}
