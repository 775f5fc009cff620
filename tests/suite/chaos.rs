//! A soak, short enough to run each time; `ratchet_tests::chaos` says what it is, and how to run a long one.
#![cfg(target_os = "linux")]

use std::process::Command;

#[test]
fn a_soak_with_failing_workers_edits_shortages_stops_and_kills_breaks_no_promise() {
    let soak = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(["--seed", "7", "--jobs", "4000", "--kills", "2"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&soak.stdout);
    let complained = String::from_utf8_lossy(&soak.stderr);
    assert!(soak.status.success(), "{said}{complained}");
    assert!(said.contains("3 lives of the host"), "{said}");
}
