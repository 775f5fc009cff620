use ratchet_runtime::journal::RunPlan;

use super::*;
use crate::explain::{explain, explain_job};
use crate::model::records::{RecordedJob, recorded_jobs};

fn plan() -> RunPlan {
    RunPlan {
        slots: 4,
        ..RunPlan::default()
    }
}

/// Returns the ids of the jobs of the chain, each with what it got from the one before it.
fn chain(model: &RunModel) -> Vec<(&str, Option<Blocker>)> {
    let links = critical_path(model).into_iter();
    let links = links.map(|link| (model.jobs[link.job as usize].id.as_str(), link.got));
    links.collect()
}

#[test]
fn units_of_a_resource_link_the_jobs_that_take_them_and_the_moment_until_a_slot_is_given_does_not()
{
    let gpu = || Blocker::Resource("gpu".into());
    let takes = |id, began, waited| RecordedJob {
        resource: Some("gpu"),
        waits: vec![(gpu(), waited), (Blocker::Slot, 300)],
        ..RecordedJob::new(id, began, 300)
    };
    let first = RecordedJob {
        attempts: vec![(0, 300, 2)],
        ..takes("g-1", 0, 0)
    };
    let jobs = [
        RecordedJob::new("x", 0, 100),
        first,
        takes("g-2", 300, 299_700),
        takes("g-3", 600, 599_700),
    ];
    let model = recorded_jobs(&plan(), &jobs);
    assert_eq!(
        chain(&model),
        [("g-1", None), ("g-2", Some(gpu())), ("g-3", Some(gpu()))]
    );
    let told = explain_job(&model, "g-3").unwrap();
    let expected = "`g-2` had ended, which gave it what it waited for last: the resource `gpu`.";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn the_time_between_attempts_is_waiting_and_not_running() {
    let job = RecordedJob {
        attempts: vec![(0, 500, 1), (3_500, 600, 1)],
        waits: vec![(Blocker::Retry, 3_000_000)],
        ended: 4_100,
        ..RecordedJob::new("a", 0, 0)
    };
    let model = recorded_jobs(&plan(), &[job]);
    let links = critical_path(&model);
    assert_eq!(links[0].ran, 1_100_000);
    assert_eq!(links[0].waited, [(Blocker::Retry, 3_000_000)]);
    let told = explain(&model);
    let expected = [
        "\nA chain of 1 job set the length: it ran 1.1 s, and waited for retry 3.0 s.\n",
        "    1. `a` ran 1.1 s with 2 attempts\n",
    ]
    .concat();
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn the_time_for_which_the_process_was_stopped_is_neither_running_nor_waiting() {
    let job = RecordedJob {
        attempts: vec![(0, 500, 1), (7_500, 600, 1)],
        waits: vec![(Blocker::Retry, 3_000_000)],
        ended: 8_100,
        ..RecordedJob::new("a", 0, 0)
    };
    let mut model = recorded_jobs(&plan(), &[job]);
    model.suspensions = vec![(1_000_000, 5_000_000)];
    let links = critical_path(&model);
    assert_eq!(links[0].ran, 1_100_000);
    assert_eq!(links[0].waited, [(Blocker::Retry, 3_000_000)]);
    let told = explain(&model);
    assert!(
        told.contains(" took 8.1 s (4.0 s of it stopped, as by Ctrl-Z): 1 job"),
        "{told}"
    );
}

#[test]
fn the_wait_for_a_breaker_after_an_attempt_is_not_running() {
    let job = RecordedJob {
        attempts: vec![(0, 20, 1)],
        waits: vec![(Blocker::Retry, 300_000), (Blocker::Breaker, 1_480_000)],
        ended: 1_800,
        is_success: false,
        ..RecordedJob::new("bad", 0, 0)
    };
    let model = recorded_jobs(&plan(), &[job]);
    let links = critical_path(&model);
    assert_eq!(links[0].ran, 20_000);
    assert_eq!(
        links[0].waited,
        [(Blocker::Retry, 300_000), (Blocker::Breaker, 1_480_000)]
    );
}
