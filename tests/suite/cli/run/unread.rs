//! Terminals and pipes that nobody reads hold up what is written to them, and nothing else.

use ratchet_tests::{Folder, Ratchet, Running, Shown, Signal};

use super::file;

/// Tells when it is asked to stop.
const WAITS: &str = "run: [sh, -c, \"trap 'echo > asked; exit 1' TERM; echo > begun; while :; do sleep 1000 & wait; done\"]";

/// More than a terminal or a pipe takes without a reader.
fn much() -> String {
    "x".repeat(300_000)
}

fn call(folder: &Folder) -> Ratchet {
    Ratchet::within(folder).args(["run", "jobs.yaml", "--progress", "always"])
}

/// The second of three signals asks the job to stop, and after the last nobody is waited for.
fn signals_end(running: Running, folder: &Folder) {
    running.until("a job runs", || folder.at("begun").exists());
    // Two that are the same may be heard as one, and of these two either may be heard first.
    running.signal(Signal::Interrupt);
    running.signal(Signal::Terminate);
    running.until("it is asked to stop", || folder.at("asked").exists());
    running.signal(Signal::Interrupt);
    let code = running.wait().code;
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert!(!folder.at("ran").exists());
}

#[test]
fn signals_are_heard_while_nobody_reads_results() {
    let much = much();
    let folder = file(&format!(
        "jobs:
  - {{ id: much, task: echo, input: {much} }}
  - {{ id: waits, {WAITS}, needs: [much] }}
  - {{ id: never, run: [touch, ran], needs: [waits] }}
"
    ));
    let call = call(&folder).args(["--format", "jsonl"]);
    signals_end(call.on_stuck_terminal(Shown::Everything).start(), &folder);
}

#[test]
fn a_run_goes_on_while_nobody_reads_what_is_said_of_it() {
    let much = much();
    let folder = file(&format!(
        "jobs:
  - {{ id: first, task: fail, input: {{ message: {much} }} }}
  - {{ id: second, task: fail, input: {{ message: {much} }} }}
  - {{ id: waits, {WAITS} }}
  - {{ id: never, run: [touch, ran], needs: [waits] }}
"
    ));
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    for call in [
        call(&folder).on_stuck_terminal(Shown::Stderr),
        call(&folder).stderr_to(writer),
    ] {
        for name in ["begun", "asked"] {
            // It is not there at first.
            let _ = std::fs::remove_file(folder.at(name));
        }
        let running = call.args(["-j2"]).start();
        running.wait_for_stdout("\"id\":\"second\"");
        signals_end(running, &folder);
    }
    drop(reader);
}
