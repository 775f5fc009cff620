//! How jobs end, and what is recorded of them.

use super::super::read_journal;
use super::*;

#[test]
fn the_checker_finds_jobs_that_end_never_or_twice_in_a_life() {
    let free = spec(Claim::Nothing, &[]);
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
fn the_checker_finds_a_job_that_is_done_again_after_its_success() {
    let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
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
fn the_checker_finds_a_job_that_runs_twice_at_once() {
    let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
    evidence.worker(8, 0, Fact::Born);
    evidence.worker(8, 1, Fact::Starts(0, 1));
    evidence.worker(8, 6, Fact::Fails(0, 1));
    evidence.attempt(0, [0, 7, 9]);
    assert_eq!(evidence.broken(), []);
    evidence.attempt(0, [0, 5, 9]);
    assert!(evidence.broken().contains(&Rule::Twice));
}

#[test]
fn the_checker_finds_a_success_without_an_attempt_that_succeeded() {
    let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
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
        (ending.attempts, ending.result) = (attempts, result(Some(start)));
        assert_eq!(evidence.broken(), [Rule::Result], "{attempts}, {start}");
    }
}

#[test]
fn the_checker_finds_a_job_that_kills_more_workers_than_allowed() {
    let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
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
fn the_checker_finds_an_outcome_that_is_not_in_the_journal() {
    let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
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
fn the_checker_finds_slots_and_locks_that_are_held_at_the_end() {
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
fn the_checker_finds_a_failure_without_failed_attempts() {
    let mut evidence = evidence(&[spec(Claim::Nothing, &[])]);
    evidence.ended(0, 1, None);
    assert_eq!(evidence.all_broken(), [Rule::Failed], "it never began");
    evidence.worker(8, 0, Fact::Born);
    evidence.worker(8, 1, Fact::Starts(0, 1));
    evidence.worker(8, 2, Fact::Fails(0, 1));
    assert_eq!(evidence.all_broken(), []);
    evidence.journal[0].attempts = 2;
    assert_eq!(evidence.all_broken(), [Rule::Failed], "only one began");
    evidence.journal[0].attempts = 0;
    assert!(
        evidence.all_broken().contains(&Rule::Failed),
        "none counted"
    );
}

#[test]
fn the_checker_finds_an_answer_in_time_that_is_not_the_result() {
    let answered_by = |performer: Performer, at: u64, outcome: Option<Option<u64>>| {
        let mut evidence = evidence(&[JobSpec {
            performer,
            ..spec(Claim::Nothing, &[])
        }]);
        evidence.worker(8, 0, Fact::Born);
        evidence.worker(8, 1, Fact::Starts(0, 1));
        evidence.worker(8, at, Fact::Done(0, 1));
        evidence.worker(8, at, Fact::Answered(0, 1));
        evidence.worker(9, at, Fact::Born);
        if let Some(success) = outcome {
            evidence.worker(9, at + 500, Fact::Starts(0, 2));
            evidence.worker(9, at + 501, Fact::Done(0, 2));
            evidence.ended(0, 1, success);
            evidence.journal[0].attempts = 2;
        } else {
            evidence.ended(0, 1, Some(1));
        }
        evidence.broken()
    };
    let answered = |at, outcome| answered_by(Performer::Swift, at, outcome);
    assert_eq!(answered(2, None), []);
    assert_eq!(answered(2, Some(Some(502))), [Rule::Late]);
    assert_eq!(answered(499, Some(Some(999))), [Rule::Late]);
    // The answer was late.
    assert_eq!(answered(501, Some(Some(1001))), []);
    // For a command, the process has to end in time as well.
    let by_command = |at, outcome| answered_by(Performer::Command, at, outcome);
    assert_eq!(by_command(299, Some(Some(799))), [Rule::Late]);
    assert_eq!(by_command(301, Some(Some(801))), []);
}

/// Makes the evidence of a job that got a result from the cache, which a worker or a command computed by this content. The script
/// had content 0 until 40 or 50 ms, and then content 1.
fn from_cache(performer: Performer, content: u32, computed: (u32, u32)) -> Vec<Rule> {
    let cached = JobSpec {
        performer,
        input: 7,
        ..spec(Claim::Nothing, &[])
    };
    let mut evidence = evidence(&[cached; 2]);
    let driver_notes = [(0, 0, 0), (40, 50, 1)];
    for (edits, edited, content) in driver_notes {
        let driver = &mut evidence.driver_notes;
        driver.push(host_note(edits, 0, Fact::Edits(content)));
        driver.push(host_note(edited, 0, Fact::Edited(content)));
    }
    for (at, fact) in [
        (10, Fact::MakesPools),
        (20, Fact::MadePools),
        (60, Fact::Takes(1)),
    ] {
        evidence.host_notes.push(host_note(at, 1, fact));
    }
    let own = Success {
        start: 23 * MS,
        computed: Some((7, content)),
        cached: false,
    };
    if performer.is_command() {
        evidence.worker(8, 23, Fact::Computes(7, content));
    } else {
        evidence.worker(8, 21, Fact::Born);
        evidence.worker(8, 22, Fact::Ready(content));
        evidence.worker(8, 23, Fact::Starts(0, 1));
        evidence.worker(8, 24, Fact::Done(0, 1));
    }
    evidence.ended(0, 1, Some(23));
    evidence.journal[0].result = Ok(own);
    evidence.ended(1, 1, Some(23));
    evidence.journal[1].attempts = 0;
    evidence.journal[1].result = Ok(Success {
        computed: Some(computed),
        cached: true,
        ..own
    });
    evidence.broken()
}

#[test]
fn the_checker_finds_a_cached_result_of_another_content_than_that_of_its_pool() {
    let worker = Performer::Scripted;
    assert_eq!(from_cache(worker, 0, (7, 0)), []);
    assert_eq!(from_cache(worker, 1, (7, 1)), [Rule::Cached]);
}

#[test]
fn the_checker_finds_a_cached_result_of_an_edited_command() {
    let command = Performer::ScriptedCommand;
    assert_eq!(from_cache(command, 1, (7, 1)), []);
    assert_eq!(from_cache(command, 0, (7, 0)), [Rule::Cached]);
}

#[test]
fn the_checker_finds_a_cached_result_of_another_input() {
    let worker = Performer::Scripted;
    assert_eq!(from_cache(worker, 0, (8, 0)), [Rule::Cached]);
    assert_eq!(from_cache(worker, 0, (7, 1)), [Rule::Cached]);
    // The result of this job must not be cached.
    let rules = from_cache(Performer::Swift, 0, (7, 0));
    assert!(rules.contains(&Rule::Cached), "{rules:?}");
}

#[test]
fn the_checker_tells_results_apart_that_were_begun_in_the_same_nanosecond() {
    let scripted = |input| JobSpec {
        performer: Performer::Scripted,
        input,
        ..spec(Claim::Nothing, &[])
    };
    let rules = |computed: (u32, u32)| {
        let mut evidence = evidence(&[scripted(7), scripted(8)]);
        for (worker, job) in [(5, 0), (6, 1)] {
            evidence.worker(worker, 21, Fact::Born);
            evidence.worker(worker, 22, Fact::Ready(0));
            evidence.worker(worker, 23, Fact::Starts(job, 1));
            evidence.worker(worker, 24, Fact::Done(job, 1));
            evidence.ended(job, 1, Some(23));
        }
        for (ending, computed) in evidence.journal.iter_mut().zip([(7, 0), computed]) {
            ending.result = Ok(Success {
                start: 23 * MS,
                computed: Some(computed),
                cached: false,
            });
        }
        evidence.broken()
    };
    assert_eq!(rules((8, 0)), []);
    let confused = rules((7, 0));
    assert!(confused.contains(&Rule::Cached), "{confused:?}");
    assert!(confused.contains(&Rule::Result), "{confused:?}");
}

#[test]
fn the_checker_refuses_notes_that_contradict_each_other() {
    let free = spec(Claim::Nothing, &[]);
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
fn the_checker_reads_a_journal_and_refuses_other_files() {
    let journal = r#"00000000 {"record":"header","about":1}
00000000 {"record":"job","n":1,"outcome":{"id":"3","status":"failed","error":{"class":"exit","message":"why"},"attempts":2,"slot":4,"attempts_detail":[{"number":1,"slot":3,"status":"failed"},{"number":2,"slot":7,"status":"returned"},{"number":2,"slot":4,"status":"failed"}]}}
00000000 {"record":"resumed","n":1,"about":2}
00000000 {"record":"job","n":2,"outcome":{"id":"3","status":"succeeded","attempts":1,"cached":false,"slot":2,"result":77}}
00000000 {"record":"job","n":3,"outcome":{"id":"4","status":"succeeded","attempts":0,"cached":true,"result":{"start":78,"input":5,"content":1}}}
00000000 {"record":"job","n":4,"outcome":{"id":"5","status":"succeeded","attempts":1,"cached":false,"result":{"stdout":"79\n"}}}
00000000 {"record":"job","n":5,"outcome":{"id":"6","status":"succeeded","attempts":0,"cached":true,"result":{"stdout":"78 5 1\n"}}}
00000000 {"record":"ended"}
"#;
    let ending = |job, life, attempts, slots: &[(u32, u32)], result| Ending {
        job,
        life,
        attempts,
        slots: slots.to_vec(),
        result,
    };
    let success = |start, computed, cached| {
        Ok(Success {
            start,
            computed,
            cached,
        })
    };
    let expected = vec![
        ending(3, 1, 2, &[(1, 3), (2, 4)], Err("exit: why".to_owned())),
        ending(3, 2, 1, &[(1, 2)], success(77, None, false)),
        ending(4, 2, 0, &[], success(78, Some((5, 1)), true)),
        ending(5, 2, 1, &[], success(79, None, false)),
        ending(6, 2, 0, &[], success(78, Some((5, 1)), true)),
    ];
    assert_eq!(read_journal(journal), Ok(expected));
    for (wrong, right, complaint) in [
        ("\"resumed\"", "\"other\"", "line 3"),
        (
            "\"id\":\"3\",\"status\":\"f",
            "\"id\":\"x\",\"status\":\"f",
            "line 2",
        ),
        ("77}}", "77", "line 4"),
        ("00000000 {\"record\":\"ended\"}", "0000", "line 8"),
    ] {
        let refused = read_journal(&journal.replacen(wrong, right, 1)).unwrap_err();
        assert!(refused.contains(complaint), "{refused}");
    }
}
