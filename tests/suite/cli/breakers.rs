//! Breakers and the retry budget, with programs that fail for a while.

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::{Value, json};

/// A program that counts its calls, and fails until the file `back` is older than this many tenths of a second. `back` is
/// made by the first call.
const API: &str = r#"
echo call >> "$1.calls"
[ -e "$1.back" ] || date +%s%N > "$1.back"
age=$(( ($(date +%s%N) - $(cat "$1.back")) / 100000000 ))
if [ "$age" -lt "$2" ]; then echo "503 after $age" >&2; exit 22; fi
echo "$3"
"#;

fn folder(jobs: &Value) -> Folder {
    let folder = Folder::new().file("api.sh", API);
    folder.file("jobs.json", jobs.to_string())
}

fn run(folder: &Folder, words: &[&str]) -> Ended {
    let call = Ratchet::within(folder).args(["run", "jobs.json", "--format", "json"]);
    call.args(words).run()
}

fn calls(folder: &Folder, api: &str) -> usize {
    let calls = std::fs::read_to_string(folder.path().join(format!("{api}.calls")));
    calls.expect("it was called").lines().count()
}

fn document(ended: &Ended) -> Value {
    assert_ne!(ended.stdout(), "", "{}", ended.stderr());
    serde_json::from_str(&ended.stdout()).expect("a run writes its results as JSON")
}

fn call(api: &str, down_for: u32, number: u32) -> Value {
    json!([
        "sh",
        "api.sh",
        api,
        down_for.to_string(),
        number.to_string()
    ])
}

#[test]
fn an_api_that_is_down_for_a_while_gets_few_calls_and_each_job_succeeds() {
    let jobs: Vec<Value> = (0..60)
        .map(|number| json!({"run": call("a", 15, number)}))
        .collect();
    let folder = folder(&json!({
        "version": 1,
        "defaults": {
            "breaker": {"consecutive": 3, "open": "500ms", "probes": 1},
            "retry": {"max": 9, "backoff": "fixed", "base": "1ms"},
        },
        "jobs": jobs,
    }));
    let ended = run(&folder, &["-j4"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let failed = calls(&folder, "a") - 60;
    // Four ran when it opened; then a probe after half a second and one after a second and a half.
    assert!((3..=12).contains(&failed), "{failed} calls failed");
    let summary = &document(&ended)["summary"];
    let breaker = &summary["breakers"][0];
    assert_eq!(breaker["name"], "commands");
    assert_eq!(breaker["state"], "closed");
    assert!(breaker["open_ms"].as_u64() >= Some(900), "{breaker}");
    let said = ended.stderr();
    assert!(
        said.contains("breaker of commands: open for ") && said.contains("; exit: "),
        "{said}"
    );
    let shown = Ratchet::within(&folder).args(["runs", "show"]).run();
    let line = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        lines.find(|line| line.starts_with("breaker of"))
    };
    assert!(line(&said).is_some());
    assert_eq!(line(&shown.stdout()), line(&said), "{}", shown.stdout());
    let shown = Ratchet::within(&folder).args(["runs", "show", "--format", "json"]);
    assert_eq!(document(&shown.run())["summary"]["breakers"][0], *breaker);
}

/// A worker that counts its calls, and fails those that say `down`.
const WORKER: &str = r#"
while read -r line; do
    id=${line#*'"id":"'}
    case $line in
        *'"down"'*) echo call >> "$1.calls"; end='"error":{"code":"503","message":"unavailable"}' ;;
        *) end='"result":1' ;;
    esac
    echo "{\"type\":\"response\",\"id\":\"${id%%'"'*}\",$end}"
done
"#;

#[test]
fn a_worker_has_a_breaker_for_each_host_and_another_worker_has_none() {
    let task =
        |task: &str, host: &str, input: &str| json!({"task": task, "host": host, "input": input});
    let jobs = [
        ("api", "bad", "down"),
        ("api", "good", "up"),
        ("free", "bad", "down"),
    ];
    let jobs = jobs
        .into_iter()
        .flat_map(|(name, host, input)| (0..10).map(move |_| task(name, host, input)));
    let jobs: Vec<Value> = jobs.collect();
    let worker = |name: &str, breaker: Value| json!({"command": ["sh", "worker.sh", name], "size": 1, "breaker": breaker});
    let folder = folder(&json!({
        "version": 1,
        "workers": {
            "api": worker("api", json!({"consecutive": 3, "open": "1h", "reject": true})),
            "free": worker("free", json!(false)),
        },
        "defaults": {"breaker": {"consecutive": 1}},
        "jobs": jobs,
    }));
    let folder = folder.file("worker.sh", WORKER);
    let ended = run(&folder, &["-j1"]);
    assert_eq!((calls(&folder, "api"), calls(&folder, "free")), (3, 10));
    let document = document(&ended);
    let results = document["results"].as_array().expect("results");
    let good = results.iter().filter(|result| result["host"] == "good");
    assert!(good.clone().all(|result| result["status"] == "succeeded"));
    assert_eq!(good.count(), 10);
    let breakers = document["summary"]["breakers"]
        .as_array()
        .expect("breakers");
    let known: Vec<_> = breakers
        .iter()
        .map(|breaker| (breaker["name"].as_str(), breaker["host"].as_str()))
        .collect();
    assert_eq!(known, [(Some("api"), Some("bad"))]);
    assert!(
        ended.stderr().contains("breaker of api on bad: open for "),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_rejected_job_is_retried_unless_its_retries_name_other_classes() {
    let jobs = |on: Option<&str>| {
        // Rejections count as failures, and how many there are while the breaker is open is a matter of chance.
        let mut retry = json!({"max": 99, "backoff": "fixed", "base": "400ms"});
        if let Some(on) = on {
            retry["on"] = json!([on]);
        }
        let mut jobs: Vec<Value> = (0..3).map(|_| json!({"run": call("a", 6, 0)})).collect();
        jobs.push(json!({"id": "last", "run": call("a", 6, 1), "retry": retry}));
        json!({
            "version": 1,
            "defaults": {"breaker": {"consecutive": 3, "open": "300ms", "probes": 1, "reject": true}},
            "jobs": jobs,
        })
    };
    for (on, status) in [
        (Some("breaker"), "succeeded"),
        (Some("timeout"), "failed"),
        (None, "succeeded"),
    ] {
        let folder = folder(&jobs(on));
        let ended = run(&folder, &["-j1", "-k"]);
        let document = document(&ended);
        let last = &document["results"][3];
        // A probe may come while it is down, and then it fails as any attempt does: `exit`, which is not listed.
        let is_probe = last["error"]["class"] == "exit";
        assert!(
            last["status"] == status || (on == Some("breaker") && is_probe),
            "{on:?}: {last}"
        );
        if on == Some("timeout") {
            assert_eq!(last["error"]["class"], "breaker");
            let said = last["error"]["message"].as_str().expect("a message");
            assert!(
                said.starts_with(
                    "the breaker of commands is open: too many attempts failed in a row; exit: "
                ),
                "{said}"
            );
            assert_eq!(last["attempts"], 0);
        }
    }
}

#[test]
fn map_takes_a_breaker_as_a_flag_for_commands_and_for_filters() {
    let folder = folder(&json!(null));
    let rules = "--breaker={consecutive: 3, open: 300ms, probes: 1, reject: true}";
    let items: Vec<String> = (0..20).map(|number| format!("{number}\n")).collect();
    let ended = Ratchet::within(&folder)
        .args(["map", "-j1", "--format", "json", rules, "--"])
        .args(["sh", "api.sh", "a", "9000", "{}"])
        .stdin(items.concat())
        .run();
    assert_eq!(calls(&folder, "a"), 3, "{}", ended.stderr());
    let document = document(&ended);
    assert_eq!(document["results"][19]["error"]["class"], "breaker");

    let ended = Ratchet::within(&folder)
        .args(["map", "--warm", "-j1", "--format", "json", rules, "--"])
        .args(["sh", "-c", "read line; exit 3"])
        .stdin(items.concat())
        .run();
    let breaker = &self::document(&ended)["summary"]["breakers"][0];
    assert_eq!(breaker["name"], "sh", "{breaker}");
}

#[test]
fn a_run_makes_no_more_retries_than_its_budget_allows() {
    let jobs: Vec<Value> = (0..50)
        .map(|_| json!({"run": call("a", 9_000, 0)}))
        .collect();
    let folder = folder(&json!({
        "version": 1,
        "defaults": {"retry": {"max": 3, "backoff": "fixed", "base": "1ms", "budget": "20%"}},
        "jobs": jobs,
    }));
    let ended = run(&folder, &["-j4"]);
    assert_eq!(calls(&folder, "a"), 50 + 10 + 10);
    let document = document(&ended);
    let refused = &document["summary"]["retries_refused"];
    assert!(refused.as_u64() >= Some(40), "{refused}");
    let results = document["results"].as_array().expect("results");
    let said = |result: &&Value| {
        let message = result["error"]["message"].as_str().expect("a message");
        message.ends_with(" (not tried again: the retry budget of 20 % is used up)")
    };
    assert!(results.iter().filter(said).count() >= 40);
    let said = ended.stderr();
    assert!(
        said.contains("retries not made, because the retry budget was used up"),
        "{said}"
    );
}

#[test]
fn an_invalid_breaker_or_budget_is_refused_with_its_place() {
    for (file, said) in [
        (
            "defaults: {breaker: {consecutve: 3}}",
            &["jobs.yaml:1:22", "did you mean `consecutive`?"][..],
        ),
        (
            "workers: {t: {command: [cat], breaker: {failure_rate: 50}}}",
            &["jobs.yaml:1:", "as in 20%"],
        ),
        (
            "defaults: {retry: {max: 1, budget: 0%}}",
            &["jobs.yaml:1:36", "this share cannot be 0%"],
        ),
        (
            "workers: {t: {command: [cat], retry: {max: 1, budget: 20%}}}",
            &["jobs.yaml:1:47", "`budget` applies to the whole run"],
        ),
    ] {
        let text = format!("{file}\njobs: [{{run: [echo, hi]}}]\n");
        let folder = Folder::new().file("jobs.yaml", text);
        let ended = Ratchet::within(&folder).args(["check", "jobs.yaml"]).run();
        assert_eq!(ended.code, Some(2));
        for part in said {
            assert!(ended.stderr().contains(part), "{file}: {}", ended.stderr());
        }
    }
}
