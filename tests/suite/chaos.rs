//! A soak, short enough to run each time; `ratchet_tests::chaos` says what it is, and how to run a long one.
#![cfg(target_os = "linux")]

use std::process::Command;

/// Runs a soak, which has to find nothing, and returns what it printed.
fn soak(words: &[&str]) -> String {
    let soak = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(words)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&soak.stdout).into_owned();
    let complained = String::from_utf8_lossy(&soak.stderr);
    assert!(soak.status.success(), "{said}{complained}");
    said
}

#[test]
fn a_soak_with_failing_workers_edits_shortages_stops_and_kills_breaks_no_promise() {
    let said = soak(&["--seed", "7", "--jobs", "4000", "--kills", "2"]);
    assert!(said.contains("3 lives of the host"), "{said}");
}

#[test]
fn a_soak_over_hosts_with_kills_stops_and_cut_connections_breaks_no_promise() {
    let words = [
        "--hosts", "3", "--seed", "7", "--jobs", "250", "--kills", "1",
    ];
    let said = soak(&words);
    assert!(said.contains("2 lives of the dispatcher"), "{said}");
}
