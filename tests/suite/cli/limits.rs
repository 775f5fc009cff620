//! Where the system gives little: descriptors, a terminal, signals that are ignored.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use ratchet_tests::{Folder, Ratchet};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::job_control::on_controlling_terminal;

#[test]
fn with_too_few_descriptors_fewer_jobs_run_at_once_and_all_succeed() {
    let items = (0..300).map(|item| item.to_string());
    let ended = Ratchet::new()
        .by_shell("ulimit -n 256; exec \"$@\"")
        .args([
            "map",
            "-j",
            "200",
            "--",
            "sh",
            "-c",
            "sleep 0.1",
            "x",
            ":::",
        ])
        .args(items)
        .run()
        .with_code(0);
    let said = ended.stderr();
    assert!(said.contains("only 41 of 200 jobs run at once"), "{said}");
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_for_ratchet_and_not_for_its_jobs() {
    const JOBS: usize = 60;
    let folder = Folder::new();
    // Each job waits until all run at once, for which the soft limit has too few descriptors.
    let job = format!(
        "touch began.$0; until [ $(ls | grep -c began) -ge {JOBS} ]; do sleep 0.05; done; ulimit -n"
    );
    let items = (0..JOBS).map(|item| item.to_string());
    let ended = Ratchet::within(&folder)
        .by_shell("ulimit -S -n 64; exec \"$@\"")
        .args(["map", "-j", "60", "--timeout", "60s", "--", "sh", "-c"])
        .args([&job, ":::"])
        .args(items)
        .run()
        .with_code(0);
    assert_eq!(ended.stdout(), "64\n".repeat(JOBS));
    let said = ended.stderr();
    assert!(
        !said.contains("jobs run at once") && !said.contains("for now"),
        "{said}"
    );
}

#[test]
fn with_too_few_processes_jobs_wait_for_each_other_and_all_succeed() {
    if !rustix::process::geteuid().is_root() {
        // The limit counts all processes of a user, so it takes another user whom nobody else is.
        eprintln!("skipped: only root can become a user without processes");
        return;
    }
    // Another run of this test on the same machine is another user.
    let user = 1_000_000 + std::process::id();
    let folder = Folder::new();
    program_for_all(&folder);
    let items = (0..60).map(|item| item.to_string());
    let ended = Ratchet::within(&folder)
        .by_shell(&format!(
            "shift; exec prlimit --nproc=14 setpriv --reuid {user} --clear-groups ./ratchet \"$@\""
        ))
        .args(["map", "--no-record", "-j", "40", "--", "true", ":::"])
        .args(items)
        .run()
        .with_code(0);
    let said = ended.stderr();
    assert_eq!(said.matches("for now").count(), 1, "told once: {said}");
}

/// Copies the program to where every user can run it.
fn program_for_all(folder: &Folder) {
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("it is set");
    fs::copy(Ratchet::program(), folder.path().join("ratchet")).expect("it is copied");
}

#[test]
fn nothing_panics_whatever_the_number_of_processes_that_a_user_may_have() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become a user without processes");
        return;
    }
    let folder = Folder::new();
    program_for_all(&folder);
    let start = |limit: u32| {
        // Each run is of another user, whose processes are counted apart.
        let user = 2_000_000 + std::process::id() * 16 + limit;
        Ratchet::within(&folder)
            .by_shell(&format!(
                "shift; exec prlimit --nproc={limit} setpriv --reuid {user} --clear-groups env \
                 XDG_RUNTIME_DIR= ./ratchet \"$@\""
            ))
            .args(["map", "--state-dir", &format!("state.{limit}"), "-j4"])
            .args([
                "--deadline",
                "3s",
                "--",
                "echo",
                "{}",
                ":::",
                "1",
                "2",
                "3",
                "4",
            ])
            .start()
    };
    let running: Vec<_> = (3..=11).map(|limit| (limit, start(limit))).collect();
    for (limit, running) in running {
        let ended = running.wait();
        let said = ended.stderr();
        assert!(!said.contains("panicked"), "{limit} processes: {said}");
        assert!(!said.contains("a bug"), "{limit} processes: {said}");
        // The system may refuse even the first thread, and then nothing has been taken.
        let code = ended.code;
        assert!(
            matches!(code, Some(0 | 1 | 2 | 102)),
            "{limit} processes: {code:?} {said}"
        );
    }
}

#[test]
fn a_worker_that_cannot_start_for_want_of_descriptors_is_waited_for_and_its_job_succeeds() {
    // The item 2 ends its worker once, so that another one has to start.
    let filter = "while read -r line; do \
                  if [ $line = 2 ] && [ ! -e died ]; then : >died; exit 3; fi; echo $line; done";
    let mut running = Ratchet::new()
        .args(["map", "--warm", "--no-record", "-j1", "--retries", "1"])
        .args(["--", "sh", "-c", filter])
        .stdin_open()
        .start();
    let ratchet = i32::try_from(running.id()).ok().and_then(Pid::from_raw);
    let ratchet = ratchet.expect("it has a number");
    let limit = |limit: Rlimit| prlimit(Some(ratchet), Resource::Nofile, limit).expect("it is set");
    let item = |line: &[u8], running: &mut ratchet_tests::Running| {
        running.stdin().write_all(line).expect("it is read");
    };
    item(b"1\n", &mut running);
    running.wait_for_stdout("1\n");
    let before = limit(Rlimit {
        current: Some(3),
        ..getrlimit(Resource::Nofile)
    });
    item(b"2\n", &mut running);
    running.wait_for_stderr("cannot be started for now");
    limit(before);
    let ended = running.wait().with_code(0);
    assert_eq!(ended.stdout(), "1\n2\n");
}

#[test]
fn far_too_few_descriptors_are_an_error_before_anything_runs() {
    let ended = Ratchet::new()
        .by_shell("ulimit -n 8; exec \"$@\"")
        .args(["map", "--", "echo", ":::", "a"])
        .run()
        .with_code(2);
    let said = ended.stderr();
    assert!(
        said.contains("this process may open 8 files at once, and needs at least 53")
            && said.contains("ulimit -n"),
        "{said}"
    );
    assert_eq!(ended.stdout(), "");
}

#[test]
fn a_program_that_is_still_being_written_is_started_later() {
    let folder = Folder::new();
    let path = folder.path().join("program");
    fs::copy("/bin/true", &path).expect("it is copied");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is set");
    let writer = fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("it is there");
    let running = Ratchet::within(&folder)
        .args(["map", "--", "./program", ":::", "a", "b"])
        .start();
    running.wait_for_stderr("cannot be started for now");
    drop(writer);
    let ended = running.wait().with_code(0);
    let said = ended.stderr();
    assert_eq!(said.matches("for now").count(), 1, "told once: {said}");
}

#[test]
fn jobs_begin_with_the_default_signals_but_an_ignored_hangup_stays_ignored() {
    let ignored = |script: &str| {
        let said = Ratchet::new()
            .by_shell(&format!("{script} exec \"$@\""))
            .args([
                "map",
                "--",
                "grep",
                "-h",
                "SigIgn",
                ":::",
                "/proc/self/status",
            ])
            .run()
            .with_code(0)
            .stdout();
        let set = said.split_whitespace().last().expect("it says a set");
        let set = u64::from_str_radix(set, 16).expect("a set of signals");
        // The signals above this one are those of the C library and real-time signals.
        set & 0x7fff_ffff
    };
    assert_eq!(ignored("trap '' INT QUIT USR1 TSTP CHLD;"), 0);
    assert_eq!(ignored("trap '' INT HUP;"), 1);
}

#[test]
fn children_of_tests_begin_with_the_default_signals() {
    // The test may run under `nohup cargo test &`, which ignores this signal.
    let suite = std::env::current_exe().expect("it has a name");
    let output = Command::new("sh")
        .args(["-c", "trap '' INT QUIT HUP; exec \"$@\"", "sh"])
        .arg(suite)
        .args(["cli::worker::a_signal_ends_the_worker_command", "--exact"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn a_job_that_reads_from_the_terminal_fails_with_the_reason() {
    let ended = on_controlling_terminal(&Folder::new())
        .args([
            "map",
            "--",
            "sh",
            "-c",
            "read line </dev/tty",
            "x",
            ":::",
            "a",
        ])
        .run();
    let said = String::from_utf8_lossy(&ended.screen);
    assert_eq!(ended.code, Some(100), "{said}");
    assert!(said.contains("wants the terminal"), "{said}");
}
