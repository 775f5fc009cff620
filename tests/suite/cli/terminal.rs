//! What is different on a terminal.

use ratchet_tests::{Folder, Ratchet, Shown};

const BOLD_RED: &str = "\x1b[1m\x1b[31m";

fn faulty() -> Folder {
    Folder::new().file("jobs.yaml", "jobs: [{ run: ls, timout: 5s }]\n")
}

/// Without its colours.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').expect("a colour has an end").1;
    }
    plain + rest
}

#[test]
fn help_is_coloured_there_and_nowhere_else() {
    let help = || Ratchet::new().args(["--help"]);
    let coloured = help().on_terminal(100, 40, Shown::Everything).run();
    let coloured = coloured.with_code(0).screen();
    assert!(coloured.contains("\x1b["), "{coloured}");
    let piped = help().run().with_code(0).stdout();
    assert!(!piped.contains('\x1b'));
    assert_eq!(plain(&coloured), piped.replace('\n', "\r\n"));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let call = help().on_terminal(100, 40, Shown::Everything);
        let said = call.env(name, value).run().with_code(0).screen();
        assert!(!said.contains('\x1b'), "{name}: {said}");
    }
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    let widest = |columns| {
        let call = Ratchet::new().args(["check", "--help"]);
        let ended = call.on_terminal(columns, 40, Shown::Everything).run();
        let said = plain(&ended.with_code(0).screen());
        // What stands in the examples is not wrapped.
        let (help, _) = said.split_once("Examples:").expect("there are examples");
        help.lines().map(|line| line.chars().count()).max()
    };
    let (narrow, wide) = (widest(50), widest(100));
    assert!(narrow <= Some(50) && wide > narrow && wide <= Some(100));
}

#[test]
fn diagnostics_are_coloured_where_stderr_is_one() {
    let check = || Ratchet::within(&faulty()).args(["check", "jobs.yaml"]);
    for shown in [Shown::Everything, Shown::Stderr] {
        let ended = check().on_terminal(100, 40, shown).run().with_code(2);
        assert!(ended.stdout.is_empty() && ended.stderr.is_empty());
        let screen = ended.screen();
        assert!(
            screen.starts_with(&format!("{BOLD_RED}error")),
            "{screen:?}"
        );
        let piped = check().run().with_code(2).stderr();
        assert_eq!(plain(&screen), piped.replace('\n', "\r\n"));
        assert!(!piped.contains('\x1b'));
    }
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let call = check().on_terminal(100, 40, Shown::Everything);
        let said = call.env(name, value).run().with_code(2).screen();
        assert!(!said.contains('\x1b'), "{name}: {said}");
    }
    let ended = check().on_terminal(100, 40, Shown::Stdout).run();
    assert!(!ended.with_code(2).stderr().contains('\x1b'));
}

#[test]
fn a_terminal_changes_its_size_while_something_runs() {
    let call = Ratchet::new().args(["worker"]).stdin_open();
    let mut worker = call.on_terminal(80, 24, Shown::Stdout).start();
    worker.wait_for_screen("\"event\":\"hello\"");
    worker.resize(40, 10);
    worker.close_stdin();
    let _ = worker.wait().with_code(0).quiet();
}
