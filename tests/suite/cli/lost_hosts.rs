//! Hosts that are lost, by what happens to their agents: what their jobs come to, and what the keys of a host change.
#![cfg(target_os = "linux")]

use ratchet_runtime::Timestamp;
use ratchet_tests::{Ended, Folder, Ratchet, eventually, marked};
use serde_json::{Value, json};

/// The words of a launcher. As over ssh, the agent is another process than the launcher, in another session.
const VIA: [&str; 4] = ["sh", "-c", "setsid \"$@\"; exit $?", "via"];

/// Runs jobs on hosts, and checks that nothing is left of them.
fn run(folder: &Folder, jobs: &Value) -> Ended {
    let mark = format!("HOSTS_TEST={}", folder.path().display());
    let file = folder.at("jobs.json");
    std::fs::write(file, jobs.to_string()).expect("it is written");
    let ended = Ratchet::within(folder)
        .args(["run", "jobs.json", "--format", "jsonl", "-v"])
        .env("XDG_CACHE_HOME", folder.at("cache"))
        .env("HOSTS_TEST", folder.path())
        .run();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("it has a timer");
    runtime.block_on(eventually("nothing is left", || marked(&mark).is_empty()));
    ended
}

/// Returns the result of the job with this id.
fn result(ended: &Ended, id: &str) -> Value {
    let stdout = ended.stdout();
    let results = stdout.lines().map(serde_json::from_str::<Value>);
    let mut results = results.map(|line| line.expect("it is JSON"));
    let result = results.find(|line| line["id"] == id);
    assert!(result.is_some(), "{id}: {stdout}\n{}", ended.stderr());
    result.expect("it was found")
}

#[test]
fn a_job_whose_agent_is_stopped_is_tried_again_when_the_time_of_its_host_is_over() {
    let folder = Folder::new();
    let script = "if mkdir first; then kill -STOP $PPID; exec sleep 1000; fi; echo second";
    let ended = run(
        &folder,
        &json!({
            "hosts": {"web1": {"via": VIA, "lost_after": "3s", "fence_after": "4s"}},
            "jobs": [{"id": "a", "run": ["sh", "-c", script], "on": "web1", "retry": 1}],
        }),
    )
    .with_code(0);
    let result = result(&ended, "a");
    assert_eq!(result["result"]["stdout"], "second\n", "{result}");
    let first = &result["attempts_detail"][0];
    assert_eq!(first["class"], "host", "{result}");
    let at = |key: &str| {
        let time = first[key]
            .as_str()
            .and_then(|time| time.parse::<Timestamp>().ok());
        time.unwrap_or_else(|| panic!("{result}")).as_millis()
    };
    let took = at("ended_at") - at("started_at");
    assert!(took >= 5000, "the margin is kept: {took} ms");
    assert!(took < 17_000, "by default it takes so long: {took} ms");
    let said = ended.stderr();
    assert!(
        said.contains("nothing came from the other side for 3s"),
        "{said}"
    );
}

#[test]
fn a_lost_job_that_may_run_elsewhere_is_tried_again_elsewhere() {
    let folder = Folder::new();
    // The only other host is reached, so the job runs there while the first one is tried again.
    let script = "if mkdir first; then kill -KILL $PPID; exec sleep 1000; fi; echo second";
    let gone = [
        "sh",
        "-c",
        "if mkdir launched; then exec \"$@\"; fi; echo 'no route to host' >&2; exit 255",
        "via",
    ];
    let ended = run(
        &folder,
        &json!({
            "hosts": {
                "web1": {"via": gone, "slots": 8, "fence_after": "2s"},
                "web2": {"via": VIA, "slots": 1},
            },
            "jobs": [{"id": "a", "run": ["sh", "-c", script], "on": ["web1", "web2"], "retry": 2}],
        }),
    )
    .with_code(0);
    let result = result(&ended, "a");
    assert_eq!(result["result"]["stdout"], "second\n", "{result}");
    assert_eq!(result["attempts_detail"][0]["class"], "host", "{result}");
    assert_eq!(result["attempts"], 2, "{result}");
}

#[test]
fn a_lost_host_is_given_up_in_time_and_its_jobs_fail_with_the_last_words_of_its_launcher() {
    let folder = Folder::new();
    let script =
        "if mkdir launched; then exec \"$@\"; fi; echo 'ssh: No route to host' >&2; exit 255";
    let ended = run(
        &folder,
        &json!({
            "hosts": {"web1": {"via": ["sh", "-c", script, "via"], "slots": 1, "fence_after": "2s", "give_up": "1s"}},
            "jobs": [
                {"id": "lost", "run": ["sh", "-c", "kill -KILL $PPID; exec sleep 1000"], "on": "web1"},
                {"id": "waits", "run": ["echo"], "on": "web1"},
                {"id": "here", "run": ["echo"]},
            ],
        }),
    )
    .with_code(100);
    let lost = result(&ended, "lost");
    assert_eq!(lost["status"], "crashed");
    assert_eq!(
        (&lost["error"]["class"], &lost["attempts"]),
        (&json!("host"), &json!(1))
    );
    let waits = result(&ended, "waits");
    assert_eq!(waits["error"]["class"], "unreachable", "{waits}");
    assert_eq!(waits["attempts"], 0, "{waits}");
    let message = waits["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("ssh: No route to host"), "{message}");
    assert_eq!(result(&ended, "here")["status"], "succeeded");
}

#[test]
fn a_time_of_a_host_that_no_message_could_keep_is_refused() {
    let folder = Folder::new();
    let ended = run(
        &folder,
        &json!({
            "hosts": {"web1": {"via": VIA, "lost_after": "20ms", "fence_after": "0s"}},
            "jobs": [{"id": "a", "run": ["echo"], "on": "web1"}],
        }),
    )
    .with_code(2);
    let said = ended.stderr();
    assert!(
        said.contains("`lost_after` is shorter than a second"),
        "{said}"
    );
    assert!(said.contains("fence_after"), "{said}");
}
