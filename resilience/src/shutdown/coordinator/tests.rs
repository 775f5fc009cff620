use std::sync::{Mutex, mpsc};

use tokio::time::{Instant, sleep};

use super::*;
use crate::shutdown::TaskEnding;
use crate::shutdown::hook::MockShutdownHook;

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

/// A hook that takes this long, then does what it is told to.
fn hook(
    name: &str,
    takes: Duration,
    act: fn() -> Result<(), &'static str>,
) -> impl ShutdownHook + 'static {
    struct Timed {
        name: String,
        takes: Duration,
        act: fn() -> Result<(), &'static str>,
    }
    #[async_trait::async_trait]
    impl ShutdownHook for Timed {
        fn name(&self) -> &str {
            &self.name
        }
        async fn run(&self, _phase: Phase) -> Result<(), crate::shutdown::HookError> {
            sleep(self.takes).await;
            Ok((self.act)()?)
        }
    }
    Timed {
        name: name.to_owned(),
        takes,
        act,
    }
}

/// Name and ending of every hook, as people read it.
fn hooks(report: &ShutdownReport) -> Vec<String> {
    report
        .hooks
        .iter()
        .map(|hook| format!("{} {} {:?}", hook.name, hook.ending, hook.took))
        .collect()
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
async fn hooks_run_in_order_and_none_keeps_the_next_from_running() {
    let done = || Ok(());
    let coordinator = ShutdownCoordinator::builder()
        .grace(GRACE)
        .hook(HookPoint::End, SECOND, hook("last", Duration::ZERO, done))
        .hook(HookPoint::Draining, 3 * SECOND, hook("first", SECOND, done))
        .hook(
            HookPoint::Draining,
            3 * SECOND,
            hook("failing", SECOND, || Err("no disk")),
        )
        .hook(
            HookPoint::Draining,
            3 * SECOND,
            hook("panicking", SECOND, || panic!("on purpose")),
        )
        .hook(HookPoint::Draining, SECOND, hook("slow", 60 * SECOND, done))
        .hook(
            HookPoint::Draining,
            SECOND,
            hook("fifth", Duration::ZERO, done),
        )
        .hook(
            HookPoint::Cancelling,
            SECOND,
            hook("not needed", Duration::ZERO, done),
        )
        .build()
        .unwrap();
    coordinator.handle().advance();
    let report = coordinator.run().await;
    assert_eq!(
        hooks(&report),
        [
            "first done 1s",
            "failing failed: no disk 1s",
            "panicking panicked 1s",
            "slow timed out 1s",
            "fifth done 0ns",
            "last done 0ns"
        ]
    );
    assert_eq!((report.reached, report.took), (Phase::Draining, 4 * SECOND));
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn the_next_phase_interrupts_the_hooks_of_the_last() {
    let done = || Ok(());
    let coordinator = ShutdownCoordinator::builder()
        .grace(GRACE)
        .hook(
            HookPoint::Draining,
            60 * SECOND,
            hook("long", 60 * SECOND, done),
        )
        .hook(
            HookPoint::Draining,
            SECOND,
            hook("behind it", Duration::ZERO, done),
        )
        .hook(
            HookPoint::Cancelling,
            SECOND,
            hook("passed over", Duration::ZERO, done),
        )
        .hook(
            HookPoint::Killing,
            SECOND,
            hook("killing", Duration::ZERO, done),
        )
        .hook(HookPoint::End, 60 * SECOND, hook("end", 30 * SECOND, done))
        .build()
        .unwrap();
    let handle = coordinator.handle();
    let run = tokio::spawn(coordinator.run());
    handle.advance();
    sleep(SECOND).await;
    handle.advance_to(Phase::Killing);
    let report = run.await.unwrap();
    assert_eq!(
        hooks(&report),
        [
            "long was interrupted 1s",
            "behind it was skipped 0ns",
            "passed over was skipped 0ns",
            "killing done 0ns",
            "end done 30s"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn hooks_run_beside_the_tasks_and_the_last_ones_after_them() {
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let noted = |what: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().unwrap().push(what)
    };
    let mut draining = MockShutdownHook::new();
    draining.expect_name().return_const("draining".to_owned());
    let note = noted("draining hook");
    draining
        .expect_run()
        .withf(|phase| *phase == Phase::Draining)
        .once()
        .returning(move |_| {
            note();
            Ok(())
        });
    let mut end = MockShutdownHook::new();
    end.expect_name().return_const("end".to_owned());
    let note = noted("end hook");
    end.expect_run()
        .withf(|phase| *phase == Phase::Draining)
        .once()
        .returning(move |_| {
            note();
            Ok(())
        });
    let coordinator = ShutdownCoordinator::builder()
        .hook(HookPoint::End, SECOND, end)
        .hook(HookPoint::Draining, SECOND, draining)
        .build()
        .unwrap();
    let note = noted("task");
    coordinator.handle().spawn("task", async move {
        sleep(SECOND).await;
        note();
    });
    coordinator.handle().advance();
    assert!(coordinator.run().await.is_clean());
    assert_eq!(
        *order.lock().unwrap(),
        ["draining hook", "task", "end hook"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_hook_spawns_is_waited_for() {
    let (give, handle) = mpsc::channel::<ShutdownHandle>();
    let mut flush = MockShutdownHook::new();
    flush.expect_name().return_const("flush".to_owned());
    let handle = Mutex::new(handle);
    flush.expect_run().once().returning(move |_| {
        let handle = handle.lock().unwrap().recv().unwrap();
        handle.spawn("flushing", sleep(3 * SECOND));
        Ok(())
    });
    let builder = ShutdownCoordinator::builder().hook(HookPoint::Draining, SECOND, flush);
    let coordinator = builder.build().unwrap();
    give.send(coordinator.handle()).unwrap();
    coordinator.handle().advance();
    let report = coordinator.run().await;
    assert_eq!(report.ending("flushing"), Some(TaskEnding::Finished));
    assert_eq!((report.reached, report.took), (Phase::Draining, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ones_own_cancels_nobody_else() {
    let (_coordinator, handle) = coordinator();
    handle.token(Phase::Draining).cancel();
    assert!(!handle.token(Phase::Draining).is_cancelled());
    assert!(handle.token(Phase::Running).is_cancelled());
}

#[test]
fn a_hook_without_time_is_refused_by_name() {
    let builder = ShutdownCoordinator::builder();
    let builder = builder.hook(
        HookPoint::End,
        Duration::ZERO,
        hook("none", Duration::ZERO, || Ok(())),
    );
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        "hook deadline is 0ns, but must be between 1ms and 365 days"
    );
}
