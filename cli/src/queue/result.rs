//! How a job ended, from the node that did it to the submitter.

use ratchet_queue::FinalStatus;
use ratchet_runtime::{Class, Failure, Job, Outcome, Payload};

/// Writes an outcome for the queue.
pub(crate) fn encode(outcome: &Outcome) -> Vec<u8> {
    let mut line = Vec::new();
    outcome.write_line(&mut line);
    line
}

/// What is known of the end of a job besides its status and its result.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EndFacts<'a> {
    /// How many attempts it had.
    pub(crate) attempts: u32,
    /// The need that did not succeed, if the job was skipped for one that is known.
    pub(crate) lost_need: Option<&'a str>,
    /// Whether it failed because no living node could do it for too long.
    pub(crate) is_unservable: bool,
}

/// Reads how a job ended.
///
/// A job that ended in the queue itself has no result of a node: one that was cancelled while it waited, one that was skipped,
/// and one whose nodes were lost.
pub(crate) fn outcome_of(
    job: &Job,
    status: FinalStatus,
    result: &[u8],
    facts: EndFacts<'_>,
) -> Outcome {
    let EndFacts {
        attempts,
        lost_need,
        is_unservable,
    } = facts;
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
            FinalStatus::Skipped => failed(
                Class::Need,
                match lost_need {
                    Some(need) => format!("it needs `{need}`, which did not succeed"),
                    None => "a job that it needs did not succeed".to_owned(),
                },
            ),
            FinalStatus::Failed if is_unservable => failed(
                Class::Unreachable,
                "no living node could do it for as long as --unservable-after says".to_owned(),
            ),
            FinalStatus::TimedOut => failed(Class::Timeout, "it took too long".to_owned()),
            FinalStatus::Crashed => failed(
                Class::Host,
                format!("its node was lost in each of {attempts} attempts"),
            ),
            FinalStatus::Failed => failed(
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
                // The loop of a node replaces a result that is too large by a sentence.
                let (class, message) = match std::str::from_utf8(result) {
                    Ok(text) if status == FinalStatus::Failed && !text.starts_with('{') => {
                        (Class::TooLarge, text.to_owned())
                    }
                    _ => (
                        Class::Protocol,
                        format!("its result in the queue cannot be read: {error}"),
                    ),
                };
                let failure = failed(class, message);
                Outcome {
                    attempts,
                    ..Outcome::new(job.id.clone(), job.task_name(), failure)
                }
            }
        }
    };
    outcome.id = job.id.clone();
    outcome.host.clone_from(&job.host);
    outcome.item = job.item.as_ref().map(|item| item.name.clone());
    outcome
}
