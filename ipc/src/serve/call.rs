//! One request, as the task that works on it sees it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, shorten};
use crate::messages::{
    Event, HostName, JobKey, Log, LogLevel, Payload, Progress, Request, TaskError, TaskName,
};

/// One request, as the task that works on it sees it.
pub struct Call {
    request: Request,
    outbox: Outbox,
    cancellation: CancellationToken,
}

impl Call {
    pub(super) fn new(request: Request, outbox: Outbox, cancellation: CancellationToken) -> Self {
        Self {
            request,
            outbox,
            cancellation,
        }
    }

    /// Reads the input as a type of one's own.
    ///
    /// The error says what is wrong with it and that trying again will not help.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        self.request.input.read().map_err(|error| {
            TaskError::new(
                TaskError::INVALID_INPUT,
                format!("the input does not fit: {error}"),
            )
            .retryable(false)
        })
    }

    /// The input as it came.
    pub fn input(&self) -> &Payload {
        &self.request.input
    }

    /// What is asked for.
    pub fn task(&self) -> &TaskName {
        &self.request.task
    }

    /// The job's own id, the same for every attempt: ask for it before doing a thing twice.
    pub fn key(&self) -> Option<&JobKey> {
        self.request.key.as_ref()
    }

    /// The place that the job concerns.
    pub fn host(&self) -> Option<&HostName> {
        self.request.host.as_ref()
    }

    /// Which attempt of the job this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.request.attempt
    }

    /// How long the attempt may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.request.timeout_ms.map(Duration::from_millis)
    }

    /// Whether to say what would change, and change nothing.
    pub fn is_check(&self) -> bool {
        self.request.check
    }

    /// Whether to say how what changed differs from before.
    pub fn is_diff(&self) -> bool {
        self.request.diff
    }

    /// Tells how far the work has got, which also shows that it goes on.
    ///
    /// A report that the host has no room for is dropped; the next one says more anyway.
    pub fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        self.outbox.progress(Event::Progress(Progress {
            id: self.request.id.clone(),
            done: Some(done),
            total,
            message: message.map(|message| shorten(message.to_owned())),
        }));
    }

    /// Tells something to whoever runs the job.
    ///
    /// Lines that the host has no room for are dropped and counted, and the count is told. A text of
    /// more than 16 KiB is cut.
    pub fn log(&self, level: LogLevel, message: impl Into<String>) {
        let message = shorten(message.into());
        self.outbox.log(Log {
            id: Some(self.request.id.clone()),
            level,
            message,
        });
    }

    /// Whether the host no longer wants an answer; a blocking task should look now and then.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Waits until the host no longer wants an answer; for tasks that [stop by
    /// themselves](super::Task::stops_itself).
    pub async fn cancelled(&self) {
        self.cancellation.cancelled().await;
    }

    /// The answer of a task that noticed.
    pub fn cancelled_error(&self) -> TaskError {
        TaskError::new(TaskError::CANCELLED, "cancelled by the host")
    }
}
