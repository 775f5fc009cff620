//! Jobs run on the hosts that they name, and their results say where.

use super::*;

#[test]
fn jobs_and_workers_run_on_the_hosts_that_their_file_names() {
    let folder = folder().file(
        "jobs.yaml",
        r#"
hosts:
  web1: { ssh: "deploy@web1.example:2222", slots: 2, groups: [web], env: { REGION: eu } }
  web2: { ssh: web2, slots: 1, groups: [web] }
  box: { via: [env, IN_BOX=1], slots: 1 }
workers:
  upper: { command: [sh, -c, 'while read -r line; do echo "$line" | tr a-z A-Z; done'], protocol: lines, on: [web] }
  apt: { command: [sh, -c, 'while read -r line; do echo "$line $REGION"; done'], protocol: lines, on: host }
jobs:
  - { id: here, run: [sh, -c, 'echo "here $IN_BOX $REGION"'] }
  - { id: region, run: [sh, -c, 'echo $REGION; pwd'], on: web1 }
  - { id: boxed, run: [sh, -c, 'echo $IN_BOX'], on: box }
  - { id: own, run: [sh, -c, 'echo $REGION'], on: host, host: web1, hint: host_exclusive }
  - { id: upper, task: upper, input: hello }
  - { id: apt1, task: apt, input: one, host: web1 }
  - { id: apt2, task: apt, input: two, host: web2 }
"#,
    );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    let results = results(&ended);
    let stdout = |id| result(&results, id)["result"]["stdout"].as_str().unwrap();
    let place = |id| result(&results, id)["place"].as_str();
    assert_eq!((stdout("here"), place("here")), ("here  \n", None));
    assert_eq!(
        (stdout("region"), place("region")),
        ("eu\n/\n", Some("web1"))
    );
    assert_eq!((stdout("boxed"), place("boxed")), ("1\n", Some("box")));
    assert_eq!((stdout("own"), place("own")), ("eu\n", Some("web1")));
    assert_eq!(result(&results, "upper")["result"], "HELLO");
    assert!(place("upper").unwrap().starts_with("web"));
    assert_eq!(result(&results, "apt1")["result"], "one eu");
    assert_eq!(result(&results, "apt1")["worker"], "apt@web1/1");
    assert_eq!(place("apt2"), Some("web2"));
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    let mut reached: Vec<&str> = reached.lines().collect();
    reached.sort_unstable();
    assert_eq!(reached, ["deploy@web1.example", "web2"]);
    nothing_is_left(&folder);
}

#[test]
fn a_map_spreads_its_items_over_hosts_and_fills_no_more_than_their_slots() {
    let folder = folder();
    let on = "2/web1,1/web2";
    // The first jobs end when as many have begun as there are slots, so no host is left out.
    let script = r#"printf x >> "$0"; until [ "$(wc -c < "$0")" -ge 3 ]; do sleep 0.01; done"#;
    let begun = folder.at("begun");
    let items: Vec<String> = (0..30).map(|item| item.to_string()).collect();
    let command = ["sh", "-c", script, &begun.display().to_string(), ":::"].map(str::to_owned);
    let map = ratchet(&folder).args(["map", "-q", "--format", "jsonl", "--on", on]);
    let ended = map.args(command).args(&items).run().with_code(0);
    let results = results(&ended);
    assert_eq!(results.len(), 30);
    for result in &results {
        let slots = match result["place"].as_str().unwrap() {
            "web1" => 2,
            "web2" => 1,
            other => panic!("{other}"),
        };
        assert!(result["slot"].as_u64().unwrap() <= slots, "{result}");
    }
    let used: std::collections::BTreeSet<&str> = results
        .iter()
        .filter_map(|line| line["place"].as_str())
        .collect();
    assert_eq!(used.len(), 2);
    nothing_is_left(&folder);
}

#[test]
fn jobs_for_a_host_that_is_not_there_fail_with_the_words_of_the_launcher_and_others_run() {
    let folder = folder().file(
        "jobs.yaml",
        "hosts: { gone: { via: [/no/such/launcher] } }\njobs:\n  - { id: a, run: [echo, hi], on: gone }\n  - { id: b, run: [echo, hi] }\n",
    );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let results = results(&ended);
    assert_eq!(result(&results, "b")["status"], "succeeded");
    let error = &result(&results, "a")["error"];
    assert_eq!(error["class"], "unreachable");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("/no/such/launcher"), "{message}");
}

#[test]
fn a_result_tells_the_host_it_is_about_and_the_place_where_it_ran() {
    let folder = folder().file(
        "jobs.yaml",
        "hosts: { web1: { ssh: web1 } }\njobs:\n  - { id: a, run: ['false'], on: web1, host: db1 }\n  - { id: b, run: ['true'] }\n",
    );
    let run = |format: &str| {
        let args = ["run", "jobs.yaml", "--format", format, "-q", "-k"];
        ratchet(&folder).args(args).run().with_code(100).stdout()
    };
    let human = run("human");
    assert!(human.contains("false on db1 at web1"), "{human}");
    assert!(!human.contains("true at"), "{human}");
    let junit = run("junit");
    let properties = r#"<property name="host" value="db1"/><property name="place" value="web1"/>"#;
    assert_eq!(junit.matches("\"place\"").count(), 1, "{junit}");
    assert!(junit.contains(properties), "{junit}");
    let json: Value = serde_json::from_str(&run("json")).unwrap();
    let a = &json["results"][0];
    assert_eq!((&a["host"], &a["place"]), (&"db1".into(), &"web1".into()));
    assert_eq!(a["attempts_detail"][0]["place"], "web1");
    let show = |args: &[&str]| {
        let shown = ratchet(&folder).args(["runs", "show"]).args(args);
        shown.run().with_code(0).stdout()
    };
    let shown = show(&[]);
    assert!(shown.contains("false on db1 at web1"), "{shown}");
    let shown = show(&["--format", "jsonl"]);
    let mut lines = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines.find(|line| line["id"] == "a").unwrap();
    assert_eq!(line["place"], "web1", "the journal keeps it");
}

#[test]
fn a_ratchet_that_is_killed_leaves_nobody_on_its_hosts() {
    let folder = folder();
    let args = [
        "map",
        "-q",
        "--on",
        "web1",
        "--shell",
        "echo started >> started; exec sleep 1000",
        ":::",
        "a",
    ];
    let running = ratchet(&folder)
        .args(args)
        .env("XDG_CACHE_HOME", folder.at("cache"))
        .start();
    let mark = format!("HOSTS_TEST={}", folder.path().display());
    running.until("the job runs", || marked(&mark).len() >= 4);
    running.signal(Signal::Kill);
    drop(running);
    nothing_is_left(&folder);
}

#[test]
fn what_a_host_has_done_counts_although_it_ended_the_connection_while_ratchet_was_stopped() {
    let folder = folder().file(
        "jobs.yaml",
        r#"
hosts:
  web1: { ssh: web1, slots: 3, lost_after: 6s, fence_after: 4s }
jobs:
  - { id: a, on: web1, timeout: 5s, run: [sh, -c, 'cd "$HOSTS_TEST"; echo >> begun; until [ -e go ]; do sleep 0.01; done; echo a; echo >> done'] }
  - { id: b, on: web1, run: [sh, -c, 'cd "$HOSTS_TEST"; echo >> begun; until [ -e go ]; do sleep 0.01; done; echo b; echo >> done'] }
  - { id: c, on: web1, run: [sh, -c, 'cd "$HOSTS_TEST"; echo >> begun; until [ -e go ]; do sleep 0.01; done; seq 9999; echo >> done'] }
"#,
    );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q", "-j3"];
    let lines = |name: &str| {
        fs::read_to_string(folder.at(name))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let running = ratchet(&folder).args(args).start();
    running.until("all have begun", || lines("begun") == 3);
    running.signal(Signal::Stop);
    fs::write(folder.at("go"), "").unwrap();
    running.until("all have done their work", || lines("done") == 3);
    let mark = format!("HOSTS_TEST={}", folder.path().display());
    let is_agent = |process: &u32| {
        let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == b"agent")
    };
    running.until("the agent is dead", || !marked(&mark).iter().any(is_agent));
    running.signal(Signal::Continue);
    let ended = running.wait().with_code(0);
    let results = results(&ended);
    let stdout = |id| {
        result(&results, id)["result"]["stdout"]
            .as_str()
            .unwrap()
            .len()
    };
    assert_eq!([stdout("a"), stdout("b")], [2, 2]);
    assert_eq!(stdout("c"), 9 * 2 + 90 * 3 + 900 * 4 + 9000 * 5);
    nothing_is_left(&folder);
}

/// A job file with a command and a job of a worker on a host, which have two seconds. Both begin, wait for the file
/// `go`, and then say that they are done.
const IN_TIME: &str = r#"
hosts:
  web1: { ssh: web1, slots: 2 }
workers:
  waits: { command: [sh, -c, 'cd "$HOSTS_TEST"; while read -r line; do echo >> begun; until [ -e go ]; do sleep 0.01; done; echo "$line"; echo >> done; done'], protocol: lines, on: [web1] }
defaults: { timeout: 2s }
jobs:
  - { id: command, on: web1, run: [sh, -c, 'cd "$HOSTS_TEST"; echo >> begun; until [ -e go ]; do sleep 0.01; done; echo a; echo >> done'] }
  - { id: task, task: waits, input: b }
"#;

/// Returns how many lines a file has.
fn lines_of(folder: &Folder, name: &str) -> usize {
    let text = fs::read_to_string(folder.at(name)).unwrap_or_default();
    text.lines().count()
}

#[test]
fn what_a_host_has_done_in_time_has_not_timed_out_although_ratchet_was_stopped() {
    let folder = folder().file("jobs.yaml", IN_TIME);
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q", "-j2"];
    let running = ratchet(&folder).args(args).start();
    running.until("both have begun", || lines_of(&folder, "begun") == 2);
    let begun = Instant::now();
    running.signal(Signal::Stop);
    fs::write(folder.at("go"), "").unwrap();
    running.until("both are done, and their time is over", || {
        lines_of(&folder, "done") == 2 && begun.elapsed() > Duration::from_secs(4)
    });
    running.signal(Signal::Continue);
    let results = results(&running.wait().with_code(0));
    assert_eq!(result(&results, "command")["result"]["stdout"], "a\n");
    assert_eq!(result(&results, "task")["result"], "b");
    nothing_is_left(&folder);
}

#[test]
fn what_a_host_has_done_in_time_has_not_timed_out_although_its_agent_was_stopped() {
    let folder = folder().file("jobs.yaml", IN_TIME);
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q", "-j2"];
    let running = ratchet(&folder).args(args).start();
    running.until("both have begun", || lines_of(&folder, "begun") == 2);
    let begun = Instant::now();
    let mark = format!("HOSTS_TEST={}", folder.path().display());
    let words = |process: u32| {
        let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).replace('\0', " ")
    };
    let marked = marked(&mark).into_iter();
    let mut agents = marked.filter(|process| words(*process).trim_end().ends_with(" agent"));
    let agent = agents.next().expect("it runs");
    let signal = |signal| {
        let agent = rustix::process::Pid::from_raw(i32::try_from(agent).unwrap()).unwrap();
        rustix::process::kill_process(agent, signal).unwrap();
    };
    signal(rustix::process::Signal::STOP);
    fs::write(folder.at("go"), "").unwrap();
    running.until("both are done, and their time is over", || {
        lines_of(&folder, "done") == 2 && begun.elapsed() > Duration::from_secs(4)
    });
    signal(rustix::process::Signal::CONT);
    let results = results(&running.wait().with_code(0));
    assert_eq!(result(&results, "command")["result"]["stdout"], "a\n");
    assert_eq!(result(&results, "task")["result"], "b");
    for id in ["command", "task"] {
        assert_eq!(result(&results, id)["attempts"], 1);
    }
    nothing_is_left(&folder);
}
