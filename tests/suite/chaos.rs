//! A soak, short enough to run each time; `ratchet_tests::chaos` says what it is, and how to run a long one.
#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn no_promise_is_broken_by_failing_workers_edits_shortages_and_a_host_that_is_stopped_and_killed() {
    let soak = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--seed", "7", "--jobs", "4000", "--kills", "2"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&soak.stdout);
    let complained = String::from_utf8_lossy(&soak.stderr);
    assert!(soak.status.success(), "{said}{complained}");
    assert!(said.contains("3 lives of the host"), "{said}");
}
