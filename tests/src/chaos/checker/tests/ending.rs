//! What becomes of jobs, and what is written of them.

use super::super::read_journal;
use super::*;

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
        for (at, fact) in (1..).zip(facts) {
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
