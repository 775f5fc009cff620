//! The lines of a journal: a checksum, then JSON.
//!
//! ```text
//! 5d3cf1a2 {"record":"header","v":1,"run":"1v7k3m0","at_ms":1764000000000,"source":{..},"about":{..}}
//! 91b0c77e {"record":"job","n":1,"content":"<32 digits>","outcome":{"v":1,"id":"a",..}}
//! 4c80be02 {"record":"job","n":2,"content":"<32 digits>","identity":"<32 digits>","outcome":{"v":1,"id":"2",..}}
//! 3b1f0c55 {"record":"suspect","n":1,"ids":["a"]}
//! 60a1f7e2 {"record":"planned","n":0,"at_ms":..,"run_plan":{"slots":4,"limits":{"db":{"max":4}}}}
//! 19be5d07 {"record":"event","n":2,"event":{"v":1,"at_ms":..,"event":"worker","news":"ended",..}}
//! 77ac0e51 {"record":"suspended","n":1,"at_ms":..}
//! e02b4c98 {"record":"continued","n":1,"at_ms":..}
//! 0f6a3382 {"record":"resumed","n":1,"at_ms":..,"about":{..}}
//! c2e9141b {"record":"ended","n":2,"at_ms":..,"summary":{..}}
//! ```
//!
//! `n` counts the job records, so that the last line has their number, and a gap is noticed. In a compacted journal,
//! one `resumed` record stands for several, and has their number: `"times":3`.
//!
//! A job that needed more than a slot has a `plan`, which reports read: its needs, hint, limits, slots and priority.
//!
//! A job that is identified by its item rather than by its id has an `identity`. Of two records with one identity, or
//! with one id where there is no identity, the later one counts. If a list has changed, a result that is kept is
//! recorded again under the number that its item has now.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use ratchet_ipc::json::write_decimal;
use ratchet_ipc::{JobKey, Payload};
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::plan::{JobPlan, RunPlan};
use super::run_id::RunId;
use crate::event::EventRecord;
use crate::item::{JobIdentity, to_hex};
use crate::outcome::{Outcome, Status, present};
use crate::summary::Summary;
use crate::timestamp::Timestamp;

/// The length of a checksum: eight digits and the blank after them.
const SUM: usize = 9;

/// The first line of a journal: what the run was started with.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The id of the run.
    pub run: RunId,
    /// When the run began, to the millisecond.
    pub started: SystemTime,
    /// The identity of the file that the jobs come from, if it can be read again.
    pub source: Option<SourceIdentity>,
    /// What the caller needs in order to resume the run, such as a command line and a folder. The journal only stores
    /// it.
    pub about: Payload,
}

impl Header {
    /// The version of the journals that are written.
    pub const VERSION: u32 = 1;

    /// Makes the header of a run whose jobs come from a source that cannot be read again.
    pub fn new(run: RunId, started: SystemTime, about: Payload) -> Self {
        Self {
            run,
            started,
            source: None,
            about,
        }
    }
}

/// Identifies the file that jobs come from, to detect whether it has changed when a run is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// The path of the file, or another name for it.
    pub name: String,
    /// Changes when the file does: a digest of its content, or its size and the time of its last change.
    pub digest: String,
}

/// A line of a journal that was read.
#[derive(Debug, PartialEq)]
pub(super) enum Record<'a> {
    /// The first line of a journal.
    Header(Header),
    /// The outcome of a job.
    Job(JobRecord<'a>),
    /// The outcomes of these jobs that were recorded before this record may be wrong.
    Suspect {
        /// How many job records come before it.
        n: u64,
        /// The ids of the jobs.
        ids: Vec<Cow<'a, str>>,
    },
    /// The process was stopped with all its jobs, as by Ctrl-Z.
    Suspended {
        /// How many job records come before it.
        n: u64,
        /// When the process was stopped.
        at: SystemTime,
    },
    /// The process continued after it was stopped.
    Continued {
        /// How many job records come before it.
        n: u64,
        /// When the process continued.
        at: SystemTime,
    },
    /// The run was resumed.
    Resumed {
        /// How many job records come before it.
        n: u64,
        /// When the run was resumed: the last time, if the record stands for several resumptions.
        at: Option<SystemTime>,
        /// How many resumptions the record stands for: more than one in a compacted journal.
        times: u32,
    },
    /// The slots and limits of the run, or of a part of it, which only reports read.
    Planned {
        /// How many job records stand before it.
        n: u64,
        /// When the run, or the part of it, began.
        at: Option<SystemTime>,
    },
    /// An event, which only reports read.
    Remark {
        /// How many job records come before it.
        n: u64,
    },
    /// The run ended.
    Ended {
        /// How many job records the journal has.
        n: u64,
        /// When the run ended.
        at: SystemTime,
        /// The summary of the run.
        summary: Box<Summary>,
    },
}

/// The part of a job's record that the index keeps. The result itself is read again on request.
#[derive(Debug, PartialEq)]
pub(super) struct JobRecord<'a> {
    /// The number of the record, counted from 1.
    pub(super) n: u64,
    /// The digest of what the job did.
    pub(super) content: Content,
    /// The identity of the job, if the job is identified by its item rather than by its id.
    pub(super) identity: Option<JobIdentity>,
    /// The id of the job.
    pub(super) id: Cow<'a, str>,
    /// How the job ended.
    pub(super) status: Status,
    /// When the job ended; `None` in journals of versions that did not record it.
    pub(super) ended: Option<SystemTime>,
}

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The line is damaged.
    #[error("its checksum does not match")]
    Checksum,
    /// The line is too short, or has no blank after the checksum.
    #[error("it does not begin with a checksum")]
    NoChecksum,
    /// The line is not JSON, or has a field of another type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The line is of a kind that this version does not know.
    #[error("unknown record `{0}`")]
    Unknown(String),
    /// The record lacks a field that its kind must have.
    #[error("a `{record}` record without `{field}`")]
    Missing {
        /// The kind of the record.
        record: &'static str,
        /// The name of the field.
        field: &'static str,
    },
    /// The journal has a version of the format that this program cannot read.
    #[error("version {0}")]
    Version(u32),
}

/// The JSON of a line of any kind, for reading. `record` determines which of the fields are set.
#[derive(Deserialize)]
struct RecordLine<'a, O> {
    #[serde(borrow)]
    record: Cow<'a, str>,
    v: Option<u32>,
    n: Option<u64>,
    times: Option<u32>,
    run: Option<RunId>,
    content: Option<Content>,
    identity: Option<JobIdentity>,
    outcome: Option<O>,
    at_ms: Option<u64>,
    source: Option<SourceIdentity>,
    #[serde(default, deserialize_with = "present")]
    about: Option<Payload>,
    summary: Option<Box<Summary>>,
    #[serde(borrow)]
    ids: Option<Vec<Cow<'a, str>>>,
}

/// The part of an outcome that the index needs. The rest is skipped without being parsed.
#[derive(Deserialize)]
struct OutcomeHead<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Status,
    ended_at: Option<Timestamp>,
}

/// The JSON of the first line, for writing.
#[derive(Serialize)]
#[serde(tag = "record", rename = "header")]
struct HeaderLine<'a> {
    v: u32,
    run: RunId,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a SourceIdentity>,
    about: &'a Payload,
}

/// The JSON of a line about outcomes that may be wrong, for writing.
#[derive(Serialize)]
#[serde(tag = "record", rename = "suspect")]
struct SuspectLine<'a> {
    n: u64,
    ids: &'a [JobKey],
}

/// The JSON of a line about a suspension, for writing.
#[derive(Serialize)]
struct SuspensionLine {
    record: &'static str,
    n: u64,
    at_ms: u64,
}

/// The JSON of a line about a resumption, for writing.
#[derive(Serialize)]
#[serde(tag = "record", rename = "resumed")]
struct ResumedLine<'a> {
    n: u64,
    #[serde(skip_serializing_if = "is_one")]
    times: u32,
    at_ms: u64,
    about: &'a Payload,
}

/// The JSON of the last line of a finished run, for writing.
#[derive(Serialize)]
#[serde(tag = "record", rename = "ended")]
struct EndedLine<'a> {
    n: u64,
    at_ms: u64,
    summary: &'a Summary,
}

/// The JSON of a line about slots and limits, for writing.
#[derive(Serialize)]
#[serde(tag = "record", rename = "planned")]
struct PlannedLine<'a> {
    n: u64,
    at_ms: u64,
    run_plan: &'a RunPlan,
}

/// The JSON of a line about an event, for writing.
#[derive(Serialize)]
#[serde(tag = "record", rename = "event")]
struct EventLine<'a> {
    n: u64,
    event: &'a EventRecord,
}

/// Appends the line with the slots and limits with which the run, or another part of it, begins.
pub(super) fn write_planned(
    out: &mut Vec<u8>,
    n: u64,
    at: SystemTime,
    run_plan: &RunPlan,
) -> serde_json::Result<()> {
    let at_ms = to_millis(at);
    let line = PlannedLine { n, at_ms, run_plan };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line of an event that is not part of any outcome.
pub(super) fn write_event(
    out: &mut Vec<u8>,
    n: u64,
    event: &EventRecord,
) -> serde_json::Result<()> {
    let line = EventLine { n, event };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line of a job's outcome.
pub(super) fn write_job(
    out: &mut Vec<u8>,
    n: u64,
    content: Content,
    identity: Option<JobIdentity>,
    plan: Option<&JobPlan<'_>>,
    outcome: &Outcome,
) -> serde_json::Result<()> {
    write_line(out, |out| {
        out.extend_from_slice(b"{\"record\":\"job\",\"n\":");
        write_decimal(n, out);
        out.extend_from_slice(b",\"content\":\"");
        out.extend_from_slice(&content.to_hex());
        if let Some(identity) = identity {
            out.extend_from_slice(b"\",\"identity\":\"");
            out.extend_from_slice(&to_hex(identity.0));
        }
        out.extend_from_slice(b"\",\"outcome\":");
        outcome.write_line(out);
        if let Some(plan) = plan {
            out.extend_from_slice(b",\"plan\":");
            serde_json::to_writer(&mut *out, plan)?;
        }
        out.push(b'}');
        Ok(())
    })
}

/// Appends the first line of a journal.
pub(super) fn write_header(out: &mut Vec<u8>, header: &Header) -> serde_json::Result<()> {
    let line = HeaderLine {
        v: Header::VERSION,
        run: header.run,
        at_ms: to_millis(header.started),
        source: header.source.as_ref(),
        about: &header.about,
    };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line that marks the outcomes of these jobs as possibly wrong.
pub(super) fn write_suspect(out: &mut Vec<u8>, n: u64, ids: &[JobKey]) -> serde_json::Result<()> {
    let line = SuspectLine { n, ids };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line of a stop: the process was stopped with all its jobs.
pub(super) fn write_suspended(out: &mut Vec<u8>, n: u64, at: SystemTime) -> serde_json::Result<()> {
    write_suspension(out, "suspended", n, at)
}

/// Appends the line of the end of a stop: the process continued.
pub(super) fn write_continued(out: &mut Vec<u8>, n: u64, at: SystemTime) -> serde_json::Result<()> {
    write_suspension(out, "continued", n, at)
}

fn write_suspension(
    out: &mut Vec<u8>,
    record: &'static str,
    n: u64,
    at: SystemTime,
) -> serde_json::Result<()> {
    let at_ms = to_millis(at);
    let line = SuspensionLine { record, n, at_ms };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line of a resumption of the run, once or `times` times.
pub(super) fn write_resumed(
    out: &mut Vec<u8>,
    n: u64,
    times: u32,
    at: SystemTime,
    about: &Payload,
) -> serde_json::Result<()> {
    let line = ResumedLine {
        n,
        times,
        at_ms: to_millis(at),
        about,
    };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line of the end of the run.
pub(super) fn write_ended(
    out: &mut Vec<u8>,
    n: u64,
    at: SystemTime,
    summary: &Summary,
) -> serde_json::Result<()> {
    let at_ms = to_millis(at);
    let line = EndedLine { n, at_ms, summary };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_one(times: &u32) -> bool {
    *times == 1
}

/// The beginning of the JSON of each line, up to the kind of its record.
const BEGIN: &[u8] = b"{\"record\":\"";

/// The text between the kind of a record and its number.
const NUMBER: &[u8] = b"\",\"n\":";

/// Appends a line under another number; `None` if the line has no number. The rest of the line is copied byte by byte,
/// so that fields of a later version are not lost.
pub(super) fn renumber(out: &mut Vec<u8>, line: &[u8], n: u64) -> Option<()> {
    let json = line.get(SUM..)?;
    let kind = json.strip_prefix(BEGIN)?;
    let kind = kind.get(..kind.iter().position(|byte| *byte == b'"')?)?;
    let before = BEGIN.len() + kind.len();
    let digits = json.get(before..)?.strip_prefix(NUMBER)?;
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let written = write_line(out, |out| {
        out.extend_from_slice(&json[..before + NUMBER.len()]);
        write_decimal(n, out);
        out.extend_from_slice(&digits[count..]);
        Ok(())
    });
    written.ok()
}

/// Reads from a `resumed` line when the run was resumed, and what its caller stored about that.
pub(super) fn read_resumed(line: &[u8]) -> Result<(SystemTime, Payload), Unreadable> {
    let line: RecordLine<'_, OutcomeHead<'_>> = serde_json::from_slice(checked(line)?)?;
    let need = |field| missing("resumed", field);
    let at = from_millis(line.at_ms.ok_or_else(|| need("at_ms"))?);
    Ok((at, line.about.ok_or_else(|| need("about"))?))
}

/// Appends a line with this JSON, after its checksum. If the JSON cannot be written, nothing is appended.
fn write_line(
    out: &mut Vec<u8>,
    json: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    let begin = out.len();
    out.extend_from_slice(b"00000000 ");
    if let Err(error) = json(out) {
        out.truncate(begin);
        return Err(error);
    }
    let sum = hex(crc32fast::hash(&out[begin + SUM..]));
    out[begin..begin + 8].copy_from_slice(&sum);
    out.push(b'\n');
    Ok(())
}

/// Checks the checksum of a line without its line break, and returns the JSON of the line.
fn checked(line: &[u8]) -> Result<&[u8], Unreadable> {
    let (sum, json) = line
        .split_at_checked(SUM)
        .filter(|(sum, _)| sum[8] == b' ')
        .ok_or(Unreadable::NoChecksum)?;
    if sum[..8] == hex(crc32fast::hash(json)) {
        Ok(json)
    } else {
        Err(Unreadable::Checksum)
    }
}

/// Reads a line, without its line break.
pub(super) fn read(line: &[u8]) -> Result<Record<'_>, Unreadable> {
    let line: RecordLine<'_, OutcomeHead<'_>> = serde_json::from_slice(checked(line)?)?;
    match &*line.record {
        "job" => {
            let need = |field| missing("job", field);
            let outcome = line.outcome.ok_or_else(|| need("outcome"))?;
            Ok(Record::Job(JobRecord {
                n: line.n.ok_or_else(|| need("n"))?,
                content: line.content.ok_or_else(|| need("content"))?,
                identity: line.identity,
                id: outcome.id,
                status: outcome.status,
                ended: outcome.ended_at.map(|at| from_millis(at.as_millis())),
            }))
        }
        "header" => {
            let need = |field| missing("header", field);
            let version = line.v.ok_or_else(|| need("v"))?;
            if version != Header::VERSION {
                return Err(Unreadable::Version(version));
            }
            Ok(Record::Header(Header {
                run: line.run.ok_or_else(|| need("run"))?,
                started: from_millis(line.at_ms.ok_or_else(|| need("at_ms"))?),
                source: line.source,
                about: line.about.ok_or_else(|| need("about"))?,
            }))
        }
        "suspect" => {
            let need = |field| missing("suspect", field);
            Ok(Record::Suspect {
                n: line.n.ok_or_else(|| need("n"))?,
                ids: line.ids.ok_or_else(|| need("ids"))?,
            })
        }
        kind @ ("suspended" | "continued") => {
            let need = |field| match kind {
                "suspended" => missing("suspended", field),
                _ => missing("continued", field),
            };
            let n = line.n.ok_or_else(|| need("n"))?;
            let at = from_millis(line.at_ms.ok_or_else(|| need("at_ms"))?);
            Ok(match kind {
                "suspended" => Record::Suspended { n, at },
                _ => Record::Continued { n, at },
            })
        }
        "planned" => Ok(Record::Planned {
            n: line.n.ok_or_else(|| missing("planned", "n"))?,
            at: line.at_ms.map(from_millis),
        }),
        "event" => Ok(Record::Remark {
            n: line.n.ok_or_else(|| missing("event", "n"))?,
        }),
        "resumed" => Ok(Record::Resumed {
            n: line.n.ok_or_else(|| missing("resumed", "n"))?,
            at: line.at_ms.map(from_millis),
            times: line.times.unwrap_or(1),
        }),
        "ended" => {
            let need = |field| missing("ended", field);
            Ok(Record::Ended {
                n: line.n.ok_or_else(|| need("n"))?,
                at: from_millis(line.at_ms.ok_or_else(|| need("at_ms"))?),
                summary: line.summary.ok_or_else(|| need("summary"))?,
            })
        }
        other => Err(Unreadable::Unknown(other.to_owned())),
    }
}

/// A line with everything that it records, for reports.
pub(super) enum FullRecord {
    /// The outcome of a job, with its identity and plan.
    Job {
        outcome: Box<Outcome>,
        identity: Option<JobIdentity>,
        plan: Option<Box<JobPlan<'static>>>,
    },
    /// Slots and limits.
    Planned { at: SystemTime, plan: RunPlan },
    /// An event.
    Event(EventRecord),
    /// The process was stopped.
    Suspended(SystemTime),
    /// The process continued.
    Continued(SystemTime),
    /// The run was resumed.
    Resumed(SystemTime),
    /// A line of another kind.
    Other,
}

/// The JSON of a line, for reading all of it.
#[derive(Deserialize)]
struct FullLine<'a> {
    #[serde(borrow)]
    record: Cow<'a, str>,
    at_ms: Option<u64>,
    identity: Option<JobIdentity>,
    outcome: Option<Box<Outcome>>,
    plan: Option<Box<JobPlan<'static>>>,
    run_plan: Option<RunPlan>,
    #[serde(borrow)]
    event: Option<&'a serde_json::value::RawValue>,
}

/// Reads a line with everything that it records.
pub(super) fn read_full(line: &[u8]) -> Result<FullRecord, Unreadable> {
    let line: FullLine<'_> = serde_json::from_slice(checked(line)?)?;
    let at = |record| {
        let at = line.at_ms.ok_or_else(|| missing(record, "at_ms"));
        at.map(from_millis)
    };
    Ok(match &*line.record {
        "job" => FullRecord::Job {
            outcome: line.outcome.ok_or_else(|| missing("job", "outcome"))?,
            identity: line.identity,
            plan: line.plan,
        },
        "planned" => FullRecord::Planned {
            at: at("planned")?,
            plan: line
                .run_plan
                .ok_or_else(|| missing("planned", "run_plan"))?,
        },
        "event" => {
            let event = line.event.ok_or_else(|| missing("event", "event"))?;
            FullRecord::Event(serde_json::from_str(event.get())?)
        }
        "suspended" => FullRecord::Suspended(at("suspended")?),
        "continued" => FullRecord::Continued(at("continued")?),
        "resumed" => FullRecord::Resumed(at("resumed")?),
        _ => FullRecord::Other,
    })
}

/// Reads the whole outcome of a job's line, and the identity of the job.
pub(super) fn read_outcome(line: &[u8]) -> Result<(Outcome, Option<JobIdentity>), Unreadable> {
    let line: RecordLine<'_, Outcome> = serde_json::from_slice(checked(line)?)?;
    let outcome = line.outcome.ok_or_else(|| missing("job", "outcome"))?;
    Ok((outcome, line.identity))
}

fn missing(record: &'static str, field: &'static str) -> Unreadable {
    Unreadable::Missing { record, field }
}

/// Formats a checksum as eight hexadecimal digits. Reading accepts only lower case, so that a line has one spelling.
fn hex(sum: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (digit, shift) in digits.iter_mut().zip((0..8).rev()) {
        *digit = b"0123456789abcdef"[(sum >> (4 * shift)) as usize & 15];
    }
    digits
}

fn to_millis(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Converts milliseconds since the epoch to a time. A time that the system cannot represent becomes the epoch: it is for
/// people, and nothing depends on it.
fn from_millis(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
