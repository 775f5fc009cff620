//! The questions and answers on the socket of a run. Each is a line with a JSON object.

use std::num::NonZeroU32;

use ratchet_runtime::{JobKey, Limit, Rate};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::job_file::Addition;

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
    /// Cancel these jobs. Answered by a list of [`CancelEffect`].
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
    /// Add these jobs, all or none. Answered by [`Added`].
    Add(Addition),
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
    /// What is wrong with the text of the question, if that is the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Finding>,
}

impl Refusal {
    /// Refuses a question for this reason.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            findings: Vec::new(),
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

/// An error or a warning about a text that was sent. Whoever has sent it shows it with the lines of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Whether the text is accepted all the same.
    is_warning: bool,
    /// What is wrong.
    message: String,
    /// The first byte of the place, and the byte after its last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<(u32, u32)>,
    /// The text beside the place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    /// Another place, and how it is related.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<((u32, u32), String)>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl From<&Diagnostic> for Finding {
    fn from(found: &Diagnostic) -> Self {
        let place = |span: Span| {
            let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
            (offset(span.start()), offset(span.end()))
        };
        Self {
            is_warning: found.severity == Severity::Warning,
            message: found.message.clone(),
            place: found.span.map(place),
            label: found.label.clone(),
            other: (found.other.as_ref()).map(|(span, label)| (place(*span), label.clone())),
            help: found.help.clone(),
        }
    }
}

impl Finding {
    /// Returns the diagnostic of a text of this many bytes. A place that is not in the text is left out.
    pub(crate) fn in_text(self, text: &str) -> Diagnostic {
        let place = |(start, end): (u32, u32)| {
            let (start, end) = (start as usize, end as usize);
            let is_in_text = text.get(start..end).is_some();
            is_in_text.then(|| Span::new(start, end))
        };
        let mut found = Diagnostic::error(Span::default(), self.message).label(self.label);
        if self.is_warning {
            found.severity = Severity::Warning;
        }
        found.span = self.place.and_then(place);
        found.other = self.other.and_then(|(at, label)| Some((place(at)?, label)));
        found.help = self.help;
        found
    }
}

/// What was added to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Added {
    /// The ids of the jobs, each after those that it needs.
    pub(crate) jobs: Vec<JobKey>,
    /// What is questionable about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Finding>,
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
    /// The workers of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) workers: Vec<WorkersNow>,
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

/// The workers of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkersNow {
    /// The name of the kind, with the host if that is another machine.
    pub(crate) name: String,
    /// How many workers there are.
    pub(crate) size: u32,
    /// How many of them are busy.
    pub(crate) busy: u32,
    /// How many have ended unexpectedly.
    pub(crate) failures: u64,
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

    /// Returns the bytes, or nothing if the text is not made of hexadecimal digits.
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
pub(crate) struct CancelEffect {
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
    fn a_finding_is_the_diagnostic_that_it_was_made_of_and_names_no_place_outside_of_the_text() {
        let found = Diagnostic::warning(Span::new(1, 3), "odd")
            .label("here")
            .other(Span::new(0, 1), "there")
            .help("mend it");
        let finding = Finding::from(&found);
        assert_eq!(finding.clone().in_text("text"), found);
        let elsewhere = finding.clone().in_text("t");
        assert_eq!((elsewhere.span, elsewhere.message.as_str()), (None, "odd"));
        // Nor a place within a character.
        assert_eq!(finding.in_text("äöü").span, None);
    }

    #[test]
    fn questions_are_read_as_they_are_written_and_unknown_ones_are_refused() {
        for line in [
            r#"{"ask":"state"}"#,
            r#"{"ask":"cancel","jobs":["a"]}"#,
            r#"{"ask":"set","jobs":4,"limits":[["api",{"rate":{"rate":"5/s"}}],["db",{"max":2}]]}"#,
            r#"{"ask":"add","name":"a.yaml","folder":"/","format":"yaml","text":"jobs: []"}"#,
        ] {
            let question: Question = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&question).unwrap(), line);
        }
        for line in [
            r#"{"ask":"sing"}"#,
            r#"{"ask":"cancel","jobs":["a"],"force":true}"#,
            r#"{"ask":"set","jobs":0}"#,
            r#"{"ask":"add","name":"a","folder":"/","format":"csv","text":""}"#,
            r#"{"ask":"add","name":"a","folder":"/","text":""}"#,
            "null",
        ] {
            assert!(serde_json::from_str::<Question>(line).is_err(), "{line}");
        }
    }
}
