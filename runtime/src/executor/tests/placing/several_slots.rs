//! Tests of jobs at places that fill several slots.

use super::*;
use crate::scheduling::Ageing;

#[tokio::test(start_paused = true)]
async fn a_job_that_fills_several_slots_is_passed_by_lighter_ones_until_it_is_due() {
    // With the short step it is due after three seconds. With the long one it is never due, and starts when both slots of
    // a place happen to be free.
    let (due, never_due) = (passed_for(SECOND).await, passed_for(SECOND * 3600).await);
    assert!(SECOND * 3 <= due && due < SECOND * 8, "{due:?}");
    assert!(due < never_due, "{never_due:?}");
}

/// Returns when a job of two slots began at one of two places that lighter jobs keep busy.
async fn passed_for(step: Duration) -> Duration {
    let (builder, sleeper, _tell) = scene([ready(2), ready(2)]);
    let start = tokio::time::Instant::now();
    let heavy = command("heavy", 1, among(&["web1", "web2"]));
    let heavy = Terms {
        slots: 2,
        ..Terms::clone(&heavy.terms)
    };
    let mut jobs: Vec<Job> = (0..40)
        // The jobs take different times, so that slots become free one at a time.
        .map(|id| command(&id.to_string(), 2 + id % 3, among(&["web1", "web2"])))
        .collect();
    jobs.insert(5, command("heavy", 1, Placement::Here).terms(heavy));
    let executor = builder.ageing(Ageing { step }).build().unwrap();
    let outcomes = executor.run_all(jobs).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    assert!(sleeper.most().values().all(|most| *most <= 2));
    let ran = sleeper.ran();
    let heavy = ran.iter().find(|ran| ran.id == "heavy").unwrap();
    heavy.begun - start
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_place_has_slots_enough_for_is_refused_once_that_is_known() {
    let (builder, _sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(2)]);
    let heavy = Terms {
        slots: 3,
        on: among(&["web1", "web2"]),
        ..Terms::default()
    };
    let job = command("heavy", 1, Placement::Here).terms(heavy);
    let mut run = builder.build().unwrap().run_list(vec![job]).unwrap();
    let wait = tokio::time::timeout(SECOND * 9, run.next()).await;
    assert!(wait.is_err(), "web1 may yet prove large enough");
    tell.send_replace(ready(1));
    let outcome = run.next().await.unwrap();
    assert_eq!(
        message(&outcome),
        "it fills 3 slots, and no place where it may run has more than 2"
    );
}

#[tokio::test(start_paused = true)]
async fn fewer_local_slots_than_a_job_needs_are_refused_unless_another_place_is_large_enough() {
    let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let heavy = |id, on| {
        command(id, 1, Placement::Here).terms(Terms {
            slots: 3,
            on,
            ..Terms::default()
        })
    };
    let executor = builder.slots(3).build().unwrap();
    for on in [Placement::Here, among(&["local", "web1", "web2"])] {
        // It waits behind the first one in the queue.
        let mut run = executor
            .run_list([command("a", 9, Placement::Here), heavy("big", on)])
            .unwrap();
        let handle = run.handle();
        tokio::time::sleep(SECOND).await;
        let error = handle.set_slots(2).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a job of 3 slots can never run with 2 in total"
        );
        assert!(rest(&mut run).await.iter().all(|one| one.is_success()));
    }
    tell.send_replace(ready(3));
    let on = among(&["local", "web1"]);
    let jobs = [heavy("a", on.clone()), heavy("b", on)];
    let mut run = executor.run_list(jobs).unwrap();
    let handle = run.handle();
    // The state of web1 is known to the run by now.
    tokio::time::sleep(SECOND / 2).await;
    handle.set_slots(2).await.unwrap();
    assert!(rest(&mut run).await.iter().all(|one| one.is_success()));
    assert_eq!(sleeper.ran().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_larger_than_the_lowered_local_place_takes_all_of_it_and_no_smaller_host() {
    let (builder, sleeper, _tells) = scene([ready(2), PlaceState::Away]);
    let executor = builder.slots(3).build().unwrap();
    let (submitter, mut run) = executor.open().unwrap();
    tokio::time::sleep(SECOND).await;
    run.handle().set_slots(1).await.unwrap();
    let heavy = command("big", 1, Placement::Here).terms(Terms {
        slots: 3,
        on: among(&["local", "web1", "web2"]),
        ..Terms::default()
    });
    submitter.submit(heavy).await.unwrap();
    drop(submitter);
    assert!(run.next().await.unwrap().is_success());
    assert_eq!(sleeper.places()["big"], "local");
}

#[tokio::test(start_paused = true)]
async fn a_larger_job_fills_what_it_asks_for_once_the_slots_of_the_local_place_are_raised_again() {
    let (builder, sleeper, _tells) = scene([ready(1), PlaceState::Away]);
    let executor = builder.slots(3).build().unwrap();
    let (submitter, mut run) = executor.open().unwrap();
    tokio::time::sleep(SECOND).await;
    run.handle().set_slots(1).await.unwrap();
    let first = command("first", 5, Placement::Here);
    submitter.submit(first).await.unwrap();
    let big = command("big", 1, Placement::Here).terms(Terms {
        slots: 3,
        on: among(&["local", "web1"]),
        ..Terms::default()
    });
    submitter.submit(big).await.unwrap();
    tokio::time::sleep(SECOND).await;
    run.handle().set_slots(3).await.unwrap();
    drop(submitter);
    assert_eq!(rest(&mut run).await.len(), 2);
    assert_eq!(sleeper.places()["big"], "local");
    // It waits until the first one has left all slots.
    assert_eq!(sleeper.most()["local"], 3);
}
