//! What is printed about ratchet itself.

use ratchet_tests::{Folder, Ratchet};
use serde_json::Value;

const VERBS: [&str; 11] = [
    "run",
    "map",
    "resume",
    "runs",
    "cache",
    "worker",
    "check",
    "config",
    "schema",
    "completions",
    "man",
];

#[test]
fn every_command_and_subcommand_has_help_with_an_example() {
    for verb in VERBS {
        let long = Ratchet::new().args([verb, "--help"]).run();
        let said = long.with_code(0).quiet().stdout();
        assert!(said.contains("Example"), "{verb}: {said}");
        let _ = Ratchet::new().args([verb, "-h"]).run().with_code(0).quiet();
    }
    for words in [
        ["runs", "list"],
        ["runs", "show"],
        ["runs", "rm"],
        ["cache", "stats"],
        ["cache", "explain"],
        ["cache", "clear"],
        ["config", "show"],
    ] {
        let help = Ratchet::new().args(words).args(["--help"]).run();
        assert!(help.with_code(0).stdout().contains("Usage: ratchet"));
    }
}

#[test]
fn help_lists_the_exit_codes_and_every_command() {
    let said = Ratchet::new().args(["--help"]).run().with_code(0).stdout();
    for verb in VERBS {
        assert!(said.contains(&format!("\n  {verb} ")), "{verb}: {said}");
    }
    for code in [0, 1, 2, 4, 100, 102, 130, 141, 143] {
        assert!(said.contains(&format!("\n  {code} ")), "{code}: {said}");
    }
}

#[test]
fn examples_in_help_texts_run_as_they_stand() {
    let mut run = 0;
    for words in [&["--help"][..], &["run", "--help"], &["worker", "--help"]] {
        let help = Ratchet::new().args(words).run().with_code(0).stdout();
        let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
        for example in lines.filter(|line| line.starts_with("echo ") || line.starts_with("seq ")) {
            let script = format!("PATH=$(dirname \"$1\"):$PATH\n{example}");
            let ended = Ratchet::new().by_shell(&script).run().with_code(0);
            assert!(!ended.stdout.is_empty(), "{example}");
            run += 1;
        }
    }
    assert_eq!(run, 3);
}

#[test]
fn the_version_is_that_of_the_package() {
    let said = Ratchet::new().args(["--version"]).run().with_code(0);
    assert_eq!(
        said.quiet().stdout(),
        concat!("ratchet ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_misspelt_command_or_flag_gets_a_suggestion() {
    for (words, meant) in [
        (&["chekc", "jobs.yaml"][..], "'check'"),
        (&["check", "--wroker", "cat", "jobs.yaml"], "'--worker'"),
        (&["schema", "resluts"], "'results'"),
        (&["runs", "shwo", "1k"], "'show'"),
        (&["completions", "bsh"], "'bash'"),
        (&["worker", "--task", "slep"], "'sleep'"),
    ] {
        let ended = Ratchet::new().args(words).run().with_code(2);
        assert!(ended.stdout.is_empty(), "{words:?}");
        assert!(ended.stderr().contains(meant), "{}", ended.stderr());
    }
}

#[test]
fn a_command_is_required() {
    for words in [&[][..], &["config"]] {
        let ended = Ratchet::new().args(words).run().with_code(2);
        assert!(ended.stdout.is_empty());
        assert!(ended.stderr().contains("Usage: ratchet"));
    }
}

#[test]
fn every_schema_is_a_complete_document() {
    let mut titles = Vec::new();
    for of in ["jobs", "job-lines", "config", "results", "events"] {
        let ended = Ratchet::new().args(["schema", of]).run().with_code(0);
        let schema: Value = serde_json::from_slice(&ended.quiet().stdout).expect("it is JSON");
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(schema["$schema"], dialect, "{of}");
        assert!(!titles.contains(&schema), "{of} is that of another");
        titles.push(schema);
    }
    let plain = Ratchet::new().args(["schema"]).run().with_code(0);
    let jobs: Value = serde_json::from_slice(&plain.stdout).expect("it is JSON");
    assert_eq!(jobs, titles[0]);
}

#[test]
fn completions_are_accepted_by_their_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = Ratchet::new().args(["completions", shell]).run();
        let said = ended.with_code(0).quiet().stdout();
        for verb in VERBS {
            assert!(said.contains(verb), "{shell}: {verb}");
        }
    }
    // The one that is there wherever these tests run.
    let folder = Folder::new();
    let script = Ratchet::new().args(["completions", "bash"]).run().stdout;
    let folder = folder.file("completions", script);
    let complete = "source completions; COMP_WORDS=(ratchet ch); COMP_CWORD=1; \
                    _ratchet ratchet ch ratchet; echo \"${COMPREPLY[@]}\"";
    let Ok(bash) = std::process::Command::new("bash")
        .args(["--norc", "-c", complete])
        .current_dir(folder.path())
        .output()
    else {
        return;
    };
    assert_eq!(String::from_utf8_lossy(&bash.stdout), "check\n", "{bash:?}");
}

#[test]
fn man_pages_are_printed_or_written_to_a_folder() {
    let page = Ratchet::new().args(["man"]).run().with_code(0).quiet();
    assert!(page.stdout().contains(".SH SYNOPSIS"));

    for (words, title) in [
        (&["man", "run"][..], ".TH ratchet-run 1"),
        (&["man", "runs", "show"], ".TH ratchet-runs-show 1"),
    ] {
        let page = Ratchet::new().args(words).run().with_code(0).quiet();
        assert!(page.stdout().contains(title), "{words:?}");
        let left = std::fs::read_dir(page.folder.path()).expect("it is there");
        assert_eq!(left.count(), 0, "nothing is written");
    }
    for (word, hint) in [
        ("rnu", "did you mean `ratchet man run`?"),
        ("pages-of-mine", "`ratchet man ./pages-of-mine`"),
    ] {
        let refused = Ratchet::new().args(["man", word]).run().with_code(2);
        assert!(refused.stderr().contains(hint), "{}", refused.stderr());
    }

    let ended = Ratchet::new().args(["man", "share/man1"]).run();
    let ended = ended.with_code(0).quiet();
    assert!(ended.stdout.is_empty());
    for verb in VERBS {
        let page = ended.folder.at(&format!("share/man1/ratchet-{verb}.1"));
        let page = std::fs::read_to_string(page).expect("each verb has a page");
        assert!(page.starts_with(".ie"), "{verb}: {page}");
    }
    assert!(ended.folder.at("share/man1/ratchet-runs-show.1").is_file());

    let folder = Folder::new().file("share", "");
    let ended = Ratchet::within(&folder).args(["man", "share/man1"]).run();
    let said = ended.with_code(2).stderr();
    assert!(
        said.contains("`share/man1/ratchet.1` cannot be written"),
        "{said}"
    );
}
