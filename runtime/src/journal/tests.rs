use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::outcome::{Class, Failure};
use crate::summary::Results;

/// A journal of version 1. It is never to change: whoever changes the format writes another one.
const VERSION_1: &[u8] = include_bytes!("tests/version-1.journal");

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123)
}

fn about() -> Payload {
    Payload::from_json(r#"{"args":["run","jobs.yaml"],"cwd":"/srv"}"#).unwrap()
}

fn source(digest: &str) -> Source {
    Source {
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

fn job(id: &str) -> Job {
    Job::task(id, "resize", Payload::from_text(id)).on_host("web1")
}

fn succeeded(job: &Job) -> Outcome {
    Outcome {
        id: job.id.clone(),
        task: job.task_name().into(),
        host: job.host.clone(),
        result: Ok(Payload::from_json(r#"{"width": 3}"#).unwrap()),
        attempts: 1,
        cached: false,
        worker: None,
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(12),
    }
}

fn failed(job: &Job, class: Class) -> Outcome {
    let failure = Failure::new(class, "line\nbreak \u{2028} \"quoted\"").stderr("oops\n");
    Outcome {
        result: Err(Box::new(failure)),
        ..succeeded(job)
    }
}

/// Four jobs in five records, a resumption and an end.
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
fn version_1_is_read_and_is_what_is_written() {
    let (_folder, path) = folder();
    fs::write(&path, VERSION_1).unwrap();
    is_everything(&History::load(&path).unwrap());
    fs::remove_file(&path).unwrap();
    write_everything(&path);
    is_everything(&History::load(&path).unwrap());
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, String::from_utf8_lossy(VERSION_1));
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let (_folder, path) = folder();
    let json = br#"{"record":"header","v":2,"anything":"else"}"#;
    let mut line = format!("{:08x} ", crc32fast::hash(json)).into_bytes();
    line.extend_from_slice(json);
    line.push(b'\n');
    fs::write(&path, line).unwrap();
    let refused = History::load(&path).unwrap_err().to_string();
    assert!(refused.ends_with("has version 2, and 1 is the newest that is understood here"));
}

#[test]
fn what_is_no_journal_is_refused_with_the_reason() {
    let (_folder, path) = folder();
    let text = String::from_utf8_lossy(VERSION_1);
    let second = text.lines().nth(1).unwrap().to_owned() + "\n";
    for (content, reason) in [
        ("", "it is empty"),
        ("x", "its first line is unfinished"),
        (
            "#!/bin/sh\n",
            "line 1 (byte 0): it does not begin with a checksum",
        ),
        (
            "00000000 {}\n",
            "line 1 (byte 0): its checksum does not match",
        ),
        (&*second, "its first line is no header"),
    ] {
        fs::write(&path, content).unwrap();
        let refused = History::load(&path).unwrap_err().to_string();
        assert!(refused.ends_with(reason), "{refused}");
        assert!(Journal::resume(&path, now(), &about(), Durability::None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "left as it is");
    }
}

#[test]
fn an_unfinished_line_is_cut_off_and_the_run_goes_on() {
    let (_folder, path) = folder();
    let cut = VERSION_1.len() - 7;
    fs::write(&path, &VERSION_1[..cut]).unwrap();
    let (mut journal, history) = Journal::resume(&path, now(), &about(), Durability::Each).unwrap();
    let torn = history.torn().unwrap();
    assert_eq!(torn.offset + torn.bytes, cut as u64);
    assert!(history.ended().is_none());
    let e = job("e");
    journal.append(&e, &succeeded(&e)).unwrap();
    journal.flush().unwrap();
    let history = History::load(&path).unwrap();
    assert_eq!(
        (history.jobs(), history.recorded(), history.resumed()),
        (5, 6, 2)
    );
    assert_eq!((history.torn(), history.damaged()), (None, 0));
}

#[test]
fn a_missing_line_is_noticed() {
    let (_folder, path) = folder();
    let text = String::from_utf8_lossy(VERSION_1);
    let lines = text.lines().enumerate().filter(|(number, _)| *number != 2);
    let rest: String = lines.flat_map(|(_, line)| [line, "\n"]).collect();
    fs::write(&path, rest).unwrap();
    let history = History::load(&path).unwrap();
    let said = history.damage()[0].to_string();
    assert!(said.starts_with("line 3 (byte "), "{said}");
    assert!(
        said.ends_with("): 1 records before it are missing"),
        "{said}"
    );
    assert_eq!(history.damaged(), 1);
}

/// Whatever is in the file: what is told is what was written, and what was lost is said.
fn never_wrong(bytes: &[u8], path: &Path) {
    // A file that is written over is synced by some file systems, which takes its time.
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    let Ok(history) = History::load(path) else {
        return;
    };
    assert_eq!(history.header(), &header());
    let known = [
        vec![succeeded(&job("a"))],
        vec![succeeded(&job("b")), failed(&job("b"), Class::Task)],
        vec![failed(&job("c"), Class::Cancelled)],
        vec![failed(&job("d"), Class::Crash)],
    ];
    let mut found = 0;
    for versions in known {
        if let Some(recorded) = history.find(&versions[0].id) {
            let outcome = history.outcome(&recorded).unwrap();
            assert!(versions.contains(&outcome), "{outcome:?}");
            found += 1;
        }
    }
    assert_eq!(history.jobs(), found, "nothing that was never written");
    if bytes != VERSION_1 && history.torn().is_none() && history.damaged() == 0 {
        let whole = VERSION_1.starts_with(bytes) && bytes.ends_with(b"\n");
        assert!(whole, "something is lost, and nothing is said");
    }
}

#[test]
fn every_cut_is_survived() {
    let (_folder, path) = folder();
    for length in 0..VERSION_1.len() {
        never_wrong(&VERSION_1[..length], &path);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_folder, path) = folder();
    for position in 0..VERSION_1.len() {
        // The fifth turns digits into others and small letters into capitals.
        for bit in [5, position % 8] {
            let mut bytes = VERSION_1.to_vec();
            bytes[position] ^= 1 << bit;
            never_wrong(&bytes, &path);
        }
    }
}

proptest! {
    #[test]
    fn any_damage_is_noticed(
        edits in prop::collection::vec((0..VERSION_1.len(), 0..40_usize, prop::collection::vec(any::<u8>(), 0..40)), 1..4),
    ) {
        let (_folder, path) = folder();
        let mut bytes = VERSION_1.to_vec();
        for (begin, length, with) in edits {
            let begin = begin.min(bytes.len());
            let end = (begin + length).min(bytes.len());
            bytes.splice(begin..end, with);
        }
        never_wrong(&bytes, &path);
    }
}

#[test]
fn a_record_that_changes_after_it_was_loaded_is_not_believed() {
    let (_folder, path) = folder();
    write_everything(&path);
    let history = History::load(&path).unwrap();
    let recorded = history.find(&"a".into()).unwrap();
    fs::write(&path, vec![b'x'; VERSION_1.len()]).unwrap();
    let refused = history.outcome(&recorded).unwrap_err();
    assert!(matches!(refused, JournalError::Changed { .. }), "{refused}");
}

#[test]
fn one_process_a_journal() {
    let (_folder, path) = folder();
    let journal = Journal::create(&path, &header(), Durability::Batch).unwrap();
    let refused = Journal::resume(&path, now(), &about(), Durability::None).unwrap_err();
    assert!(matches!(refused, JournalError::InUse { .. }), "{refused}");
    History::load(&path).expect("looking is not forbidden");
    drop(journal);
    Journal::resume(&path, now(), &about(), Durability::None).unwrap();
}

#[test]
fn a_journal_is_never_begun_over_another_file() {
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
fn what_is_dropped_is_written() {
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
fn what_is_to_be_done_follows_from_what_was() {
    let (_folder, path) = folder();
    write_everything(&path);
    let history = std::sync::Arc::new(History::load(&path).unwrap());

    let changed = Job::task("a", "resize", Payload::null()).on_host("web1");
    let mut resume = Resume::new(std::sync::Arc::clone(&history), Some(&source("d1")));
    assert_eq!(resume.gone(), 4);
    let kept = resume.decide(&job("b"));
    let Verdict::Skip(recorded) = kept else {
        panic!("{kept:?}");
    };
    assert!(history.outcome(&recorded).unwrap().is_success());
    assert_eq!(resume.decide(&changed), Verdict::Run(Why::Changed));
    assert_eq!(resume.decide(&job("c")), Verdict::Run(Why::NotEnded));
    assert_eq!(resume.decide(&job("x")), Verdict::Run(Why::NotEnded));
    let gone: Vec<_> = resume.gone_ids().map(Result::unwrap).collect();
    assert_eq!(gone, ["d".into()]);
    assert_eq!(resume.decide(&job("d")), Verdict::Run(Why::Failed));
    assert_eq!((resume.gone(), resume.gone_ids().count()), (0, 0));
    let differences = Differences {
        kept: 1,
        changed: 1,
        not_ended: 2,
        failed: 1,
        new: 0,
    };
    assert_eq!(resume.differences(), differences);

    for source in [Some(source("d2")), None] {
        let mut resume = Resume::new(std::sync::Arc::clone(&history), source.as_ref());
        assert_eq!(resume.decide(&job("x")), Verdict::Run(Why::New));
    }
}

mod store {
    use super::*;

    fn create(store: &RunStore, at: SystemTime) -> (RunId, Journal) {
        store.create(at, None, about(), Durability::None).unwrap()
    }

    #[test]
    fn runs_are_listed_with_what_became_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::at(folder.path().join("state"));
        assert!(store.list().unwrap().is_empty());
        assert_eq!(store.latest().unwrap(), None);

        let (first, mut journal) = create(&store, now());
        let a = job("a");
        journal.append(&a, &succeeded(&a)).unwrap();
        let summary = [succeeded(&a)].summarize(Duration::from_secs(1));
        journal.end(now(), &summary).unwrap();
        drop(journal);
        // In the same moment.
        let (second, mut journal) = create(&store, now());
        journal.append(&a, &succeeded(&a)).unwrap();
        drop(journal);
        let (third, mut journal) = create(&store, now() + Duration::from_mins(1));
        journal.append(&a, &succeeded(&a)).unwrap();
        journal.flush().unwrap();
        let (fourth, broken) = create(&store, now() + Duration::from_hours(1));
        drop(broken);
        fs::write(store.journal(fourth), "").unwrap();
        fs::write(folder.path().join("state/runs/readme.txt"), "mine").unwrap();

        let runs = store.list().unwrap();
        let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
        assert_eq!(ids, [fourth, third, second, first]);
        assert!(matches!(runs[0].state, RunState::Unreadable(_)));
        assert!(matches!(runs[1].state, RunState::Running { recorded: 1 }));
        assert!(matches!(
            runs[2].state,
            RunState::Interrupted { recorded: 1 }
        ));
        let RunState::Ended { at, summary } = &runs[3].state else {
            panic!("{:?}", runs[3]);
        };
        assert_eq!((*at, summary.total), (now(), 1));
        assert_eq!(runs[3].header.as_ref().unwrap().about, about());
        assert_eq!(store.latest().unwrap(), Some(fourth));

        let refused = store.remove(third).unwrap_err();
        assert!(matches!(refused, JournalError::InUse { .. }), "{refused}");
        drop(journal);
        for id in [first, second, third, fourth] {
            store.remove(id).unwrap();
        }
        assert!(store.list().unwrap().is_empty());
        let refused = store.remove(first).unwrap_err();
        assert!(
            matches!(refused, JournalError::NoSuchRun { .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_run_is_found_by_the_beginning_of_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::at(folder.path());
        let (first, _journal) = create(&store, now());
        let (second, _journal) = create(&store, now() + Duration::from_hours(20));
        let text = first.to_string();
        assert_eq!(store.find(&text).unwrap(), first);
        assert_eq!(store.find(&text[..6].to_uppercase()).unwrap(), first);
        let shared: String = text
            .chars()
            .zip(second.to_string().chars())
            .take_while(|(one, other)| one == other)
            .map(|(one, _)| one)
            .collect();
        let refused = store.find(&shared).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!("`{shared}` may be any of 2 runs: {second}, {first}")
        );
        let refused = store.find("zz").unwrap_err().to_string();
        assert!(refused.starts_with("there is no run `zz` in "), "{refused}");
        assert!(store.find("../x").is_err());
    }

    /// The last record may be larger than what is read of the end at first, and damage may follow it.
    #[test]
    fn the_last_record_is_found_however_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = RunStore::at(folder.path());
        let (id, mut journal) = create(&store, now());
        let a = job("a");
        for size in [10, 1_000_000] {
            let outcome = Outcome {
                result: Ok(Payload::from_text(&"x".repeat(size))),
                ..succeeded(&a)
            };
            journal.append(&a, &outcome).unwrap();
        }
        drop(journal);
        let state = || store.run(id).state;
        assert!(matches!(state(), RunState::Interrupted { recorded: 2 }));
        let (mut journal, _) =
            Journal::resume(store.journal(id), now(), &about(), Durability::None).unwrap();
        let summary = [succeeded(&a)].summarize(Duration::ZERO);
        journal.end(now(), &summary).unwrap();
        drop(journal);
        let mut bytes = fs::read(store.journal(id)).unwrap();
        bytes.extend_from_slice(b"torn");
        fs::write(store.journal(id), &bytes).unwrap();
        assert!(matches!(state(), RunState::Ended { .. }));
        bytes.push(b'\n');
        fs::write(store.journal(id), &bytes).unwrap();
        assert!(matches!(state(), RunState::Interrupted { recorded: 2 }));
        assert!(History::load(store.journal(id)).unwrap().ended().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let store = RunStore::at(&file);
        let refused = store
            .create(now(), None, about(), Durability::None)
            .unwrap_err();
        let runs = file.join("runs");
        assert_eq!(
            refused.to_string(),
            format!("could not create {}", runs.display())
        );
        assert_eq!(refused.kind(), io::ErrorKind::NotADirectory);
    }
}
