//! What the cache may believe: what went into a key, and whose files they are.

use std::os::unix::fs::PermissionsExt;

use ratchet_tests::{Ended, Folder, Ratchet};

/// Returns whether the only job of a run was cached, and what it printed.
fn answer(ended: Ended) -> (bool, String) {
    let said = ended.with_code(0).stdout();
    (said.contains("\"cached\":true"), said)
}

/// Replaces a file by a new one, as editors do. A process that has the old file open keeps it.
fn replace(folder: &Folder, name: &str, content: &str) {
    let new = folder.at("edited");
    std::fs::write(&new, content).expect("it can be written");
    std::fs::rename(new, folder.at(name)).expect("it can be renamed");
}

/// Runs a command over one item with the cache, twice before a change and twice after it. Fails the test unless the cache has the
/// result in each second run only.
fn notices(words: &[&str], change: impl Fn(&Folder, Ratchet, bool) -> Ratchet, prints: [&str; 2]) {
    let folder = Folder::new().file("data.txt", "one").file("rules/a", "one");
    let map = |changed| {
        let flags = ["map", "--cache", "--format", "jsonl", "--"];
        let call = Ratchet::within(&folder).args(flags).args(words);
        answer(change(&folder, call, changed).args([":::", "item"]).run())
    };
    for (changed, cached, expected) in [
        (false, false, prints[0]),
        (false, true, prints[0]),
        (true, false, prints[1]),
        (true, true, prints[1]),
    ] {
        let (was_cached, said) = map(changed);
        assert!(
            was_cached == cached && said.contains(expected),
            "changed {changed}, expected cached {cached} and {expected}: {said}"
        );
    }
}

#[test]
fn a_changed_file_named_by_an_option_is_a_cache_miss() {
    let change = |folder: &Folder, call, changed| {
        let wanted = if changed { "two" } else { "one" };
        std::fs::write(folder.at("data.txt"), wanted).expect("it can be written");
        call
    };
    let cat = ["sh", "-c", "cat \"${1#--in=}\"", "sh", "--in=data.txt"];
    notices(&cat, change, ["one", "two"]);
}

#[test]
fn a_changed_file_in_a_folder_named_by_an_argument_is_a_cache_miss() {
    let change = |folder: &Folder, call, changed| {
        let wanted = if changed { "two" } else { "one" };
        std::fs::write(folder.at("rules/a"), wanted).expect("it can be written");
        call
    };
    notices(
        &["sh", "-c", "cat \"$1\"/*", "sh", "rules"],
        change,
        ["one", "two"],
    );
}

#[test]
fn a_changed_variable_that_is_not_declared_is_a_cache_miss() {
    let change = |_: &Folder, call: Ratchet, changed| {
        call.env("FLAVOUR", if changed { "bitter" } else { "sweet" })
    };
    notices(
        &["sh", "-c", "echo it is $FLAVOUR"],
        change,
        ["it is sweet", "it is bitter"],
    );
}

#[test]
fn a_changed_umask_is_a_cache_miss() {
    let change = |_: &Folder, call: Ratchet, changed| {
        call.by_shell(if changed {
            "umask 077; exec \"$@\""
        } else {
            "umask 022; exec \"$@\""
        })
    };
    notices(&["sh", "-c", "umask"], change, ["0022", "0077"]);
}

#[test]
fn a_changed_variable_of_the_terminal_is_a_cache_hit() {
    let folder = Folder::new();
    for (term, cached) in [("xterm", false), ("screen", true)] {
        let flags = [
            "map", "--cache", "--format", "jsonl", "--", "echo", ":::", "a",
        ];
        let call = Ratchet::within(&folder).args(flags).env("TERM", term);
        assert_eq!(answer(call.run()).0, cached, "{term}");
    }
}

#[test]
fn the_help_of_map_lists_what_a_cache_key_covers() {
    for verb in ["map", "run"] {
        let help = Ratchet::new()
            .args(["help", verb])
            .run()
            .with_code(0)
            .stdout();
        for part in [
            "the umask",
            "--option=FILE",
            "Not part of it",
            "the network",
            "SHLVL",
            "RATCHET_*",
        ] {
            assert!(help.contains(part), "{verb}: {part}: {help}");
        }
    }
    let folder = Folder::new().file("jobs.yaml", "jobs: [{ id: a, run: [echo], cache: true }]");
    let run = Ratchet::within(&folder).args(["run", "jobs.yaml"]).run();
    assert!(!answer(run).0);
    let explain = Ratchet::within(&folder).args(["cache", "explain", "jobs.yaml", "a"]);
    let said = explain.run().with_code(0).stdout();
    assert!(
        said.contains("a change of stdin, the clock, the network"),
        "{said}"
    );
}

#[test]
fn a_script_edited_while_its_job_runs_is_not_stored_under_either_content() {
    let script = "echo one; : >begun; until [ -e go ]; do sleep 0.02; done";
    let folder = Folder::new().file("job.sh", script).file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, job.sh], cache: true }]",
    );
    let run = || Ratchet::within(&folder).args(["run", "jobs.yaml", "--format", "jsonl"]);
    let running = run().start();
    running.until("the script has begun", || folder.at("begun").exists());
    replace(&folder, "job.sh", "echo two");
    std::fs::write(folder.at("go"), "").expect("it can be written");
    let ended = running.wait().with_code(0);
    assert!(ended.stdout().contains("one\\n"), "{}", ended.stdout());
    assert!(
        ended
            .stderr()
            .contains("a result is not cached: the input job.sh changed while the job ran"),
        "{}",
        ended.stderr()
    );
    let (cached, said) = answer(run().run());
    assert!(!cached && said.contains("two\\n"), "{said}");
    replace(&folder, "job.sh", script);
    let (cached, said) = answer(run().run());
    assert!(!cached && said.contains("one\\n"), "{said}");
}

/// Writes the script of a filter that answers with this version.
fn filter(version: &str) -> String {
    format!("while read -r line; do echo \"{version} $line\"; done")
}

/// Makes a stream of jobs for a filter that runs from a script.
fn stream(folder: &Folder) -> Ratchet {
    let flags = [
        "run",
        "-w",
        "sh filter.sh",
        "--protocol",
        "lines",
        "--workers",
        "1",
    ];
    let more = ["--cache", "--format", "jsonl"];
    Ratchet::within(folder).args(flags).args(more)
}

const FIRST: &str = "{\"id\":\"1\",\"task\":\"t\",\"input\":\"first\"}\n";
const SECOND: &str = "{\"id\":\"2\",\"task\":\"t\",\"input\":\"second\"}\n";

#[test]
fn results_of_a_worker_are_stored_under_the_program_that_it_was_started_from() {
    use std::io::Write;
    let folder = Folder::new().file("filter.sh", filter("old"));
    let mut running = stream(&folder).stdin_open().start();
    let write = |running: &mut ratchet_tests::Running, line: &str| {
        running
            .stdin()
            .write_all(line.as_bytes())
            .expect("it reads");
    };
    write(&mut running, FIRST);
    running.wait_for_stdout("\"id\":\"1\"");
    // The result is stored beside the run, after the files of the worker were compared once more.
    running.until("the first result is stored", || {
        let listed = Ratchet::within(&folder).args(["cache"]).run().with_code(0);
        listed.stdout().starts_with("t\t1\t")
    });
    replace(&folder, "filter.sh", &filter("new"));
    write(&mut running, SECOND);
    running.wait_for_stdout("\"id\":\"2\"");
    running.close_stdin();
    let said = running.wait().with_code(0).stdout();
    assert!(
        said.contains("old \\\"second\\\"") || said.contains("old second"),
        "{said}"
    );

    let both = || {
        stream(&folder)
            .stdin([FIRST, SECOND].concat())
            .run()
            .with_code(0)
    };
    let now = both().stdout();
    assert_eq!(now.matches("\"cached\":false").count(), 2, "{now}");
    assert_eq!(now.matches("new ").count(), 2, "{now}");
    replace(&folder, "filter.sh", &filter("old"));
    let then = both().stdout();
    assert_eq!(then.matches("\"cached\":true").count(), 2, "{then}");
    assert_eq!(then.matches("old ").count(), 2, "{then}");
}

#[test]
fn ambiguous_json_inputs_give_the_same_results_with_and_without_the_cache() {
    let odd = "{\"id\":\"twice\",\"task\":\"echo\",\"input\":{\"a\":1,\"a\":2}}\n\
               {\"id\":\"half\",\"task\":\"echo\",\"input\":\"\\ud800\"}\n";
    let folder = Folder::new();
    let program = Ratchet::program().display().to_string();
    let worker = format!("'{program}' worker");
    for (flags, cached) in [(&[][..], 0), (&["--cache"], 0), (&["--cache"], 2)] {
        let call = Ratchet::within(&folder).args(["run", "-w", &worker, "--format", "jsonl"]);
        let said = call.args(flags).stdin(odd).run().with_code(0).stdout();
        assert_eq!(
            said.matches("\"status\":\"succeeded\"").count(),
            2,
            "{said}"
        );
        assert_eq!(said.matches("\"cached\":true").count(), cached, "{said}");
    }
}

const CACHE: &str = ".local/state/ratchet/cache";

fn set_cache_mode(folder: &Folder, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder.at(CACHE), permissions).expect("it is there");
}

#[test]
fn a_cache_that_others_may_write_is_refused_until_it_is_trusted() {
    let folder = Folder::new().file("jobs.yaml", "jobs: [{ id: a, run: [echo, a] }]");
    let map = || {
        let flags = [
            "map", "--cache", "--format", "jsonl", "--", "echo", ":::", "a",
        ];
        Ratchet::within(&folder).args(flags)
    };
    assert!(!answer(map().run()).0);
    set_cache_mode(&folder, 0o777);
    for call in [map(), Ratchet::within(&folder).args(["cache"])] {
        let said = call.run().with_code(2).stderr();
        assert!(
            said.contains("/cache") && said.contains("chmod go-w"),
            "{said}"
        );
    }
    // Only a run whose jobs may use the cache is refused.
    for words in [
        &["map", "--", "echo", ":::", "a"][..],
        &["map", "--cache=off", "--", "echo", ":::", "a"],
        &["run", "jobs.yaml"],
    ] {
        let _ = Ratchet::within(&folder).args(words).run().with_code(0);
    }
    let cached = Ratchet::within(&folder).args(["run", "jobs.yaml", "--cache"]);
    let _ = cached.run().with_code(2);
    let trusted = map().env("RATCHET_TRUST", folder.at(CACHE));
    assert!(answer(trusted.run()).0);
    set_cache_mode(&folder, 0o700);
    assert!(answer(map().run()).0);
}

#[test]
fn a_cached_value_that_others_may_write_is_a_miss() {
    let folder = Folder::new();
    let map = || {
        // More than is kept within the index.
        let flags = [
            "map", "--cache", "--format", "jsonl", "--", "seq", ":::", "9000",
        ];
        Ratchet::within(&folder).args(flags).run().with_code(0)
    };
    assert!(map().stdout().contains("\"cached\":false"));
    assert!(map().stdout().contains("\"cached\":true"));
    let found = std::process::Command::new("find")
        .arg(folder.at(CACHE))
        .args([
            "-path",
            "*/files/*",
            "-type",
            "f",
            "-exec",
            "chmod",
            "666",
            "{}",
            "+",
        ])
        .status();
    assert!(found.is_ok_and(|status| status.success()));
    let refused = map();
    assert!(refused.stdout().contains("\"cached\":false"));
    let said = refused.stderr();
    assert!(
        said.contains("/files/") && said.contains("may be written by others (mode 666)"),
        "{said}"
    );
}

#[test]
fn a_repeated_job_is_found_in_the_memory_cache_if_the_disk_cache_fails() {
    use std::io::Write;
    // A file where the cache wants a folder.
    let folder = Folder::new()
        .file(&format!("{CACHE}/results-v2"), "")
        .file("filter.sh", filter("it"));
    set_cache_mode(&folder, 0o700);
    let mut running = stream(&folder).stdin_open().start();
    running
        .stdin()
        .write_all(FIRST.as_bytes())
        .expect("it reads");
    running.wait_for_stdout("\"id\":\"1\"");
    let again = FIRST.replace("\"1\"", "\"again\"");
    running
        .stdin()
        .write_all(again.as_bytes())
        .expect("it reads");
    running.wait_for_stdout("\"id\":\"again\"");
    running.close_stdin();
    let said = running.wait().with_code(0).stdout();
    let line = said.lines().find(|line| line.contains("\"again\""));
    assert!(
        line.is_some_and(|line| line.contains("\"cached\":true")),
        "{said}"
    );
}

#[test]
fn results_of_the_old_cache_format_are_removed_with_one_message() {
    let folder = Folder::new().file(&format!("{CACHE}/results-v1/index.redb"), "old");
    set_cache_mode(&folder, 0o700);
    let map = || {
        let flags = ["map", "--cache", "--", "echo", ":::", "a"];
        Ratchet::within(&folder)
            .args(flags)
            .run()
            .with_code(0)
            .stderr()
    };
    let said = map();
    assert_eq!(
        said.matches("removed the cached results of an older version")
            .count(),
        1,
        "{said}"
    );
    assert!(!folder.at(&format!("{CACHE}/results-v1")).exists());
    assert!(!map().contains("older version"));
}
