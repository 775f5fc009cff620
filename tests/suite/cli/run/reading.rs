//! Signals that come while a call still reads its jobs or its first item.

use std::fs::File;
use std::io::Write;

use ratchet_tests::{Folder, Ratchet, Running, Signal};
use rustix::fs::{CWD, Mode, mkfifoat};

/// Makes a folder in which the job file is a named pipe, and starts a call that reads it. `ratchet` has opened the pipe when this
/// returns.
fn reads_pipe() -> (Running, File) {
    let folder = Folder::new();
    let path = folder.at("jobs.yaml");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("a pipe can be made");
    let running = Ratchet::within(&folder)
        .args(["run", "jobs.yaml", "-q"])
        .start();
    // Opening a pipe to write waits until somebody has opened it to read. Then the handlers are installed, because
    // they are before anything is read.
    let writer = File::options().write(true).open(path);
    (running, writer.expect("the pipe can be opened"))
}

/// Waits until a process has a handler for SIGUSR1, which ends the process before that.
fn until_it_handles_signals(running: &Running) {
    const USR1: u64 = 1 << (10 - 1);
    running.until("it handles SIGUSR1", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.id()));
        let status = status.expect("a process has a status");
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:\t"))
            .expect("the status has the mask of caught signals");
        u64::from_str_radix(caught, 16).expect("the mask is a number") & USR1 != 0
    });
}

#[test]
fn sigint_and_sigterm_while_the_job_file_is_read_end_ratchet_with_the_usual_codes() {
    for (signal, name, code) in [
        (Signal::Interrupt, "SIGINT", 130),
        (Signal::Terminate, "SIGTERM", 143),
    ] {
        let (running, mut writer) = reads_pipe();
        writer.write_all(b"jobs:\n").expect("it is read");
        running.signal(signal);
        let ended = running.wait().with_code(code);
        assert_eq!(
            ended.stderr(),
            format!("ratchet: {name}: `jobs.yaml` was still being read, and nothing was run\n")
        );
        assert_eq!(ended.stdout(), "");
    }
}

#[test]
fn the_deadline_of_a_run_holds_while_its_input_is_read() {
    for words in [
        &["run"][..],
        &["map", "--csv", "--header", "--", "echo", "{a}"],
        &["map", "--shuf", "--", "echo"],
        &["map", "-a", "-", "--", "echo", ":::", "1", "2"],
    ] {
        let words = [&words[..1], &["-q", "--deadline", "200ms"], &words[1..]].concat();
        let running = Ratchet::new().args(words).stdin_open().start();
        // Waiting for its end closes its stdin.
        running.wait_for_stderr("the time of the run is over");
        let _ = running.wait().with_code(102);
    }
}

#[test]
fn sigusr1_while_the_job_file_is_read_says_so_and_the_run_goes_on() {
    let (running, mut writer) = reads_pipe();
    writer
        .write_all(b"jobs:\n  - run: [echo, hello]\n")
        .expect("it is read");
    running.signal(Signal::User1);
    running.wait_for_stderr("ratchet: no job runs yet: `jobs.yaml` is still being read\n");
    drop(writer);
    let ended = running.wait().with_code(0);
    assert!(ended.stdout().contains("hello"), "{}", ended.stdout());
}

#[test]
fn sigusr1_before_the_first_line_or_record_does_not_end_ratchet() {
    for (words, what, line) in [
        (
            &["run", "-q"][..],
            "stdin",
            "{\"run\": [\"echo\", \"hello\"]}\n",
        ),
        (
            &["map", "-q", "--csv", "--", "echo"],
            "the first item",
            "hello\n",
        ),
    ] {
        let mut running = Ratchet::new().args(words).stdin_open().start();
        until_it_handles_signals(&running);
        running.signal(Signal::User1);
        running.wait_for_stderr(&format!(
            "ratchet: no job runs yet: {what} is still being read\n"
        ));
        let written = running.stdin().write_all(line.as_bytes());
        written.expect("it is read");
        running.close_stdin();
        let ended = running.wait().with_code(0);
        assert!(ended.stdout().contains("hello"), "{}", ended.stdout());
    }
}
