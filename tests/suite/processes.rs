//! Processes end completely: with all that they started, whoever ends them and however.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use ratchet_runtime::process::{
    Ended, Ending, Environment, Exit, LocalProcesses, ProcessConfig, ProcessError, ProcessHandle,
    ProcessManager,
};
use ratchet_tests::{
    Holdings, all_gone, eventually, eventually_async, is_alive, process_state, read_text, shell,
    start_announced, within,
};

async fn end_of(processes: &LocalProcesses, config: &ProcessConfig) -> Ended {
    let mut process = processes.spawn_process(config).await.expect("it starts");
    within(process.exit().wait()).await
}

/// Asks a process to end, and returns how it ended.
async fn asked(processes: &LocalProcesses, process: &mut ProcessHandle, grace: Duration) -> Ended {
    let asked = processes.terminate_process(process.id(), grace).await;
    asked.expect("the actor lives");
    within(process.exit().wait()).await
}

#[tokio::test]
async fn the_end_of_a_process_is_reported_as_its_code_or_signal() {
    let processes = LocalProcesses::start();
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("kill -KILL $$", Exit::Signal(9)),
        ("kill -SEGV $$", Exit::Signal(11)),
    ] {
        let ended = end_of(&processes, &shell(script)).await;
        let expected = Ended {
            exit,
            ending: Ending::ByItself,
            left_behind: false,
            survivors: Vec::new(),
        };
        assert_eq!(ended, expected, "{script}");
    }
    assert_eq!(
        processes.list_processes().await.expect("the actor lives"),
        []
    );
}

#[tokio::test]
async fn a_process_that_cannot_start_gives_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it is written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is set");
        ProcessConfig::new(path)
    };
    let processes = LocalProcesses::start();
    let reason = async |config: ProcessConfig| {
        let refused = processes.spawn_process(&config).await;
        refused.expect_err("it does not start").to_string()
    };
    let missing = reason(ProcessConfig::new("no-such-program")).await;
    assert_eq!(missing, "there is no program `no-such-program`");
    let plain = reason(file("plain", "#!/bin/sh\n", 0o644)).await;
    assert!(
        plain.ends_with("may not be run: it is not executable"),
        "{plain}"
    );
    let garbage = reason(file("garbage", "\u{1}\u{2}", 0o755)).await;
    assert!(
        garbage.ends_with("is not a program for this system, and has no `#!` line"),
        "{garbage}"
    );
    let lost = reason(file("lost", "#!/no/such/interpreter\n", 0o755)).await;
    assert!(
        lost.ends_with("there is no `/no/such/interpreter`, which its `#!` line names"),
        "{lost}"
    );
    let nowhere = reason(shell("true").working_dir("/no/such/folder")).await;
    assert_eq!(
        nowhere,
        "`sh` cannot be started in `/no/such/folder`: there is no such folder"
    );
}

#[tokio::test]
async fn a_process_gets_only_the_declared_environment_and_its_own_descriptors() {
    let processes = LocalProcesses::start();
    let config = ProcessConfig::new("/usr/bin/env")
        .env(Environment::clean().set("A", "1").set("B", "two words"));
    let mut process = processes.spawn_process(&config).await.expect("it starts");
    let (_, stdout, _) = process.take_pipes().expect("they are there");
    assert_eq!(read_text(stdout).await, "A=1\nB=two words\n");

    let config = shell("pwd; echo $A; ls /proc/self/fd | wc -l >&2")
        .env(Environment::inherited().set("A", "1"))
        .working_dir("/");
    let mut process = processes.spawn_process(&config).await.expect("it starts");
    let (_, stdout, stderr) = process.take_pipes().expect("they are there");
    assert_eq!(read_text(stdout).await, "/\n1\n");
    let ours = Command::new("sh")
        .args(["-c", "ls /proc/self/fd | wc -l"])
        .output()
        .expect("it runs");
    assert_eq!(
        read_text(stderr).await.as_bytes(),
        ours.stdout,
        "no descriptor beyond a child's own"
    );
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_the_grace() {
    let processes = LocalProcesses::start();
    let script = "trap '' TERM; sleep 1000 & echo $$ $!; wait; wait";
    let (mut process, both) = start_announced(&processes, script).await;
    let grace = Duration::from_millis(50);
    let ended = asked(&processes, &mut process, grace).await;
    assert_eq!(
        (ended.exit, ended.ending),
        (Exit::Signal(9), Ending::Killed)
    );
    assert!(ended.survivors.is_empty());
    all_gone(&both).await;
}

#[tokio::test]
async fn a_process_asked_to_stop_twice_gets_the_shorter_grace() {
    let processes = LocalProcesses::start();
    let script = "trap '' TERM; echo $$; while :; do sleep 0.01; done";
    let (mut process, _) = start_announced(&processes, script).await;
    for grace in [Duration::MAX, Duration::ZERO, Duration::from_secs(1000)] {
        processes
            .terminate_process(process.id(), grace)
            .await
            .expect("the actor lives");
    }
    assert_eq!(within(process.exit().wait()).await.ending, Ending::Killed);
    let again = processes
        .terminate_process(process.id(), Duration::ZERO)
        .await;
    again.expect("a process that has ended is no error");
}

#[tokio::test]
async fn a_process_stopped_by_sigstop_ends_when_it_is_asked_to() {
    let processes = LocalProcesses::start();
    let (mut process, ids) =
        start_announced(&processes, "echo $$; kill -STOP $$; sleep 1000").await;
    eventually("it has stopped", || process_state(ids[0]) == Some('T')).await;
    let grace = Duration::from_secs(1000);
    let ended = asked(&processes, &mut process, grace).await;
    assert_eq!(
        (ended.exit, ended.ending),
        (Exit::Signal(15), Ending::Asked)
    );
}

#[tokio::test]
async fn a_stopped_process_stands_still_with_its_children_until_it_is_continued() {
    let processes = LocalProcesses::start();
    let (mut process, both) = start_announced(&processes, "sleep 1000 & echo $$ $!; wait").await;
    let all_are = |state| both.iter().all(|id| process_state(*id) == Some(state));
    let stopped = processes.stop_process(process.id()).await;
    stopped.expect("the actor lives");
    eventually("both are stopped", || all_are('T')).await;
    let continued = processes.continue_process(process.id()).await;
    continued.expect("the actor lives");
    eventually("both go on", || all_are('S')).await;
    let stopped = processes.stop_process(process.id()).await;
    stopped.expect("the actor lives");
    let ended = asked(&processes, &mut process, Duration::from_secs(1000)).await;
    assert_eq!(ended.exit, Exit::Signal(15), "though it was stopped");
    let again = processes.continue_process(process.id()).await;
    again.expect("a process that has ended is no error");
}

#[tokio::test]
async fn the_memory_and_the_processor_time_of_a_process_include_its_children() {
    let processes = LocalProcesses::start();
    let script = "sh -c 'while :; do :; done' & echo $$ $!; wait";
    let (mut busy, _) = start_announced(&processes, script).await;
    let (mut idle, _) = start_announced(&processes, "echo $$; exec sleep 1000").await;
    let (busy_id, idle_id) = (busy.id(), idle.id());
    let used = async || {
        let used = processes.measure_processes(&[busy_id, idle_id]).await;
        used.expect("the system says")
    };
    let some = Duration::from_millis(50);
    // A process has no memory for a moment while it executes another program.
    eventually_async("one is busy, and the other one has memory", async || {
        let used = used().await;
        used[&busy_id].processor_time > some && used[&idle_id].memory > 0
    })
    .await;
    assert!(used().await[&idle_id].processor_time < some);
    asked(&processes, &mut busy, Duration::ZERO).await;
    asked(&processes, &mut idle, Duration::ZERO).await;
    eventually_none(&processes).await;
    assert!(used().await.is_empty());
}

/// Waits until the manager knows that nothing lives.
async fn eventually_none(processes: &LocalProcesses) {
    eventually_async("no process lives", async || {
        let living = processes.list_processes().await;
        living.is_ok_and(|living| living.is_empty())
    })
    .await;
}

/// Ends once its child has set its traps: only then does the child close the pipe that the shell reads to its end.
const IGNORES_SIGNALS: &str = "echo $( (trap '' TERM INT HUP; sh -c 'echo $PPID'; exec >/dev/null
    while :; do sleep 1000; done) & ); exit 0";

#[tokio::test]
async fn children_that_a_process_leaves_are_killed() {
    let processes = LocalProcesses::start();
    for script in [
        // A child that holds the pipes, and a grandchild in the same group that does not.
        "sleep 1000 & echo $!; exit 0",
        "(sleep 1000 >/dev/null 2>&1 & echo $!); exit 0",
        // A process that ignores every signal that it can.
        IGNORES_SIGNALS,
    ] {
        let (mut process, left) = start_announced(&processes, script).await;
        let ended = within(process.exit().wait()).await;
        assert_eq!(
            (ended.exit, ended.ending),
            (Exit::Code(0), Ending::ByItself),
            "{script}"
        );
        assert!(ended.left_behind, "{script}");
        assert!(ended.survivors.is_empty(), "{script}");
        all_gone(&left).await;
    }
}

#[tokio::test]
async fn dropping_the_manager_ends_all_processes() {
    let processes = LocalProcesses::start();
    let (mut process, both) = start_announced(&processes, "sleep 1000 & echo $$ $!; wait").await;
    drop(processes);
    within(process.exit().wait()).await;
    all_gone(&both).await;
}

#[tokio::test]
async fn a_dropped_manager_starts_no_more_processes() {
    struct Gone(LocalProcesses);
    let runtime = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .expect("a runtime")
            .block_on(async { Gone(LocalProcesses::with_keeper(None)) })
    });
    let Gone(processes) = runtime.join().expect("it ends");
    let refused = processes.spawn_process(&shell("true")).await;
    assert!(
        matches!(refused, Err(ProcessError::Ended)),
        "its runtime is gone: {refused:?}"
    );
}

#[test]
fn a_killed_host_leaves_no_processes() {
    let mut host = Command::new(env!("CARGO_BIN_EXE_host"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(host.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("it says who they are");
    let both: Vec<u32> = line
        .split_whitespace()
        .map(|id| id.parse().expect("an id"))
        .collect();
    assert!(
        both.len() == 2 && both.iter().all(|process| is_alive(*process)),
        "{line}"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    host.kill().expect("it is there");
    host.wait().expect("it is killed");
    runtime.expect("a runtime").block_on(async {
        all_gone(&both).await;
    });
}

#[test]
fn a_thousand_crashes_leak_no_processes_descriptors_or_memory() {
    // In a process of its own, where nobody else opens or starts anything.
    let output = Command::new(env!("CARGO_BIN_EXE_crashes"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (before, after) = said.trim().split_once(" -> ").expect("it says both");
    assert_eq!(before, after);
    assert!(before.contains("children: 1"), "the keeper: {before}");
    assert_eq!(Holdings::now().descriptors > 0, !before.is_empty());
}

#[test]
fn a_host_killed_in_its_first_milliseconds_leaves_no_processes() {
    // A small share of what `cargo run --release -p ratchet-tests --bin orphans` does.
    for (jobs, kills) in [(2, 6), (16, 9), (150, 6)] {
        let found = ratchet_tests::orphans::OrphanHunt {
            seed: 15,
            kills,
            jobs,
        }
        .run()
        .expect("ratchet starts");
        assert_eq!(found.orphans, 0, "-j {jobs}: {found:?}");
    }
}
