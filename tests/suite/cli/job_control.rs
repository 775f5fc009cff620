//! Ctrl-Z and `fg`, typed on a terminal in a shell with job control.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use ratchet_tests::{Folder, Ratchet, Running, Shown, eventually, marked, process_state};

pub(super) const CTRL_C: &str = "\x03";
pub(super) const CTRL_Z: &str = "\x1a";

/// The variable with the folder of the test, by which the processes that the test has started are found.
const MARK: &str = "RATCHET_TEST_FOLDER";

fn mark(folder: &Folder) -> String {
    format!("{MARK}={}", folder.path().display())
}

/// Starts a shell with job control on a terminal, which runs `ratchet` as its foreground job and then the script.
pub(super) fn in_shell(folder: &Folder, script: &str) -> Ratchet {
    let shell = format!(
        "exec setsid --ctty --wait sh -c 'set -m; \"$@\"; echo \"stopped with $?\"; {script}' sh \"$@\""
    );
    Ratchet::within(folder)
        .by_shell(&shell)
        .env(MARK, folder.path())
        .on_terminal(100, 40, Shown::Everything)
}

/// Starts a command on a terminal that controls it, without a shell that could continue it.
pub(super) fn on_controlling_terminal(folder: &Folder) -> Ratchet {
    Ratchet::within(folder)
        .by_shell("exec setsid --ctty --wait \"$@\"")
        .on_terminal(100, 40, Shown::Everything)
}

/// Waits until a job has made the file `began`, and types Ctrl-Z.
pub(super) fn stop_once_a_job_runs(running: &Running, folder: &Folder) {
    let began = folder.at("began");
    running.until("the job runs", || began.exists());
    running.type_on_terminal(CTRL_Z);
}

/// Waits until `ratchet` and at least one process that it has started are stopped.
fn wait_for_stop(shell: &Running, folder: &Folder) {
    shell.wait_for_screen("stopped with 14");
    let mark = mark(folder);
    shell.until("the jobs are stopped", || {
        let states = marked(&mark).into_iter().filter_map(process_state);
        states.filter(|state| *state == 'T').count() >= 2
    });
}

#[test]
fn ctrl_z_stops_jobs_and_their_timeouts_until_fg() {
    let folder = Folder::new();
    // The job may take 5 s, and is stopped for longer. It goes on for a while after that, so that its time is judged again.
    let shell = in_shell(&folder, "sleep 6; touch go; fg")
        .args(["map", "--timeout", "5s", "--", "sh", "-c"])
        .args(["echo x >began; until [ -e go ]; do sleep 0.05; done; sleep 1; echo done"])
        .args(["x", ":::", "a"])
        .start();
    stop_once_a_job_runs(&shell, &folder);
    wait_for_stop(&shell, &folder);
    let said = shell.wait().with_code(0).screen();
    assert!(said.contains("done"), "{said}");
}

#[test]
fn ctrl_z_stops_what_runs_on_hosts_and_rests_their_fence_until_fg() {
    let jobs = r#"
hosts:
  # As over ssh, the agent is another process than the launcher, in another session.
  web1: { via: [sh, -c, 'setsid "$@"; exit $?', via], lost_after: 3s, fence_after: 2s }
jobs:
  - { id: a, on: web1, run: [sh, -c, "echo $$ > new; mv new began; until [ -e go ]; do sleep 0.05; done; echo done"] }
"#;
    let folder = Folder::new().file("jobs.yaml", jobs);
    // It is stopped for longer than the fence and the patience with a silent host.
    let shell = in_shell(&folder, "sleep 6; touch slept; read answer; touch go; fg")
        .args(["run", "jobs.yaml", "--format", "jsonl"])
        .start();
    stop_once_a_job_runs(&shell, &folder);
    wait_for_stop(&shell, &folder);
    let job = fs::read_to_string(folder.at("began")).expect("it is written");
    let job: u32 = job.trim().parse().expect("it is a number");
    // A shell that waits for its child to become another program is in state D until that goes on.
    let is_stopped = || matches!(process_state(job), Some('T' | 'D'));
    shell.until("the job on the host is stopped", is_stopped);
    shell.until("it was stopped for long", || folder.at("slept").exists());
    assert!(is_stopped(), "it is neither killed nor continued");
    shell.type_on_terminal("\n");
    let said = shell.wait().with_code(0).screen();
    assert!(
        said.contains("done") && said.contains("\"attempts\":1"),
        "{said}"
    );
    let mark = mark(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("it has a timer");
    runtime.block_on(eventually("nothing is left", || marked(&mark).is_empty()));
}

/// A worker that makes the file `began` with the id of its job, and answers when there is a file `go`. It says when it is ready,
/// so no timeout counts its start.
const WORKER: &str = "import json, os, sys, time\n\
    hello = {'type': 'event', 'event': 'hello', 'protocol': [1], 'name': 'w', 'capabilities': ['ready']}\n\
    print(json.dumps(hello), flush=True)\n\
    print(json.dumps({'type': 'event', 'event': 'ready'}), flush=True)\n\
    for line in sys.stdin:\n\
    \x20   request = json.loads(line)\n\
    \x20   open('began' + request['key'], 'w').close()\n\
    \x20   while not os.path.exists('go'):\n\
    \x20       time.sleep(0.01)\n\
    \x20   print(json.dumps({'type': 'response', 'id': request['id'], 'result': 1}), flush=True)\n\
    \x20   open('ended' + request['key'], 'w').close()\n";

#[test]
fn ctrl_z_stops_workers_and_fg_continues_them() {
    let folder = Folder::new()
        .file("worker.py", WORKER)
        .file("jobs.jsonl", "{\"id\": \"1\", \"task\": \"t\"}\n");
    let shell = in_shell(&folder, "read answer; fg")
        .args(["run", "jobs.jsonl", "--format", "jsonl"])
        .args(["-w", "python3 worker.py"])
        .start();
    let began = folder.at("began1");
    shell.until("the job runs", || began.exists());
    shell.type_on_terminal(CTRL_Z);
    wait_for_stop(&shell, &folder);
    fs::write(folder.at("go"), "").expect("it is written");
    shell.type_on_terminal("\n");
    let said = shell.wait().with_code(0).screen();
    assert!(said.contains("\"status\":\"succeeded\""), "{said}");
}

#[test]
fn deadline_queue_timeout_and_durations_do_not_count_the_time_from_ctrl_z_to_fg() {
    let folder = Folder::new();
    let job = "touch began; until [ -e go ]; do sleep 0.05; done";
    let jobs = format!(
        "{}\n{}\n",
        serde_json::json!({"id": "a", "run": ["sh", "-c", job]}),
        serde_json::json!({"id": "b", "run": ["true"], "timeout": {"queue": "5s"}})
    );
    fs::write(folder.path().join("jobs.jsonl"), jobs).expect("they are written");
    // The limits are 5 s, and everything is stopped for longer.
    let shell = in_shell(&folder, "sleep 6; touch slept; read answer; touch go; fg")
        .args(["run", "jobs.jsonl", "-j1", "-k", "--deadline", "5s"])
        .args(["--format", "json", "-o", "out.json"])
        .start();
    let began = folder.path().join("began");
    shell.until("the job runs", || began.exists());
    shell.type_on_terminal(CTRL_Z);
    wait_for_stop(&shell, &folder);
    let slept = folder.path().join("slept");
    shell.until("it was stopped for long", || slept.exists());
    let within = |time: &serde_json::Value| {
        let time = time.as_f64().expect("it is a number");
        assert!(time < 5000.0, "{time} ms");
    };
    // The record of a run that is stopped just now.
    let shown = Ratchet::within(&folder)
        .args(["runs", "show", "--format", "json"])
        .run()
        .with_code(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout()).expect("it is JSON");
    within(&shown["summary"]["elapsed_ms"]);
    shell.type_on_terminal("\n");
    let _ended = shell.wait().with_code(0);
    let report = fs::read(folder.path().join("out.json")).expect("it is written");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("it is JSON");
    within(&report["summary"]["elapsed_ms"]);
    within(&report["results"][0]["duration_ms"]);
    within(&report["results"][1]["queued_ms"]);
}

#[test]
fn a_signal_that_comes_while_ratchet_is_stopped_is_handled_after_fg() {
    let folder = Folder::new();
    let shell = in_shell(&folder, "read answer; kill -INT %1; kill -INT %1; fg")
        .args([
            "map",
            "--",
            "sh",
            "-c",
            "echo x >began; exec sleep 1000",
            "x",
            ":::",
            "a",
        ])
        .start();
    stop_once_a_job_runs(&shell, &folder);
    wait_for_stop(&shell, &folder);
    shell.type_on_terminal("\n");
    shell.wait_for_screen("SIGINT: no new jobs");
    shell.type_on_terminal(CTRL_C);
    let said = shell.wait().with_code(130).screen();
    assert!(said.contains("running jobs are asked to stop"), "{said}");
}

#[test]
fn ctrl_z_is_ignored_where_no_shell_could_continue_ratchet() {
    let folder = Folder::new();
    let running = on_controlling_terminal(&folder)
        .args(["map", "-v", "--", "sh", "-c"])
        .args(["echo x >began; until [ -e go ]; do sleep 0.05; done"])
        .args(["x", ":::", "a"])
        .start();
    stop_once_a_job_runs(&running, &folder);
    running.wait_for_screen("SIGTSTP is ignored");
    fs::write(folder.path().join("go"), "").expect("it is written");
    let _ended = running.wait().with_code(0);
}

/// The timeout of jobs that end while `ratchet` is stopped. It has to be long enough that a job of a busy machine begins in
/// it, and `ratchet` is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Stops `ratchet` alone by a signal that it cannot handle, from when two jobs have made the files `began1` and `began2`
/// until these jobs have ended and their timeouts are over. The jobs end when there is a file `go`.
fn stop_beyond_the_timeouts(running: &Running, folder: &Folder) {
    let began = ["began1", "began2"].map(|name| folder.at(name));
    running.until("the jobs run", || began.iter().all(|path| path.exists()));
    let began = tokio::time::Instant::now();
    let send = |signal| {
        let process = i32::try_from(running.id()).ok().and_then(Pid::from_raw);
        kill_process(process.expect("it has a number"), signal).expect("it is sent");
    };
    send(Signal::STOP);
    running.until("it is stopped", || process_state(running.id()) == Some('T'));
    fs::write(folder.at("go"), "").expect("it is written");
    let ended = ["ended1", "ended2"].map(|name| folder.at(name));
    running.until("the jobs have ended", || {
        ended.iter().all(|path| path.exists())
    });
    running.until("the timeouts are over", || began.elapsed() > TIMEOUT);
    send(Signal::CONT);
}

#[test]
fn commands_that_ended_while_ratchet_was_stopped_have_not_timed_out() {
    let folder = Folder::new();
    let running = Ratchet::within(&folder)
        .args(["map", "--timeout", "5s", "-j2", "-k", "--", "sh", "-c"])
        .args(["echo >began$0; until [ -e go ]; do sleep 0.05; done; echo $0; echo >ended$0"])
        .args([":::", "1", "2"])
        .start();
    stop_beyond_the_timeouts(&running, &folder);
    let ended = running.wait().with_code(0);
    assert_eq!(ended.stdout(), "1\n2\n");
}

#[test]
fn what_workers_answered_while_ratchet_was_stopped_has_not_timed_out() {
    let folder = Folder::new();
    fs::write(folder.path().join("worker.py"), WORKER).expect("it is written");
    let jobs = ["1", "2"].map(|id| format!("{{\"id\": \"{id}\", \"task\": \"t\"}}\n"));
    fs::write(folder.path().join("jobs.jsonl"), jobs.concat()).expect("they are written");
    let running = Ratchet::within(&folder)
        .args(["run", "jobs.jsonl", "-w", "python3 worker.py", "-j2"])
        .args(["--timeout", "5s", "--format", "jsonl"])
        .start();
    stop_beyond_the_timeouts(&running, &folder);
    let ended = running.wait().with_code(0);
    assert_eq!(ended.stdout().matches("\"succeeded\"").count(), 2);
}
