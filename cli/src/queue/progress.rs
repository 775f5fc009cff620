//! How far an attempt is, from the worker of a node to those who follow the queue.

use serde::{Deserialize, Serialize};

/// The greatest length of a message in bytes. Each report is told to all who follow, and the queue keeps it for a time.
const LONGEST_MESSAGE: usize = 1000;

/// A report of an attempt's progress.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct QueuedProgress {
    /// How much of the work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<f64>,
    /// How much work there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<f64>,
    /// What the attempt is doing now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

impl QueuedProgress {
    /// Writes the report for the queue. A message that is too long is cut.
    #[expect(
        clippy::expect_used,
        reason = "serialising numbers and a text as JSON cannot fail"
    )]
    pub(crate) fn encode(mut self) -> Vec<u8> {
        if let Some(message) = &mut self.message {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        }
        serde_json::to_vec(&self).expect("numbers and a text can be written as JSON")
    }

    /// Reads a report; `None` if it is none.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        serde_json::from_slice(message).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_with_its_message_cut_between_characters() {
        let report = QueuedProgress {
            done: Some(1.5),
            total: None,
            message: Some(format!("a{}", "é".repeat(600))),
        };
        let arrived = QueuedProgress::read(&report.encode()).unwrap();
        assert_eq!((arrived.done, arrived.total), (Some(1.5), None));
        assert_eq!(arrived.message, Some(format!("a{}", "é".repeat(499))));
        assert_eq!(QueuedProgress::read(b"nonsense"), None);
    }
}
