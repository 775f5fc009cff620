//! The request for an attempt of a job.

use serde::{Deserialize, Deserializer, Serialize};

use super::{HostName, JobKey, MessageId, Payload, TaskName, null_is_default};

/// A request of the host for one attempt of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The id of this attempt, which the response repeats.
    pub id: MessageId,
    /// The task to perform.
    pub task: TaskName,
    /// The input of the task.
    #[serde(default = "Payload::null")]
    pub input: Payload,
    /// The number of the attempt, counted from 1.
    #[serde(default = "first_attempt", deserialize_with = "null_is_first")]
    pub attempt: u32,
    /// The time limit of the attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The machine or other entity that the job is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The id of the job, which the worker can use as its idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<JobKey>,
    /// The number of the slot that the attempt holds: from 1 to the number of slots, and never held by two attempts at
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The resources that the attempt holds, by name: a list of identities, or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Payload>,
    /// The span of the attempt in a distributed trace, as the W3C writes the header `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Box<str>>,
    /// Whether the worker only reports what it would change.
    #[serde(default, deserialize_with = "null_is_default")]
    pub check: bool,
    /// Whether the worker reports the changes that it makes as differences.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff: bool,
}

fn first_attempt() -> u32 {
    1
}

/// Reads the number of an attempt; `null` means that the field is absent.
fn null_is_first<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = Option::deserialize(deserializer)?;
    Ok(number.unwrap_or_else(first_attempt))
}

impl Request {
    /// Makes the request for a first attempt, without optional fields.
    pub fn new(id: impl Into<MessageId>, task: impl Into<TaskName>, input: Payload) -> Self {
        Self {
            id: id.into(),
            task: task.into(),
            input,
            attempt: first_attempt(),
            timeout_ms: None,
            host: None,
            key: None,
            slot: None,
            resources: None,
            traceparent: None,
            check: false,
            diff: false,
        }
    }
}
