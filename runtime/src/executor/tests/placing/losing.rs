//! Tests of places that are away, are lost, or are given up.

use super::*;
use crate::os::{MockProcessManager, ProcessError};
use crate::scheduling::Ageing;

#[tokio::test(start_paused = true)]
async fn jobs_for_a_place_that_is_away_wait_and_others_go_on() {
    let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let start = tokio::time::Instant::now();
    let jobs = [
        command("pinned", 1, among(&["web1"])),
        command("free", 1, among(&["web1", "web2"])),
    ];
    let run = builder.build().unwrap().run_list(jobs.to_vec()).unwrap();
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(
        sleeper.places(),
        BTreeMap::from([("free".into(), "web2".into())])
    );
    tell.send_replace(ready(1));
    let outcomes = all(run).await;
    assert!(outcomes.iter().all(|outcome| outcome.is_success()));
    assert_eq!(start.elapsed(), SECOND * 11);
    assert_eq!(sleeper.places()["pinned"], "web1");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_lost_starts_nothing_more_until_it_is_back() {
    let (builder, sleeper, [tell, _tell2]) = scene([ready(1), ready(1)]);
    let start = tokio::time::Instant::now();
    let jobs = ["a", "b"].map(|id| command(id, 2, among(&["web1"])));
    let run = builder.build().unwrap().run_list(jobs.to_vec()).unwrap();
    tokio::time::sleep(SECOND).await;
    tell.send_replace(PlaceState::Away);
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(sleeper.ran().len(), 1, "what runs there goes on");
    tell.send_replace(ready(1));
    let outcomes = all(run).await;
    assert_eq!(told(&outcomes), ["a succeeded", "b succeeded"]);
    assert_eq!(start.elapsed(), SECOND * 7);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_can_run_nowhere_any_more_fail_with_the_reason() {
    let (builder, sleeper, [tell, _tell2]) = scene([PlaceState::Away, ready(1)]);
    let (submitter, run) = builder.build().unwrap().open().unwrap();
    let submit = async |job: Job| submitter.submit(job).await.unwrap();
    submit(command("pinned", 1, among(&["web1"]))).await;
    submit(command("free", 1, among(&["web1", "web2"]))).await;
    tokio::time::sleep(SECOND).await;
    let why = Failure::new(
        Class::Unreachable,
        "web1 cannot be reached: no route to host",
    );
    tell.send_replace(PlaceState::GivenUp(Box::new(why)));
    tokio::time::sleep(SECOND).await;
    submit(command("late", 1, among(&["web1"]))).await;
    drop(submitter);
    let outcomes = all(run).await;
    let mut ends = told(&outcomes);
    ends.sort();
    assert_eq!(ends, ["free succeeded", "late failed", "pinned failed"]);
    for outcome in outcomes.iter().filter(|outcome| !outcome.is_success()) {
        assert_eq!(message(outcome), "web1 cannot be reached: no route to host");
        assert_eq!(outcome.failure().unwrap().class, Class::Unreachable);
    }
    assert_eq!(sleeper.ran().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_charged_for_the_loss_of_its_host_only_if_it_had_begun() {
    let mut manager = MockProcessManager::new();
    let mut begun = [false, false, true].into_iter();
    manager.expect_spawn_process().times(3).returning(move |_| {
        Err(ProcessError::HostLost {
            host: "web1".to_owned(),
            reason: "no route to host".to_owned(),
            has_begun: begun.next().unwrap(),
        })
    });
    let (_tell, state) = watch::channel(ready(1));
    let runner = CommandRunner::through(Arc::new(manager));
    let web1 = Place::new(PlaceName::new("web1"), runner, state);
    let executor = Executor::builder().place(web1).build().unwrap();
    let outcomes = executor
        .run_all([command("a", 1, among(&["web1"]))])
        .await
        .unwrap();
    assert_eq!(outcomes[0].failure().unwrap().class, Class::Host);
    assert_eq!(outcomes[0].attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_lost_is_not_kept_any_longer() {
    let (builder, sleeper, [tell, _tell2]) = scene([ready(2), ready(2)]);
    let start = tokio::time::Instant::now();
    let on = |id: &str, seconds, places: &[&str], slots| {
        command(id, seconds, Placement::Here).terms(Terms {
            slots,
            on: among(places),
            ..Terms::default()
        })
    };
    let mut jobs = vec![
        on("long", 60, &["web1"], 1),
        on("heavy", 1, &["web1", "web2"], 2),
    ];
    // At web2 there is never a moment at which both slots are free by themselves.
    jobs.extend((0..30).map(|id| on(&id.to_string(), 2 + id % 2, &["web2"], 1)));
    let step = SECOND;
    let executor = builder.ageing(Ageing { step }).build().unwrap();
    let run = executor.run_list(jobs).unwrap();
    let outcomes = tokio::spawn(all(run));
    tokio::time::sleep(SECOND * 10).await;
    tell.send_replace(PlaceState::Away);
    outcomes.await.unwrap();
    let ran = sleeper.ran();
    let heavy = ran.iter().find(|ran| ran.id == "heavy").unwrap();
    assert!(
        heavy.begun - start < SECOND * 16,
        "{:?}",
        heavy.begun - start
    );
    assert_eq!(heavy.place, "web2");
}
