//! A request as its task sees it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, shorten};
use crate::messages::{
    Event, HostName, JobKey, Log, LogLevel, Payload, Progress, Request, TaskError, TaskName,
};

/// A request that a task works on: its fields, and ways to report to the host.
///
/// ```
/// use ratchet_ipc::serve::{Call, Json, Task, Worker};
/// use ratchet_ipc::{LogLevel, Payload};
///
/// let remove = Task::new("remove", |call: Call| async move {
///     let path: String = call.read()?;
///     if call.is_diff() {
///         call.log(LogLevel::Info, format!("- {path}"));
///     }
///     if call.is_check() {
///         return Ok(Json(format!("would remove {path}")));
///     }
///     std::fs::remove_file(&path)?;
///     Ok(Json(format!("removed {path}")))
/// });
/// let hint = Payload::from_json(r#"{"rate_limited": {"requests_per_second": 5}}"#)?;
/// let worker = Worker::new("files").max_message_bytes(1 << 20).task(remove.hint_json(hint));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub struct Call {
    request: Request,
    /// Receives the progress and the log of the call.
    outbox: Outbox,
    /// Cancelled when the host asks to stop the call.
    cancellation: CancellationToken,
}

impl Call {
    /// Makes the call of a request, whose events go to the outbox.
    pub(super) fn new(request: Request, outbox: Outbox, cancellation: CancellationToken) -> Self {
        Self {
            request,
            outbox,
            cancellation,
        }
    }

    /// Deserialises the input.
    ///
    /// The error describes what is wrong with the input, and rules out another attempt.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        self.request.input.read().map_err(|error| {
            TaskError::new(
                TaskError::INVALID_INPUT,
                format!("the input does not fit: {error}"),
            )
            .retryable(false)
        })
    }

    /// Returns the input as JSON.
    pub fn input(&self) -> &Payload {
        &self.request.input
    }

    /// Returns the task to perform.
    pub fn task(&self) -> &TaskName {
        &self.request.task
    }

    /// Returns the id of the job, which is the same for every attempt. Use it to avoid repeating an effect.
    pub fn key(&self) -> Option<&JobKey> {
        self.request.key.as_ref()
    }

    /// Returns the machine or other entity that the job is for.
    pub fn host(&self) -> Option<&HostName> {
        self.request.host.as_ref()
    }

    /// Returns the number of the slot that the attempt holds, from 1 on, if the host sends it. No other attempt holds
    /// it at the same time.
    pub fn slot(&self) -> Option<u32> {
        self.request.slot
    }

    /// Returns the resources that the attempt holds, by name: a list of identities, or a number.
    pub fn resources(&self) -> Option<&Payload> {
        self.request.resources.as_ref()
    }

    /// Returns the span of the attempt in a distributed trace, as the W3C writes the header `traceparent`, if the host traces
    /// its run. Pass it on in the header of requests, or begin a span of your own within it.
    pub fn traceparent(&self) -> Option<&str> {
        self.request.traceparent.as_deref()
    }

    /// Returns the number of the attempt, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.request.attempt
    }

    /// Returns the time limit of the attempt.
    pub fn timeout(&self) -> Option<Duration> {
        self.request.timeout_ms.map(Duration::from_millis)
    }

    /// Whether the task should only report what it would change.
    pub fn is_check(&self) -> bool {
        self.request.check
    }

    /// Whether the task should report the differences that it makes.
    pub fn is_diff(&self) -> bool {
        self.request.diff
    }

    /// Reports the progress of the work, which also resets the no-progress timer of the host.
    ///
    /// If the host reads too slowly, the report is dropped, because the next one supersedes it.
    pub fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        self.outbox.progress(Event::Progress(Progress {
            id: self.request.id.clone(),
            done: Some(done),
            total,
            message: message.map(|message| shorten(message.to_owned())),
        }));
    }

    /// Logs a message for the user who runs the job.
    ///
    /// If the host reads too slowly, messages are dropped, and their number is logged later. A text of more than 16 KiB
    /// is truncated.
    pub fn log(&self, level: LogLevel, message: impl Into<String>) {
        let message = shorten(message.into());
        self.outbox.log(Log {
            id: Some(self.request.id.clone()),
            level,
            message,
        });
    }

    /// Whether the host has cancelled the request. A blocking task should check it regularly.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Waits until the host cancels the request. It is for tasks that [stop by themselves](super::Task::stops_itself).
    pub async fn cancelled(&self) {
        self.cancellation.cancelled().await;
    }

    /// Makes the error with which a task answers after a cancel.
    pub fn cancelled_error(&self) -> TaskError {
        TaskError::new(TaskError::CANCELLED, "cancelled by the host")
    }
}
