//! The key `t`, typed on a terminal.

use std::fs;

use ratchet_tests::{Folder, Ratchet, Running, Shown};

use super::job_control::{in_shell, stop_once_a_job_runs};

const WAITS: &str = "touch began; until test -e go; do sleep 0.05; done";

/// Returns a shell on a terminal, which notes the settings of the terminal before and after `ratchet`.
fn noted(folder: &Folder, script: &str) -> Ratchet {
    let shell = format!(
        "exec setsid --ctty --wait sh -c 'stty -g >before; {script}; stty -g >after' sh \"$@\""
    );
    Ratchet::within(folder)
        .by_shell(&shell)
        .on_terminal(100, 40, Shown::Everything)
}

fn settings(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.at(name)).expect("it was noted")
}

fn wait_for_job(running: &Running, folder: &Folder) {
    running.until("its job runs", || folder.at("began").exists());
}

fn go(folder: &Folder) {
    fs::write(folder.at("go"), "").expect("it is written");
}

/// Types the key, and waits for the answer. The terminal keeps a key that comes before anybody reads it.
fn ask(running: &Running, answer: &str) {
    running.type_on_terminal("t");
    running.wait_for_screen(answer);
}

#[test]
fn t_prints_what_runs_and_the_terminal_is_as_it_was_afterwards() {
    let folder = Folder::new();
    let running = noted(&folder, "\"$@\"")
        .args(["map", "--", "sh", "-c", WAITS, ":::", "a"])
        .start();
    wait_for_job(&running, &folder);
    ask(&running, "1 running, 0 waiting, 0 ended");
    go(&folder);
    let screen = running.wait().with_code(0).screen();
    assert!(screen.contains("  running  1 (a)  "), "{screen}");
    assert_eq!(settings(&folder, "before"), settings(&folder, "after"));
}

#[test]
fn the_terminal_is_as_it_was_while_ctrl_z_stops_the_run_and_the_key_works_after_fg() {
    let folder = Folder::new();
    let script = "stty -g >stopped; fg; stty -g >after";
    let waits = "touch began $1.began; until test -e $1.go; do sleep 0.05; done";
    let running = in_shell(&folder, script)
        .args([
            "map", "-j1", "--", "sh", "-c", waits, "sh", "{}", ":::", "a", "b",
        ])
        .start();
    wait_for_job(&running, &folder);
    ask(&running, "1 running, 1 waiting, 0 ended");
    stop_once_a_job_runs(&running, &folder);
    running.until("the shell has gone on", || folder.at("stopped").exists());
    fs::write(folder.at("a.go"), "").expect("it is written");
    running.until("the second job runs", || folder.at("b.began").exists());
    ask(&running, "1 running, 0 waiting, 1 ended");
    fs::write(folder.at("b.go"), "").expect("it is written");
    let _ = running.wait().with_code(0);
    assert_eq!(settings(&folder, "stopped"), settings(&folder, "after"));
}

#[test]
fn a_run_in_the_background_reads_no_keys() {
    let folder = Folder::new();
    let script = "set -m; \"$@\" & read line; echo \"the shell got $line\"; touch go; wait";
    let running = noted(&folder, script)
        .args(["map", "--", "sh", "-c", WAITS, ":::", "a"])
        .start();
    wait_for_job(&running, &folder);
    running.type_on_terminal("t\n");
    let screen = running.wait().with_code(0).screen();
    assert!(screen.contains("the shell got t"), "{screen}");
    // Progress says `1 running`, too, but not how many wait.
    assert!(!screen.contains("1 running, "), "{screen}");
    assert_eq!(settings(&folder, "before"), settings(&folder, "after"));
}

#[test]
fn a_job_that_has_the_terminal_gets_its_keys() {
    let folder = Folder::new();
    let running = noted(&folder, "\"$@\"")
        .args(["map", "--tty", "--", "sh", "-c"])
        .args(["touch began; read line; echo got $line", ":::", "a"])
        .start();
    wait_for_job(&running, &folder);
    running.type_on_terminal("tt\n");
    let screen = running.wait().with_code(0).screen();
    assert!(screen.contains("got tt"), "{screen}");
}
