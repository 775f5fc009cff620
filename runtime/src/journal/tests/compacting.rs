//! Tests of journals from which records that do not count any more are removed.

use proptest::prelude::*;

use super::*;

fn end(journal: &mut Journal, outcomes: &[Outcome]) {
    let summary = outcomes.summarize(Duration::from_secs(2));
    journal.end(now(), &summary).unwrap();
}

fn resume(path: &Path) -> Journal {
    let (journal, _) = Journal::resume(path, now(), &about(), Durability::Batch).unwrap();
    journal
}

fn outcomes(path: &Path) -> Vec<Outcome> {
    let history = History::load(path).unwrap();
    assert_eq!((history.damaged(), history.torn()), (0, None));
    history.outcomes().map(Result::unwrap).collect()
}

#[test]
fn of_the_plans_of_many_parts_a_compacted_journal_has_the_last() {
    let (_folder, path) = folder();
    write_everything(&path);
    let plan = |slots| RunPlan {
        slots,
        ..RunPlan::default()
    };
    for slots in 1..=5 {
        let mut journal = resume(&path);
        journal.planned(now(), &plan(slots)).unwrap();
        let d = job("d");
        journal.append(&d, &succeeded(&d)).unwrap();
    }
    let plans = |path: &Path| -> Vec<RunPlan> {
        let history = History::load(path).unwrap();
        let entries = history.entries().map(Result::unwrap);
        let plans = entries.filter_map(|entry| match entry {
            JournalEntry::Planned { plan, .. } => Some(plan),
            _ => None,
        });
        plans.collect()
    };
    assert_eq!(plans(&path).len(), 5);
    let mut journal = resume(&path);
    end(&mut journal, &[]);
    assert!(journal.compact().unwrap());
    assert_eq!(plans(&path), [plan(5)]);
    assert_eq!(outcomes(&path).len(), 4);
}

#[test]
fn a_compacted_journal_has_the_same_outcomes_in_less_space() {
    let (_folder, path) = folder();
    write_everything(&path);
    let mut journal = resume(&path);
    let d = job("d");
    journal.append(&d, &succeeded(&d)).unwrap();
    end(&mut journal, &[succeeded(&d)]);
    let (before, size) = (
        History::load(&path).unwrap(),
        fs::metadata(&path).unwrap().len(),
    );
    assert_eq!(
        (before.jobs(), before.recorded(), before.resumed()),
        (4, 6, 2)
    );

    assert!(journal.compact().unwrap());
    assert!(!journal.compact().unwrap(), "nothing more to leave out");
    let after = History::load(&path).unwrap();
    assert_eq!((after.jobs(), after.recorded(), after.resumed()), (4, 4, 2));
    assert_eq!((after.damaged(), after.torn()), (0, None));
    assert_eq!(after.header(), before.header());
    assert_eq!(after.ended(), before.ended());
    let all = |history: &History| history.outcomes().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(all(&after), all(&before));
    assert!(fs::metadata(&path).unwrap().len() < size);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    // The process that holds the journal continues with the new one.
    let refused = Journal::resume(&path, now(), &about(), Durability::None).unwrap_err();
    assert!(matches!(refused, JournalError::InUse { .. }), "{refused}");
    let e = job("e");
    journal.append(&e, &succeeded(&e)).unwrap();
    drop(journal);
    assert_eq!(outcomes(&path).len(), 5);
    let mut journal = resume(&path);
    end(&mut journal, &[]);
    assert!(journal.compact().unwrap());
    assert_eq!(History::load(&path).unwrap().resumed(), 3);
}

#[test]
fn only_an_undamaged_journal_of_a_run_that_ended_is_compacted() {
    let (_folder, path) = folder();
    let (a, b) = (job("a"), job("b"));
    let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
    journal.append(&a, &failed(&a, Class::Task)).unwrap();
    journal.append(&b, &succeeded(&b)).unwrap();
    journal.append(&a, &succeeded(&a)).unwrap();
    assert!(!journal.compact().unwrap(), "it has not ended");
    end(&mut journal, &[succeeded(&a)]);
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    damaged[second + 40] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let mut journal = resume(&path);
    end(&mut journal, &[succeeded(&a)]);
    let before = fs::read(&path).unwrap();
    assert!(!journal.compact().unwrap(), "it is damaged");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A process that opens a journal just before it is replaced must not write into the old file.
#[test]
fn a_journal_that_was_replaced_is_not_written_any_more() {
    let (folder, path) = folder();
    write_everything(&path);
    let opened = File::open(&path).unwrap();
    assert!(is_at(&path, &opened).unwrap());
    let mut journal = resume(&path);
    end(&mut journal, &[]);
    assert!(journal.compact().unwrap());
    drop(journal);
    assert!(!is_at(&path, &opened).unwrap());
    // A file that a dead process has left of another compaction is not in the way.
    fs::write(folder.path().join("journal.compacted"), "half").unwrap();
    let mut journal = resume(&path);
    journal
        .append(&job("a"), &failed(&job("a"), Class::Task))
        .unwrap();
    end(&mut journal, &[]);
    assert!(journal.compact().unwrap());
}

proptest! {
    /// The outcomes of jobs, and the order in which they were recorded, are the same before and after.
    #[test]
    fn a_compacted_journal_keeps_the_last_outcome_of_each_job(parts in prop::collection::vec(prop::collection::vec((0_u8..6, any::<bool>()), 0..8), 1..5)) {
        let (_folder, path) = folder();
        let mut journal = Journal::create(&path, &header(), Durability::None).unwrap();
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                drop(journal);
                journal = Journal::resume(&path, now(), &about(), Durability::None).unwrap().0;
            }
            for (id, well) in part {
                let job = job(&id.to_string());
                let outcome = if *well { succeeded(&job) } else { failed(&job, Class::Task) };
                journal.append(&job, &outcome).unwrap();
            }
            end(&mut journal, &[]);
        }
        let before = outcomes(&path);
        journal.compact().unwrap();
        prop_assert_eq!(outcomes(&path), before);
        let history = History::load(&path).unwrap();
        prop_assert_eq!(history.recorded(), history.jobs() as u64);
        prop_assert_eq!(history.resumed() as usize, parts.len() - 1);
        prop_assert!(history.ended().is_some());
    }
}
