//! Tests the signal listener with real signals to this process. It is a single test, since signals belong to the whole
//! process.
#![cfg(all(feature = "shutdown", unix))]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signal, Signals};
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

#[tokio::test]
async fn signals_are_taken_over_only_when_asked_and_each_enters_a_phase() {
    let coordinator = ShutdownCoordinator::new();
    #[cfg(target_os = "linux")]
    assert!(
        !is_caught(2) && !is_caught(15),
        "a coordinator alone must not touch signals"
    );
    let mut signals = Signals::install().unwrap();
    #[cfg(target_os = "linux")]
    assert!(is_caught(2) && is_caught(15));

    for (kind, signal, phase) in [
        (Kind::TERM, Signal::Terminate, Phase::Draining),
        (Kind::INT, Signal::Interrupt, Phase::Cancelling),
        (Kind::TERM, Signal::Terminate, Phase::Killing),
    ] {
        raise(kind);
        let received = signals.recv().await;
        assert_eq!(received, signal);
        assert_eq!(coordinator.signalled(received), phase);
    }
    assert_eq!(coordinator.first_signal(), Some(Signal::Terminate));
}
