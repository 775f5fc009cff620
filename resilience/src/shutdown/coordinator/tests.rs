//! Phases and tasks on the paused clock.

mod hooks;

use std::sync::mpsc;

use tokio::time::{Instant, sleep};

use super::*;
use crate::shutdown::TaskEnding;

const SECOND: Duration = Duration::from_secs(1);

/// 10, 5 and 2 seconds.
const GRACE: Grace = Grace {
    draining: Duration::from_secs(10),
    cancelling: Duration::from_secs(5),
    killing: Duration::from_secs(2),
};

fn coordinator() -> (ShutdownCoordinator, ShutdownHandle) {
    let coordinator = ShutdownCoordinator::builder().grace(GRACE).build().unwrap();
    let handle = coordinator.handle();
    (coordinator, handle)
}

async fn forever() {
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_ends_before_it_is_asked_to() {
    let (coordinator, handle) = coordinator();
    let run = tokio::spawn(coordinator.run());
    handle.spawn("short", sleep(SECOND)).await.unwrap();
    sleep(1_000 * SECOND).await;
    assert!(!run.is_finished());
    assert_eq!(handle.phase(), Phase::Running);
    handle.advance();
    let report = run.await.unwrap();
    assert!(report.is_clean());
    assert_eq!(report.tasks, [], "what ended before is not reported");
}

#[tokio::test(start_paused = true)]
async fn draining_lets_work_finish_and_ends_with_it() {
    let (coordinator, handle) = coordinator();
    handle.spawn("work", sleep(3 * SECOND));
    handle.advance();
    // Finishing may need new work.
    handle.spawn("late", sleep(4 * SECOND));
    let report = coordinator.run().await;
    assert!(report.is_clean());
    assert_eq!((report.reached, report.took), (Phase::Draining, 4 * SECOND));
    assert_eq!(report.count(TaskEnding::Finished), 2);
}

#[tokio::test(start_paused = true)]
async fn each_phase_lasts_as_long_as_its_grace() {
    let (coordinator, handle) = coordinator();
    let start = Instant::now();
    let (sender, begun) = mpsc::channel();
    for phase in [
        Phase::Running,
        Phase::Draining,
        Phase::Cancelling,
        Phase::Killing,
    ] {
        let token = handle.token(phase);
        let sender = sender.clone();
        tokio::spawn(async move {
            token.cancelled().await;
            sender.send((phase, start.elapsed().as_secs())).unwrap();
        });
    }
    let token = handle.token(Phase::Cancelling);
    handle.spawn("polite", async move {
        token.cancelled().await;
        sleep(SECOND).await;
    });
    handle.spawn("deaf", forever());
    sleep(SECOND).await;
    handle.advance();
    let report = coordinator.run().await;
    assert_eq!(
        begun.try_iter().collect::<Vec<_>>(),
        [
            (Phase::Running, 0),
            (Phase::Draining, 1),
            (Phase::Cancelling, 11),
            (Phase::Killing, 16)
        ]
    );
    assert_eq!(report.ending("polite"), Some(TaskEnding::Cancelled));
    assert_eq!(report.ending("deaf"), Some(TaskEnding::Killed));
    assert_eq!(report.reached, Phase::Killing);
    assert!(!report.is_clean());
    assert_eq!(
        report.to_string(),
        "0 of 2 tasks finished, killing after 15s; task polite cancelled; task deaf killed"
    );
}

#[tokio::test(start_paused = true)]
async fn each_further_request_skips_the_rest_of_a_phase() {
    let (coordinator, handle) = coordinator();
    handle.spawn("deaf", forever());
    let run = tokio::spawn(coordinator.run());
    for phase in [
        Phase::Draining,
        Phase::Cancelling,
        Phase::Killing,
        Phase::Killing,
    ] {
        handle.advance();
        assert_eq!(handle.phase(), phase);
        tokio::task::yield_now().await;
    }
    let report = run.await.unwrap();
    assert_eq!(
        (report.took, report.ending("deaf")),
        (Duration::ZERO, Some(TaskEnding::Killed))
    );
}

#[tokio::test(start_paused = true)]
async fn there_is_no_way_back() {
    let (_coordinator, handle) = coordinator();
    handle.advance_to(Phase::Killing);
    handle.advance_to(Phase::Draining);
    assert_eq!(handle.phase(), Phase::Killing);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_starts_during_killing_is_killed() {
    let (coordinator, handle) = coordinator();
    handle.advance_to(Phase::Killing);
    let late = handle.spawn("late", forever());
    let ended = tokio::time::timeout(SECOND, late)
        .await
        .expect("killed at once");
    assert!(ended.unwrap_err().is_cancelled());
    assert_eq!(
        coordinator.run().await.ending("late"),
        Some(TaskEnding::Killed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_stops_nothing_else() {
    let (coordinator, handle) = coordinator();
    handle.spawn("bad", async {
        sleep(SECOND).await;
        panic!("on purpose");
    });
    handle.spawn("good", sleep(2 * SECOND));
    handle.spawn_blocking("bad thread", || panic!("on purpose"));
    handle.advance();
    let report = coordinator.run().await;
    assert_eq!(report.ending("bad"), Some(TaskEnding::Panicked));
    assert_eq!(report.ending("bad thread"), Some(TaskEnding::Panicked));
    assert_eq!(report.ending("good"), Some(TaskEnding::Finished));
    assert_eq!((report.reached, report.took), (Phase::Draining, 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_does_not_return_is_reported_and_not_waited_for() {
    let (coordinator, handle) = coordinator();
    let (release, released) = mpsc::channel::<()>();
    let (start, started) = tokio::sync::oneshot::channel();
    handle.spawn_blocking("stuck", move || {
        start.send(()).unwrap();
        released.recv()
    });
    // Before that it could be aborted still.
    started.await.unwrap();
    let run = tokio::spawn(coordinator.run());
    handle.advance_to(Phase::Killing);
    tokio::task::yield_now().await;
    // Paused time stands still while a thread works, so it is moved by hand.
    tokio::time::advance(GRACE.killing).await;
    let report = run.await.unwrap();
    assert_eq!(report.ending("stuck"), Some(TaskEnding::Unanswered));
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_task_aborted_by_its_owner_does_not_hold_the_shutdown() {
    let (coordinator, handle) = coordinator();
    let task = handle.spawn("abandoned", forever());
    handle.advance();
    task.abort();
    let report = coordinator.run().await;
    assert_eq!(
        (report.reached, report.ending("abandoned")),
        (Phase::Draining, Some(TaskEnding::Cancelled))
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ones_own_cancels_nobody_else() {
    let (_coordinator, handle) = coordinator();
    handle.token(Phase::Draining).cancel();
    assert!(!handle.token(Phase::Draining).is_cancelled());
    assert!(handle.token(Phase::Running).is_cancelled());
}
