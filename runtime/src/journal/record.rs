//! The lines of a journal: a checksum, then JSON.
//!
//! ```text
//! 5d3cf1a2 {"record":"header","v":1,"run":"1v7k3m0","at_ms":1764000000000,"source":{..},"about":{..}}
//! 91b0c77e {"record":"job","n":1,"content":"<32 digits>","outcome":{"v":1,"id":"a",..}}
//! 4c80be02 {"record":"job","n":2,"content":"<32 digits>","identity":"<32 digits>","outcome":{"v":1,"id":"2",..}}
//! 3b1f0c55 {"record":"suspect","n":1,"ids":["a"]}
//! 0f6a3382 {"record":"resumed","n":1,"at_ms":..,"about":{..}}
//! c2e9141b {"record":"ended","n":2,"at_ms":..,"summary":{..}}
//! ```
//!
//! `n` counts the job records, so that the last line says how many there are, and a gap is noticed. Where a journal
//! was compacted, one `resumed` record stands for several, and says for how many: `"times":3`.
//!
//! A job that is known by its item rather than by its id has an `identity`. Of two records with one identity, or with
//! one id where there is none, the later one counts. Where a list has changed, a result that is kept is recorded once
//! more under the number that its item has now.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use ratchet_ipc::json::write_decimal;
use ratchet_ipc::{JobKey, Payload};
use serde::{Deserialize, Serialize};

use super::content::Content;
use super::run_id::RunId;
use crate::item::{JobIdentity, to_hex};
use crate::outcome::{Outcome, Status, present};
use crate::summary::Summary;

/// The checksum's digits and the blank after them.
const SUM: usize = 9;

/// What a run was begun with: the first line of its journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Which run.
    pub run: RunId,
    /// When it began, to the millisecond.
    pub started: SystemTime,
    /// Where its jobs come from, if that can be read again.
    pub source: Option<Source>,
    /// Whatever its caller needs in order to go on with it, as a command line and a folder.
    pub about: Payload,
}

impl Header {
    /// The version of the journals that are written.
    pub const VERSION: u32 = 1;

    /// A header for a run without a source that can be read again.
    pub fn new(run: RunId, started: SystemTime, about: Payload) -> Self {
        Self {
            run,
            started,
            source: None,
            about,
        }
    }
}

/// Where jobs come from: a file's path, and what tells whether it is still the same file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its path, or another name for it.
    pub name: String,
    /// Equal as long as it is: a digest of what is in it, or its size and when it was changed.
    pub digest: String,
}

/// One line, read.
#[derive(Debug, PartialEq)]
pub(super) enum Record<'a> {
    Header(Header),
    Job(Entry<'a>),
    /// The outcomes of these jobs, as they stand before this record, may be wrong.
    Suspect {
        n: u64,
        ids: Vec<Cow<'a, str>>,
    },
    Resumed {
        n: u64,
        /// For how many resumptions it stands.
        times: u32,
    },
    Ended {
        n: u64,
        at: SystemTime,
        summary: Box<Summary>,
    },
}

/// What is to know of a job's record without reading all of it.
#[derive(Debug, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) n: u64,
    pub(super) content: Content,
    pub(super) identity: Option<JobIdentity>,
    pub(super) id: Cow<'a, str>,
    pub(super) status: Status,
}

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("its checksum does not match")]
    Checksum,
    #[error("it does not begin with a checksum")]
    NoChecksum,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("unknown record `{0}`")]
    Unknown(String),
    #[error("a `{record}` record without `{field}`")]
    Missing {
        record: &'static str,
        field: &'static str,
    },
    #[error("version {0}")]
    Version(u32),
}

/// A line as JSON, to be read. What stands in it depends on `record`.
#[derive(Deserialize)]
struct Line<'a, O> {
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
    source: Option<Source>,
    #[serde(default, deserialize_with = "present")]
    about: Option<Payload>,
    summary: Option<Box<Summary>>,
    #[serde(borrow)]
    ids: Option<Vec<Cow<'a, str>>>,
}

/// The part of an outcome that a look through a journal needs.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Status,
}

#[derive(Serialize)]
#[serde(tag = "record", rename = "header")]
struct HeaderLine<'a> {
    v: u32,
    run: RunId,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a Source>,
    about: &'a Payload,
}

#[derive(Serialize)]
#[serde(tag = "record", rename = "suspect")]
struct SuspectLine<'a> {
    n: u64,
    ids: &'a [JobKey],
}

#[derive(Serialize)]
#[serde(tag = "record", rename = "resumed")]
struct ResumedLine<'a> {
    n: u64,
    #[serde(skip_serializing_if = "is_one")]
    times: u32,
    at_ms: u64,
    about: &'a Payload,
}

#[derive(Serialize)]
#[serde(tag = "record", rename = "ended")]
struct EndedLine<'a> {
    n: u64,
    at_ms: u64,
    summary: &'a Summary,
}

/// Appends the line of a job's outcome.
pub(super) fn write_job(
    out: &mut Vec<u8>,
    n: u64,
    content: Content,
    identity: Option<JobIdentity>,
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

/// Appends the line that says that the outcomes of these jobs may be wrong.
pub(super) fn write_suspect(out: &mut Vec<u8>, n: u64, ids: &[JobKey]) -> serde_json::Result<()> {
    let line = SuspectLine { n, ids };
    write_line(out, |out| serde_json::to_writer(out, &line))
}

/// Appends the line that says that the run goes on, or that it did so many times.
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

/// Appends the line that says that the run came to its end.
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
    reason = "serde passes what it may skip by reference"
)]
fn is_one(times: &u32) -> bool {
    *times == 1
}

/// How the JSON of each line begins: the kind of its record follows.
const BEGIN: &[u8] = b"{\"record\":\"";

/// What stands between the kind of a record and its number.
const NUMBER: &[u8] = b"\",\"n\":";

/// Appends a line under another number; all else in it stays as it is, letter by letter, so that what a later version
/// adds to a record is not lost. Nothing if it does not begin as numbered lines do.
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

/// When the run went on, and what its caller said about that.
pub(super) fn read_resumed(line: &[u8]) -> Result<(SystemTime, Payload), Unreadable> {
    let line: Line<'_, Head<'_>> = serde_json::from_slice(checked(line)?)?;
    let need = |field| missing("resumed", field);
    let at = from_millis(line.at_ms.ok_or_else(|| need("at_ms"))?);
    Ok((at, line.about.ok_or_else(|| need("about"))?))
}

/// Writes a line around its JSON; of one that cannot be written nothing stays.
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

/// The JSON of a line, without its line break, if its checksum is right.
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
    let line: Line<'_, Head<'_>> = serde_json::from_slice(checked(line)?)?;
    match &*line.record {
        "job" => {
            let need = |field| missing("job", field);
            let outcome = line.outcome.ok_or_else(|| need("outcome"))?;
            Ok(Record::Job(Entry {
                n: line.n.ok_or_else(|| need("n"))?,
                content: line.content.ok_or_else(|| need("content"))?,
                identity: line.identity,
                id: outcome.id,
                status: outcome.status,
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
        "resumed" => Ok(Record::Resumed {
            n: line.n.ok_or_else(|| missing("resumed", "n"))?,
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

/// Reads the whole outcome of a job's line, and the identity of the job.
pub(super) fn read_outcome(line: &[u8]) -> Result<(Outcome, Option<JobIdentity>), Unreadable> {
    let line: Line<'_, Outcome> = serde_json::from_slice(checked(line)?)?;
    let outcome = line.outcome.ok_or_else(|| missing("job", "outcome"))?;
    Ok((outcome, line.identity))
}

fn missing(record: &'static str, field: &'static str) -> Unreadable {
    Unreadable::Missing { record, field }
}

/// Eight digits, small letters only: a journal is what was written, letter by letter.
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

/// A time that the system cannot tell becomes the epoch: it is for people, and nothing depends on it.
fn from_millis(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
