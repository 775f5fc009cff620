//! Logs by hand, each of which breaks one promise.

use std::time::Duration;

use super::super::notes::{Fact, Note};
use super::super::plan::{Claim, Named, Quota, Wish};
use super::{Declared, Ending, Evidence, Rule, read_journal};

const MS: u64 = 1_000_000;

/// A job that asks for this, on host 1.
fn wish(claim: Claim, limits: &'static [Named]) -> Wish {
    Wish {
        host: 1,
        claim,
        limits,
        slots: 1,
        urgency: 0,
        steady: false,
        work: Duration::ZERO,
    }
}

/// Four slots, two of `db`, one of `disk`; ten starts a second of `api` and of the one key there is, one at once.
fn evidence(wishes: &[Wish]) -> Evidence {
    let quota = Quota {
        per_second: 10,
        burst: 1,
    };
    Evidence {
        wishes: wishes.to_vec(),
        declared: Declared {
            most: [4, 2, 1],
            api: quota,
            keys: vec![quota],
            crashes: 3,
            sends_ahead: |_| false,
        },
        worker_notes: Vec::new(),
        host_notes: vec![
            host_note(1, 1, Fact::Descriptors(9, 9)),
            host_note(1, 1, Fact::Children(0, 0)),
        ],
        journal: Vec::new(),
    }
}

fn host_note(at: u64, life: u32, fact: Fact) -> Note {
    Note {
        at: at * MS,
        life,
        process: 1,
        fact,
    }
}

impl Evidence {
    fn worker(&mut self, process: u32, at: u64, fact: Fact) {
        self.worker_notes.push(Note {
            process,
            ..host_note(at, 1, fact)
        });
    }

    /// A worker with a number of its own that is free at one time, begins at the next, and is done at the last; all in
    /// milliseconds.
    fn attempt(&mut self, job: u32, [free, start, done]: [u64; 3]) {
        let process = 100 + u32::try_from(self.worker_notes.len()).unwrap();
        self.worker(process, free, Fact::Born);
        self.worker(process, start, Fact::Starts(job, 1));
        self.worker(process, done, Fact::Done(job, 1));
        self.ended(job, 1, Some(start));
    }

    /// It is recorded, and heard of.
    fn ended(&mut self, job: u32, life: u32, success: Option<u64>) {
        self.journal.push(Ending {
            job,
            life,
            attempts: 1,
            success: success.map(|start| start * MS),
        });
        let heard = Fact::Hears(job, success.is_some().into());
        self.host_notes.push(host_note(999, life, heard));
    }

    /// The promises that are broken, each once.
    fn broken(&self) -> Vec<Rule> {
        let report = self.check();
        let mut rules: Vec<Rule> = report.violations.iter().map(|broken| broken.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }
}

/// What is broken if these run, each on a worker of its own.
fn broken(wishes: &[Wish], times: &[[u64; 3]]) -> Vec<Rule> {
    let mut evidence = evidence(wishes);
    for (job, times) in (0..).zip(times) {
        evidence.attempt(job, *times);
    }
    evidence.broken()
}

#[test]
fn one_exclusive_job_a_host() {
    let host = wish(Claim::Host, &[]);
    let elsewhere = Wish { host: 2, ..host };
    let free = wish(Claim::Nothing, &[]);
    let together = [[0, 5, 10], [0, 9, 12]];
    assert_eq!(broken(&[host, host], &together), [Rule::Host]);
    assert_eq!(broken(&[host, host], &[[0, 5, 10], [0, 10, 12]]), []);
    assert_eq!(broken(&[host, elsewhere], &together), []);
    assert_eq!(broken(&[host, free], &together), []);
    // One that ends in between hides nobody.
    let long = [[0, 1, 20], [0, 2, 3], [0, 19, 21]];
    assert_eq!(broken(&[host, elsewhere, host], &long), [Rule::Host]);
}

#[test]
fn one_global_job_everywhere_and_none_beside_it_on_its_host() {
    let global = wish(Claim::Global, &[]);
    let elsewhere = Wish { host: 2, ..global };
    let host = wish(Claim::Host, &[]);
    let together = [[0, 5, 10], [0, 9, 12]];
    assert_eq!(broken(&[global, elsewhere], &together), [Rule::Global]);
    assert_eq!(broken(&[host, global], &together), [Rule::Host]);
    assert_eq!(broken(&[host, elsewhere], &together), []);
}

#[test]
fn one_that_should_be_alone_and_is_not_is_found() {
    let (alone, free) = (wish(Claim::Alone, &[]), wish(Claim::Nothing, &[]));
    let together = [[0, 5, 10], [0, 9, 12]];
    assert_eq!(broken(&[alone, free], &together), [Rule::Alone]);
    assert_eq!(broken(&[free, alone], &together), [Rule::Alone]);
    assert_eq!(broken(&[free, alone], &[[0, 5, 10], [0, 11, 12]]), []);
}

#[test]
fn a_killed_attempt_lasts_until_its_last_sign() {
    let host = wish(Claim::Host, &[]);
    let mut evidence = evidence(&[host, host]);
    evidence.worker(7, 0, Fact::Born);
    evidence.worker(7, 1, Fact::Starts(0, 1));
    evidence.worker(7, 8, Fact::Beats(0, 1));
    evidence.ended(0, 1, None);
    evidence.attempt(1, [0, 8, 12]);
    assert_eq!(evidence.broken(), []);
    evidence.worker(7, 9, Fact::Beats(0, 1));
    assert_eq!(evidence.broken(), [Rule::Host]);
}

#[test]
fn no_window_holds_more_starts_than_its_rate_allows() {
    let key = wish(Claim::Key(0), &[]);
    // At ten a second, granted between 0 and 5 and between 90 and 101: they can be 100 apart.
    assert_eq!(broken(&[key; 2], &[[0, 5, 6], [90, 101, 102]]), []);
    assert_eq!(broken(&[key; 2], &[[0, 5, 6], [90, 99, 102]]), [Rule::Rate]);
    // Only all three together are too many.
    let three = [[0, 1, 2], [50, 120, 121], [60, 190, 191]];
    assert_eq!(broken(&[key; 3], &three), [Rule::Rate]);
    // Another key's, and those of nobody, are not counted.
    let free = wish(Claim::Nothing, &[]);
    assert_eq!(broken(&[key, free], &[[0, 5, 6], [90, 99, 102]]), []);
}

#[test]
fn a_rate_that_changes_counts_as_the_higher_until_it_is_confirmed() {
    let api = wish(Claim::Nothing, &[Named::Api]);
    let mut evidence = evidence(&[api; 2]);
    evidence.attempt(0, [0, 5, 6]);
    evidence.attempt(1, [40, 50, 51]);
    assert_eq!(evidence.broken(), [Rule::Rate]);
    let api = Named::Api as u32;
    evidence
        .host_notes
        .push(host_note(10, 1, Fact::Changing(api, 30)));
    evidence
        .host_notes
        .push(host_note(20, 1, Fact::Changed(api, 10)));
    // 50 ms at ten, and 10 of them at twenty more.
    assert_eq!(evidence.broken(), [Rule::Rate]);
    evidence.host_notes.pop();
    assert_eq!(evidence.broken(), []);
}

#[test]
fn no_more_run_than_a_limit_lets() {
    let db = wish(Claim::Nothing, &[Named::Db]);
    let disk = wish(Claim::Nothing, &[Named::Disk]);
    let three = [[0, 1, 10], [0, 2, 10], [0, 3, 10]];
    assert_eq!(broken(&[db; 3], &three), [Rule::Limit]);
    assert_eq!(broken(&[db; 2], &three[..2]), []);
    assert_eq!(broken(&[disk; 2], &three[..2]), [Rule::Limit]);
    assert_eq!(broken(&[disk; 2], &[[0, 1, 2], [0, 2, 3]]), []);
}

#[test]
fn a_limit_that_fell_holds_for_those_dispatched_since() {
    let db = wish(Claim::Nothing, &[Named::Db]);
    let lowered = |free: u64| {
        let mut evidence = evidence(&[db; 2]);
        let db = Named::Db as u32;
        evidence
            .host_notes
            .push(host_note(20, 1, Fact::Changing(db, 1)));
        evidence
            .host_notes
            .push(host_note(30, 1, Fact::Changed(db, 1)));
        evidence.attempt(0, [0, 1, 90]);
        evidence.attempt(1, [free, 50, 90]);
        evidence.broken()
    };
    assert_eq!(lowered(29), []);
    assert_eq!(lowered(31), [Rule::Limit]);
}

#[test]
fn no_more_slots_are_filled_than_there_are() {
    let heavy = Wish {
        slots: 2,
        ..wish(Claim::Nothing, &[])
    };
    let three = [[0, 1, 10], [0, 2, 10], [0, 3, 10]];
    assert_eq!(broken(&[heavy; 3], &three), [Rule::Slots]);
    assert_eq!(broken(&[heavy; 2], &three[..2]), []);
}

#[test]
fn every_job_ends_and_once_in_a_life() {
    let free = wish(Claim::Nothing, &[]);
    let mut evidence = evidence(&[free; 2]);
    evidence.attempt(0, [0, 1, 2]);
    assert_eq!(evidence.broken(), [Rule::Ended]);
    evidence.ended(1, 1, None);
    assert_eq!(evidence.broken(), []);
    evidence.ended(1, 2, None);
    assert_eq!(evidence.broken(), []);
    evidence.ended(1, 2, None);
    assert_eq!(evidence.broken(), [Rule::Ended, Rule::Heard]);
}

#[test]
fn what_has_succeeded_is_not_done_again() {
    let mut evidence = evidence(&[wish(Claim::Nothing, &[])]);
    evidence.attempt(0, [0, 1, 2]);
    evidence.ended(0, 2, None);
    assert_eq!(evidence.broken(), [Rule::Again]);
    evidence.journal.pop();
    evidence.host_notes.pop();
    assert_eq!(evidence.broken(), []);
    evidence.worker(8, 3, Fact::Born);
    evidence.worker(8, 4, Fact::Starts(0, 1));
    assert_eq!(evidence.broken(), [Rule::Again]);
}

#[test]
fn a_job_never_runs_twice_at_once() {
    let mut evidence = evidence(&[wish(Claim::Nothing, &[])]);
    evidence.worker(8, 0, Fact::Born);
    evidence.worker(8, 1, Fact::Starts(0, 1));
    evidence.worker(8, 6, Fact::Fails(0, 1));
    evidence.attempt(0, [0, 7, 9]);
    assert_eq!(evidence.broken(), []);
    evidence.attempt(0, [0, 5, 9]);
    assert!(evidence.broken().contains(&Rule::Twice));
}

#[test]
fn a_success_is_that_of_one_attempt_which_says_so() {
    let mut evidence = evidence(&[wish(Claim::Nothing, &[])]);
    evidence.worker(8, 0, Fact::Born);
    evidence.worker(8, 1, Fact::Starts(0, 1));
    evidence.ended(0, 1, Some(1));
    assert_eq!(evidence.broken(), [Rule::Result]);
    evidence.worker(8, 2, Fact::Done(0, 1));
    assert_eq!(evidence.broken(), []);
    for (attempts, start) in [(1, 2), (2, 1), (0, 1)] {
        let [ending] = &mut evidence.journal[..] else {
            panic!("there is one")
        };
        (ending.attempts, ending.success) = (attempts, Some(start * MS));
        assert_eq!(evidence.broken(), [Rule::Result], "{attempts}, {start}");
    }
}

#[test]
fn a_job_takes_no_more_workers_with_it_than_it_may() {
    let mut evidence = evidence(&[wish(Claim::Nothing, &[])]);
    evidence.ended(0, 1, None);
    evidence.journal[0].attempts = 4;
    for number in 1..=4 {
        assert_eq!(evidence.broken(), []);
        let (process, at) = (10 + number, u64::from(number) * 10);
        evidence.worker(process, at, Fact::Born);
        evidence.worker(process, at + 1, Fact::Starts(0, number));
        evidence.worker(process, at + 2, Fact::Dies(0, number));
    }
    assert_eq!(evidence.broken(), [Rule::Poison]);
}

#[test]
fn what_is_heard_of_stands_in_the_journal() {
    let mut evidence = evidence(&[wish(Claim::Nothing, &[])]);
    evidence.attempt(0, [0, 1, 2]);
    let heard = evidence.host_notes.pop().unwrap();
    assert_eq!(evidence.broken(), [Rule::Heard], "told nobody");
    let told = |fact: Fact, life: u32| Note {
        life,
        fact,
        ..heard
    };
    evidence.host_notes.push(told(Fact::Hears(0, 0), 1));
    assert_eq!(evidence.broken(), [Rule::Heard], "told otherwise");
    evidence.host_notes.pop();
    evidence.host_notes.push(heard);
    assert_eq!(evidence.broken(), []);
    evidence.host_notes.push(told(Fact::Hears(0, 1), 2));
    assert_eq!(
        evidence.broken(),
        [Rule::Heard],
        "told what was not recorded"
    );
}

#[test]
fn nothing_is_held_at_the_end() {
    let mut evidence = evidence(&[]);
    assert_eq!(evidence.broken(), []);
    evidence
        .host_notes
        .push(host_note(9, 1, Fact::Children(0, 1)));
    assert_eq!(evidence.broken(), [Rule::LeftBehind]);
    evidence.host_notes.clear();
    assert_eq!(evidence.broken(), [Rule::LeftBehind], "who says nothing");
}

#[test]
fn notes_that_make_no_sense_are_no_evidence() {
    let free = wish(Claim::Nothing, &[]);
    let nonsense: [&[Fact]; 5] = [
        &[Fact::Starts(0, 1)],
        &[Fact::Born, Fact::Starts(1, 1)],
        &[Fact::Born, Fact::Done(0, 1)],
        &[Fact::Born, Fact::Starts(0, 1), Fact::Done(0, 2)],
        &[Fact::Born, Fact::Starts(0, 1), Fact::Starts(0, 2)],
    ];
    for facts in nonsense {
        let mut evidence = evidence(&[free]);
        evidence.ended(0, 1, None);
        evidence.journal[0].attempts = 2;
        for (at, fact) in (0..).zip(facts) {
            evidence.worker(5, at, *fact);
        }
        assert_eq!(evidence.broken(), [Rule::Notes], "{facts:?}");
    }
}

#[test]
fn a_journal_is_read_and_what_is_none_is_refused() {
    let journal = r#"00000000 {"record":"header","about":1}
00000000 {"record":"job","n":1,"outcome":{"id":"3","status":"failed","attempts":2}}
00000000 {"record":"resumed","n":1,"about":2}
00000000 {"record":"job","n":2,"outcome":{"id":"3","status":"succeeded","attempts":1,"result":77}}
00000000 {"record":"ended"}
"#;
    let failed = Ending {
        job: 3,
        life: 1,
        attempts: 2,
        success: None,
    };
    let succeeded = Ending {
        life: 2,
        attempts: 1,
        success: Some(77),
        ..failed
    };
    assert_eq!(read_journal(journal), Ok(vec![failed, succeeded]));
    for (wrong, right, complaint) in [
        ("\"resumed\"", "\"other\"", "line 3"),
        (
            "\"id\":\"3\",\"status\":\"f",
            "\"id\":\"x\",\"status\":\"f",
            "line 2",
        ),
        ("77}}", "77", "line 4"),
        ("00000000 {\"record\":\"ended\"}", "0000", "line 5"),
    ] {
        let refused = read_journal(&journal.replacen(wrong, right, 1)).unwrap_err();
        assert!(refused.contains(complaint), "{refused}");
    }
}
