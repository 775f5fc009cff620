//! The signal adapter, with real signals to this process. One test, since signals belong to the whole process.
#![cfg(all(feature = "shutdown", unix))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signal, Signals, TaskEnding};
use rustix::process::{Signal as Kind, getpid, kill_process};

fn raise(kind: Kind) {
    kill_process(getpid(), kind).unwrap();
}

/// Whether this process has a handler for the signal.
#[cfg(target_os = "linux")]
fn is_caught(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (number - 1) & 1 == 1
}

#[tokio::test(start_paused = true)]
async fn signals_are_taken_over_only_when_asked_and_each_advances_a_phase() {
    let coordinator = ShutdownCoordinator::builder().build().unwrap();
    let handle = coordinator.handle();
    #[cfg(target_os = "linux")]
    assert!(
        !is_caught(2) && !is_caught(15),
        "a coordinator alone must not touch signals"
    );

    let mut signals = Signals::install().unwrap();
    #[cfg(target_os = "linux")]
    assert!(is_caught(2) && is_caught(15));

    raise(Kind::TERM);
    assert_eq!(signals.recv().await, Signal::Terminate);
    raise(Kind::INT);
    assert_eq!(signals.recv().await, Signal::Interrupt);
    assert_eq!(
        handle.phase(),
        Phase::Running,
        "received, but driving nothing yet"
    );

    handle.spawn("deaf", std::future::pending::<()>());
    let run = tokio::spawn(coordinator.run());
    let drive = tokio::spawn(signals.drive(handle.clone()));
    for (kind, phase) in [
        (Kind::INT, Phase::Draining),
        (Kind::TERM, Phase::Cancelling),
        (Kind::INT, Phase::Killing),
    ] {
        raise(kind);
        handle.token(phase).cancelled().await;
        assert_eq!(handle.phase(), phase);
    }
    drive.await.unwrap();
    assert_eq!(run.await.unwrap().ending("deaf"), Some(TaskEnding::Killed));
}
