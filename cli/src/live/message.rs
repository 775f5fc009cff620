//! The questions and answers on the socket of a run. Each is a line with a JSON object.

use std::num::NonZeroU32;

use ratchet_runtime::{JobKey, Limit, Rate};
use serde::{Deserialize, Serialize};

/// The version of the format of these lines.
pub(super) const VERSION: u32 = 1;

/// A question or an order to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    /// What is the state of the run? Answered by a [`LiveState`].
    State,
    /// Where is a job, and why does it not run? Answered by an [`Explanation`].
    Explain {
        /// The id of the job.
        job: JobKey,
    },
    /// What has a job printed? Answered by [`Printed`].
    Output {
        /// The id of the job.
        job: JobKey,
        /// How many bytes of stdout are known already.
        #[serde(default)]
        stdout_from: u64,
        /// How many bytes of stderr are known already.
        #[serde(default)]
        stderr_from: u64,
    },
    /// Cancel these jobs. Answered by a list of [`Became`].
    Cancel {
        /// The ids of the jobs.
        jobs: Vec<JobKey>,
    },
    /// Start no jobs until the run is continued.
    Pause,
    /// Let jobs start again.
    Continue,
    /// Change how much runs at once.
    Set {
        /// The number of slots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jobs: Option<NonZeroU32>,
        /// The limits that change, by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        limits: Vec<(String, LimitChange)>,
    },
}

/// How a limit changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum LimitChange {
    /// This many units at once.
    Max(NonZeroU32),
    /// This many starts in a time. Without `burst`, the burst stays as it is.
    Rate {
        /// The rate.
        rate: Rate,
        /// How many attempts may start at once after a pause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        burst: Option<NonZeroU32>,
    },
}

/// The answer to a question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply<T> {
    /// The version of the line.
    pub(super) v: u32,
    /// The answer, unless the question was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<T>,
    /// The reason why the question was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Refusal>,
}

/// The reason why a question is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// What is wrong.
    pub(crate) message: String,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
}

impl Refusal {
    /// Refuses a question for this reason.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// Adds what the user can do about it.
    pub(super) fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// The state of a run in progress.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LiveState {
    /// The id of the run.
    pub(crate) run: String,
    /// The process that runs it.
    pub(crate) pid: u32,
    /// The phase of the run, such as `running` or `draining`.
    pub(crate) phase: String,
    /// The reason why no jobs start, if none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
    /// Whether a user has paused the run.
    pub(crate) paused: bool,
    /// How long the run has been working.
    pub(crate) elapsed_ms: u64,
    /// How many slots there are.
    pub(crate) slots: u32,
    /// How many slots are filled.
    pub(crate) slots_used: u32,
    /// How many jobs there are in all, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// How many jobs the run has not taken in yet, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queued: Option<u64>,
    /// How many jobs wait.
    pub(crate) waiting: u64,
    /// How many jobs run.
    pub(crate) running: u64,
    /// How many jobs have ended.
    pub(crate) ended: u64,
    /// How many of the ended jobs succeeded.
    pub(crate) succeeded: u64,
    /// How many of the ended jobs failed, timed out or crashed.
    pub(crate) failed: u64,
    /// How many jobs end in a second, measured over the last seconds.
    pub(crate) rate: f64,
    /// How long the remaining jobs take at this rate, if that can be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    /// How many jobs have ended in each of the last seconds, the latest second at the end.
    pub(crate) history: Vec<u64>,
    /// What jobs wait for.
    pub(crate) waits: Vec<WaitCount>,
    /// The named limits.
    pub(crate) limits: Vec<LimitNow>,
    /// The running jobs, the one that has run longest first. If there are very many, only the first ones are listed.
    pub(crate) jobs: Vec<RunningNow>,
    /// The last jobs that did not succeed, the latest at the end.
    pub(crate) failures: Vec<Failed>,
}

/// Something that jobs wait for, and how many of them do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitCount {
    /// What the jobs wait for, in the words of result lines.
    pub(crate) cause: String,
    /// How many jobs wait for it.
    pub(crate) jobs: u64,
}

/// A named limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitNow {
    /// The name of the limit.
    pub(crate) name: String,
    /// What the limit allows.
    pub(crate) limit: Limit,
    /// How many units or tokens are free.
    pub(crate) left: f64,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunningNow {
    /// The id of the job.
    pub(crate) id: JobKey,
    /// The item of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) item: Option<String>,
    /// What the job does: its command, or its task with the input.
    pub(crate) does: String,
    /// How long the attempt has been running.
    pub(crate) age_ms: u64,
    /// Which attempt it is.
    pub(crate) attempt: u32,
    /// The slot, the worker and the place of the attempt.
    #[serde(flatten)]
    pub(crate) at: JobAt,
    /// How much of the work is done, from 0 to 1, if the job reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
}

/// Where an attempt runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobAt {
    /// The slot that the attempt holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u32>,
    /// The worker that performs the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// The place, if it is not the machine of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

/// A job that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// The id of the job.
    pub(crate) id: JobKey,
    /// The status with which the job ended.
    pub(crate) status: String,
    /// What went wrong.
    pub(crate) message: String,
}

/// The state of a job, and why it does not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The id of the job.
    pub(crate) job: JobKey,
    /// `running`, `waiting`, `pending` (not taken in yet), `ended` or `unknown`.
    pub(crate) state: String,
    /// The state in a sentence.
    pub(crate) text: String,
    /// How long the job has been in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) age_ms: Option<u64>,
    /// What the job waits for, in the words of result lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// After how long the job may start without anything else happening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    /// The needs of the job that have not succeeded yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<JobKey>,
    /// The jobs that hold what this job waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) held_by: Vec<JobKey>,
    /// The number of the running attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    /// Where the attempt runs.
    #[serde(flatten)]
    pub(crate) at: JobAt,
}

impl Explanation {
    /// Makes an explanation that has only a state and a text.
    pub(crate) fn new(job: JobKey, state: &str, text: impl Into<String>) -> Self {
        Self {
            job,
            state: state.to_owned(),
            text: text.into(),
            age_ms: None,
            cause: None,
            left_ms: None,
            needs: Vec::new(),
            held_by: Vec::new(),
            attempt: None,
            at: JobAt::default(),
        }
    }
}

/// What a job has printed since the last question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Printed {
    /// Whether the attempt is running. If not, it prints no more, but another attempt may be running.
    pub(crate) running: bool,
    /// The number of the attempt. The output of each attempt begins anew. It is 0 if the job does not run and was not
    /// followed.
    pub(crate) attempt: u32,
    /// What was printed on stdout.
    pub(crate) stdout: OutputPiece,
    /// What was printed on stderr, or what the worker has reported about the job.
    pub(crate) stderr: OutputPiece,
}

/// A piece of an output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputPiece {
    /// How many bytes were printed up to the end of this piece.
    pub(crate) next: u64,
    /// How many bytes are left out within this piece, because only the beginning and the end of an output are kept.
    pub(crate) dropped: u64,
    /// The bytes in hexadecimal digits, because they need not be text.
    pub(crate) bytes: String,
}

impl OutputPiece {
    /// Makes a piece of bytes.
    pub(super) fn new(next: u64, dropped: u64, bytes: &[u8]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self {
            next,
            dropped,
            bytes: text,
        }
    }

    /// The bytes, or nothing if the text is not made of hexadecimal digits.
    pub(crate) fn decode(&self) -> Option<Vec<u8>> {
        let digits = self.bytes.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let value = |digit: u8| char::from(digit).to_digit(16);
        digits
            .chunks_exact(2)
            .map(|pair| u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok())
            .collect()
    }
}

/// The effect of cancelling a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Became {
    /// The id of the job.
    pub(crate) job: JobKey,
    /// `cancelled`, `asked` (the job runs, and was asked to stop) or `unknown`.
    pub(crate) became: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_all_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(OutputPiece::new(256, 0, &bytes).decode(), Some(bytes));
        for no_digits in ["0", "0g", "é1"] {
            let piece = OutputPiece {
                bytes: no_digits.to_owned(),
                ..OutputPiece::default()
            };
            assert_eq!(piece.decode(), None, "{no_digits}");
        }
    }

    #[test]
    fn questions_are_read_as_they_are_written_and_unknown_ones_are_refused() {
        for line in [
            r#"{"ask":"state"}"#,
            r#"{"ask":"cancel","jobs":["a"]}"#,
            r#"{"ask":"set","jobs":4,"limits":[["api",{"rate":{"rate":"5/s"}}],["db",{"max":2}]]}"#,
        ] {
            let question: Question = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&question).unwrap(), line);
        }
        for line in [
            r#"{"ask":"sing"}"#,
            r#"{"ask":"cancel","jobs":["a"],"force":true}"#,
            r#"{"ask":"set","jobs":0}"#,
            "null",
        ] {
            assert!(serde_json::from_str::<Question>(line).is_err(), "{line}");
        }
    }
}
