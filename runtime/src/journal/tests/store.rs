//! Runs in the folder that keeps them: listed, found, removed.

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
    let more: Vec<_> = (1..=6)
        .map(|day| create(&store, now() + Duration::from_hours(20 + 24 * day)))
        .collect();
    let said = store.find(&shared[..1]).unwrap_err().to_string();
    assert!(said.starts_with(&format!("`{}` may be any of 8 runs: ", &shared[..1])));
    assert!(said.ends_with(", .."), "{said}");
    drop(more);
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

#[test]
fn what_is_recorded_is_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("deep/state");
    let store = RunStore::at(&state);
    let (run, journal) = store
        .create(
            SystemTime::UNIX_EPOCH,
            None,
            Payload::null(),
            Durability::Batch,
        )
        .unwrap();
    drop(journal);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let journal = store.journal(run);
    assert_eq!(mode(&journal), 0o600);
    for folder in journal.ancestors().skip(1).take(4) {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
}
