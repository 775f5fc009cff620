//! What people do with jobs that are tests: flaky ones, slow ones, and groups that are given up at their first failure.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// A job that fails at its first attempt and succeeds at the second one.
const FLAKY: &str = "{ id: shaky, run: [sh, -c, '[ $RATCHET_ATTEMPT = 2 ]'] }";

fn run(jobs: &str, flags: &[&str]) -> Ended {
    let folder = Folder::new().file("jobs.yaml", jobs);
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml", "--no-record", "-k"]);
    call.args(flags.iter().copied()).run()
}

/// Returns the results, by the ids of their jobs.
fn results(ended: &Ended) -> std::collections::BTreeMap<String, Value> {
    let lines = ended.stdout();
    let results = lines.lines().map(|line| {
        let result: Value = serde_json::from_str(line).expect("it is JSON");
        (
            result["id"].as_str().expect("it has an id").to_owned(),
            result,
        )
    });
    results.collect()
}

#[test]
fn a_flaky_job_is_told_apart_and_fails_the_run_only_on_request() {
    let jobs = format!("jobs: [{FLAKY}, {{ id: sound, run: ['true'] }}]");
    let ended = run(&jobs, &["--retries", "1"]).with_code(0);
    let told = results(&ended);
    assert_eq!(told["shaky"]["flaky"], true);
    assert!(told["sound"].get("flaky").is_none(), "{told:?}");
    assert!(
        ended.stderr().contains("2 succeeded (1 flaky)"),
        "{}",
        ended.stderr()
    );

    let human = run(
        &jobs,
        &["--retries", "1", "--format", "human", "--flaky", "pass"],
    );
    assert!(human.with_code(0).stdout().contains("2 attempts  flaky\n"));

    let document = run(
        &jobs,
        &["--retries", "1", "--format", "json", "--flaky", "fail"],
    );
    let document: Value =
        serde_json::from_str(&document.with_code(100).stdout()).expect("it is JSON");
    assert_eq!(document["summary"]["flaky"], 1);
    assert_eq!(document["summary"]["succeeded"], 2);

    // Without a flaky job, the flag changes nothing.
    let sound = run("jobs: [{ run: ['true'] }]", &["--flaky", "fail"]);
    assert_eq!(sound.code, Some(0));
    let mapped = Ratchet::new()
        .args([
            "map",
            "-q",
            "--retries",
            "1",
            "--flaky",
            "fail",
            "--shell",
            "--",
        ])
        .args(["[ $RATCHET_ATTEMPT = 2 ]", ":::", "a"])
        .run();
    assert_eq!(mapped.code, Some(100));
}

#[test]
fn a_run_that_is_resumed_tells_flaky_jobs_of_its_earlier_part_too() {
    let folder = Folder::new().file("jobs.yaml", format!("jobs: [{FLAKY}]"));
    let first = Ratchet::within(&folder)
        .args(["run", "jobs.yaml", "--retries", "1"])
        .run();
    assert_eq!(first.code, Some(0));
    let again = Ratchet::within(&folder)
        .args(["resume", "--flaky", "fail"])
        .run();
    assert!(
        again
            .with_code(100)
            .stderr()
            .contains("1 succeeded (1 flaky)")
    );
}

#[test]
fn a_slow_job_is_warned_of_once_and_counted() {
    let jobs = "defaults: { slow: 1h }
overrides: [{ match: 'long*', slow: 10ms }]
jobs:
  - { id: long-1, run: [sh, -c, 'until [ -e go ]; do sleep 0.02; done'] }
  - { id: quick, run: ['true'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let running = Ratchet::within(&folder)
        .args(["run", "jobs.yaml", "--no-record", "--format", "json"])
        .start();
    running.wait_for_stderr("ratchet: slow: long-1 has been running for ");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let ended = running.wait().with_code(0);
    assert_eq!(
        ended.stderr().matches("slow: long-1").count(),
        1,
        "{}",
        ended.stderr()
    );
    assert!(
        ended.stderr().contains("2 succeeded, 1 slow in "),
        "{}",
        ended.stderr()
    );
    let document: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
    assert_eq!(document["summary"]["slow"], 1);

    let quiet = Ratchet::new()
        .args([
            "map", "-q", "--slow", "1ms", "--", "sleep", "{}", ":::", "0.2",
        ])
        .run()
        .with_code(0);
    assert_eq!(quiet.stderr(), "");
}

#[test]
fn the_first_failure_of_a_group_ends_the_rest_of_the_group_alone() {
    let jobs = "groups: { db: { fail_fast: true }, web: { fail_fast: false } }
jobs:
  - { id: sound, group: db, run: ['true'] }
  - { id: bad, group: db, run: ['false'] }
  - { id: later, group: db, run: [touch, later] }
  - { id: dependent, needs: [later], run: ['true'] }
  - { id: web-bad, group: web, run: ['false'] }
  - { id: web-good, group: web, run: ['true'] }
";
    let ended = run(jobs, &["-j1"]).with_code(100);
    let told = results(&ended);
    let status = |id: &str| {
        told[id]["status"]
            .as_str()
            .expect("it has a status")
            .to_owned()
    };
    let all = ["sound", "bad", "later", "dependent", "web-bad", "web-good"].map(status);
    assert_eq!(
        all,
        [
            "succeeded",
            "failed",
            "skipped",
            "skipped",
            "failed",
            "succeeded"
        ]
    );
    let error = &told["later"]["error"];
    assert_eq!(error["class"], "need");
    assert_eq!(error["code"], "group");
    assert_eq!(
        error["message"],
        "job `bad` of its group `db` did not succeed"
    );

    let ended = run(jobs, &["-j1", "--group-fail-fast", "w*"]).with_code(100);
    assert_eq!(results(&ended)["web-good"]["status"], "skipped");
    let refused = run(jobs, &["--group-fail-fast", "wbe"]).with_code(2);
    assert!(
        refused
            .stderr()
            .contains("--group-fail-fast wbe: no job is in a group that matches")
    );
    let warned = run(
        "groups: { bd: { fail_fast: true } }\njobs: [{ run: ['true'] }]",
        &[],
    );
    assert!(
        warned
            .with_code(0)
            .stderr()
            .contains("warning: no job is in group `bd`")
    );
}

#[test]
fn what_runs_of_a_group_is_cancelled_when_another_job_of_it_fails() {
    let jobs = "{\"version\":1,\"groups\":{\"db\":{\"fail_fast\":true}}}
{\"id\":\"runs\",\"group\":\"db\",\"run\":[\"sh\",\"-c\",\"touch up; exec sleep 600\"]}
{\"id\":\"bad\",\"group\":\"db\",\"run\":[\"sh\",\"-c\",\"until [ -e up ]; do sleep 0.02; done; exit 1\"]}
";
    let folder = Folder::new().file("jobs.jsonl", jobs);
    let ended = Ratchet::within(&folder)
        .args(["run", "jobs.jsonl", "--no-record", "-q", "-j2"])
        .run()
        .with_code(100);
    let told = results(&ended);
    assert_eq!(told["runs"]["status"], "cancelled");
    let message = told["runs"]["error"]["message"]
        .as_str()
        .expect("it is a text");
    assert!(
        message.starts_with("job `bad` of its group `db` did not succeed: "),
        "{message}"
    );
}

/// Fails at every other call in its folder.
const SOMETIMES: &str =
    "{ id: sometimes, run: [sh, -c, 'if rm left; then exit 1; else touch left; fi'] }";

#[test]
fn repetitions_are_jobs_of_their_own_and_the_summary_tells_how_many_failed() {
    let jobs = format!("jobs: [{SOMETIMES}, {{ id: after, needs: [sometimes], run: ['true'] }}]");
    let ended = run(&jobs, &["-j1", "--repeat", "4"]).with_code(100);
    let told = results(&ended);
    let status = |id: &str| {
        told[id]["status"]
            .as_str()
            .expect("it has a status")
            .to_owned()
    };
    let ids: Vec<&String> = told.keys().collect();
    assert_eq!(ids.len(), 8, "{ids:?}");
    assert_eq!(
        ["sometimes#1", "sometimes#2", "sometimes#3", "sometimes#4"].map(status),
        ["succeeded", "failed", "succeeded", "failed"]
    );
    // Each needs the one of its own round.
    assert_eq!(["after#3", "after#4"].map(status), ["succeeded", "skipped"]);
    let summary = ended.stderr();
    assert!(
        summary.contains("repeated: sometimes failed 2 of 4 times\n"),
        "{summary}"
    );
    assert!(
        summary.contains("repeated: 1 job never failed\n"),
        "{summary}"
    );
}

#[test]
fn the_json_summary_counts_the_repetitions_of_each_job() {
    let jobs = format!("jobs: [{SOMETIMES}, {{ id: sound, run: ['true'] }}]");
    let repeated = |flags: &[&str]| {
        let ended = run(&jobs, &[&["-j1", "--format", "json"], flags].concat());
        let document: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
        document["summary"]["repeated"].clone()
    };
    assert_eq!(
        repeated(&["--repeat", "4"]),
        serde_json::json!([
            { "id": "sometimes", "ended": 4, "failed": 2 },
            { "id": "sound", "ended": 4, "failed": 0 },
        ])
    );
    assert_eq!(repeated(&[]), Value::Null);
}

#[test]
fn a_group_that_is_given_up_in_one_round_is_tried_again_in_the_next() {
    let jobs = format!(
        "groups: {{ db: {{ fail_fast: true }} }}
defaults: {{ cache: true }}
overrides: [{{ match: '*', slots: 1 }}]
jobs: [{}, {{ id: other, group: db, run: ['true'] }}]",
        SOMETIMES.replace("id: sometimes", "id: sometimes, group: db")
    );
    let told = results(&run(&jobs, &["-j1", "--repeat", "3"]).with_code(100));
    let status = |id: &str| {
        told[id]["status"]
            .as_str()
            .expect("it has a status")
            .to_owned()
    };
    assert_eq!(
        ["other#1", "other#2", "other#3"].map(status),
        ["succeeded", "skipped", "succeeded"]
    );
    assert_eq!(told["other#3"]["cached"], false);
}

#[test]
fn stress_begins_rounds_until_its_time_is_over_and_finishes_the_last_one() {
    let jobs = "jobs: [{ id: a, run: ['true'] }, { id: b, needs: [a], run: ['true'] }]";
    let told = results(&run(jobs, &["-j2", "--stress", "300ms"]).with_code(0));
    let rounds = told.keys().filter(|id| id.starts_with("a#")).count();
    assert!(rounds > 1, "{told:?}");
    assert_eq!(told.len(), 2 * rounds, "each round is whole");
    assert_eq!(
        results(&run(jobs, &["--stress", "0s"]).with_code(0)).len(),
        2
    );
    for flags in [
        &["--repeat", "2", "--stress", "1s"][..],
        &["--repeat", "0"],
        &["--repeat", "2", "--list"],
    ] {
        assert_eq!(run(jobs, flags).code, Some(2), "{flags:?}");
    }
    let stream = Ratchet::new()
        .args(["run", "-", "--repeat", "2"])
        .stdin("{\"run\":[\"true\"]}\n")
        .run()
        .with_code(2);
    assert!(
        stream
            .stderr()
            .contains("--repeat and --stress need to know all jobs before the run")
    );
}

#[test]
fn the_summary_counts_the_rounds_of_a_stressed_run() {
    let jobs = format!("jobs: [{SOMETIMES}, {{ id: sound, run: ['true'] }}]");
    let flags = ["-j1", "--stress", "300ms", "--format", "json"];
    let ended = run(&jobs, &flags);
    let document: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
    let results = document["results"].as_array().expect("it is a list");
    let [sometimes, sound] = ["sometimes#", "sound#"].map(|id| {
        let of_job = |result: &&Value| result["id"].as_str().is_some_and(|it| it.starts_with(id));
        let all: Vec<&Value> = results.iter().filter(of_job).collect();
        let failed = all.iter().filter(|result| result["status"] == "failed");
        (all.len(), failed.count())
    });
    assert!(sound.0 >= 1, "{document}");
    // Every other attempt of the one fails.
    assert_eq!(sometimes, (sound.0, sound.0 / 2));
    let counted = |id: &str, (ended, failed): (usize, usize)| serde_json::json!({ "id": id, "ended": ended, "failed": failed });
    assert_eq!(
        document["summary"]["repeated"],
        serde_json::json!([counted("sometimes", sometimes), counted("sound", sound)])
    );
    let code = if sometimes.1 > 0 { 100 } else { 0 };
    assert_eq!(ended.code, Some(code));
    let told = ended.stderr();
    let line = format!(
        "repeated: sometimes failed {} of {} times\n",
        sometimes.1, sometimes.0
    );
    assert!(sometimes.1 == 0 || told.contains(&line), "{told}");
}

#[test]
fn a_repeated_run_is_resumed_where_it_was_left() {
    let jobs = "jobs: [{ id: a, run: [sh, -c, 'echo >> ran; [ $(wc -l < ran) != 2 ]'] }]";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let first = Ratchet::within(&folder)
        .args(["run", "jobs.yaml", "-j1", "--repeat", "3"])
        .run();
    assert_eq!(first.code, Some(100), "{}", first.stderr());
    let again = Ratchet::within(&folder).args(["resume"]).run().with_code(0);
    assert_eq!(results(&again).len(), 3);
    let ran = std::fs::read_to_string(folder.at("ran")).expect("it is there");
    assert_eq!(
        ran.lines().count(),
        4,
        "only the one that failed was run again"
    );
}
