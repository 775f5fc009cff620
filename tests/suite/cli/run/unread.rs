//! Terminals and pipes that nobody reads hold up what is written to them, and nothing else.

use ratchet_tests::{Folder, Ratchet, Running, Shown, Signal};

use super::file;

/// A job that writes a file when it is asked to stop.
const WAITS: &str = "run: [sh, -c, \"trap 'echo > asked; exit 1' TERM; echo > begun; while :; do sleep 1000 & wait; done\"]";

/// Makes a text that is longer than what a terminal or a pipe takes without a reader.
fn much() -> String {
    "x".repeat(300_000)
}

fn call(folder: &Folder) -> Ratchet {
    Ratchet::within(folder).args(["run", "jobs.yaml", "--progress", "always"])
}

/// Sends three signals, of which the second asks the job to stop. Fails the test if the call waits for anything after the third.
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
fn signals_are_handled_while_nobody_reads_results() {
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
fn a_run_goes_on_while_nobody_reads_its_stderr() {
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
            // The file does not exist at first.
            let _ = std::fs::remove_file(folder.at(name));
        }
        let running = call.args(["-j2"]).start();
        running.wait_for_stdout("\"id\":\"second\"");
        signals_end(running, &folder);
    }
    drop(reader);
}

/// Makes a folder with a job that prints, and two jobs that succeed once the files `go` and `next` are there.
fn one_prints_and_one_waits() -> Folder {
    file(
        "jobs:
  - { id: prints, run: [echo, a] }
  - { id: waits, needs: [prints], run: [sh, -c, \"touch begun; until test -e go; do sleep 0.05; done; touch done\"] }
  - { id: second, needs: [prints], run: [sh, -c, \"until test -e next; do sleep 0.05; done\"] }
  - { id: never, run: [touch, ran], needs: [waits] }
",
    )
}

#[test]
fn running_jobs_get_their_grace_when_the_reader_of_stdout_has_gone() {
    let folder = one_prints_and_one_waits();
    let (mut reader, writer) = std::io::pipe().expect("there are pipes");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-j2", "--grace", "100s"]);
    let running = call.args(["--format", "jsonl"]).stdout_to(writer).start();
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut reader, &mut first).expect("there is a result");
    running.until("a job runs", || folder.at("begun").exists());
    drop(reader);
    std::fs::write(folder.at("next"), "").expect("it is written");
    running.wait_for_stderr(
        "the reader of stdout has closed it: no new jobs start; running jobs have",
    );
    assert!(!folder.at("done").exists());
    std::fs::write(folder.at("go"), "").expect("it is written");
    let said = running.wait().with_code(141).stderr();
    assert!(folder.at("done").exists() && !folder.at("ran").exists());
    assert!(
        said.contains("stopped: the reader of stdout has closed it; to resume it: ratchet resume "),
        "{said}"
    );
    // The call that resumes the run delivers all results, also those that nobody has read.
    let resumed = Ratchet::within(&folder).args(["resume", "-q"]).run();
    let resumed = resumed.with_code(0).stdout();
    assert_eq!(resumed.lines().count(), 4, "{resumed}");
    assert!(folder.at("ran").exists());
}

#[test]
fn progress_bars_are_erased_when_the_reader_of_stdout_has_gone() {
    let folder = one_prints_and_one_waits();
    let (mut reader, writer) = std::io::pipe().expect("there are pipes");
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "-j2", "--grace", "100s"]);
    let call = call.args(["--format", "jsonl"]).stdout_to(writer);
    let running = call.on_terminal(100, 20, Shown::Stderr).start();
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut reader, &mut first).expect("there is a result");
    running.wait_for_screen("running");
    drop(reader);
    std::fs::write(folder.at("next"), "").expect("it is written");
    running.wait_for_screen("the reader of stdout has closed it: no new jobs");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let said = running.wait().with_code(141).screen();
    let (_, last) = said.rsplit_once("\x1b[J").expect("it was cleared");
    assert!(last.contains("to resume it: ratchet resume "), "{last:?}");
    assert!(!last.contains("running"), "{last:?}");
}
