//! What people type who come from elsewhere.

use ratchet_tests::{Folder, Ratchet};

fn said(words: &[&str]) -> String {
    let folder = Folder::new().file("jobs.yaml", "jobs: [{ run: ls }]\n");
    let ended = Ratchet::within(&folder).args(words).run().with_code(2);
    assert!(ended.stdout.is_empty());
    ended.stderr()
}

#[test]
fn a_shell_line_as_one_word_suggests_the_shell_flag() {
    for words in [
        &["map", "echo {} | wc -c", ":::", "a"][..],
        &["map", "--dry-run", "--", "echo {} | wc -c", ":::", "a"],
    ] {
        assert_eq!(
            said(words),
            "ratchet: the command is one word, 'echo {} | wc -c', and there is no program of that name\n  \
             help: `|` is shell syntax: add --shell, as in: ratchet map --shell -- 'echo {} | wc -c'\n"
        );
    }
    let asked = [
        "map",
        "-q",
        "--shell",
        "--",
        "printf %s {} | wc -c",
        ":::",
        "abc",
    ];
    let ended = Ratchet::new().args(asked).run().with_code(0).quiet();
    assert_eq!(ended.stdout().trim(), "3");
    let escaped = ["map", "--", "echo", "{}", "|", "wc", ":::", "a"];
    let ended = Ratchet::new().args(escaped).run().with_code(0);
    assert_eq!(ended.stdout(), "a | wc\n");
    let warning =
        "ratchet: warning: `|` is passed to the command as an argument, because no shell runs it;";
    assert!(ended.stderr().starts_with(warning), "{}", ended.stderr());
}

#[test]
fn flags_of_xargs_and_parallel_are_answered_with_those_of_ratchet() {
    for (flag, tip) in [
        ("-P", "the number of jobs at once is `-j N`"),
        ("-P4", "the number of jobs at once is `-j N`"),
        ("--rpl", "the placeholders are fixed"),
        ("--keep-going", "`--max-fail 1` stops at the first failure"),
        (
            "--resume-failed",
            "`ratchet resume` goes on with the last one",
        ),
    ] {
        let said = said(&["map", flag, "--", "echo", ":::", "a"]);
        assert!(said.contains("\n  tip: ") && said.contains(tip), "{said}");
        assert!(!said.contains("a similar argument exists"), "{said}");
    }
}

#[test]
fn a_job_file_in_the_place_of_a_verb_suggests_run() {
    for file in ["jobs.yaml", "no/such.json"] {
        let said = said(&[file]);
        assert!(
            said.contains(&format!("tip: `ratchet run {file}` runs a job file")),
            "{said}"
        );
    }
    assert!(!said(&["rnu"]).contains("job file"));
}

#[test]
fn an_unknown_hint_is_answered_with_the_known_ones() {
    let said = said(&["run", "--hint", "serial", "jobs.yaml"]);
    for name in [
        "serial",
        "fully_parallel",
        "host_exclusive",
        "global_exclusive",
        "alone",
        "rate_limited",
    ] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn values_of_map_that_can_only_be_mistakes_are_refused() {
    for (words, says) in [
        (
            &["--timeout", "0s", "--", "echo"][..],
            "no attempt can end in 0s",
        ),
        (&["--colsep", "", "--", "echo", "{1}"], "--colsep is empty"),
        (&["--", "echo", "{99999999999999999999}"], "there is no {"),
        (
            &["--", "echo", "{99999999999999999999/a/b/}"],
            "there is no {",
        ),
    ] {
        let call = Ratchet::new().args(["map", "--no-record"]).args(words);
        let ended = call.stdin("1\n2\n").run().with_code(2);
        assert!(
            ended.stderr().contains(says),
            "{words:?}: {}",
            ended.stderr()
        );
    }
}

#[test]
fn keys_of_other_programs_in_a_job_file_are_answered_with_those_of_ratchet() {
    let told = |text: String| {
        let folder = Folder::new().file("jobs.yaml", text);
        let ended = Ratchet::within(&folder).args(["check", "jobs.yaml"]).run();
        ended.with_code(2).stderr()
    };
    for (key, ours) in [
        ("name", "id"),
        ("title", "id"),
        ("cmd", "run"),
        ("command", "run"),
        ("exec", "run"),
        ("program", "run"),
        ("depends_on", "needs"),
        ("deps", "needs"),
        ("requires", "needs"),
        ("after", "needs"),
        ("chdir", "cwd"),
        ("workdir", "cwd"),
        ("environment", "env"),
        ("max_retries", "retry"),
    ] {
        let said = told(format!("jobs:\n  - {{run: [ls], {key}: x}}\n"));
        assert!(said.contains(&format!("did you mean `{ours}`?")), "{said}");
    }
    for key in ["steps", "tasks", "stages", "commands"] {
        let said = told(format!("{key}:\n  - {{run: [ls]}}\n"));
        assert!(said.contains("did you mean `jobs`?"), "{said}");
    }
    for key in ["shell", "script"] {
        let said = told(format!("jobs:\n  - {{{key}: a | b}}\n"));
        let error = format!("unknown key `{key}` in a job");
        assert!(
            said.contains(&error) && said.contains("run: [sh, -c, 'a | b']"),
            "{said}"
        );
    }
}
