//! How a job ended, from the node that did it to the submitter.

use ratchet_queue::FinalStatus;
use ratchet_runtime::{Class, Failure, Job, Outcome, Payload};

/// Writes an outcome for the queue.
pub(crate) fn encode(outcome: &Outcome) -> Vec<u8> {
    let mut line = Vec::new();
    outcome.write_line(&mut line);
    line
}

/// Reads how a job ended. `lost` is the need that did not succeed, if the job was skipped for one.
///
/// A job that ended in the queue itself has no result of a node: one that was cancelled while it waited, one that was skipped,
/// and one whose nodes were lost.
pub(crate) fn outcome_of(
    job: &Job,
    status: FinalStatus,
    attempts: u32,
    result: &[u8],
    lost: Option<&str>,
) -> Outcome {
    let failed = |class, message: String| Err(Failure::new(class, message).retryable(false));
    let mut outcome = if result.is_empty() {
        let result = match status {
            FinalStatus::Succeeded => Ok(Payload::null()),
            FinalStatus::Cancelled if attempts == 0 => failed(
                Class::Cancelled,
                "somebody cancelled it before it started".to_owned(),
            ),
            FinalStatus::Cancelled => failed(
                Class::Cancelled,
                "somebody cancelled it while it waited for another attempt".to_owned(),
            ),
            FinalStatus::Skipped => {
                let need = lost.unwrap_or("a job");
                failed(
                    Class::Need,
                    format!("it needs `{need}`, which did not succeed"),
                )
            }
            FinalStatus::TimedOut => failed(Class::Timeout, "it took too long".to_owned()),
            FinalStatus::Crashed => failed(
                Class::Host,
                format!("its node was lost in each of {attempts} attempts"),
            ),
            _ => failed(
                Class::Task,
                "it failed, and its node told no reason".to_owned(),
            ),
        };
        Outcome {
            attempts,
            ..Outcome::new(job.id.clone(), job.task_name(), result)
        }
    } else {
        match serde_json::from_slice::<Outcome>(result) {
            Ok(outcome) => outcome,
            Err(error) => {
                let message = format!("its result in the queue cannot be read: {error}");
                Outcome {
                    attempts,
                    ..Outcome::new(
                        job.id.clone(),
                        job.task_name(),
                        failed(Class::Protocol, message),
                    )
                }
            }
        }
    };
    outcome.id = job.id.clone();
    outcome.host.clone_from(&job.host);
    outcome.item = job.item.as_ref().map(|item| item.name.clone());
    outcome
}
