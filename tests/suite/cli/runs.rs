//! `ratchet runs`: what was run.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::summary::Results;
use ratchet_runtime::{
    Class, Durability, Failure, Job, Journal, Outcome, Payload, RunId, RunStore,
};
use ratchet_tests::{Ended, Folder, Ratchet, Shown};
use serde_json::Value;

fn at(minute: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + 60 * minute)
}

fn outcome(id: &str, result: Result<Payload, Failure>) -> Outcome {
    Outcome {
        attempts: 1,
        queued: Duration::from_micros(400),
        duration: Duration::from_millis(120),
        ..Outcome::new(id, "resize", result)
    }
}

/// Begins a run in a state folder, with the outcomes of two jobs.
fn begin(state: &Path, minute: u64) -> (RunId, Journal) {
    let about = Payload::from_json(r#"{"args":["run","my jobs.yaml"],"cwd":"/srv"}"#);
    let about = about.expect("it is JSON");
    let store = RunStore::at(state);
    let (id, mut journal) = store
        .create(at(minute), None, about, Durability::None)
        .expect("it is recorded");
    let failure = Failure::new(Class::Task, "no such file").stderr("last words\n");
    for outcome in [
        outcome("b", Err(failure)),
        outcome("a", Ok(Payload::null())),
    ] {
        let job = Job::task(outcome.id.clone(), "resize", Payload::null());
        journal.append(&job, &outcome).expect("it is recorded");
    }
    journal.flush().expect("it is written");
    (id, journal)
}

/// Makes the record of a run that was interrupted.
fn interrupted(state: &Path, minute: u64) -> String {
    begin(state, minute).0.to_string()
}

/// Makes the record of a run that came to its end.
fn finished(state: &Path, minute: u64) -> String {
    let (id, mut journal) = begin(state, minute);
    let history = ratchet_runtime::History::load(journal.path()).expect("it is read");
    let outcomes: Vec<Outcome> = history
        .outcomes()
        .map(|outcome| outcome.expect("it is whole"))
        .collect();
    let summary = outcomes.summarize(Duration::from_secs(2));
    journal
        .end(at(minute + 1), &summary)
        .expect("it is written");
    id.to_string()
}

/// Returns the state folder of runs that are begun in a folder.
fn state(folder: &Folder) -> std::path::PathBuf {
    folder.at(".local/state/ratchet")
}

fn runs(folder: &Folder, words: &[&str]) -> Ended {
    Ratchet::within(folder).args(["runs"]).args(words).run()
}

#[test]
fn runs_list_without_runs_is_empty() {
    for words in [&[][..], &["list"]] {
        let folder = Folder::new();
        let ended = runs(&folder, words).with_code(0);
        assert!(ended.stdout.is_empty());
        assert!(ended.stderr().contains("no runs are recorded"));
        assert!(!state(&folder).exists(), "who only looks makes nothing");
    }
}

#[test]
fn runs_list_writes_tab_separated_fields_to_a_pipe_with_the_latest_run_first() {
    let folder = Folder::new();
    let first = finished(&state(&folder), 0);
    let second = interrupted(&state(&folder), 10);
    let (third, _running) = begin(&state(&folder), 20);
    let expected = format!(
        "{third}\t2026-09-21T14:33:20Z\trunning\t2\t-\t-\t-\trun 'my jobs.yaml'\n\
         {second}\t2026-09-21T14:23:20Z\tinterrupted\t2\t-\t-\t-\trun 'my jobs.yaml'\n\
         {first}\t2026-09-21T14:13:20Z\tfinished\t2\t1\t1\t0\trun 'my jobs.yaml'\n"
    );
    for words in [&[][..], &["list"]] {
        let ended = runs(&folder, words).with_code(0).quiet();
        assert_eq!(ended.stdout(), expected);
    }
    let call = Ratchet::within(&folder).args(["runs"]).unread();
    let _ = call.run().with_code(141).quiet();
}

#[test]
fn runs_list_is_aligned_and_coloured_on_a_terminal() {
    let folder = Folder::new();
    let id = interrupted(&state(&folder), 10);
    let list = || Ratchet::within(&folder).args(["runs", "list"]);
    let terminal = || list().on_terminal(100, 40, Shown::Everything);
    let said = terminal().run().with_code(0).screen();
    assert!(said.starts_with(&id) && said.contains(" ago  "), "{said}");
    assert!(
        said.contains("\x1b[33minterrupted\x1b[0m  2 recorded"),
        "{said:?}"
    );
    let plain = terminal().env("RATCHET_COLOR", "never").run();
    assert!(!plain.with_code(0).screen().contains('\x1b'));
}

#[test]
fn runs_list_reads_another_state_folder_if_asked() {
    let folder = Folder::new();
    let id = interrupted(&folder.at("elsewhere"), 0);
    for words in [
        &["--state-dir", "elsewhere"][..],
        &["list", "--state-dir", "elsewhere"],
    ] {
        assert!(runs(&folder, words).with_code(0).stdout().starts_with(&id));
    }
    let set = Ratchet::within(&folder).args(["runs"]);
    let ended = set.env("RATCHET_STATE_DIR", folder.at("elsewhere")).run();
    assert!(ended.with_code(0).stdout().starts_with(&id));
    let words = ["show", &id, "--state-dir", "elsewhere"];
    let _ = runs(&folder, &words).with_code(0).quiet();
    let words = ["rm", &id, "--state-dir", "elsewhere"];
    let _ = runs(&folder, &words).with_code(0).quiet();

    let folder = Folder::new().file("file", "");
    let said = runs(&folder, &["--state-dir", "file"])
        .with_code(2)
        .stderr();
    assert!(said.contains("could not read file/runs"), "{said}");
    let none = Ratchet::new().args(["runs"]).without("HOME").run();
    assert!(none.with_code(2).stderr().contains("use --state-dir"));
}

#[test]
fn runs_show_writes_each_format() {
    let folder = Folder::new();
    let id = finished(&state(&folder), 0);
    let shown = |format: &str| {
        let ended = runs(&folder, &["show", &id, "--format", format]);
        ended.with_code(0).quiet().stdout()
    };
    let lines = shown("jsonl");
    let ids: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON")["id"].clone())
        .collect();
    assert_eq!(ids, ["b", "a"], "as they ended");
    let document: Value = serde_json::from_str(&shown("json")).expect("it is JSON");
    assert_eq!(document["summary"]["failed"], 1);
    assert!(shown("junit").contains("<failure"));
    let human = shown("human");
    assert!(
        human.contains("task: no such file\n  | last words\n"),
        "{human}"
    );
    assert!(
        human.ends_with(&format!("ratchet resume {id}\n")),
        "{human}"
    );

    assert_eq!(
        runs(&folder, &["show", &id]).stdout(),
        human,
        "in a pipe, too"
    );
    assert_eq!(runs(&folder, &["show"]).stdout(), human, "the last run");
    let set = Ratchet::within(&folder).args(["runs", "show", &id]);
    assert_eq!(set.env("RATCHET_FORMAT", "jsonl").run().stdout(), lines);
    let call = Ratchet::within(&folder).args(["runs", "show", &id]);
    let screen = call.on_terminal(80, 24, Shown::Everything).run();
    let screen = screen.with_code(0).screen();
    assert!(screen.contains("\x1b[31mfailed   \x1b[0m b"), "{screen:?}");
}

#[test]
fn runs_show_writes_to_a_file() {
    let folder = Folder::new();
    let id = finished(&state(&folder), 0);
    let words = ["show", &id, "-o", "results"];
    let ended = runs(&folder, &words).with_code(0).quiet();
    assert!(ended.stdout.is_empty());
    let written = fs::read_to_string(folder.at("results")).expect("it is written");
    assert_eq!(written, runs(&folder, &["show", &id]).stdout());
    assert!(written.contains("failed"), "{written}");
    for (path, code, why) in [
        ("none/results", 2, "No such file"),
        ("/dev/full", 1, "No space left"),
    ] {
        let said = runs(&folder, &["show", &id, "--output", path]);
        let said = said.with_code(code).stderr();
        assert!(
            said.contains(&format!("`{path}` cannot be written")),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn runs_show_reports_unfinished_and_damaged_journals() {
    let folder = Folder::new();
    let id = interrupted(&state(&folder), 0);
    let path = state(&folder).join(format!("runs/{id}/journal"));
    let whole = fs::read(&path).expect("it is there");
    fs::write(&path, &whole[..whole.len() - 10]).expect("it is written");
    let ended = runs(&folder, &["show", &id, "--format", "jsonl"]).with_code(0);
    assert_eq!(ended.stdout().lines().count(), 1);
    assert!(
        ended
            .stderr()
            .contains("are an unfinished line, which is left out")
    );

    let mut damaged = whole.clone();
    let first_end = whole
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("it has lines");
    damaged[first_end + 30] ^= 1;
    fs::write(&path, damaged).expect("it is written");
    let ended = runs(&folder, &["show", &id, "--format", "jsonl"]).with_code(0);
    assert_eq!(ended.stdout().lines().count(), 1);
    let said = ended.stderr();
    assert!(
        said.contains("line 2 (byte ") && said.contains("checksum"),
        "{said}"
    );

    fs::write(&path, b"\0\x01binary\xff\n").expect("it is written");
    let said = runs(&folder, &["show", &id]).with_code(2).stderr();
    assert!(said.contains("is not a journal"), "{said}");
    let list = runs(&folder, &[]).with_code(0).stdout();
    assert_eq!(list, format!("{id}\t-\tunreadable\t-\t-\t-\t-\t-\n"));
}

#[test]
fn runs_show_suggests_ids_for_a_run_that_does_not_exist() {
    let folder = Folder::new();
    let id = interrupted(&state(&folder), 0);
    let misspelt = format!("{}x", &id[..6]);
    for verb in ["show", "rm"] {
        let ended = runs(&folder, &[verb, &misspelt]).with_code(2);
        assert!(ended.stdout.is_empty());
        assert_eq!(
            folder.settled(&ended.stderr()),
            format!(
                "ratchet: there is no run `{misspelt}` in FOLDER/.local/state/ratchet/runs\n  \
                 help: did you mean `{id}`?\n"
            )
        );
    }
    let said = runs(&folder, &["rm"]).with_code(2).stderr();
    assert!(said.contains("RUN"), "{said}");
    let other = interrupted(&state(&folder), 1);
    let both = runs(&folder, &["show", &id[..3]]).with_code(2).stderr();
    assert!(both.contains(&id) && both.contains(&other), "{both}");
}

#[test]
fn runs_remove_removes_all_or_none_and_never_a_run_that_goes_on() {
    let folder = Folder::new();
    let first = finished(&state(&folder), 0);
    let second = interrupted(&state(&folder), 10);
    let (third, running) = begin(&state(&folder), 20);
    let third = third.to_string();
    let ended = runs(&folder, &["rm", &first, &third]).with_code(2);
    assert_eq!(
        ended.stderr(),
        format!(
            "ratchet: run {third} is still running\n  \
             help: stop it with Ctrl-C or SIGTERM first\n"
        )
    );
    let _ = runs(&folder, &["rm", &first, "zzz"]).with_code(2);
    assert_eq!(runs(&folder, &[]).stdout().lines().count(), 3);

    let ended = runs(&folder, &["rm", &first, &second]).with_code(0).quiet();
    assert_eq!(
        ended.stdout(),
        format!("removed {first}\nremoved {second}\n")
    );
    drop(running);
    let _ = runs(&folder, &["rm", &third]).with_code(0).quiet();
    assert!(runs(&folder, &[]).with_code(0).stdout.is_empty());
}

#[test]
fn a_run_is_listed_and_shown_during_and_after_it() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [ls] }, { id: b, run: ['false'] }]\n",
    );
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    let _ = call.run().with_code(100);
    let call = Ratchet::within(&folder).args(["run", "-"]).stdin_open();
    let mut running = call.start();
    let written = std::io::Write::write_all(running.stdin(), b"{\"run\":[\"ls\"]}\n");
    written.expect("it reads");
    running.wait_for_stdout("\"status\":\"succeeded\"");

    let list = runs(&folder, &[]).with_code(0).quiet().stdout();
    let fields: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!((fields[0][2], fields[0][7]), ("running", "run -"), "{list}");
    assert_eq!(
        fields[1][2..],
        ["finished", "2", "1", "1", "0", "run jobs.yaml"]
    );
    let (goes_on, ended) = (fields[0][0], fields[1][0]);
    let _ = runs(&folder, &["rm", goes_on]).with_code(2);
    let shown = runs(&folder, &["show", ended, "--format", "json"]).with_code(0);
    let document: Value = serde_json::from_slice(&shown.quiet().stdout).expect("it is JSON");
    assert_eq!(document["summary"]["total"], 2);

    running.close_stdin();
    let _ = running.wait().with_code(0);
    let list = runs(&folder, &[]).with_code(0).stdout();
    assert!(
        list.lines().all(|line| line.contains("\tfinished\t")),
        "{list}"
    );
    let _ = runs(&folder, &["rm", goes_on, ended]).with_code(0);
}

#[test]
fn runs_list_can_be_limited_and_written_as_json() {
    let folder = Folder::new();
    assert_eq!(
        runs(&folder, &["list", "--format", "json"])
            .with_code(0)
            .quiet()
            .stdout(),
        "[]\n"
    );
    let first = finished(&state(&folder), 0);
    let second = interrupted(&state(&folder), 10);
    let (third, _running) = begin(&state(&folder), 20);
    let fourth = interrupted(&state(&folder), 30);
    let journal = state(&folder).join(format!("runs/{fourth}/journal"));
    fs::write(journal, "nonsense\n").expect("it is written");

    let list = |words: &[&str]| {
        let ended = runs(&folder, words).with_code(0).quiet();
        serde_json::from_slice::<Value>(&ended.stdout).expect("it is JSON")
    };
    let all = list(&["list", "--format", "json"]);
    let of = |key: &str| -> Vec<Value> {
        all.as_array()
            .expect("a list")
            .iter()
            .map(|run| run[key].clone())
            .collect()
    };
    assert_eq!(
        of("id"),
        [fourth.clone(), third.to_string(), second.clone(), first]
    );
    assert_eq!(
        of("state"),
        ["unreadable", "running", "interrupted", "finished"]
    );
    assert_eq!(of("command")[1..], ["run 'my jobs.yaml'"; 3]);
    assert_eq!(of("cwd")[1], "/srv");
    assert_eq!(of("started_at")[1], "2026-09-21T14:33:20.000Z");
    assert_eq!(
        (&of("command")[0], &of("started_at")[0]),
        (&Value::Null, &Value::Null)
    );
    assert!(
        of("error")[0]
            .as_str()
            .is_some_and(|why| why.contains("not a journal"))
    );
    assert_eq!(of("summary")[3]["failed"], 1);
    assert_eq!(of("ended_at")[3], "2026-09-21T14:14:20.000Z");

    let newest = list(&["--format", "json", "--limit", "1"]);
    assert_eq!(
        (newest.as_array().map(Vec::len), &newest[0]["id"]),
        (Some(1), &Value::from(fourth))
    );
    let lines = runs(&folder, &["list", "--limit", "3"])
        .with_code(0)
        .stdout();
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines
            .lines()
            .last()
            .is_some_and(|line| line.starts_with(&second)),
        "{lines}"
    );
    let _ = runs(&folder, &["list", "--limit", "0"]).with_code(2);
}

#[test]
fn runs_remove_by_age_leaves_runs_that_go_on() {
    let folder = Folder::new();
    let state = state(&folder);
    let now = SystemClock.now();
    let days = |days: u64| now - Duration::from_hours(24 * days);
    let begin = |began: SystemTime| {
        let created = RunStore::at(&state).create(began, None, Payload::null(), Durability::None);
        let (id, journal) = created.expect("it is recorded");
        (id.to_string(), journal)
    };
    let (old, journal) = begin(days(9));
    drop(journal);
    let (old_running, running) = begin(days(8));
    let (young, journal) = begin(days(6));
    drop(journal);

    let ended = runs(&folder, &["rm", "--older-than", "7d"]).with_code(0);
    assert_eq!(ended.stdout(), format!("removed {old}\n"));
    assert_eq!(
        ended.stderr(),
        "ratchet: 1 run is still running, and is kept\n\
         ratchet: 1 of the removed runs could have been resumed\n"
    );
    let ended = runs(&folder, &["rm", "--older-than", "30d"]).with_code(0);
    let said = ended.stderr();
    assert!(
        ended.stdout.is_empty() && said.contains("began more than 30d ago"),
        "{said}"
    );
    for words in [
        &["--all", &young][..],
        &["--all", "--older-than", "1d"],
        &["--older-than", "7"],
    ] {
        let _ = runs(&folder, &[&["rm"], words].concat()).with_code(2);
    }
    drop(running);
    let ended = runs(&folder, &["rm", "--all"]).with_code(0);
    assert_eq!(
        ended.stdout(),
        format!("removed {old_running}\nremoved {young}\n")
    );
    let ended = runs(&folder, &["rm", "--all"]).with_code(0);
    assert!(ended.stderr().contains("no runs are recorded"));
}

#[test]
fn runs_show_has_the_outcomes_so_far_of_a_run_that_goes_on() {
    let folder = Folder::new();
    let waits = |file: &str| {
        let script = format!("while ! test -e {file}; do sleep 0.02; done");
        format!(r#"{{ run: [sh, -c, "{script}"] }}"#)
    };
    let (first, last) = (waits("go"), waits("end"));
    let jobs = format!("jobs: [{first}, {{ run: ['false'], needs: ['1'] }}, {last}]\n");
    let folder = folder.file("jobs.yaml", jobs);
    let call = Ratchet::within(&folder).args(["run", "-j2", "jobs.yaml"]);
    let running = call.start();
    let listed = || runs(&folder, &[]).stdout().contains("\trunning\t");
    running.until("it is recorded", listed);
    let ends_with = |what: &str| {
        let shown = runs(&folder, &["show"]).with_code(0).quiet().stdout();
        shown.ends_with(what).then_some(shown)
    };
    assert!(ends_with("still running: no job has ended yet\n").is_some());
    let folder = folder.clone().file("go", "");
    running.until("two ended", || {
        ends_with("still running: 2 jobs have ended so far\n").is_some()
    });
    let shown = ends_with("so far\n").expect("it goes on");
    assert!(shown.contains("1 succeeded, 1 failed in "), "{shown}");
    assert!(!shown.contains("resume"), "{shown}");
    let _folder = folder.file("end", "");
    let _ = running.wait().with_code(100);
}

#[test]
fn the_journal_of_a_finished_run_has_each_outcome_once() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [\"true\"] }, { id: b, run: [test, -e, go] }]\n",
    );
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let _ = call(&["run", "jobs.yaml"]).with_code(100);
    for _ in 0..3 {
        let _ = call(&["resume"]).with_code(100);
    }
    let folder = folder.clone().file("go", "");
    let _ = call(&["resume"]).with_code(0);
    let runs_folder = fs::read_dir(state(&folder).join("runs")).expect("it is there");
    let run = runs_folder
        .last()
        .expect("a run")
        .expect("it is read")
        .path();
    let names: Vec<_> = fs::read_dir(&run).expect("it is there").collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let journal = fs::read_to_string(run.join("journal")).expect("it is text");
    let records = journal.lines().map(|line| &line[20..25]);
    // What each part of the run had to work with is kept for reports.
    let records: Vec<&str> = records.filter(|record| *record != "plann").collect();
    assert_eq!(
        records,
        ["heade", "job\",", "job\",", "resum", "ended"],
        "{journal}"
    );
    let shown = runs(&folder, &["show"]).with_code(0).quiet().stdout();
    assert!(shown.contains("resumed 4 times"), "{shown}");
    assert!(shown.contains("2 succeeded"), "{shown}");
    let said = call(&["resume"]).with_code(0).stderr();
    assert!(said.contains("2 had succeeded before"), "{said}");
}

#[test]
fn old_runs_are_pruned_by_the_settings_and_resumable_ones_are_named() {
    let folder = Folder::new();
    let state = state(&folder);
    let old = interrupted(&state, 0);
    let other = interrupted(&state, 1);
    let failed: Vec<String> = (2..4).map(|minute| finished(&state, minute)).collect();
    let call = |name: &str, value: &str| {
        let call = Ratchet::within(&folder).args(["map", "-q", "--", "true", ":::", "1"]);
        call.env(name, value).run().with_code(0).stderr()
    };
    // Six runs are left then, none of them older than 30 days by the time of its file.
    assert_eq!(call("RATCHET_KEEP_RUNS", "5"), "", "nothing has to go");
    let said = call("RATCHET_KEEP_RUNS", "5");
    assert_eq!(said, "", "the oldest that succeeded goes without a word");
    assert_eq!(RunStore::at(&state).ids().expect("they are read").len(), 5);

    let said = call("RATCHET_KEEP_RUNS", "2");
    assert_eq!(
        said,
        format!(
            "ratchet: removed the records of 2 old runs that could still have been resumed: {}, {}; \
             the settings keep-age, keep-runs and keep-size set how much is kept\n",
            failed[0], failed[1]
        )
    );
    // Interrupted runs stay, however many there are.
    let left = runs(&folder, &[]).with_code(0).stdout();
    assert!(left.contains(&old) && left.contains(&other), "{left}");

    let long_ago = SystemClock.now() - Duration::from_hours(24 * 31);
    let journal = fs::File::open(state.join(format!("runs/{old}/journal"))).expect("it is there");
    journal.set_modified(long_ago).expect("it is set");
    let said = call("RATCHET_KEEP_SIZE", "1GiB");
    assert!(
        said.contains(&format!(
            "the record of an old run that could still have been resumed: {old};"
        )),
        "{said}"
    );
    let left = runs(&folder, &[]).with_code(0).stdout();
    assert!(!left.contains(&old) && left.contains(&other), "{left}");
}

#[test]
fn a_run_without_a_home_folder_fails_with_a_hint_that_works() {
    let call = |words: &[&str]| {
        let folder = Folder::new();
        let words = [&["map", "-q"], words, &["--", "echo", "{}", ":::", "1"]].concat();
        Ratchet::within(&folder).args(words).without("HOME").run()
    };
    let said = call(&[]).with_code(2).stderr();
    for way in ["HOME", "RATCHET_STATE_DIR", "--state-dir", "--no-record"] {
        assert!(said.contains(way), "{way}: {said}");
    }
    assert_eq!(call(&["--no-record"]).with_code(0).stdout(), "1\n");
    assert_eq!(call(&["--state-dir", "state"]).with_code(0).stdout(), "1\n");
}
