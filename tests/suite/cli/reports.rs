//! Reports on runs: pages, traces, summaries, and why a run took as long as it did.

use std::path::Path;
use std::process::Command;

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

/// An id that would be a script if it were taken for markup.
const HOSTILE: &str = "</script><img src=x onerror=document.title='taken'>";

/// Returns jobs that fail, time out, are tried again, need each other and share a limit.
fn mixed() -> String {
    let hostile = serde_json::to_string(HOSTILE).expect("it is a text");
    format!(
        r#"{{"version":1,"limits":{{"db":{{"max":1}}}},"defaults":{{"retry":{{"max":1,"base":"10ms"}}}}}}
{{"id":"build","run":["sh","-c","echo built"]}}
{{"id":"test","run":["sh","-c","echo tested"],"needs":["build"],"limits":["db"]}}
{{"id":"flaky","run":["sh","-c","[ $RATCHET_ATTEMPT = 2 ]"],"limits":["db"]}}
{{"id":"slow","run":["sleep","60"],"timeout":"50ms","retry":{{"max":0}}}}
{{"id":{hostile},"run":["sh","-c","echo '<b>not bold</b>' >&2; exit 3"]}}
{{"id":"never","run":["true"],"needs":["slow"]}}
"#
    )
}

/// Returns a folder in which the mixed jobs have run, with their events.
fn after_a_run() -> Folder {
    let folder = Folder::new().file("jobs.jsonl", mixed());
    let words = ["run", "jobs.jsonl", "-j", "2", "--events", "events.jsonl"];
    let ended = Ratchet::within(&folder).args(words).run();
    assert_eq!(ended.code, Some(100), "{}", ended.stderr());
    folder
}

fn report(folder: &Folder, words: &[&str]) -> Ended {
    Ratchet::within(folder)
        .args(["runs", "report"])
        .args(words)
        .run()
        .with_code(0)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("it was written");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

#[test]
fn the_file_of_events_has_all_of_a_run_and_is_what_the_schema_says() {
    let folder = after_a_run();
    let events = lines(&folder.at("events.jsonl"));
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((named("run_started"), named("run_ended")), (1, 1));
    assert_eq!((named("job_queued"), named("job_ended")), (6, 6));
    // The flaky job and the hostile one have two attempts, and one job never began.
    assert_eq!(named("attempt_started"), 7);
    assert!(
        events
            .iter()
            .all(|event| event["v"] == 1 && event["at_ms"].is_u64())
    );

    let schema = Ratchet::new().args(["schema", "events"]).run().with_code(0);
    let schema_path = folder.at("schema.json");
    std::fs::write(&schema_path, schema.stdout()).expect("it is written");
    let check = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        for line in open(sys.argv[2]): jsonschema.validate(json.loads(line), schema)\n\
        print('valid')";
    let python = std::env::var_os("PYTHON_WITH_JSONSCHEMA").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python)
        .args(["-c", "import jsonschema"])
        .output();
    if !has.is_ok_and(|has| has.status.success()) {
        eprintln!(
            "SKIPPED: no python3 with jsonschema, so the events are not checked by a validator"
        );
        return;
    }
    let validated = Command::new(&python)
        .args(["-c", check])
        .args([&schema_path, &folder.at("events.jsonl")])
        .output()
        .expect("it is started");
    assert!(
        validated.status.success(),
        "{}",
        String::from_utf8_lossy(&validated.stderr)
    );
}

#[test]
fn the_events_of_a_resumed_run_continue_its_file_or_have_one_of_their_own() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "version: 1\njobs: [{ id: a, run: [test, -e, go] }, { id: b, run: [echo] }]\n",
    );
    let call = |words: &[&str]| Ratchet::within(&folder).args(words).run();
    let _ = call(&["run", "jobs.yaml", "--events", "events.jsonl"]).with_code(100);
    let count = |file: &str, name: &str| {
        let events = lines(&folder.at(file));
        events.iter().filter(|event| event["event"] == name).count()
    };
    assert_eq!(count("events.jsonl", "attempt_started"), 2);
    let _ = call(&["resume", "--events", "own.jsonl"]).with_code(100);
    assert_eq!(count("own.jsonl", "attempt_started"), 1);
    assert_eq!(count("events.jsonl", "run_ended"), 1);
    std::fs::write(folder.at("go"), "").expect("it is written");
    let _ = call(&["resume"]).with_code(0);
    assert_eq!(count("events.jsonl", "attempt_started"), 3);
    assert_eq!(count("events.jsonl", "run_ended"), 2);
}

#[test]
fn events_do_not_go_into_results() {
    let folder = Folder::new();
    for (words, says) in [
        (&["--events", "-"][..], "stdout carries results"),
        (&["--events", "a", "-o", "a"], "name the same file"),
        (&["--events", "/no/such/folder/e"], "cannot be written"),
    ] {
        let ended = Ratchet::within(&folder)
            .args(["run", "-"])
            .args(words)
            .stdin(r#"{"id":"a","run":["true"]}"#)
            .run()
            .with_code(2);
        assert!(ended.stderr().contains(says), "{}", ended.stderr());
    }
}

#[test]
fn a_trace_has_a_thread_for_each_slot_and_an_arrow_for_each_need() {
    let folder = after_a_run();
    let trace = report(&folder, &["--format", "trace"]).stdout();
    let trace: Value = serde_json::from_str(&trace).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("it is a list");
    let of = |phase: &str| {
        events
            .iter()
            .filter(|event| event["ph"] == phase)
            .collect::<Vec<_>>()
    };
    let slices = of("X");
    assert_eq!(slices.len(), 7);
    let threads: Vec<_> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| event["args"]["name"].as_str().expect("it has a name"))
        .collect();
    assert_eq!(threads, ["slot 1", "slot 2"]);
    assert_eq!((of("s").len(), of("f").len()), (1, 1));
    assert_eq!(of("s")[0]["id"], of("f")[0]["id"]);
    let counters: std::collections::BTreeSet<_> = of("C")
        .iter()
        .map(|event| event["name"].as_str().expect("it has a name"))
        .collect();
    assert_eq!(
        counters.into_iter().collect::<Vec<_>>(),
        ["jobs", "limit db"]
    );
    // On one thread nothing overlaps, or viewers show nonsense.
    for thread in 1..=2 {
        let mut spans: Vec<(u64, u64)> = slices
            .iter()
            .filter(|slice| slice["tid"] == thread)
            .map(|slice| {
                let number = |name: &str| slice[name].as_u64().expect("it is a number");
                (number("ts"), number("ts") + number("dur"))
            })
            .collect();
        spans.sort_unstable();
        assert!(
            spans.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "{spans:?}"
        );
    }
}

#[test]
fn a_summary_for_github_has_the_failures_and_escapes_them() {
    let folder = after_a_run();
    let markdown = report(&folder, &["--format", "markdown"]).stdout();
    assert!(
        markdown.starts_with("### ❌ ratchet: 6 jobs in "),
        "{markdown}"
    );
    assert!(!markdown.contains(HOSTILE));
    assert!(
        markdown.contains("```text\n<b>not bold</b>\n```"),
        "{markdown}"
    );
    assert!(markdown.contains("| flaky | 2 |"), "{markdown}");

    let summary = folder.at("summary.md");
    let told = Ratchet::within(&folder)
        .args(["runs", "report", "--github"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .run()
        .with_code(0);
    assert_eq!(
        std::fs::read_to_string(&summary).expect("it was written"),
        markdown
    );
    let annotations = told.stdout();
    let told: Vec<_> = annotations.lines().collect();
    assert_eq!(told.len(), 2, "{annotations}");
    assert!(
        told.iter().all(|line| line.starts_with("::error title=")),
        "{annotations}"
    );
    assert!(
        told.iter()
            .any(|line| line.ends_with("exit code 3%0A<b>not bold</b>")),
        "{annotations}"
    );

    // A run in a workflow does the same by itself, and nothing of it goes to stdout.
    let again = Ratchet::within(&folder)
        .args(["run", "jobs.jsonl", "-j", "2", "-q", "-o", "results"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("GITHUB_ACTIONS", "true")
        .run()
        .with_code(100);
    let twice = std::fs::read_to_string(&summary).expect("it was written");
    assert_eq!(twice.matches("### ❌ ratchet: 6 jobs in ").count(), 2);
    assert_eq!(
        again.stderr().matches("::error title=").count(),
        2,
        "{}",
        again.stderr()
    );
    assert_eq!(again.stdout(), "");
}

#[test]
fn test_results_tell_flaky_tests_and_reruns() {
    let folder = after_a_run();
    let results = report(&folder, &["--format", "junit"]).stdout();
    let case = |name: &str| {
        let (_, rest) = results
            .split_once(&format!("name=\"{name}\" classname"))
            .expect("it is there");
        rest.split_once("</testcase>")
            .map_or(rest, |(case, _)| case)
            .to_owned()
    };
    assert!(case("flaky").contains("<flakyFailure type=\"exit\" message=\"attempt 1 failed"));
    let hostile = case("&lt;/script&gt;&lt;img src=x onerror=document.title='taken'&gt;");
    assert!(hostile.contains("<rerunFailure type=\"exit\""), "{hostile}");
    assert_eq!(hostile.matches("<failure ").count(), 1, "{hostile}");
    assert!(!results.contains("built"));
    let with_outputs = report(&folder, &["--format", "junit", "--outputs"]).stdout();
    assert!(
        with_outputs.contains("<system-out>built\n</system-out>"),
        "{with_outputs}"
    );

    let python = Command::new("python3")
        .args(["-c", "import junitparser"])
        .output();
    let venv = std::env::var_os("PYTHON_WITH_JSONSCHEMA");
    let python = match (venv, python) {
        (Some(python), _) => python,
        (None, Ok(found)) if found.status.success() => "python3".into(),
        (None, _) => {
            eprintln!(
                "SKIPPED: no python3 with junitparser, so the results are read by nobody else"
            );
            return;
        }
    };
    let path = folder.at("results.xml");
    std::fs::write(&path, &results).expect("it is written");
    let read = "import sys\nfrom junitparser import JUnitXml\n\
        cases = [case for suite in JUnitXml.fromfile(sys.argv[1]) for case in suite]\n\
        print(len(cases), sum(1 for case in cases if case.is_failure))";
    let read = Command::new(python)
        .args(["-c", read])
        .arg(&path)
        .output()
        .expect("it is started");
    if !read.status.success() && String::from_utf8_lossy(&read.stderr).contains("No module") {
        eprintln!("SKIPPED: no junitparser, so the results are read by nobody else");
        return;
    }
    assert_eq!(
        String::from_utf8_lossy(&read.stdout),
        "6 2\n",
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
}

#[test]
fn an_explanation_names_the_chain_and_what_would_have_been_faster() {
    let jobs = r#"{"id":"first","run":["sleep","0.3"]}
{"id":"second","run":["sleep","0.3"],"needs":["first"]}
{"id":"aside","run":["true"]}
"#;
    let folder = Folder::new().file("jobs.jsonl", jobs);
    let ended = Ratchet::within(&folder)
        .args(["run", "jobs.jsonl", "-j", "2"])
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let told = Ratchet::within(&folder)
        .args(["runs", "explain"])
        .run()
        .with_code(0)
        .stdout();
    assert!(told.lines().count() <= 12, "{told}");
    assert!(told.contains("3 jobs on 2 slots (3 succeeded)"), "{told}");
    assert!(told.contains("A chain of 2 jobs set the length"), "{told}");
    assert!(told.contains("linked 1 by needs"), "{told}");
    assert!(told.contains("  1. `first` ran"), "{told}");
    assert!(
        told.contains("With one more slot, it would have taken as long."),
        "{told}"
    );
    let run = told.split(' ').nth(1).expect("it names the run").to_owned();
    let job = Ratchet::within(&folder)
        .args(["runs", "explain", &run, "second"])
        .run()
        .with_code(0)
        .stdout();
    assert!(job.contains("for the jobs that it needs"), "{job}");
    assert!(job.contains("It began when `first` had ended"), "{job}");
    let ended = Ratchet::within(&folder)
        .args(["runs", "explain", &run, "secnd"])
        .run()
        .with_code(2);
    assert!(
        ended.stderr().contains("did you mean `second`?"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_run_that_goes_on_has_a_report_of_what_has_ended() {
    let jobs =
        "{\"id\":\"done\",\"run\":[\"true\"]}\n{\"id\":\"long\",\"run\":[\"sleep\",\"600\"]}\n";
    let folder = Folder::new().file("jobs.jsonl", jobs);
    let running = Ratchet::within(&folder)
        .args(["run", "jobs.jsonl", "-j", "1"])
        .start();
    running.wait_for_stdout("\"done\"");
    let told: Value =
        serde_json::from_str(&report(&folder, &["--format", "json"]).stdout()).expect("it is JSON");
    assert_eq!(told["run"]["state"], "running");
    assert_eq!(told["run"]["jobs"], 1);
    let explained = Ratchet::within(&folder)
        .args(["runs", "explain"])
        .run()
        .with_code(0)
        .stdout();
    assert!(explained.contains("has been running for"), "{explained}");
    assert!(explained.contains(": 1 job has ended"), "{explained}");
}

#[test]
fn commands_have_their_processor_time_memory_and_output_and_workers_have_none() {
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo 12345";
    let job = serde_json::json!({"id": "a", "run": ["sh", "-c", script]}).to_string();
    let worker = Ratchet::program().display().to_string() + " worker";
    let task = serde_json::json!({"id": "b", "task": "echo", "input": 1}).to_string();
    let ended = Ratchet::new()
        .args(["run", "-", "-v", "--worker", &worker])
        .stdin(format!("{job}\n{task}\n"))
        .run()
        .with_code(0);
    let stdout = ended.stdout();
    let result = |id: &str| -> Value {
        let of = |line: &&str| line.contains(&format!("\"id\":\"{id}\""));
        let line = stdout.lines().find(of).expect("it has a result");
        serde_json::from_str(line).expect("it is JSON")
    };
    let command = result("a");
    assert!(
        command["cpu_ms"].as_f64().is_some_and(|cpu| cpu > 0.0),
        "{command}"
    );
    assert_eq!(command["output_bytes"], 6);
    assert_eq!(command["attempts_detail"][0]["output_bytes"], 6);
    // A shell is smaller than ratchet, whose memory it has at its start, so nobody knows its peak.
    assert_ne!(command["max_rss"], 0);
    let task = result("b");
    assert!(
        task.get("cpu_ms").is_none() && task.get("max_rss").is_none(),
        "{task}"
    );
}

/// Returns what a browser has seen of a page, after a script of ours has searched and hovered there. Nothing without a
/// browser.
fn seen_in_browser(folder: &Folder, page: &str) -> Option<Value> {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|known| known.status.success())
        });
    let browser = browser?;
    let watch = "<script>window.problems = [];\
        addEventListener('error', (event) => problems.push(String(event.message)));\
        for (const name of ['error', 'warn']) console[name] = (...words) => problems.push(words.join(' '));</script>";
    let drive = r#"<script>
        addEventListener("load", () => setTimeout(() => {
            const report = window.ratchetReport, seen = { problems, title: document.title };
            const lanes = document.getElementById("lanes"), tip = document.getElementById("tip");
            const search = document.getElementById("search");
            seen.images = document.images.length;
            seen.width = document.documentElement.scrollWidth - innerWidth;
            search.value = "onerror";
            search.dispatchEvent(new Event("input"));
            seen.found = report.matches().map((job) => job.id);
            document.getElementById("next").click();
            seen.chosen = report.chosen()?.id;
            seen.detail = document.getElementById("detail").textContent;
            report.whole();
            const box = lanes.getBoundingClientRect();
            seen.tips = [];
            for (let x = 100; x < box.width; x += 2) {
                for (const y of [28, 50]) {
                    lanes.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + x, clientY: box.top + y }));
                    if (!tip.hidden && !seen.tips.includes(tip.firstChild.textContent)) seen.tips.push(tip.firstChild.textContent);
                }
            }
            const before = report.view();
            dispatchEvent(new KeyboardEvent("keydown", { key: "+" }));
            seen.zoomed = report.view()[1] - report.view()[0] < before[1] - before[0];
            const out = document.createElement("pre");
            out.id = "seen";
            out.textContent = "SEEN" + btoa(unescape(encodeURIComponent(JSON.stringify(seen)))) + "END";
            document.body.append(out);
        }, 100));
        </script>"#;
    let page = page.replacen("<head>", &format!("<head>{watch}"), 1);
    let page = page.replacen("</body>", &format!("{drive}</body>"), 1);
    let path = folder.at("driven.html");
    std::fs::write(&path, page).expect("it is written");
    let profile = folder.at("profile");
    let shown = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,800",
        ])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("it is started");
    let dom = String::from_utf8_lossy(&shown.stdout);
    let encoded = dom
        .rsplit_once("SEEN")
        .and_then(|(_, rest)| rest.split_once("END"));
    let (encoded, _) = encoded.expect("the script came to its end");
    let decode = Command::new("base64")
        .arg("-d")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut decode = decode.expect("it is started");
    let mut input = decode.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut input, encoded.as_bytes()).expect("it reads");
    drop(input);
    let decoded = decode.wait_with_output().expect("it ends").stdout;
    Some(serde_json::from_slice(&decoded).expect("it is JSON"))
}

#[test]
fn a_page_opens_in_a_browser_and_finds_hovers_and_escapes() {
    let folder = after_a_run();
    let page = report(&folder, &[]).stdout();
    assert!(!page.contains("<img"), "nothing of a job is markup");
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it needs no network"
    );
    let Some(seen) = seen_in_browser(&folder, &page) else {
        eprintln!("SKIPPED: no chromium, so the page is not opened");
        return;
    };
    assert_eq!(seen["problems"], serde_json::json!([]));
    assert!(
        seen["title"]
            .as_str()
            .is_some_and(|title| title.starts_with("ratchet run ")),
        "{seen}"
    );
    assert_eq!(seen["images"], 0);
    assert_eq!(seen["found"], serde_json::json!([HOSTILE]));
    assert_eq!(seen["chosen"], HOSTILE);
    assert!(
        seen["detail"]
            .as_str()
            .is_some_and(|text| text.contains("<b>not bold</b>")),
        "{seen}"
    );
    let tips = seen["tips"].as_array().expect("it is a list");
    assert!(
        tips.contains(&"slow".into()) && tips.contains(&HOSTILE.into()),
        "{seen}"
    );
    assert_eq!(seen["zoomed"], true);
    assert!(
        seen["width"].as_i64().is_some_and(|beyond| beyond <= 0),
        "{seen}"
    );
}
