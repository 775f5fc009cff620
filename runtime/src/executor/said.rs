//! What workers say about the attempts that they perform.

use crate::context::Step;
use crate::os::HeadTail;

/// How much of the beginning of a worker's messages about a job is kept.
const SAID_HEAD: usize = 2 * 1024;

/// How much of the end of a worker's messages about a job is kept.
const SAID_TAIL: usize = 6 * 1024;

/// What a worker has said about an attempt. Most say nothing, so an entry has it in a box.
#[derive(Debug)]
pub(super) struct Said {
    /// The attempt that it is about.
    pub(super) attempt: u32,
    /// The messages, a line each.
    pub(super) lines: HeadTail,
    /// How far the attempt had come when it last said so.
    pub(super) progress: Option<Step>,
}

impl Said {
    /// Makes what was said about an attempt of which nothing was said yet.
    pub(super) fn new(attempt: u32) -> Self {
        Self {
            attempt,
            lines: HeadTail::new(SAID_HEAD, SAID_TAIL),
            progress: None,
        }
    }

    /// Keeps a message.
    pub(super) fn say(&mut self, message: &str) {
        self.lines.push(message.as_bytes());
        self.lines.push(b"\n");
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
