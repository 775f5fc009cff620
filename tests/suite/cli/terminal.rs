//! What is different on a terminal.

use ratchet_tests::{Folder, Ratchet, Shown};

const BOLD_RED: &str = "\x1b[1m\x1b[91m";

fn faulty() -> Folder {
    Folder::new().file("jobs.yaml", "jobs: [{ run: ls, timout: 5s }]\n")
}

/// Removes the colours from a text.
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
fn help_is_coloured_on_a_terminal_and_nowhere_else() {
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
        // Lines of examples are not wrapped.
        let (help, _) = said.split_once("Examples:").expect("there are examples");
        help.lines().map(|line| line.chars().count()).max()
    };
    let (narrow, wide) = (widest(50), widest(100));
    assert!(narrow <= Some(50) && wide > narrow && wide <= Some(100));
}

#[test]
fn diagnostics_are_coloured_if_stderr_is_a_terminal() {
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

/// A case of colours: the flags, a variable, a line of a config file, and whether there are colours then.
type Wish = (
    &'static [&'static str],
    Option<(&'static str, &'static str)>,
    &'static str,
    bool,
);

/// The cases in which output is coloured, and those in which it is not.
const WISHES: [Wish; 7] = [
    (&["--color", "always"], None, "", true),
    (&["--color=always"], Some(("NO_COLOR", "1")), "", true),
    (
        &[],
        Some(("RATCHET_COLOR", "always")),
        "color = 'never'",
        true,
    ),
    (&[], None, "color = 'always'", true),
    (
        &["--color", "never"],
        Some(("RATCHET_COLOR", "always")),
        "",
        false,
    ),
    (&["--color", "auto"], None, "color = 'always'", false),
    (&[], None, "", false),
];

#[test]
fn errors_follow_the_color_setting() {
    const SOUND: &str = "jobs: [{ run: ls }]\n";
    const FAULTY: &str = "jobs: [{ run: ls, timout: 5s }]\n";
    for (verb, file, settings) in [
        ("check", FAULTY, ""),
        ("run", FAULTY, ""),
        ("run", SOUND, "retires = 1"),
        ("check", SOUND, "retires = 1"),
        ("run", SOUND, "grace = 'soon'"),
    ] {
        for (words, variable, line, is_coloured) in WISHES {
            let folder = Folder::new()
                .file("jobs.yaml", file)
                .file("ratchet.toml", format!("{line}\n{settings}\n"));
            let mut call = Ratchet::within(&folder)
                .args([verb, "jobs.yaml"])
                .args(words);
            if let Some((name, value)) = variable {
                call = call.env(name, value);
            }
            let said = call.run().with_code(2).stderr();
            assert_eq!(
                said.starts_with(&format!("{BOLD_RED}error")),
                is_coloured,
                "{verb} {settings} {words:?} {variable:?} {line}: {said}"
            );
            assert_eq!(said.contains('\x1b'), is_coloured, "{said}");
        }
    }
}

#[test]
fn warnings_and_bad_lines_follow_the_color_setting() {
    const ODD: &str = "jobs: [{ run: \"echo a | cat\" }]\n";
    const BOLD_YELLOW: &str = "\x1b[1m\x1b[33m";
    for (words, variable, line, is_coloured) in WISHES {
        let folder = Folder::new()
            .file("jobs.yaml", ODD)
            .file("jobs.jsonl", "{\"rn\":1}\n")
            .file("ratchet.toml", line);
        let told = |args: &[&str], code| {
            let mut call = Ratchet::within(&folder).args(args).args(words);
            if let Some((name, value)) = variable {
                call = call.env(name, value);
            }
            call.run().with_code(code).stderr()
        };
        for (args, code, begin) in [
            (&["check", "jobs.yaml"][..], 0, BOLD_YELLOW),
            (&["run", "jobs.yaml"], 0, BOLD_YELLOW),
            (&["check", "jobs.jsonl"], 2, BOLD_RED),
            (&["run", "--strict", "jobs.jsonl"], 2, BOLD_RED),
        ] {
            let said = told(args, code);
            assert_eq!(
                said.contains(begin),
                is_coloured,
                "{args:?} {words:?} {variable:?} {line}: {said}"
            );
        }
    }
}

#[test]
fn a_resumed_run_is_coloured_as_the_first_one() {
    let folder = Folder::new().file("jobs.yaml", "jobs: [{ run: [\"false\"] }]\n");
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let _ = call(&["run", "-q", "jobs.yaml", "--color", "always"]).with_code(100);
    let folder = folder.clone().file("jobs.yaml", "jobs: [{ rn: ls }]\n");
    let said = |words: &[&str]| {
        let call = Ratchet::within(&folder).args(["resume"]).args(words);
        call.run().with_code(2).stderr()
    };
    assert!(said(&[]).starts_with(BOLD_RED));
    assert!(!said(&["--color", "never"]).contains('\x1b'));
}

#[test]
fn usage_errors_follow_the_color_setting() {
    for (words, variable, line, is_coloured) in WISHES {
        let folder = Folder::new().file("ratchet.toml", line);
        for what in [&["--no-such-flag"][..], &["--help"]] {
            let mut call = Ratchet::within(&folder)
                .args(["run"])
                .args(words)
                .args(what);
            if let Some((name, value)) = variable {
                call = call.env(name, value);
            }
            let ended = call.run();
            let said = ended.stdout() + &ended.stderr();
            assert_eq!(
                said.contains('\x1b'),
                is_coloured,
                "{what:?} {words:?} {variable:?} {line}: {said}"
            );
        }
    }
}

#[test]
fn progress_bars_follow_a_change_of_the_terminal_size() {
    let call = Ratchet::new().args(["worker"]).stdin_open();
    let mut worker = call.on_terminal(80, 24, Shown::Stdout).start();
    worker.wait_for_screen("\"event\":\"hello\"");
    worker.resize(40, 10);
    worker.close_stdin();
    let _ = worker.wait().with_code(0).quiet();
}
