//! A run that goes on is asked and steered from another terminal.

use std::fs;

use ratchet_tests::{Ended, Folder, Ratchet, Running, Signal};
use serde_json::Value;

/// Returns a command that notes that it has begun, and ends when the test says so.
fn until(name: &str) -> String {
    format!("touch {name}.begun; until test -e {name}.go; do sleep 0.05; done")
}

fn go(folder: &Folder, name: &str) {
    fs::write(folder.at(&format!("{name}.go")), "").expect("it is written");
}

fn wait_for(running: &Running, folder: &Folder, name: &str) {
    let begun = folder.at(&format!("{name}.begun"));
    running.until("its job runs", || begun.exists());
}

fn jobs(text: &str) -> Folder {
    Folder::new().file("jobs.yaml", format!("version: 1\n{text}"))
}

fn start(folder: &Folder, args: &[&str]) -> Running {
    Ratchet::within(folder).args(args).start()
}

/// Asks or steers the runs of this folder.
fn runs(folder: &Folder, args: &[&str]) -> Ended {
    let args = std::iter::once("runs").chain(args.iter().copied());
    Ratchet::within(folder).args(args).run()
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout()).expect("it is JSON")
}

/// Returns the id of the only run.
fn id(folder: &Folder) -> String {
    let listed = json(&runs(folder, &["list", "--format", "json"]));
    listed[0]["id"].as_str().expect("it has an id").to_owned()
}

/// Returns the figures of the run that goes on.
fn figures(folder: &Folder) -> Value {
    json(&runs(folder, &["show", "--format", "json"]))["live"].clone()
}

/// Returns the results of a run, by id.
fn result(ended: &Ended, id: &str) -> Value {
    let lines = ended.stdout();
    let mut lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    lines
        .find(|line| line["id"] == id)
        .expect("the job is among the results")
}

#[test]
fn a_live_run_is_listed_counted_and_explained() {
    let folder = jobs(&format!(
        "limits: {{ db: {{ max: 1 }} }}
jobs:
  - {{ id: holds, limits: [db], host: web1, hint: host_exclusive, run: [sh, -c, \"{}\"] }}
  - {{ id: locked, host: web1, hint: host_exclusive, run: [echo] }}
  - {{ id: limited, limits: [db], run: [echo] }}
  - {{ id: after, needs: [holds, locked], run: [echo] }}
",
        until("a")
    ));
    let running = start(&folder, &["run", "-j2", "jobs.yaml"]);
    wait_for(&running, &folder, "a");
    let id = id(&folder);
    let listed = json(&runs(&folder, &["list", "--format", "json"]));
    assert_eq!(
        (&listed[0]["state"], &listed[0]["live"]),
        (&"running".into(), &true.into())
    );
    let shown = runs(&folder, &["show"]).with_code(0).stdout();
    assert!(
        shown.contains("now: 0 queued, 3 waiting, 1 running in 2 slots, 0 of 4 ended"),
        "{shown}"
    );
    assert!(
        shown.contains("waiting for: needs 1, host 1, limit:db 1"),
        "{shown}"
    );
    let explain = |job: &str, words: &str| {
        let told = runs(&folder, &["explain", &id, job]).with_code(0).stdout();
        assert!(told.starts_with(&format!("{job} {words}")), "{told}");
    };
    explain("locked", "waits for host web1, held by holds");
    explain("limited", "waits for limit db, held by holds (max 1)");
    explain("after", "needs holds, locked");
    explain("holds", "has been running for ");
    let told = json(&runs(
        &folder,
        &["explain", &id, "limited", "--format", "json"],
    ));
    assert_eq!(told["cause"], "limit:db");
    assert_eq!(told["held_by"][0], "holds");
    let refused = runs(&folder, &["explain", &id, "nobody"]).with_code(2);
    assert!(
        refused.stderr().contains("has no job nobody"),
        "{}",
        refused.stderr()
    );
    go(&folder, "a");
    let _ = running.wait().with_code(0);
    let told = runs(&folder, &["explain", &id, "locked"])
        .with_code(0)
        .stdout();
    assert!(told.starts_with("`locked` succeeded after"), "{told}");
    let listed = json(&runs(&folder, &["list", "--format", "json"]));
    assert_eq!(listed[0]["live"], Value::Null);
    let refused = runs(&folder, &["pause"]).with_code(2);
    assert!(
        refused.stderr().contains("no run is in progress"),
        "{}",
        refused.stderr()
    );
    let refused = runs(&folder, &["pause", &id]).with_code(2);
    assert!(
        refused.stderr().contains("is not in progress"),
        "{}",
        refused.stderr()
    );
}

#[test]
fn the_output_of_a_job_is_followed_to_its_end() {
    let folder = jobs(&format!(
        "jobs: [{{ id: a, run: [sh, -c, \"printf 'one\\\\n'; echo oops >&2; {}; printf two\"] }}]\n",
        until("a")
    ));
    let running = start(&folder, &["run", "jobs.yaml"]);
    wait_for(&running, &folder, "a");
    running.until("its output was read", || {
        let so_far = runs(&folder, &["tail", "a"]).with_code(0);
        (so_far.stdout(), so_far.stderr()) == ("one\n".into(), "oops\n".into())
    });
    let followed = start(&folder, &["runs", "tail", &id(&folder), "a", "-f"]);
    followed.wait_for_stdout("one\n");
    go(&folder, "a");
    assert_eq!(followed.wait().with_code(0).stdout(), "one\ntwo");
    let _ = running.wait().with_code(0);
    for words in [&["tail", "a"][..], &["tail", &id(&folder), "a", "-f"]] {
        let ended = runs(&folder, words).with_code(0);
        assert_eq!(
            (ended.stdout(), ended.stderr()),
            ("one\ntwo".into(), "oops\n".into())
        );
    }
    let refused = runs(&folder, &["tail", "b"]).with_code(2).stderr();
    assert!(refused.contains("no job b has ended in run"), "{refused}");
}

#[test]
fn the_output_of_a_job_that_has_ended_is_shown_while_its_run_goes_on() {
    let folder = jobs(&format!(
        "jobs:\n  - {{ id: a, run: [echo, one] }}\n  - {{ id: b, needs: [a], run: [sh, -c, \"{}\"] }}\n",
        until("b")
    ));
    let running = start(&folder, &["run", "jobs.yaml"]);
    wait_for(&running, &folder, "b");
    running.until("the end of the first job was recorded", || {
        runs(&folder, &["tail", "a"]).stdout() == "one\n"
    });
    go(&folder, "b");
    let _ = running.wait().with_code(0);
}

#[test]
fn the_output_of_a_map_and_what_workers_say_can_be_seen() {
    let folder = Folder::new().file(
        "worker.py",
        "import json, os, sys, time\n\
         for line in sys.stdin:\n\
         \x20   id = json.loads(line)['id']\n\
         \x20   say = lambda **m: print(json.dumps(m), flush=True)\n\
         \x20   say(type='event', event='log', id=id, level='info', message='half done')\n\
         \x20   open('w.begun', 'w')\n\
         \x20   while not os.path.exists('w.go'): time.sleep(0.05)\n\
         \x20   say(type='response', id=id, result=1)\n",
    );
    let script = format!("echo {{}}; {}", until("m"));
    let map = start(
        &folder,
        &["map", "-j1", "--", "sh", "-c", &script, ":::", "item"],
    );
    wait_for(&map, &folder, "m");
    map.until("its output was read", || {
        runs(&folder, &["tail", "1"]).with_code(0).stdout() == "item\n"
    });
    go(&folder, "m");
    let _ = map.wait().with_code(0);

    let call = Ratchet::within(&folder).args(["run", "--worker", "python3 worker.py", "-"]);
    let running = call.stdin("{\"id\":\"w\",\"task\":\"t\"}\n").start();
    wait_for(&running, &folder, "w");
    running.until("the message has come", || {
        runs(&folder, &["tail", "w"]).stderr() == "half done\n"
    });
    go(&folder, "w");
    let _ = running.wait().with_code(0);
}

#[test]
fn jobs_are_cancelled_and_the_run_goes_on() {
    let folder = jobs(&format!(
        "jobs:
  - {{ id: runs, run: [sh, -c, \"{}\"] }}
  - {{ id: waits, run: [echo] }}
  - {{ id: needs, needs: [waits], run: [echo] }}
  - {{ id: last, run: [sh, -c, \"{}\"] }}
",
        until("a"),
        until("b"),
    ));
    let running = start(&folder, &["run", "-j1", "--format", "jsonl", "jobs.yaml"]);
    wait_for(&running, &folder, "a");
    let id = id(&folder);
    let said = runs(&folder, &["cancel", &id, "runs", "waits"]).with_code(0);
    assert_eq!(said.stdout(), "runs is asked to stop\nwaits is cancelled\n");
    wait_for(&running, &folder, "b");
    let refused = runs(&folder, &["cancel", &id, "runs"]).with_code(2);
    assert!(
        refused.stderr().contains("has no job runs to cancel"),
        "{}",
        refused.stderr()
    );
    go(&folder, "b");
    let ended = running.wait().with_code(100);
    for (job, status) in [
        ("runs", "cancelled"),
        ("waits", "cancelled"),
        ("needs", "skipped"),
        ("last", "succeeded"),
    ] {
        assert_eq!(result(&ended, job)["status"], status, "{job}");
    }
    // What was cancelled did not succeed, so it is done again.
    go(&folder, "a");
    let resumed = Ratchet::within(&folder)
        .args(["resume", &id])
        .run()
        .with_code(0);
    assert_eq!(result(&resumed, "runs")["status"], "succeeded");
}

#[test]
fn a_paused_run_starts_nothing_until_it_is_continued() {
    let folder = jobs(&format!(
        "jobs:
  - {{ id: a, run: [sh, -c, \"{}\"] }}
  - {{ id: b, run: [sh, -c, \"{}\"] }}
",
        until("a"),
        until("b")
    ));
    let running = start(&folder, &["run", "-j1", "--format", "jsonl", "jobs.yaml"]);
    wait_for(&running, &folder, "a");
    let _ = runs(&folder, &["pause"]).with_code(0);
    go(&folder, "a");
    // The loop is asked at most now and then, so an answer may be a moment old.
    running.until("the first job has ended", || {
        let now = figures(&folder);
        now["ended"] == 1 && now["running"] == 0
    });
    let now = figures(&folder);
    assert_eq!((&now["paused"], &now["running"]), (&true.into(), &0.into()));
    assert_eq!(now["waits"][0]["cause"], "paused");
    assert!(!folder.at("b.begun").exists());
    let _ = runs(&folder, &["continue"]).with_code(0);
    wait_for(&running, &folder, "b");
    go(&folder, "b");
    let ended = running.wait().with_code(0);
    let waited = &result(&ended, "b")["waited"];
    assert!(
        waited["paused"].as_f64().is_some_and(|paused| paused > 0.0),
        "{waited}"
    );
}

#[test]
fn slots_and_limits_are_changed_and_resume_knows() {
    let folder = jobs(&format!(
        "limits: {{ db: {{ max: 1 }}, api: {{ rate: 1/h }} }}
jobs:
  - {{ id: a, limits: [db], run: [sh, -c, \"{}\"] }}
  - {{ id: b, limits: [db], run: [sh, -c, \"{}\"] }}
  - {{ id: c, run: [sh, -c, \"{}\"] }}
",
        until("a"),
        until("b"),
        until("c"),
    ));
    let running = start(&folder, &["run", "-j1", "jobs.yaml"]);
    wait_for(&running, &folder, "a");
    let id = id(&folder);
    let set = |args: &[&str]| {
        let args: Vec<&str> = ["set"].iter().chain(args).copied().collect();
        runs(&folder, &args)
    };
    for (args, why) in [
        (&["--limit", "dp=2"][..], "did you mean `db`?"),
        (&["--limit", "db=2/s"], "is a number of units"),
        (&["--limit", "api=2", "--jobs", "2"], "is a rate (1/h"),
        (&["--jobs", "0"], "--jobs"),
        (&["--limit", "db"], "NAME=2"),
    ] {
        let refused = set(args).with_code(2).stderr();
        assert!(refused.contains(why), "{args:?}: {refused}");
    }
    assert_eq!(figures(&folder)["slots"], 1);
    let said = set(&[&id, "--jobs", "2"]).with_code(0).stdout();
    assert_eq!(said, "jobs 2\n");
    wait_for(&running, &folder, "c");
    assert!(!folder.at("b.begun").exists());
    let said = set(&["--jobs", "3", "--limit", "db=2"])
        .with_code(0)
        .stdout();
    assert_eq!(said, "jobs 3\nlimit db max 2\n");
    wait_for(&running, &folder, "b");
    running.signal(Signal::Kill);
    let _ = running.wait();
    // Its socket is left behind, and nobody takes it for a run that goes on.
    let listed = json(&runs(&folder, &["list", "--format", "json"]));
    assert_eq!(
        (&listed[0]["state"], &listed[0]["live"]),
        (&"interrupted".into(), &Value::Null)
    );
    for name in ["a", "b", "c"] {
        fs::remove_file(folder.at(&format!("{name}.begun"))).expect("it has begun before");
    }
    let resumed = start(&folder, &["resume", &id]);
    for name in ["a", "b", "c"] {
        wait_for(&resumed, &folder, name);
    }
    assert_eq!(figures(&folder)["slots"], 3);
    for name in ["a", "b", "c"] {
        go(&folder, name);
    }
    let _ = resumed.wait().with_code(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_stopped_run_is_told_as_stopped_and_does_not_carry_out_later_what_was_refused() {
    let folder = jobs(&format!(
        "jobs:
  - {{ id: first, run: [sh, -c, \"{}\"] }}
  - {{ id: second, needs: [first], run: [echo] }}
",
        until("a")
    ));
    let running = start(&folder, &["run", "-j1", "jobs.yaml"]);
    wait_for(&running, &folder, "a");
    running.signal(Signal::Stop);
    let refused = runs(&folder, &["pause"]).with_code(2).stderr();
    assert!(refused.contains("the run is stopped"), "{refused}");
    assert!(refused.contains("kill -CONT"), "{refused}");
    let shown = runs(&folder, &["show"]).with_code(0);
    let told = shown.stderr();
    assert!(
        told.contains("only the record of the run is shown"),
        "{told}"
    );
    go(&folder, "a");
    running.signal(Signal::Continue);
    let ended = running.wait().with_code(0);
    assert_eq!(result(&ended, "second")["status"], "succeeded");
}
