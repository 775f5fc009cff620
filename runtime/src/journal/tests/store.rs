//! Tests of runs in their folder: listed, found, removed.

use super::*;

fn create(store: &RunStore, at: SystemTime) -> (RunId, Journal) {
    store.create(at, None, about(), Durability::None).unwrap()
}

#[test]
fn runs_are_listed_with_their_states() {
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
    // This one begins at the same moment.
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
    assert_eq!(
        store.latest().unwrap(),
        Some(third),
        "the fourth never began"
    );

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
fn the_latest_run_is_the_one_that_began_last_even_if_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = RunStore::at(folder.path());
    let (first, _journal) = create(&store, now());
    let (second, _journal) = create(&store, now() - Duration::from_hours(48));
    let (third, _journal) = create(&store, now() - Duration::from_hours(24));
    assert!(first < second && second < third);
    assert_eq!(store.latest().unwrap(), Some(third));
    // These are the folders of runs that died before they began.
    for id in ["2000000", "2000001"] {
        fs::create_dir(store.folder().join(id)).unwrap();
    }
    fs::write(store.folder().join("2000001/journal"), "0000").unwrap();
    assert_eq!(store.latest().unwrap(), Some(third));
    let (later, _journal) = create(&store, now());
    assert_eq!(store.latest().unwrap(), Some(later));
    // Ids can only run out if somebody makes up a folder by hand.
    fs::create_dir(store.folder().join("fzzzzzzzzzzzz")).unwrap();
    let refused = store
        .create(now(), None, about(), Durability::None)
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("could not begin a run after "),
        "{refused}"
    );
}

#[test]
fn old_runs_and_old_empty_folders_are_pruned_but_not_a_folder_of_a_run_that_may_be_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let store = RunStore::at(folder.path());
    let day = Duration::from_hours(24);
    let age = |id, at| {
        let journal = File::open(store.journal(id)).unwrap();
        journal.set_modified(at).unwrap();
    };
    let finish = |days: u32, outcome: Outcome| {
        let (id, mut journal) = create(&store, now() - days * day);
        journal.append(&job("a"), &outcome).unwrap();
        let summary = [outcome].summarize(Duration::ZERO);
        journal.end(now() - days * day, &summary).unwrap();
        drop(journal);
        age(id, now() - days * day);
        id
    };
    let a = job("a");
    let old = finish(40, succeeded(&a));
    let failing = finish(31, failed(&a, Class::Task));
    let young = finish(29, succeeded(&a));
    let (interrupted, journal) = create(&store, now() - 41 * day);
    drop(journal);
    let (_, _running) = create(&store, now() - 50 * day);
    age(interrupted, now() - 60 * day);
    let empty = |id: &str, at| {
        let path = store.folder().join(id);
        fs::create_dir(&path).unwrap();
        File::open(&path).unwrap().set_modified(at).unwrap();
    };
    empty("2000000", now() - day);
    empty("2000001", now());

    let current = finish(0, succeeded(&a));
    let pruned = store.prune(&Retention::default(), now(), current).unwrap();
    let told: Vec<_> = pruned
        .iter()
        .map(|run| (run.id, run.was_resumable))
        .collect();
    assert_eq!(told, [(old, false), (failing, true), (interrupted, true)]);
    assert_eq!(
        store.ids().unwrap().len(),
        4,
        "two finished ones, one that goes on, one that begins"
    );
    let count = Retention {
        runs: Some(1),
        ..Retention::default()
    };
    let pruned = store.prune(&count, now(), current).unwrap();
    assert_eq!(
        pruned,
        [PrunedRun {
            id: young,
            was_resumable: false
        }]
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
        format!("`{shared}` is the beginning of 2 run ids: {second}, {first}")
    );
    let more: Vec<_> = (1..=6)
        .map(|day| create(&store, now() + Duration::from_hours(20 + 24 * day)))
        .collect();
    let said = store.find(&shared[..1]).unwrap_err().to_string();
    assert!(said.starts_with(&format!(
        "`{}` is the beginning of 8 run ids: ",
        &shared[..1]
    )));
    assert!(said.ends_with(", .."), "{said}");
    drop(more);
    let refused = store.find("zz").unwrap_err().to_string();
    assert!(refused.starts_with("there is no run `zz` in "), "{refused}");
    assert!(store.find("../x").is_err());
}

/// The last record may be longer than the first read at the end, and damage may follow it.
#[test]
fn the_last_record_is_found_even_if_it_is_longer_than_the_first_read() {
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
fn the_error_for_a_folder_that_cannot_be_made_names_it() {
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
fn only_the_owner_can_read_the_folders_and_files_of_a_run() {
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
