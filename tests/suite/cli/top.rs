//! The view of a run in progress, on a real terminal.

use std::fs;
use std::process::Command;

use ratchet_tests::{Folder, Ratchet, Running, Shown};
use serde_json::Value;

use super::job_control::{CTRL_Z, in_shell};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Makes a folder with a file of three jobs. Each prints its name, makes a file when it has begun, and ends when the
/// test says so.
fn folder() -> Folder {
    let job = |id: &str| {
        let script = format!(
            "printf 'hello %s\\\\n' {id}; touch {id}.begun; until test -e {id}.go; do sleep 0.05; done"
        );
        format!("  - {{ id: {id}, run: [sh, -c, \"{script}\"] }}\n")
    };
    let jobs = ["alpha", "beta", "gamma"].map(job).concat();
    Folder::new().file("jobs.yaml", format!("version: 1\njobs:\n{jobs}"))
}

fn go(folder: &Folder, id: &str) {
    fs::write(folder.at(&format!("{id}.go")), "").expect("it is written");
}

/// Starts the run, and waits until both of its slots are filled.
fn start_run(folder: &Folder) -> Running {
    let running = Ratchet::within(folder)
        .args(["run", "-j2", "jobs.yaml"])
        .start();
    running.until("two jobs run", || {
        folder.at("alpha.begun").exists() && folder.at("beta.begun").exists()
    });
    running
}

/// Returns a shell on a terminal of its own, which notes the settings of the terminal before and after the view.
fn view(folder: &Folder) -> Ratchet {
    let view = "sh -c \"echo \\$\\$ >pid; exec \\\"\\$@\\\"\" sh \"$@\"";
    let script = format!("stty -g >before; {view}; code=$?; stty -g >after; exit $code");
    Ratchet::within(folder)
        .by_shell(&format!(
            "exec setsid --ctty --wait sh -c '{script}' sh \"$@\""
        ))
        .on_terminal(COLUMNS, ROWS, Shown::Everything)
        .args(["top"])
}

/// Sends a signal to the view.
fn send(folder: &Folder, signal: &str) {
    let id = fs::read_to_string(folder.at("pid")).expect("it was noted");
    let kill = Command::new("kill")
        .args(["-s", signal, id.trim()])
        .status();
    assert!(kill.expect("there is a kill").success());
}

fn is_restored(folder: &Folder) {
    let settings = |name: &str| fs::read_to_string(folder.at(name)).expect("it was noted");
    assert_eq!(settings("before"), settings("after"));
}

/// Returns what a terminal of this size shows now.
fn screen(view: &Running, columns: u16, rows: u16) -> vt100::Parser {
    let mut terminal = vt100::Parser::new(rows, columns, 0);
    terminal.process(&view.printed());
    terminal
}

fn shown(view: &Running) -> String {
    screen(view, COLUMNS, ROWS).screen().contents()
}

/// Waits until this text is on the screen.
#[track_caller]
fn wait_for(view: &Running, text: &str) -> String {
    view.until(&format!("`{text}` is shown"), || shown(view).contains(text));
    shown(view)
}

/// Types a key, and waits until this text is on the screen.
#[track_caller]
fn press(view: &Running, keys: &str, text: &str) -> String {
    view.type_on_terminal(keys);
    wait_for(view, text)
}

/// Returns the figures of the run, as it tells others.
fn figures(folder: &Folder) -> Value {
    let shown = Ratchet::within(folder)
        .args(["runs", "show", "--format", "json"])
        .run();
    let shown: Value = serde_json::from_str(&shown.stdout()).expect("it is JSON");
    shown["live"].clone()
}

#[test]
fn the_view_shows_jobs_and_what_they_print_and_ends_with_the_run() {
    let folder = folder();
    let running = start_run(&folder);
    let view = view(&folder).start();
    let text = wait_for(&view, "hello alpha");
    for part in [
        "0 of 3 ended",
        "2 of 2 slots",
        "1 waiting",
        "running: 2",
        "> alpha",
        "  beta",
        "slot",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = press(&view, "\x1b[B", "hello beta");
    assert!(
        text.contains("> beta") && text.contains("output of beta"),
        "{text}"
    );
    go(&folder, "alpha");
    let text = wait_for(&view, "1 of 3 ended");
    assert!(text.contains("33 %"), "{text}");
    go(&folder, "beta");
    wait_for(&view, "hello gamma");
    go(&folder, "gamma");
    let _ = running.wait().with_code(0);
    let ended = view.wait().with_code(0);
    let mut terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
    terminal.process(&ended.screen);
    let terminal = terminal.screen();
    assert!(!terminal.alternate_screen() && !terminal.hide_cursor());
    assert!(
        terminal
            .contents()
            .contains("has ended; `ratchet runs show"),
        "{}",
        terminal.contents()
    );
    is_restored(&folder);
}

#[test]
fn keys_pause_continue_and_change_slots() {
    let folder = folder();
    let running = start_run(&folder);
    let view = view(&folder).start();
    wait_for(&view, "running: 2");
    press(&view, "p", "PAUSED");
    assert_eq!(figures(&folder)["paused"], true);
    // The same key does the opposite at once, although the run may show late that it was paused.
    view.type_on_terminal("p");
    view.until("it goes on", || {
        !shown(&view).contains("PAUSED") && figures(&folder)["paused"] == false
    });
    press(&view, "p", "PAUSED");
    press(&view, " ", "the run goes on");
    press(&view, "+", "2 of 3 slots");
    view.until("the third job runs", || folder.at("gamma.begun").exists());
    press(&view, "-", "2 jobs run at once");
    press(&view, "s", "jobs at once: _");
    press(&view, "16", "jobs at once: 16_");
    press(&view, "\r", "of 16 slots");
    assert_eq!(figures(&folder)["slots"], 16);
    press(&view, "s0\r", "at least one slot");
    press(&view, "?", "any key closes this");
    view.type_on_terminal("xq");
    let _ = view.wait().with_code(0);
    is_restored(&folder);
    for id in ["alpha", "beta", "gamma"] {
        go(&folder, id);
    }
    let _ = running.wait().with_code(0);
}

#[test]
fn a_job_is_cancelled_after_a_question_and_stands_among_the_failed() {
    let folder = folder();
    let running = start_run(&folder);
    let view = view(&folder).start();
    wait_for(&view, "> alpha");
    press(&view, "c", "cancel alpha? y: yes");
    press(&view, "n", "nothing was cancelled");
    press(&view, "cy", "1 of 3 ended");
    wait_for(&view, "alpha cancelled");
    press(&view, "\t", "alpha: cancelled");
    view.type_on_terminal("q");
    let _ = view.wait().with_code(0);
    go(&folder, "beta");
    go(&folder, "gamma");
    let ended = running.wait().with_code(100);
    assert!(ended.stdout().contains("\"cancelled\""));
}

#[test]
fn the_view_is_drawn_anew_when_the_terminal_has_another_size() {
    let folder = folder();
    let running = start_run(&folder);
    let view = view(&folder).start();
    wait_for(&view, "> alpha");
    for (columns, rows) in [(120, 40), (60, 16), (100, 30)] {
        view.resize(columns, rows);
        view.until("it fills the terminal", || {
            let terminal = screen(&view, columns, rows);
            let lines: Vec<String> = terminal.screen().rows(0, columns).collect();
            let ends_at_the_edge =
                lines[0].ends_with('s') && lines[0].len() == usize::from(columns);
            ends_at_the_edge && lines[usize::from(rows) - 1].contains("choose")
        });
    }
    view.resize(40, 10);
    view.until("it says that it is too small", || {
        let terminal = screen(&view, 40, 10);
        terminal.screen().contents().contains("needs 50 x 12")
    });
    view.type_on_terminal("q");
    let _ = view.wait().with_code(0);
    for id in ["alpha", "beta", "gamma"] {
        go(&folder, id);
    }
    let _ = running.wait().with_code(0);
}

#[test]
fn the_terminal_is_restored_when_a_signal_ends_the_view() {
    let folder = folder();
    let running = start_run(&folder);
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 143)] {
        let view = view(&folder).start();
        wait_for(&view, "> alpha");
        send(&folder, signal);
        let ended = view.wait().with_code(code);
        let mut terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
        terminal.process(&ended.screen);
        assert!(!terminal.screen().alternate_screen(), "{signal}");
        is_restored(&folder);
    }
    drop(running);
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_shows_the_view_again() {
    let folder = folder();
    let running = start_run(&folder);
    let view = in_shell(
        &folder,
        "stty -g >stopped; until test -e on; do sleep 0.05; done; fg; stty -g >after",
    )
    .args(["top"])
    .on_terminal(COLUMNS, ROWS, Shown::Everything)
    .start();
    wait_for(&view, "> alpha");
    view.type_on_terminal(CTRL_Z);
    wait_for(&view, "stopped with 14");
    view.until("the shell has gone on", || folder.at("stopped").exists());
    let stopped = screen(&view, COLUMNS, ROWS);
    assert!(!stopped.screen().alternate_screen() && !stopped.screen().hide_cursor());
    fs::write(folder.at("on"), "").expect("it is written");
    wait_for(&view, "> alpha");
    press(&view, "p", "PAUSED");
    view.type_on_terminal("pq");
    let _ = view.wait().with_code(0);
    let settings = |name: &str| fs::read_to_string(folder.at(name)).expect("it was noted");
    assert_eq!(settings("stopped"), settings("after"));
    drop(running);
}

#[test]
fn a_view_that_is_stopped_or_killed_holds_no_run_up() {
    let folder = folder();
    let running = start_run(&folder);
    let stopped = view(&folder).start();
    wait_for(&stopped, "> alpha");
    send(&folder, "STOP");
    let id = fs::read_to_string(folder.at("pid")).expect("it was noted");
    let killed = view(&folder).start();
    wait_for(&killed, "> alpha");
    send(&folder, "KILL");
    for id in ["alpha", "beta", "gamma"] {
        go(&folder, id);
    }
    let ended = running.wait().with_code(0);
    assert_eq!(ended.stdout().lines().count(), 3);
    // A stopped process outlives its shell.
    fs::write(folder.at("pid"), id).expect("it is written");
    send(&folder, "KILL");
    drop((stopped, killed));
}

#[test]
fn one_of_several_runs_is_chosen_from_a_list() {
    let folder = folder();
    let running = start_run(&folder);
    let other = Ratchet::within(&folder)
        .args([
            "map",
            "--",
            "sh",
            "-c",
            "touch {}.begun; until test -e {}.go; do sleep 0.05; done",
        ])
        .args([":::", "delta"])
        .start();
    other.until("its job runs", || folder.at("delta.begun").exists());
    let view = view(&folder).start();
    let text = wait_for(&view, "Which run?");
    assert!(
        text.contains("run -j2 jobs.yaml") && text.contains("map -- sh"),
        "{text}"
    );
    // The last one stands first.
    press(&view, "\x1b[B\r", "> alpha");
    view.type_on_terminal("q");
    let _ = view.wait().with_code(0);
    go(&folder, "delta");
    let _ = other.wait().with_code(0);
    drop(running);
}

#[test]
fn without_colours_the_view_has_none() {
    let folder = folder();
    let running = start_run(&folder);
    let has_colours = |view: Ratchet| {
        let view = view.start();
        wait_for(&view, "> alpha");
        view.type_on_terminal("q");
        let screen = view.wait().with_code(0).screen();
        // Of the default, of sixteen colours, of many.
        let mut codes = screen
            .split("\x1b[")
            .skip(1)
            .filter_map(|code| code.split_once('m'));
        codes.any(|(code, _)| {
            code.split(';')
                .any(|code| matches!(code.parse(), Ok(30..=38 | 40..=48 | 90..=107)))
        })
    };
    assert!(has_colours(view(&folder)));
    assert!(!has_colours(view(&folder).env("NO_COLOR", "1")));
    drop(running);
}

#[test]
fn where_nothing_can_be_shown_the_view_says_what_to_do() {
    let folder = folder();
    let refused = Ratchet::within(&folder).args(["top"]).run().with_code(2);
    assert!(
        refused.stderr().contains("stdout is no terminal"),
        "{}",
        refused.stderr()
    );
    assert!(
        refused.stderr().contains("`ratchet runs show`"),
        "{}",
        refused.stderr()
    );
    let refused = view(&folder).run().with_code(2).screen();
    assert!(refused.contains("no run is in progress"), "{refused}");
    let running = start_run(&folder);
    let dumb = view(&folder)
        .env("TERM", "dumb")
        .run()
        .with_code(2)
        .screen();
    assert!(dumb.contains("cannot move its cursor"), "{dumb}");
    let unknown = view(&folder).args(["zzz"]).run().with_code(2).screen();
    assert!(unknown.contains("zzz"), "{unknown}");
    assert!(!unknown.contains("\x1b[?1049h"), "{unknown}");
    drop(running);
}
