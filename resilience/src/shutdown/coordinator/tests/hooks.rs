//! Hooks: in order, with a deadline each, and none in the way of the next.

use std::sync::Mutex;

use super::*;
use crate::shutdown::hook::MockShutdownHook;

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
