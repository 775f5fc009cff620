//! What a host asks for.

use serde::{Deserialize, Serialize};

use super::{HostName, JobKey, MessageId, Payload, TaskName, null_is_default};

/// The host asks a worker for one attempt of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Names this attempt; the answer carries it.
    pub id: MessageId,
    /// What is to be done.
    pub task: TaskName,
    /// What it is to be done with.
    #[serde(default = "Payload::null")]
    pub input: Payload,
    /// Counts the attempts of the job from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// How long the attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The place that the job concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The job's own id: the worker's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<JobKey>,
    /// Say what would change, and change nothing.
    #[serde(default, deserialize_with = "null_is_default")]
    pub check: bool,
    /// Say how what changed differs from before.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff: bool,
}

fn first_attempt() -> u32 {
    1
}

impl Request {
    /// A first attempt with nothing but the necessary.
    pub fn new(id: impl Into<MessageId>, task: impl Into<TaskName>, input: Payload) -> Self {
        Self {
            id: id.into(),
            task: task.into(),
            input,
            attempt: first_attempt(),
            timeout_ms: None,
            host: None,
            key: None,
            check: false,
            diff: false,
        }
    }
}
