//! What is asked and answered on the socket of a run: a JSON object a line.

use std::num::NonZeroU32;

use ratchet_runtime::{JobKey, Limit, Rate};
use serde::{Deserialize, Serialize};

/// The version of the lines.
pub(super) const VERSION: u32 = 1;

/// A question or an order to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    /// How does it stand? Answered by a [`LiveState`].
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
    /// Start nothing until it is continued.
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
    /// So many units at once.
    Max(NonZeroU32),
    /// So many starts in a period; the burst stays unless it is said.
    Rate {
        /// The rate.
        rate: Rate,
        /// How many may start at once after a pause.
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
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Refusal>,
}

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
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

    /// Adds what to do about it.
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
    /// How far it is on the way to its end, as in `running` or `draining`.
    pub(crate) phase: String,
    /// Why nothing starts, if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
    /// Whether a user has paused the run.
    pub(crate) paused: bool,
    /// How long it has been working.
    pub(crate) elapsed_ms: u64,
    /// How many slots there are.
    pub(crate) slots: u32,
    /// How many slots are filled.
    pub(crate) slots_used: u32,
    /// How many jobs there are in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// How many jobs it has not taken in yet, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queued: Option<u64>,
    /// How many jobs wait.
    pub(crate) waiting: u64,
    /// How many jobs run.
    pub(crate) running: u64,
    /// How many jobs have ended.
    pub(crate) ended: u64,
    /// How many of those succeeded.
    pub(crate) succeeded: u64,
    /// How many of those failed, timed out or crashed.
    pub(crate) failed: u64,
    /// How many jobs end in a second, as of late.
    pub(crate) rate: f64,
    /// How long the rest takes at this rate, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    /// How many jobs have ended in each second of late, the last one at the end.
    pub(crate) history: Vec<u64>,
    /// What jobs wait for.
    pub(crate) waits: Vec<WaitCount>,
    /// The named limits.
    pub(crate) limits: Vec<LimitNow>,
    /// The jobs that run, the one that has run longest first. Of very many, only the first are named.
    pub(crate) jobs: Vec<RunningNow>,
    /// The jobs that did not succeed of late, the last one at the end.
    pub(crate) failures: Vec<Failed>,
}

/// Something that jobs wait for, and how many of them do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitCount {
    /// What the jobs wait for, in the word that result lines use.
    pub(crate) cause: String,
    /// How many they are.
    pub(crate) jobs: u64,
}

/// A named limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitNow {
    /// Its name.
    pub(crate) name: String,
    /// What it allows.
    pub(crate) limit: Limit,
    /// How many units or tokens nobody holds.
    pub(crate) left: f64,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunningNow {
    /// The id of the job.
    pub(crate) id: JobKey,
    /// The item of a list that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) item: Option<String>,
    /// What it does.
    pub(crate) does: String,
    /// How long the attempt has been running.
    pub(crate) age_ms: u64,
    /// Which attempt it is.
    pub(crate) attempt: u32,
    /// The slot, the worker and the place of the attempt.
    #[serde(flatten)]
    pub(crate) at: JobAt,
    /// How much of the work is done, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
}

/// Where an attempt runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobAt {
    /// The slot that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u32>,
    /// The worker that performs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// The place, if it is not the machine of the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

/// A job that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// The id of the job.
    pub(crate) id: JobKey,
    /// How it ended.
    pub(crate) status: String,
    /// What went wrong.
    pub(crate) message: String,
}

/// Where a job is, and why it does not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The id of the job.
    pub(crate) job: JobKey,
    /// `running`, `waiting`, `pending` (not taken in yet), `ended` or `unknown`.
    pub(crate) state: String,
    /// What is to be said about it, in a sentence.
    pub(crate) text: String,
    /// How long it has been in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) age_ms: Option<u64>,
    /// What it waits for, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// After what time it may go on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u64>,
    /// The jobs that it needs and that have not succeeded yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<JobKey>,
    /// The jobs that hold what it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) held_by: Vec<JobKey>,
    /// The attempt that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    /// Where it runs.
    #[serde(flatten)]
    pub(crate) at: JobAt,
}

impl Explanation {
    /// Says this about a job, and nothing more.
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

/// What a job has printed since it was asked last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Printed {
    /// Whether the attempt runs. If not, it prints no more; another one may run by now.
    pub(crate) running: bool,
    /// Which attempt prints; each begins anew. It is 0 if the job does not run and was not followed.
    pub(crate) attempt: u32,
    /// What was printed on stdout.
    pub(crate) stdout: Piece,
    /// What was printed on stderr, or what its worker has said.
    pub(crate) stderr: Piece,
}

/// A piece of an output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// How many bytes were printed up to the end of this piece.
    pub(crate) next: u64,
    /// How many bytes were left out before the last ones, because only the beginning and the end of an output are kept.
    pub(crate) dropped: u64,
    /// The bytes, in hexadecimal digits: they need not be text.
    pub(crate) bytes: String,
}

impl Piece {
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

    /// The bytes; nothing if they are no hexadecimal digits.
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

/// What became of the wish to cancel a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Became {
    /// The id of the job.
    pub(crate) job: JobKey,
    /// `cancelled`, `asked` (it runs and was asked to stop) or `unknown`.
    pub(crate) became: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_all_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(Piece::new(256, 0, &bytes).decode(), Some(bytes));
        for no_digits in ["0", "0g", "é1"] {
            let piece = Piece {
                bytes: no_digits.to_owned(),
                ..Piece::default()
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
