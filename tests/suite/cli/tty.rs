//! `--tty`: jobs have the terminal, one at a time.
#![cfg(target_os = "linux")]

use ratchet_tests::{Folder, Ratchet, Shown};

use super::job_control::{CTRL_C, in_shell, on_controlling_terminal, stop_once_a_job_runs};

#[test]
fn jobs_of_map_read_what_is_typed_one_after_the_other() {
    let running = on_controlling_terminal(&Folder::new())
        .args(["map", "--tty", "--", "sh", "-c"])
        .args([
            "read line; echo \"$1 got $line\"",
            "sh",
            "{}",
            ":::",
            "a",
            "b",
        ])
        .start();
    running.type_on_terminal("first\n");
    running.wait_for_screen("a got first");
    running.type_on_terminal("second\n");
    let said = running.wait().with_code(0).screen();
    assert!(said.contains("b got second"), "{said}");
}

#[test]
fn items_come_from_stdin_while_jobs_read_from_the_terminal() {
    let running = Ratchet::new()
        .by_shell("exec setsid --ctty --wait sh -c 'printf \"a\\nb\\n\" | \"$@\"' sh \"$@\"")
        .on_terminal(100, 40, Shown::Everything)
        .args(["map", "--tty", "--", "sh", "-c"])
        .args(["read line; echo \"$1 got $line\"", "sh", "{}"])
        .start();
    running.type_on_terminal("first\nsecond\n");
    let said = running.wait().with_code(0).screen();
    assert!(said.contains("a got first"), "{said}");
    assert!(said.contains("b got second"), "{said}");
}

#[test]
fn commands_of_a_job_file_read_what_is_typed() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, -c, 'read line; echo \"got $line\"'] }]\n",
    );
    let running = on_controlling_terminal(&folder)
        .args(["run", "--tty", "--format", "jsonl", "jobs.yaml"])
        .start();
    running.type_on_terminal("first\n");
    let said = running.wait().with_code(0).screen();
    assert!(said.contains("got first"), "{said}");
}

/// A worker whose first process reads from the terminal when it gets a job, and whose successor answers.
const READS_TERMINAL_ONCE: &str = "import json, os, sys\n\
    for line in sys.stdin:\n\
    \x20   request = json.loads(line)\n\
    \x20   if request['key'] == 'asks':\n\
    \x20       open('/dev/tty').readline()\n\
    \x20   print(json.dumps({'type': 'response', 'id': request['id'], 'result': 1}), flush=True)\n";

#[test]
fn a_worker_that_reads_from_the_terminal_is_replaced_and_its_attempt_fails_with_the_reason() {
    let folder = Folder::new().file("worker.py", READS_TERMINAL_ONCE).file(
        "jobs.jsonl",
        "{\"id\": \"asks\", \"task\": \"t\"}\n{\"id\": \"next\", \"task\": \"t\"}\n",
    );
    let running = on_controlling_terminal(&folder)
        .args([
            "run",
            "jobs.jsonl",
            "-w",
            "python3 worker.py",
            "-j1",
            "-o",
            "out",
        ])
        .args(["--format", "jsonl"])
        .start();
    let _ended = running.wait().with_code(100);
    let out = std::fs::read_to_string(folder.path().join("out")).expect("it is written");
    let [asks, next] = out.lines().collect::<Vec<_>>()[..] else {
        panic!("two results: {out}");
    };
    assert!(asks.contains("wants the terminal"), "{asks}");
    assert!(asks.contains("\"code\":\"terminal\""), "{asks}");
    assert!(next.contains("\"status\":\"succeeded\""), "{next}");
    assert!(next.contains("/2\""), "the second worker: {next}");
}

#[test]
fn a_warm_filter_that_reads_from_the_terminal_is_killed_and_its_item_fails_with_the_reason() {
    let folder = Folder::new();
    let script = "while read line; do \
        if [ \"$line\" = asks ]; then read answer </dev/tty; fi; echo \"got $line\"; done";
    let running = on_controlling_terminal(&folder)
        .args(["map", "--warm", "-j1", "--", "sh", "-c", script, ":::"])
        .args(["asks", "next"])
        .start();
    let said = running.wait().with_code(100).screen();
    assert!(said.contains("wants the terminal"), "{said}");
    assert!(said.contains("got next"), "{said}");
    assert!(!said.contains("got asks"), "{said}");
}

#[test]
fn a_job_with_the_terminal_runs_in_the_foreground_and_the_terminal_modes_are_restored() {
    let running = on_controlling_terminal(&Folder::new())
        .args(["map", "--tty", "--", "sh", "-c"])
        // The foreground group and its own, as the kernel has them; and then no echo for the next.
        .args(["set -- $(cat /proc/$$/stat); echo \"$5 $8\"; stty -a; stty -echo"])
        .args(["x", ":::", "a", "b"])
        .start();
    let said = running.wait().with_code(0).screen();
    let groups: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let is_foreground = |line: &&str| {
        let (own, foreground) = line.split_once(' ').expect("two numbers");
        own == foreground.trim_end()
    };
    // The second line is of a job that ran under the modes that the first had found.
    assert_eq!(
        groups.iter().filter(|line| is_foreground(line)).count(),
        2,
        "{said}"
    );
    assert!(!said.contains("-echo "), "{said}");
}

#[test]
fn ctrl_c_ends_the_job_with_the_terminal_and_starts_no_more() {
    let folder = Folder::new();
    let running = on_controlling_terminal(&folder)
        .args(["map", "--tty", "--", "sh", "-c"])
        .args(["echo x >>began; exec sleep 1000", "x", ":::", "a", "b"])
        .start();
    let began = folder.path().join("began");
    // The shell creates the file a moment before it writes to it.
    let has_begun = || std::fs::read_to_string(&began).is_ok_and(|text| !text.is_empty());
    running.until("the job runs", has_begun);
    running.type_on_terminal(CTRL_C);
    let said = running.wait().with_code(130).screen();
    assert!(said.contains("SIGINT: no new jobs"), "{said}");
    assert_eq!(std::fs::read_to_string(began).expect("it is there"), "x\n");
}

#[test]
fn ctrl_z_stops_ratchet_with_the_job_that_has_the_terminal_and_fg_gives_it_back() {
    let folder = Folder::new();
    let shell = in_shell(&folder, "read answer; echo answer $answer; fg")
        .args(["map", "--tty", "--", "sh", "-c"])
        .args([
            "echo x >began; read line; echo \"got $line\"",
            "x",
            ":::",
            "a",
        ])
        .start();
    stop_once_a_job_runs(&shell, &folder);
    shell.wait_for_screen("stopped with 14");
    // The shell reads this, and not the job.
    shell.type_on_terminal("yes\n");
    shell.wait_for_screen("answer yes");
    shell.type_on_terminal("after\n");
    let said = shell.wait().with_code(0).screen();
    assert!(said.contains("got after"), "{said}");
}

#[test]
fn tty_is_refused_if_there_is_no_terminal_or_jobs_run_in_parallel() {
    let refused = |args: &[&str], what: &str| {
        let folder = Folder::new().file(
            "jobs.yaml",
            "jobs: [{ task: a }]\nworkers: { a: { command: cat, protocol: lines } }\n",
        );
        let ended = on_controlling_terminal(&folder)
            .args(args)
            .run()
            .with_code(2);
        let said = ended.screen();
        assert!(said.contains(what), "{args:?}: {said}");
    };
    refused(
        &["map", "--tty", "-j2", "--", "true", ":::", "a"],
        "one job at a time",
    );
    refused(
        &["map", "--tty", "--cache", "--", "true", ":::", "a"],
        "are not cached",
    );
    refused(
        &["map", "--tty", "--warm", "--", "cat", ":::", "a"],
        "cannot be used with",
    );
    refused(
        &["map", "--tty", "-a", "-", "--", "true"],
        "nothing else is read from it",
    );
    refused(&["run", "--tty", "-"], "nothing else is read from it");
    refused(
        &["run", "--tty", "-w", "cat", "jobs.yaml"],
        "cannot be used with",
    );
    refused(
        &["run", "--tty", "jobs.yaml"],
        "gives the terminal to commands",
    );
    let ended = Ratchet::new()
        .by_shell("exec setsid --wait \"$@\"")
        .args(["map", "--tty", "--", "true", ":::", "a"])
        .run()
        .with_code(2);
    let said = ended.stderr();
    assert!(said.contains("--tty needs a terminal"), "{said}");
}
