//! Tests of the exact bytes that are written and read, and of versions that are refused.

use super::*;
use crate::ids::{SlotNumber, WorkerName};
use crate::outcome::{AttemptDetail, AttemptEnd, Attempts};
use crate::scheduling::Blocker;
use crate::timestamp::Timestamp;

fn is_everything(history: &History) {
    assert_eq!(history.header(), &header());
    assert_eq!((history.jobs(), history.recorded()), (4, 5));
    assert_eq!((history.resumed(), history.torn()), (1, None));
    assert_eq!(history.damage(), []);
    let (at, summary) = history.ended().unwrap();
    assert_eq!((at, summary.total), (now(), 3));
    let outcome = |id: &str| {
        let recorded = history.find(&id.into()).unwrap();
        assert_eq!(recorded.content, Content::of(&job(id)));
        history.outcome(&recorded).unwrap()
    };
    assert_eq!(outcome("a"), succeeded(&job("a")));
    assert_eq!(outcome("b"), succeeded(&job("b")), "the last one stands");
    assert_eq!(outcome("c"), failed(&job("c"), Class::Cancelled));
    assert_eq!(outcome("d"), failed(&job("d"), Class::Crash));
    let ids: Vec<_> = history
        .outcomes()
        .map(|outcome| outcome.unwrap().id)
        .collect();
    assert_eq!(
        ids,
        ["a", "c", "b", "d"].map(Into::into),
        "as they were recorded"
    );
}

#[test]
fn version_1_journals_are_read_and_written_byte_for_byte() {
    let (_folder, path) = folder();
    fs::write(&path, VERSION_1).unwrap();
    is_everything(&History::load(&path).unwrap());
    fs::remove_file(&path).unwrap();
    write_everything(&path);
    is_everything(&History::load(&path).unwrap());
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, String::from_utf8_lossy(VERSION_1));
}

/// Version 1 as it has been written since outcomes have times. Older programs ignore the new fields in it.
const WITH_TIMES: &[u8] = include_bytes!("version-1-with-times.journal");

/// The same from versions that did not mark flaky jobs.
const BEFORE_FLAKY: &[u8] = include_bytes!("version-1-before-flaky.journal");

/// Returns a job of two attempts, and one of a single attempt.
fn with_times() -> [(Job, Outcome); 2] {
    let started = Timestamp::from_millis(1_790_000_000_123);
    let micros = Duration::from_micros;
    let first = AttemptDetail {
        number: 1,
        slot: SlotNumber::new(2),
        worker: Some(WorkerName::new("resize", 1)),
        place: None,
        started,
        duration: micros(1_500),
        usage: None,
        end: AttemptEnd::Failed(Class::Crash),
        failure: None,
    };
    let second = AttemptDetail {
        number: 2,
        slot: SlotNumber::new(1),
        worker: Some(WorkerName::new("resize", 2)),
        place: None,
        started: Timestamp::from_millis(1_790_000_000_988),
        duration: micros(12_000),
        usage: None,
        end: AttemptEnd::Succeeded,
        failure: None,
    };
    let mut several = Attempts::default();
    several.push(first);
    several.push(second);
    let waits = [
        (Blocker::Retry, micros(100)),
        (Blocker::Limit("db".into()), micros(200)),
        (Blocker::Slot, micros(100)),
    ];
    let a = Outcome {
        attempts: 2,
        worker: Some(WorkerName::new("resize", 2)),
        slot: SlotNumber::new(1),
        started: Some(started),
        ended: Some(Timestamp::from_millis(1_790_000_001_000)),
        waits: waits.into_iter().collect(),
        several: Some(Box::new(several)),
        ..succeeded(&job("a"))
    };
    let b = Outcome {
        slot: SlotNumber::new(3),
        started: Some(started),
        ended: Some(started.after(micros(12_000))),
        waits: [(Blocker::Worker, micros(400))].into_iter().collect(),
        ..succeeded(&job("b"))
    };
    [(job("a"), a), (job("b"), b)]
}

#[test]
fn the_times_of_jobs_and_attempts_are_written_and_read() {
    let (_folder, path) = folder();
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    for (job, outcome) in with_times() {
        journal.append(&job, &outcome).unwrap();
    }
    drop(journal);
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, String::from_utf8_lossy(WITH_TIMES));

    for text in [WITH_TIMES, BEFORE_FLAKY] {
        fs::write(&path, text).unwrap();
        let history = History::load(&path).unwrap();
        assert_eq!((history.damage(), history.torn()), (&[][..], None));
        for (job, outcome) in with_times() {
            let recorded = history.find_job(&job).unwrap();
            assert_eq!(history.outcome(&recorded).unwrap(), outcome);
        }
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused() {
    let (_folder, path) = folder();
    let json = br#"{"record":"header","v":2,"anything":"else"}"#;
    let mut line = format!("{:08x} ", crc32fast::hash(json)).into_bytes();
    line.extend_from_slice(json);
    line.push(b'\n');
    fs::write(&path, line).unwrap();
    let refused = History::load(&path).unwrap_err().to_string();
    assert!(refused.ends_with("has version 2, and this program understands versions up to 1"));
}
