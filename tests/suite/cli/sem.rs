//! `ratchet sem`: one semaphore between calls.

use std::path::Path;
use std::process::Stdio;

use ratchet_tests::{Folder, Ratchet, Running, Signal, eventually};

/// Returns a command that has begun when the file `NAME` is there, and goes on until the file `go-NAME` is.
fn holds(name: &str) -> [String; 3] {
    let script = format!("touch {name}; until test -e go-{name}; do sleep 0.02; done; rm {name}");
    ["sh".to_owned(), "-c".to_owned(), script]
}

fn sem(folder: &Folder, flags: &[&str]) -> Ratchet {
    let call = Ratchet::within(folder).args(["sem", "--name", "test"]);
    call.args(flags.iter().copied())
}

/// Returns a call whose output nobody waits for, since its command has it, too.
fn unheard(call: Ratchet) -> Running {
    call.stdout_to(Stdio::null())
        .stderr_to(Stdio::null())
        .start()
}

fn start(folder: &Folder, flags: &[&str], name: &str) -> Running {
    unheard(sem(folder, flags).args(["--"]).args(holds(name)))
}

fn begins(folder: &Folder, name: &str) {
    let path = folder.at(name);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("there is a clock");
    clock.block_on(eventually(&format!("{name} begins"), || path.exists()));
}

fn go(folder: &Folder, name: &str) {
    std::fs::write(folder.at(&format!("go-{name}")), "").expect("it is written");
}

/// Whether a call with no patience gets a place.
fn has_room(folder: &Folder, flags: &[&str]) -> bool {
    let call = sem(folder, flags).args(["--timeout", "0s", "--fg", "--", "true"]);
    let code = call.run().code;
    assert!(matches!(code, Some(0 | 102)), "{code:?}");
    code == Some(0)
}

#[test]
fn a_call_starts_its_command_when_there_is_a_place_and_ends_while_the_command_runs() {
    let folder = Folder::new();
    let _ = start(&folder, &["-j2"], "a").wait().with_code(0);
    let _ = start(&folder, &["-j2"], "b").wait().with_code(0);
    begins(&folder, "a");
    begins(&folder, "b");
    assert!(!has_room(&folder, &["-j2"]));
    // A call with more places finds another one.
    assert!(has_room(&folder, &["-j3"]));
    let third = start(&folder, &["-j2"], "c");
    go(&folder, "a");
    begins(&folder, "c");
    let _ = third.wait().with_code(0);
    assert!(Path::new(&folder.at("b")).exists());
    for name in ["b", "c"] {
        go(&folder, name);
    }
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
    assert!(!folder.at("b").exists() && !folder.at("c").exists());
}

#[test]
fn another_name_is_another_semaphore_and_wait_has_patience_as_long_as_it_is_told() {
    let folder = Folder::new();
    let _ = start(&folder, &[], "a").wait().with_code(0);
    begins(&folder, "a");
    let call =
        Ratchet::within(&folder).args(["sem", "--id", "other", "--fg", "--", "echo", "free"]);
    assert_eq!(call.run().with_code(0).stdout(), "free\n");
    let _ = sem(&folder, &["--wait", "--timeout", "1ms"])
        .run()
        .with_code(102);
    go(&folder, "a");
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
}

#[test]
fn a_place_is_free_when_the_command_is_killed_whoever_else_is() {
    let folder = Folder::new();
    // In the foreground, the call becomes the command.
    let held = start(&folder, &["--fg"], "a");
    begins(&folder, "a");
    let waits = start(&folder, &[], "b");
    // One that is killed while it waits takes nothing with it.
    let killed = start(&folder, &[], "x");
    killed.signal(Signal::Kill);
    drop(killed.wait());
    assert!(!folder.at("b").exists());
    held.signal(Signal::Kill);
    drop(held.wait());
    begins(&folder, "b");
    let _ = waits.wait().with_code(0);
    assert!(!folder.at("x").exists());
    go(&folder, "b");
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
    assert!(has_room(&folder, &[]));
}

#[test]
fn a_child_that_outlives_its_command_keeps_the_place() {
    let folder = Folder::new();
    let [shell, flag, script] = holds("child");
    let script = format!("({script}) & exit 0");
    let call = sem(&folder, &["--fg"]).args(["--", &shell, &flag, &script]);
    // Its output is not waited for.
    let call = call.stdout_to(Stdio::null()).stderr_to(Stdio::null());
    let _ = call.run().with_code(0);
    begins(&folder, "child");
    assert!(!has_room(&folder, &[]));
    go(&folder, "child");
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
}

#[test]
fn hints_bind_calls_beside_the_number_of_places() {
    let folder = Folder::new();
    let exclusive = ["-j9", "--hint", "host_exclusive"];
    let _ = start(&folder, &exclusive, "a").wait().with_code(0);
    begins(&folder, "a");
    assert!(!has_room(&folder, &exclusive));
    assert!(has_room(&folder, &["-j9"]));
    assert!(!has_room(&folder, &["-j9", "--hint", "alone"]));
    go(&folder, "a");
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
    let _ = start(&folder, &["-j9", "--hint", "alone"], "b")
        .wait()
        .with_code(0);
    begins(&folder, "b");
    assert!(!has_room(&folder, &["-j9"]));
    go(&folder, "b");
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
    // Two together, and the next one in an hour.
    let rate = [
        "-j9",
        "--hint",
        "{rate_limited: {requests_per_second: 0.0003, burst: 2}}",
    ];
    assert!(has_room(&folder, &rate) && has_room(&folder, &rate) && !has_room(&folder, &rate));
}

#[test]
fn no_more_commands_run_at_once_than_there_are_places_and_each_knows_its_own() {
    let folder = Folder::new();
    // A second command in the same place would not be able to make the folder.
    let script =
        "mkdir in-$RATCHET_SLOT || touch broken; sleep 0.02; rmdir in-$RATCHET_SLOT; echo >> ran";
    let calls = (0..16).map(|_| unheard(sem(&folder, &["-j3", "--", "sh", "-c", script])));
    let calls: Vec<Running> = calls.collect();
    for call in calls {
        let _ = call.wait().with_code(0);
    }
    let _ = sem(&folder, &["--wait"]).run().with_code(0);
    assert!(!folder.at("broken").exists());
    assert!(!folder.at("in-4").exists());
    let ran = std::fs::read_to_string(folder.at("ran")).unwrap();
    assert_eq!(ran.lines().count(), 16);
}

#[test]
fn a_command_in_the_foreground_has_stdin_and_its_exit_code_and_mistakes_are_refused_before_the_wait()
 {
    let folder = Folder::new();
    let call = sem(&folder, &["--fg", "--", "sh", "-c", "cat; exit 7"]).stdin("words");
    assert_eq!(call.run().with_code(7).stdout(), "words");
    let said = sem(&folder, &["--", "no-such-program-here"])
        .run()
        .with_code(2)
        .stderr();
    assert!(
        said.contains("there is no program `no-such-program-here`"),
        "{said}"
    );
    let said = Ratchet::within(&folder).args(["sem", "--name", "../x", "--", "true"]);
    assert!(
        said.run()
            .with_code(2)
            .stderr()
            .contains("cannot be the name of a semaphore")
    );
    let _ = Ratchet::within(&folder).args(["sem"]).run().with_code(2);
    let _ = sem(&folder, &["--wait", "--", "true"]).run().with_code(2);
}
