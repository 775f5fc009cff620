//! What workers say about the attempts that they perform.

use std::sync::Arc;

use crate::context::{AttemptOutput, Step};
use crate::os::Stream;

/// The messages and the progress that a worker has reported for an attempt. Most report nothing, so an entry boxes it.
#[derive(Debug)]
pub(super) struct AttemptMessages {
    /// The attempt that it is about.
    pub(super) attempt: u32,
    /// The messages, a line each.
    pub(super) lines: Arc<AttemptOutput>,
    /// How far the attempt had come when it last said so.
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

    /// Keeps a message.
    pub(super) fn say(&mut self, message: &str) {
        self.lines.push(Stream::Stderr, message.as_bytes());
        self.lines.push(Stream::Stderr, b"\n");
    }

    /// Keeps how far the attempt has come.
    pub(super) fn step(&mut self, step: &Step) {
        let before = self
            .progress
            .as_ref()
            .and_then(|step| step.message.as_ref());
        if let Some(message) = &step.message
            && before != Some(message)
        {
            self.say(message);
        }
        self.progress = Some(step.clone());
    }
}
