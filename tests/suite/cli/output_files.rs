//! The files that a run writes, and what a call that runs nothing leaves of them.

use std::fs;

use ratchet_tests::{Folder, Ratchet, Signal};
use rustix::fs::{CWD, Mode, mkfifoat};

/// Makes a folder with a file that a run would overwrite, and a job file.
fn folder() -> Folder {
    Folder::new()
        .file("keep", "precious\n")
        .file("keep.csv", "precious\n")
        .file("ok.yaml", "jobs: [{ run: [echo, a] }]\n")
}

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.at(name)).expect("the file is there")
}

#[test]
fn a_call_that_runs_nothing_leaves_the_files_that_it_would_have_written() {
    let folder = folder();
    let map = ["--", "echo", ":::", "a"];
    let nothing = ["--", "echo"];
    for (code, words, command) in [
        (2, "map -q -o keep --state-dir /proc/x", &map[..]),
        (2, "map -q -o keep --memory-free 99999G", &map),
        (2, "map -q --joblog keep --memory-free 99999G", &map),
        (2, "map -q --results keep.csv --memory-free 99999G", &map),
        (2, "map -q --events keep --memory-free 99999G", &map),
        (2, "map -q -o keep --joblog /nonexistent/x", &map),
        (2, "map -q -o keep --results /dev/null/x", &map),
        (2, "map -q -o keep --github=always", &map),
        (2, "run -q -o keep --memory-free 99999G ok.yaml", &[]),
        (2, "run -q -o keep --events /nonexistent/x ok.yaml", &[]),
        (2, "run -q -o keep --github=always ok.yaml", &[]),
        (
            2,
            "run -q -o keep --events keep --format junit --memory-free 99999G ok.yaml",
            &[],
        ),
        (4, "map -q -o keep", &nothing),
        (4, "map -q -o keep --format json", &nothing),
        (4, "map -q --joblog keep", &nothing),
        (4, "map -q --results keep.csv", &nothing),
        (4, "run -q -o keep -", &[]),
        (2, "run -q -o keep --strict - --format json", &[]),
    ] {
        let input = if words.contains("--strict") { "x" } else { "" };
        let call = Ratchet::within(&folder).args(words.split(' '));
        let _ = call.args(command).stdin(input).run().with_code(code);
        for file in ["keep", "keep.csv"] {
            assert_eq!(read(&folder, file), "precious\n", "{words}");
        }
    }
    // The same files are emptied by a run that begins, even if it has nothing to write.
    let call = |words: &str| {
        let call = Ratchet::within(&folder).args(words.split(' '));
        let _ = call.args(["--", "true", ":::", "a"]).run().with_code(0);
    };
    call("map -q -o keep --results keep.csv");
    assert_eq!(read(&folder, "keep"), "");
    let table = read(&folder, "keep.csv");
    assert!(table.starts_with("Seq,"), "{table}");
    call("map -q --joblog keep");
    let log = read(&folder, "keep");
    assert!(
        log.starts_with("Seq\t") && log.lines().count() == 2,
        "{log}"
    );
}

#[test]
fn a_document_without_results_is_written_to_a_new_file() {
    let folder = folder();
    let call = Ratchet::within(&folder).args(["map", "-q", "--format", "json", "-o", "new"]);
    let _ = call.args(["--", "echo"]).run().with_code(4);
    let document = read(&folder, "new");
    assert!(document.contains("\"results\""), "{document}");
}

#[test]
fn a_resumed_run_without_its_items_keeps_the_results_of_the_part_before() {
    let folder = folder();
    let call = Ratchet::within(&folder).args(["map", "-q", "-k", "-o", "out", "--", "echo"]);
    let _ = call.stdin("1\n2\n3\n").run().with_code(0);
    assert_eq!(read(&folder, "out"), "1\n2\n3\n");
    let _ = Ratchet::within(&folder).args(["resume"]).run().with_code(4);
    assert_eq!(read(&folder, "out"), "1\n2\n3\n");
    let call = Ratchet::within(&folder).args(["resume", "--memory-free", "99999G"]);
    let _ = call.stdin("1\n").run().with_code(2);
    assert_eq!(read(&folder, "out"), "1\n2\n3\n");
}

#[test]
fn a_refused_resume_leaves_the_files_of_the_run_that_goes_on() {
    let folder = folder();
    let words = "map -j1 -q -k -o out --joblog log --results table.csv --events events -- sh -c";
    let script = "echo line{}; while [ {} = 3 ] && [ ! -e go ]; do sleep 0.05; done";
    let call = Ratchet::within(&folder).args(words.split(' '));
    let call = call.args([script, ":::", "1", "2", "3"]);
    let running = call.start();
    running.until("two lines are written", || {
        fs::read_to_string(folder.at("out")).is_ok_and(|text| text == "line1\nline2\n")
    });
    let before = ["log", "table.csv"].map(|name| read(&folder, name));
    let said = Ratchet::within(&folder).args(["resume"]).run().with_code(2);
    assert!(
        said.stderr().contains("another process"),
        "{}",
        said.stderr()
    );
    assert_eq!(read(&folder, "out"), "line1\nline2\n");
    assert_eq!(["log", "table.csv"].map(|name| read(&folder, name)), before);
    let folder = folder.file("go", "");
    let _ = running.wait().with_code(0);
    assert_eq!(read(&folder, "out"), "line1\nline2\nline3\n");
    assert_eq!(read(&folder, "log").lines().count(), 4);
    let events = read(&folder, "events");
    assert!(
        !events.contains('\0') && events.contains("run_ended"),
        "{events}"
    );
}

#[test]
fn a_signal_ends_the_wait_for_the_reader_of_a_pipe() {
    let folder = folder();
    let mode = Mode::RUSR | Mode::WUSR;
    mkfifoat(CWD, folder.at("pipe"), mode).expect("a pipe can be made");
    for flag in ["-o", "--joblog", "--events"] {
        let call = Ratchet::within(&folder).args(["map", "-q", flag, "pipe"]);
        let running = call.args(["--", "echo", ":::", "a"]).start();
        // The thread that opens the pipe is the only one that waits for its other end.
        running.until("the pipe is being opened", || {
            waits_for_partner(running.id())
        });
        running.signal(Signal::Terminate);
        let said = running.wait().with_code(143).stderr();
        assert!(
            said.contains("the pipe `pipe`, which nobody reads, was still being opened"),
            "{flag}: {said}"
        );
    }
}

/// Whether a thread of a process waits in the kernel for the other end of a pipe.
fn waits_for_partner(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        fs::read_to_string(thread.path().join("wchan"))
            .is_ok_and(|function| function.contains("wait_for_partner"))
    })
}
