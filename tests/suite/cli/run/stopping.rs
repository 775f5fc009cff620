//! Signals and rules that end a run before its jobs are done.

use ratchet_tests::{Ratchet, Signal};

use super::{file, results, run, statuses};

#[test]
fn failure_rules_end_a_run_early() {
    let folder = file(
        "jobs:
  - { id: a, task: fail, input: {} }
  - { id: b, task: echo, needs: [c] }
  - { id: c, task: sleep, input: { ms: 200 } }
",
    );
    let ended = run(&folder, &["-j1", "--max-fail", "1"]).with_code(102);
    assert_eq!(statuses(&ended), ["a failed", "b cancelled", "c cancelled"]);
    let ended = run(&folder, &["--max-fail", "0"]).with_code(100);
    assert_eq!(statuses(&ended), ["a failed", "b succeeded", "c succeeded"]);
    let slow = file("jobs:\n  - { id: a, task: sleep, input: { ms: 60000 } }\n");
    let ended = run(&slow, &["--deadline", "300ms"]).with_code(102);
    assert_eq!(statuses(&ended), ["a cancelled"]);
}

#[test]
fn the_first_signal_drains_the_second_cancels_and_the_third_kills() {
    let folder = file(
        "jobs:\n  - { id: a, run: [sh, -c, \"trap '' TERM; echo; sleep 1000\"] }\n  - { id: b, task: echo, needs: [a] }\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--grace", "100s"]);
    let running = call.start();
    running.until("its run is recorded", || {
        folder.at(".local/state/ratchet/runs").exists()
    });
    for (signal, said) in [
        (Signal::Interrupt, "SIGINT: no new jobs"),
        (Signal::Interrupt, "SIGINT: running jobs are asked to stop"),
        (Signal::Terminate, "SIGTERM: running jobs are killed"),
    ] {
        running.signal(signal);
        running.wait_for_stderr(said);
    }
    let ended = running.wait().with_code(130);
    assert_eq!(statuses(&ended), ["a cancelled", "b cancelled"]);
    assert!(
        ended
            .stderr()
            .contains("interrupted; to resume it: ratchet resume "),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_run_ended_by_sigterm_has_an_exit_code_of_its_own() {
    let folder = file("jobs:\n  - { id: a, task: sleep, input: { ms: 60000 } }\n");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--grace", "0s"]);
    let running = call.start();
    running.until("its run is recorded", || {
        folder.at(".local/state/ratchet/runs").exists()
    });
    running.signal(Signal::Terminate);
    let ended = running.wait().with_code(143);
    assert_eq!(statuses(&ended), ["a cancelled"]);
}

#[test]
fn a_signal_ends_the_wait_for_a_retry() {
    let folder = file(
        "jobs:
  - { id: a, run: [sh, -c, \"touch ran; exit 1\"], retry: { max: 9, backoff: fixed, base: 1000s, cap: 1000s } }
",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-q"]);
    let running = call.start();
    running.until("its job ran", || folder.at("ran").exists());
    running.signal(Signal::Interrupt);
    let ended = running.wait().with_code(130);
    assert_eq!(results(&ended).len(), 1);
}

#[test]
fn a_job_cancelled_between_attempts_ends_like_one_cancelled_during_an_attempt() {
    let folder = file(
        "jobs:
  - { id: deaf, run: [sh, -c, \"test -e tried || { touch tried; exit 1; }; trap '' TERM INT; echo $$ > deaf; sleep 1000\"], retry: { max: 9, backoff: fixed, base: 1ms, cap: 1ms } }
  - { id: waits, run: [sh, -c, \"touch ran; exit 1\"], retry: { max: 9, backoff: fixed, base: 1000s, cap: 1000s } }
",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-j2"]);
    let running = call.start();
    let deaf = || std::fs::read_to_string(folder.at("deaf")).unwrap_or_default();
    running.until("one waits and one is deaf", || {
        folder.at("ran").exists() && deaf().ends_with('\n')
    });
    for said in ["no new jobs", "are asked to stop", "are killed"] {
        running.signal(Signal::Terminate);
        running.wait_for_stderr(said);
    }
    let ended = running.wait().with_code(143);
    let lines = results(&ended);
    for (id, line) in &lines {
        let (attempts, statuses) = match id.as_str() {
            "deaf" => (2, &["cancelled"][..]),
            // The signal may come while its first attempt is about to end: then it has failed, and nothing waits.
            _ => (1, &["cancelled", "failed"][..]),
        };
        assert_eq!(line["attempts"], attempts, "{id}");
        let status = line["status"].as_str().expect("a status");
        assert!(statuses.contains(&status), "{id}: {status}");
    }
    assert_eq!(lines.len(), 2);
    let process = format!("/proc/{}", deaf().trim());
    assert!(!std::path::Path::new(&process).exists(), "{process} lives");
}
