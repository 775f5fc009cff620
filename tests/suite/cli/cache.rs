//! `ratchet cache`: results that are there already.

mod trust;

use std::time::{Duration, SystemTime};

use ratchet_caching::{Cache, DiskCache, Entry, Key, Labels, Metadata};
use ratchet_tests::{Ended, Folder, Ratchet, Shown, within};

const JOBS: &str = "\
jobs:
  - { id: a, run: [cat, input.txt], cache: { inputs: [input.txt], ttl: 1d } }
  - { id: off, run: [cat, input.txt], cache: false }
  - { id: silent, run: [cat, input.txt] }
  - { id: slow, run: [cat, input.txt], cache: { inputs: [input.txt], ttl: 1d }, timeout: 5s }
  - { id: other, run: [ls], cache: true }
";

/// Returns the time at which results are stored in tests that do not say another.
fn stored() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn folder() -> Folder {
    Folder::new()
        .file("jobs.yaml", JOBS)
        .file("input.txt", "one")
}

fn cache(folder: &Folder, words: &[&str]) -> Ended {
    Ratchet::within(folder).args(["cache"]).args(words).run()
}

/// Does job `a` of the file, so that its result is kept in the folder's cache.
fn do_the_job(folder: &Folder) {
    let alone = "jobs: [{ id: a, run: [cat, input.txt], cache: { inputs: [input.txt], ttl: 1d } }]";
    let folder = folder.clone().file("a.yaml", alone);
    let _ = Ratchet::within(&folder)
        .args(["run", "a.yaml"])
        .run()
        .with_code(0);
}

/// Puts results into a cache, an hour apart.
async fn fill(folder: &Folder, at: &str, tasks: &[&str]) {
    let cache = DiskCache::new(&folder.at(at));
    for (number, task) in (0_u8..).zip(tasks) {
        let metadata = Metadata {
            labels: Labels {
                task: (*task).to_owned(),
                ..Labels::default()
            },
            cost: Duration::from_millis(1500),
            ..Metadata::new(stored() + Duration::from_hours(u64::from(number)))
        };
        let entry = Entry::new(vec![0; 1000], metadata);
        within(cache.put(&Key::of(&[number]), entry))
            .await
            .expect("it is kept");
    }
    cache.close().await;
}

#[test]
fn cache_commands_without_a_cache_create_none() {
    for words in [&[][..], &["stats"]] {
        let folder = Folder::new();
        assert!(cache(&folder, words).with_code(0).quiet().stdout.is_empty());
        assert!(!folder.at(".local").exists());
    }
    let folder = folder();
    let said = cache(&folder, &["explain", "jobs.yaml", "a"]).with_code(0);
    assert_eq!(
        said.quiet().stdout(),
        "a: would run: no result of `cat` is stored\n"
    );
    let said = cache(&folder, &["clear"]).with_code(0).quiet();
    assert_eq!(said.stdout(), "removed 0 results\n");
    assert!(!folder.at(".local").exists());
}

#[tokio::test]
async fn cache_stats_are_listed_by_task() {
    let folder = Folder::new();
    fill(
        &folder,
        ".local/state/ratchet/cache",
        &["resize", "count", "resize"],
    )
    .await;
    let expected = "count\t1\t1000\t1500\t2026-09-21T15:13:20Z\t2026-09-21T15:13:20Z\n\
                    resize\t2\t2000\t3000\t2026-09-21T14:13:20Z\t2026-09-21T16:13:20Z\n";
    for words in [&[][..], &["stats"]] {
        assert_eq!(
            cache(&folder, words).with_code(0).quiet().stdout(),
            expected
        );
    }
    let call = Ratchet::within(&folder).args(["cache"]);
    let ended = call.on_terminal(80, 24, Shown::Everything).run();
    let said = folder.settled(&ended.with_code(0).screen());
    assert!(
        said.starts_with("FOLDER/.local/state/ratchet/cache: 3 results, ")
            && said.contains("\r\n  resize  2 results, 2.0 KiB, computed in 3.0 s, "),
        "{said}"
    );
}

#[tokio::test]
async fn cached_results_are_cleared_by_task_and_age() {
    let folder = Folder::new();
    fill(&folder, "c/cache", &["resize", "count", "resize"]).await;
    let clear = |words: &[&str]| {
        let call = Ratchet::within(&folder).args(["cache", "clear"]);
        call.args(words)
            .args(["--state-dir", "c"])
            .run()
            .with_code(0)
    };
    let misspelt = clear(&["--task", "cuont"]);
    assert_eq!(misspelt.stdout(), "removed 0 results\n");
    assert_eq!(
        misspelt.stderr(),
        "ratchet: no result of a task `cuont` is stored; did you mean `count`?\n"
    );
    let old = clear(&["--older-than", "36000d"]).quiet();
    assert_eq!(old.stdout(), "removed 0 results\n");
    let both = clear(&["--task", "count", "--older-than", "1s"]).quiet();
    assert_eq!(both.stdout(), "removed 1 result\n");
    assert_eq!(clear(&[]).quiet().stdout(), "removed 2 results\n");
    for words in [["--older-than", "30"], ["--older-than", "soon"]] {
        let ended = cache(&folder, &[&["clear"][..], &words[..]].concat());
        assert!(ended.with_code(2).stdout.is_empty());
    }
}

#[test]
fn cache_explain_says_that_a_result_is_reused_until_something_changes() {
    let folder = folder();
    do_the_job(&folder);
    let explain = |words: &[&str]| {
        let words = [&["explain", "jobs.yaml"], words].concat();
        cache(&folder, &words).with_code(0).quiet().stdout()
    };
    let said = explain(&["a"]);
    assert!(said.starts_with("a: would be reused: stored 20"), "{said}");
    assert_eq!(explain(&["off"]), "off: would run: its cache is off\n");
    assert_eq!(
        explain(&["other"]),
        "other: would run: no result of `ls` is stored\n"
    );
    let said = explain(&["silent"]);
    assert!(
        said.contains("\n  the input file") && said.contains("\n  note: the file"),
        "{said}"
    );
    for words in [&["slow"][..], &["a", "--timeout", "3s"]] {
        let said = explain(words);
        assert!(
            said.contains("it differs from every result of `cat`"),
            "{said}"
        );
        assert!(said.ends_with(":\n  the timeout was added\n"), "{said}");
    }

    let folder = folder.file("input.txt", "two");
    let said = cache(&folder, &["explain", "jobs.yaml", "a"]).with_code(0);
    let said = said.stdout();
    assert!(said.starts_with("a: would run: it differs"), "{said}");
    assert!(
        said.contains("the input file ") && said.contains("input.txt changed"),
        "{said}"
    );

    std::fs::remove_file(folder.at("input.txt")).expect("it is there");
    let said = cache(&folder, &["explain", "jobs.yaml", "a"]).with_code(2);
    let said = said.stderr();
    assert!(
        said.contains("what job `a` depends on cannot be read"),
        "{said}"
    );
}

#[test]
fn cache_explain_agrees_with_what_a_run_stores() {
    let folder = folder().file(
        "tasks.yaml",
        "workers:\n  echo: { command: [cat, -u], protocol: lines, cache: true, env: { A: b } }\n\
             limits: { api: { max: 1 } }\ndefaults: { timeout: 50s }\n\
             jobs: [{ id: t, task: echo, input: word, limits: [api] }]\n",
    );
    for (file, job) in [("jobs.yaml", "a"), ("tasks.yaml", "t")] {
        let explain = || {
            cache(&folder, &["explain", file, job])
                .with_code(0)
                .quiet()
                .stdout()
        };
        assert!(
            explain().starts_with(&format!("{job}: would run: ")),
            "{}",
            explain()
        );
        let done = Ratchet::within(&folder).args(["run", file]).run();
        assert!(done.with_code(0).stdout().contains("\"cached\":false"));
        let said = explain();
        assert!(
            said.starts_with(&format!("{job}: would be reused: ")),
            "{said}"
        );
        let again = Ratchet::within(&folder).args(["run", file]).run();
        let again = again.with_code(0).stdout();
        let line = again
            .lines()
            .find(|line| line.contains(&format!("\"id\":\"{job}\"")));
        assert!(
            line.is_some_and(|line| line.contains("\"cached\":true")),
            "{again}"
        );
    }
}

#[test]
fn a_cached_result_that_is_too_old_is_not_used() {
    let folder = folder();
    do_the_job(&folder);
    let short = JOBS.replace("ttl: 1d", "ttl: 1ns");
    let folder = folder.file("jobs.yaml", short);
    let said = cache(&folder, &["explain", "jobs.yaml", "a"]).with_code(0);
    let said = said.stdout();
    assert!(said.ends_with(", is too old, or damaged\n"), "{said}");
}

#[test]
fn cache_explain_suggests_ids_for_a_job_that_does_not_exist() {
    let folder = folder();
    let said = cache(&folder, &["explain", "jobs.yaml", "slwo"]).with_code(2);
    assert_eq!(
        said.stderr(),
        "ratchet: there is no job `slwo` in jobs.yaml\n  help: did you mean `slow`?\n"
    );
    let said = cache(&folder, &["explain", "jobs.yml", "a"]).with_code(2);
    assert!(said.stderr().contains("did you mean `jobs.yaml`?"));
    let _ = cache(&folder, &["explain", "jobs.yaml"]).with_code(2);
}

#[test]
fn cache_explain_finds_the_worker_of_a_job_from_a_stream() {
    let lines =
        "{\"id\":\"x\",\"task\":\"t\",\"input\":1}\nnonsense\n{\"task\":\"t\",\"input\":2}\n";
    let explain = |words: &[&str]| {
        let call = Ratchet::new().args(["cache", "explain", "-"]).args(words);
        call.stdin(lines).run()
    };
    for words in [
        &["3", "-w", "cat -u"][..],
        &["3", "--worker", "cat -u", "--protocol", "lines"],
    ] {
        let said = explain(words).with_code(0).stdout();
        assert!(
            said.starts_with("3: would run: no result of `t` is stored\n"),
            "{said}"
        );
        assert!(
            said.contains("it is cached only if its worker declares so"),
            "{said}"
        );
    }
    let _ = explain(&["3", "-w", "'cat"]).with_code(2);
    let said = explain(&["y", "-w", "cat"]).with_code(2).stderr();
    assert!(said.contains("there is no job `y` in -"), "{said}");
    let _ = explain(&["3", "--protocol", "lines"]).with_code(2);
}

#[test]
fn a_result_is_reused_from_memory_while_the_disk_cache_cannot_be_used() {
    let jobs = "\
jobs:
  - { id: first, run: [sh, -c, 'echo >> ran; echo done'], cache: true }
  - { id: between, run: [sleep, '0.2'], needs: [first] }
  - { id: second, run: [sh, -c, 'echo >> ran; echo done'], cache: true, needs: [between] }
";
    // A file is where the folder of the disk cache should be.
    let folder = Folder::new()
        .file("jobs.yaml", jobs)
        .file("state/cache", "");
    for expected in 1..=2 {
        let run = Ratchet::within(&folder).args(["run", "jobs.yaml", "--state-dir", "state"]);
        let said = run.run().with_code(0).stderr();
        assert!(said.contains("the result cache failed"), "{said}");
        let ran = std::fs::read_to_string(folder.at("ran")).expect("a job has run");
        // Each run has a memory of its own, so the first job runs each time and the second never.
        assert_eq!(ran.lines().count(), expected);
    }
}

#[test]
fn an_equal_job_runs_while_the_first_one_waits_for_its_host_and_answers_it() {
    let jobs = "\
defaults: { hint: host_exclusive }
jobs:
  - { id: holds, run: [sh, -c, 'until [ -e go ]; do sleep 0.01; done'], host: a }
  - { id: first, run: [sh, -c, 'echo >> ran; echo done'], cache: true, host: a, priority: low }
  - { id: equal, run: [sh, -c, 'echo >> ran; echo done'], cache: true, host: b }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let run = Ratchet::within(&folder).args(["run", "jobs.yaml", "-j", "3"]);
    let run = run.start();
    // It ends although its host is still locked.
    run.wait_for_stdout("\"id\":\"first\"");
    std::fs::write(folder.at("go"), "").expect("the folder is there");
    let said = run.wait().with_code(0).stdout();
    let line = |id: &str| {
        let id = format!("\"id\":\"{id}\"");
        let line = said.lines().find(|line| line.contains(&id));
        line.unwrap_or_else(|| panic!("{said}"))
    };
    assert!(line("equal").contains("\"cached\":false"), "{said}");
    assert!(line("first").contains("\"cached\":true"), "{said}");
    assert!(
        line("holds") == said.lines().last().unwrap_or_default(),
        "{said}"
    );
    let ran = std::fs::read_to_string(folder.at("ran")).expect("a job has run");
    assert_eq!(ran.lines().count(), 1);
}

#[test]
fn a_cache_that_cannot_be_used_is_an_error() {
    let folder = folder().file("file", "");
    for words in [
        &["--state-dir", "file"][..],
        &["stats", "--state-dir", "file"],
        &["clear", "--state-dir", "file"],
        &["explain", "jobs.yaml", "a", "--state-dir", "file"],
    ] {
        let said = cache(&folder, words).with_code(2).stderr();
        assert!(
            said.contains("`file/cache` cannot be read"),
            "{words:?}: {said}"
        );
    }
    let folder = folder.file("state/cache", "");
    let said = cache(&folder, &["--state-dir", "state"])
        .with_code(1)
        .stderr();
    assert!(said.contains("state/cache"), "{said}");
}
