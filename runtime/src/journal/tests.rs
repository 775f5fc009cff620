//! Tests of journals and their folder, with real files.

mod compacting;
mod damage;
mod items;
mod store;
mod versions;

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::outcome::{Class, Failure};
use crate::summary::{Results, Tally};
use crate::timestamp::Timestamp;

/// A journal of version 1. It must never change: a change of the format needs another file.
const VERSION_1: &[u8] = include_bytes!("tests/version-1.journal");

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123)
}

fn about() -> Payload {
    Payload::from_json(r#"{"args":["run","jobs.yaml"],"cwd":"/srv"}"#).unwrap()
}

fn source(digest: &str) -> SourceIdentity {
    SourceIdentity {
        name: "jobs.yaml".to_owned(),
        digest: digest.to_owned(),
    }
}

fn header() -> Header {
    Header {
        source: Some(source("d1")),
        ..Header::new(RunId::at(now()), now(), about())
    }
}

/// Checks that these jobs are done again because a job that they need is done again.
fn assert_run_for_a_need<'a>(resume: &mut Resume, jobs: impl IntoIterator<Item = &'a Job>) {
    for job in jobs {
        let decision = resume.decide(job);
        assert_eq!(
            decision,
            ResumeDecision::Run(RunReason::NeedRedone),
            "{}",
            job.id
        );
    }
}

#[test]
fn the_time_for_which_a_run_was_suspended_is_known_while_it_is_and_afterwards() {
    let at = |seconds| now() + Duration::from_secs(seconds);
    let (_folder, path) = folder();
    let suspended = |seconds| {
        let history = History::load(&path).unwrap();
        assert_eq!((history.damaged(), history.ended()), (0, None));
        history.suspended(at(seconds)).as_secs()
    };
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    assert_eq!(suspended(9), 0);
    journal.suspended(at(10)).unwrap();
    assert_eq!((suspended(9), suspended(15)), (0, 5));
    journal.continued(at(20)).unwrap();
    let a = job("a");
    journal.append(&a, &succeeded(&a)).unwrap();
    journal.suspended(at(30)).unwrap();
    assert_eq!(suspended(31), 11);
    // The run was killed, and is resumed.
    drop(journal);
    let (mut journal, _) = Journal::resume(&path, at(50), &about(), Durability::None).unwrap();
    assert_eq!(suspended(60), 10);
    journal.suspended(at(60)).unwrap();
    journal.continued(at(63)).unwrap();
    assert_eq!(suspended(90), 13);
    journal.append(&a, &succeeded(&a)).unwrap();
    let summary = [succeeded(&a)].summarize(Duration::from_secs(2));
    journal.end(at(99), &summary).unwrap();
    assert!(journal.compact().unwrap());
    // A run that has ended stays ended.
    journal.suspended(at(100)).unwrap();
    journal.continued(at(101)).unwrap();
    let history = History::load(&path).unwrap();
    assert!(history.ended().is_some());
    assert_eq!(history.suspended(at(120)).as_secs(), 13);
}

#[test]
fn the_time_of_a_resumed_run_is_that_of_all_its_parts_without_the_breaks_and_stops() {
    let at = |seconds| now() + Duration::from_secs(seconds);
    let (_folder, path) = folder();
    let worked = |until: Option<u64>| {
        let history = History::load(&path).unwrap();
        assert_eq!(history.damaged(), 0);
        history.worked(until.map(at)).as_secs()
    };
    let ended = |id: &str, seconds: u64| Outcome {
        ended: Some(Timestamp::from_millis(1_790_000_000_123 + 1_000 * seconds)),
        ..succeeded(&job(id))
    };
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    assert_eq!((worked(None), worked(Some(9))), (0, 9));
    journal.suspended(at(2)).unwrap();
    journal.continued(at(5)).unwrap();
    journal.append(&job("a"), &ended("a", 10)).unwrap();
    drop(journal);
    // It was killed after the last outcome.
    assert_eq!((worked(None), worked(Some(12))), (7, 9));
    let (mut journal, _) = Journal::resume(&path, at(100), &about(), Durability::None).unwrap();
    assert_eq!((worked(None), worked(Some(103))), (7, 10));
    journal.append(&job("b"), &ended("b", 104)).unwrap();
    let summary = [ended("a", 10), ended("b", 104)].summarize(Duration::from_secs(12));
    journal.end(at(105), &summary).unwrap();
    assert!(journal.compact().is_ok());
    drop(journal);
    assert_eq!((worked(None), worked(Some(200))), (12, 12));
    let (_journal, _) = Journal::resume(&path, at(300), &about(), Durability::None).unwrap();
    assert_eq!((worked(None), worked(Some(301))), (12, 13));
}

/// The memory in use does not grow with the data that is appended between two flushes.
#[test]
fn records_beyond_the_buffer_are_written_early_and_still_flushed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let mut journal = Journal::create(&path, &header(), Durability::Each).unwrap();
    let begin = fs::metadata(&path).unwrap().len();
    let job = job("a");
    let large = Outcome {
        result: Ok(Payload::from_text(&"x".repeat(BUFFER))),
        ..succeeded(&job)
    };
    journal.append(&job, &succeeded(&job)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), begin);
    journal.append(&job, &large).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > begin + BUFFER as u64);
    assert!(journal.unflushed);
    journal.flush().unwrap();
    assert!(!journal.unflushed);
    drop(journal);
    assert_eq!(History::load(&path).unwrap().recorded(), 2);
}

fn job(id: &str) -> Job {
    Job::task(id, "resize", Payload::from_text(id)).on_host("web1")
}

fn succeeded(job: &Job) -> Outcome {
    Outcome {
        host: job.host.clone(),
        attempts: 1,
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(12),
        ..Outcome::new(
            job.id.clone(),
            job.task_name(),
            Ok(Payload::from_json(r#"{"width": 3}"#).unwrap()),
        )
    }
}

fn failed(job: &Job, class: Class) -> Outcome {
    let failure = Failure::new(class, "line\nbreak \u{2028} \"quoted\"").stderr("oops\n");
    Outcome {
        result: Err(Box::new(failure)),
        ..succeeded(job)
    }
}

/// Writes four jobs in five records, a resumption and an end.
fn write_everything(path: &Path) {
    let mut journal = Journal::create(path, &header(), Durability::None).unwrap();
    let (a, b, c, d) = (job("a"), job("b"), job("c"), job("d"));
    journal.append(&a, &succeeded(&a)).unwrap();
    journal.append(&b, &failed(&b, Class::Task)).unwrap();
    journal.append(&c, &failed(&c, Class::Cancelled)).unwrap();
    drop(journal);
    let (mut journal, _) = Journal::resume(path, now(), &about(), Durability::None).unwrap();
    journal.append(&b, &succeeded(&b)).unwrap();
    journal.append(&d, &failed(&d, Class::Crash)).unwrap();
    let outcomes = [succeeded(&a), succeeded(&b), failed(&d, Class::Crash)];
    let summary = outcomes.summarize(Duration::from_secs(2));
    journal.end(now(), &summary).unwrap();
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

#[test]
fn a_journal_in_use_cannot_be_resumed_but_can_be_read() {
    let (_folder, path) = folder();
    let journal = Journal::create(&path, &header(), Durability::Batch).unwrap();
    let refused = Journal::resume(&path, now(), &about(), Durability::None).unwrap_err();
    assert!(matches!(refused, JournalError::InUse { .. }), "{refused}");
    History::load(&path).expect("looking is not forbidden");
    drop(journal);
    Journal::resume(&path, now(), &about(), Durability::None).unwrap();
}

#[test]
fn a_journal_never_overwrites_another_file() {
    let (_folder, path) = folder();
    fs::write(&path, "precious").unwrap();
    let refused = Journal::create(&path, &header(), Durability::None).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_poisons_the_journal() {
    let path = Path::new("/dev/full");
    let file = OpenOptions::new().append(true).open(path).unwrap();
    lock(path, &file).unwrap();
    let mut journal = Journal::new(path, file, Durability::None, Vec::new(), 0).unwrap();
    let a = job("a");
    journal.append(&a, &succeeded(&a)).unwrap();
    for _ in 0..2 {
        let refused = journal.flush().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(refused.to_string(), "could not write /dev/full");
    }
    assert!(journal.append(&a, &succeeded(&a)).is_err());
    let error = io::Error::from(journal.save().unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_journal_whose_file_is_removed_or_moved_fails() {
    let a = job("a");
    let (_folder, path) = folder();
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    fs::remove_file(&path).unwrap();
    journal.append(&a, &succeeded(&a)).unwrap();
    let refused = journal.flush().unwrap_err();
    assert!(matches!(refused, JournalError::Removed { .. }), "{refused}");
    assert!(journal.append(&a, &succeeded(&a)).is_err());

    let (_folder, path) = folder();
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    fs::rename(&path, path.with_extension("moved")).unwrap();
    journal.append(&a, &succeeded(&a)).unwrap();
    journal.flush().unwrap();
    let summary = Tally::default().summary(Duration::ZERO);
    let refused = journal.end(now(), &summary).unwrap_err();
    assert!(matches!(refused, JournalError::Removed { .. }), "{refused}");
}

#[test]
fn a_dropped_journal_writes_what_was_appended() {
    for durability in [Durability::None, Durability::Batch, Durability::Each] {
        let (_folder, path) = folder();
        let mut journal = Journal::create(&path, &header(), durability).unwrap();
        let a = job("a");
        journal.append(&a, &succeeded(&a)).unwrap();
        assert_eq!(History::load(&path).unwrap().jobs(), 0, "not flushed");
        drop(journal);
        assert_eq!(History::load(&path).unwrap().jobs(), 1);
    }
}

#[test]
fn a_resumed_run_does_the_jobs_that_are_new_changed_failed_or_not_ended() {
    let (_folder, path) = folder();
    write_everything(&path);
    let history = std::sync::Arc::new(History::load(&path).unwrap());

    let changed = Job::task("a", "resize", Payload::null()).on_host("web1");
    let mut resume = Resume::new(std::sync::Arc::clone(&history), Some(&source("d1")));
    assert_eq!(resume.not_in_source(), 4);
    let kept = resume.decide(&job("b"));
    let ResumeDecision::Keep(recorded) = kept else {
        panic!("{kept:?}");
    };
    assert!(history.outcome(&recorded).unwrap().is_success());
    assert_eq!(
        resume.decide(&changed),
        ResumeDecision::Run(RunReason::Changed)
    );
    assert_eq!(
        resume.decide(&job("c")),
        ResumeDecision::Run(RunReason::NotEnded)
    );
    assert_eq!(
        resume.decide(&job("x")),
        ResumeDecision::Run(RunReason::NotEnded)
    );
    assert_eq!(resume.not_in_source(), 1);
    assert_eq!(
        resume.decide(&job("d")),
        ResumeDecision::Run(RunReason::Failed)
    );
    assert_eq!(resume.not_in_source(), 0);
    let differences = ResumeCounts {
        kept: 1,
        changed: 1,
        not_ended: 2,
        skipped: 0,
        failed: 1,
        new: 0,
        dependents: 0,
    };
    assert_eq!(resume.differences(), differences);

    for source in [Some(source("d2")), None] {
        let mut resume = Resume::new(std::sync::Arc::clone(&history), source.as_ref());
        assert_eq!(
            resume.decide(&job("x")),
            ResumeDecision::Run(RunReason::New)
        );
    }
}

/// Makes the jobs of a chain in which `c` needs `b`, which needs `a`, and `x`, which needs nothing.
fn chain() -> [Job; 4] {
    let (a, x) = (job("a"), job("x"));
    [a, job("b").needs(["a"]), job("c").needs(["b"]), x]
}

/// Writes a journal of a whole run in which these jobs have succeeded.
fn write_succeeded(path: &Path, jobs: &[Job]) {
    let mut journal = Journal::create(path, &header(), Durability::None).unwrap();
    record(&mut journal, jobs);
}

fn record(journal: &mut Journal, jobs: &[Job]) {
    for job in jobs {
        journal.append(job, &succeeded(job)).unwrap();
    }
}

fn resumed(path: &Path) -> Resume {
    Resume::new(std::sync::Arc::new(History::load(path).unwrap()), None)
}

#[test]
fn a_job_that_was_skipped_is_told_from_one_that_did_not_end() {
    let (_folder, path) = folder();
    let (a, b) = (job("a"), job("b"));
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    journal.append(&a, &failed(&a, Class::Cancelled)).unwrap();
    journal.append(&b, &failed(&b, Class::Need)).unwrap();
    drop(journal);

    let mut resume = resumed(&path);
    resume.decide(&a);
    resume.decide(&b);
    let differences = ResumeCounts {
        not_ended: 1,
        skipped: 1,
        ..ResumeCounts::default()
    };
    assert_eq!(resume.differences(), differences);
}

#[test]
fn dependents_of_a_job_that_is_done_again_are_done_again() {
    let (_folder, path) = folder();
    let [a, b, c, x] = chain();
    write_succeeded(&path, &[a.clone(), b.clone(), c.clone(), x.clone()]);

    let mut resume = resumed(&path);
    let kept = |verdict| matches!(verdict, ResumeDecision::Keep(_));
    assert!([&a, &b, &c, &x].iter().all(|job| kept(resume.decide(job))));

    let changed = Job::task("a", "resize", Payload::null());
    let mut resume = resumed(&path);
    assert_eq!(
        resume.decide(&changed),
        ResumeDecision::Run(RunReason::Changed)
    );
    assert_run_for_a_need(&mut resume, [&b, &c]);
    assert!(kept(resume.decide(&x)));
    let differences = ResumeCounts {
        kept: 1,
        changed: 1,
        dependents: 2,
        ..ResumeCounts::default()
    };
    assert_eq!(resume.differences(), differences);

    // A job that needs one without a recorded outcome has not used its result.
    let mut resume = resumed(&path);
    let needy = x.clone().needs(["new"]);
    assert_eq!(
        resume.decide(&needy),
        ResumeDecision::Run(RunReason::NeedRedone)
    );

    // A recorded result that cannot be read counts as none.
    let mut resume = resumed(&path);
    let ResumeDecision::Keep(recorded) = resume.decide(&a) else {
        panic!("it has succeeded");
    };
    resume.run_again(&recorded);
    resume.run_again(&recorded);
    assert_eq!(
        resume.decide(&b),
        ResumeDecision::Run(RunReason::NeedRedone)
    );
    assert_eq!(
        (resume.differences().kept, resume.differences().not_ended),
        (0, 1)
    );
}

/// The run that did `a` again was interrupted before it did `b`.
#[test]
fn dependents_of_a_job_that_an_interrupted_run_did_again_are_done_again() {
    let (_folder, path) = folder();
    let [a, b, c, x] = chain();
    write_succeeded(&path, &[a.clone(), b.clone(), c.clone(), x]);
    let changed = Job::task("a", "resize", Payload::null());
    let (mut journal, _) = Journal::resume(&path, now(), &about(), Durability::None).unwrap();
    record(&mut journal, std::slice::from_ref(&changed));
    drop(journal);

    let mut resume = resumed(&path);
    assert!(matches!(resume.decide(&changed), ResumeDecision::Keep(_)));
    assert_run_for_a_need(&mut resume, [&b, &c]);
}
