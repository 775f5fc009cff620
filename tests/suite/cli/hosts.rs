//! Jobs on other hosts. An `ssh` that is a small script stands in for the real one, except in the last test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::UNIX_EPOCH;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::monitor::{Probe as _, Sampler};
use ratchet_tests::{Ended, Folder, Ratchet, Signal, eventually, marked};
use serde_json::Value;

/// An `ssh` that connects to this machine, whatever the destination is, and takes it down.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
echo "$2" >> "$SSH_LOG"
case $2 in *down*) echo "ssh: connect to host $2 port 22: No route to host" >&2; exit 255;; esac
shift 2
echo "Welcome! You have no new mail."
cd / && exec "$@"
"#;

/// A program that notes its words, passes over those up to the one that ends its own, and runs the rest on this machine.
const EXEC: &str = r#"#!/bin/sh
echo "${0##*/} $*" >> "$SSH_LOG"
while [ "$1" != LAST ]; do shift; done
shift
cd / && exec "$@"
"#;

/// A folder with the `ssh`, and a cache of its own.
fn folder() -> Folder {
    Folder::new().file("bin/ssh", SSH).program("ssh")
}

/// What tests do with their folder.
trait Programs {
    /// Makes a file in `bin` executable.
    fn program(self, name: &str) -> Self;
    /// Adds a launcher that runs a command on this machine: the one behind the first word that is `last`.
    fn launcher(self, name: &str, last: &str) -> Self;
}

impl Programs for Folder {
    fn program(self, name: &str) -> Self {
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.at(&format!("bin/{name}")), executable).expect("it is ours");
        self
    }

    fn launcher(self, name: &str, last: &str) -> Self {
        let script = EXEC.replace("LAST", last);
        self.file(&format!("bin/{name}"), &script).program(name)
    }
}

/// Runs ratchet with the `ssh`. Everything that it starts has a mark in its environment.
fn ratchet(folder: &Folder) -> Ratchet {
    let path = std::env::var("PATH").expect("it is set");
    Ratchet::within(folder)
        .env("PATH", format!("{}:{path}", folder.at("bin").display()))
        .env("SSH_LOG", folder.at("log"))
        .env("XDG_CACHE_HOME", folder.at("cache"))
        .env("HOSTS_TEST", folder.path())
}

/// Checks that nothing is left of what ratchet has started anywhere.
fn nothing_is_left(folder: &Folder) {
    let mark = format!("HOSTS_TEST={}", folder.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("it has a timer");
    runtime.block_on(eventually("nothing is left", || marked(&mark).is_empty()));
}

fn results(ended: &Ended) -> Vec<Value> {
    let stdout = ended.stdout();
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect()
}

/// The result of this job.
fn result<'a>(results: &'a [Value], id: &str) -> &'a Value {
    results
        .iter()
        .find(|line| line["id"] == id)
        .expect("each job has its outcome")
}

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
fn hosts_can_be_named_as_in_gnu_parallel() {
    let folder = folder().file("logins", "# hosts\n2/web1\n\n:\n");
    let args = [
        "map",
        "-k",
        "-q",
        "--sshloginfile",
        "logins",
        "echo",
        "{}",
        ":::",
        "a",
        "b",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(ended.stdout(), "a\nb\n");
    let args = ["map", "-q", "-S", "1/web1", "sh", "-c", "pwd", ":::", "a"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(ended.stdout(), "/\n");
}

#[test]
fn hosts_and_groups_of_an_inventory_can_be_named() {
    let inventory = "[web]\nweb1 ansible_host=10.9.8.7 ansible_user=deploy ansible_port=2222\nweb2 ansible_connection=local\n[db]\ndb1\n";
    let folder = folder().file("hosts.ini", inventory);
    let run = |on: &str, items: &[&str]| {
        let args = [
            "map",
            "-q",
            "--format",
            "jsonl",
            "-i",
            "hosts.ini",
            "--on",
            on,
            "echo",
            ":::",
        ];
        ratchet(&folder).args(args).args(items).run()
    };
    let ended = run("@web", &["a", "b", "c"]).with_code(0);
    assert!(
        results(&ended)
            .iter()
            .all(|line| line["place"].as_str().unwrap().starts_with("web"))
    );
    let ended = run("web1", &["a"]).with_code(0);
    assert_eq!(results(&ended)[0]["place"], "web1");
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    assert!(
        reached.lines().all(|name| name == "deploy@10.9.8.7"),
        "{reached}"
    );
    let ended = run("@wbe", &["a"]).with_code(2);
    assert!(
        ended.stderr().contains("no host or group `wbe`"),
        "{}",
        ended.stderr()
    );
    assert!(
        ended.stderr().contains("did you mean `web`?"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn what_cannot_be_on_another_host_is_refused_before_anything_runs() {
    let folder = folder();
    for (flags, said) in [
        (&["--on", "web1", "--cache"][..], "cannot be used again"),
        (&["--on", "host"][..], "the jobs of a map name none"),
        (&["--on", "web1:x"][..], "a port is a number"),
        (&["--on", "0/web1"][..], "no number of slots"),
        (&["--on", "-oProxyCommand=x"][..], ""),
    ] {
        let args = ["map", "--no-record"].iter().chain(flags);
        let ended = ratchet(&folder)
            .args(args)
            .args(["echo", ":::", "a"])
            .run()
            .with_code(2);
        assert!(
            ended.stderr().contains(said),
            "{flags:?}: {}",
            ended.stderr()
        );
    }
    assert!(!folder.at("log").exists(), "nobody was reached");
}

#[test]
fn every_mistake_in_the_hosts_of_a_file_is_named_with_its_place() {
    let folder = folder().file(
        "jobs.yaml",
        r#"
hosts:
  both: { ssh: a, docker: b }
  none: { slots: 2 }
  local: { ssh: a }
  flag: { docker: --privileged }
  port: { ssh: "a:99999" }
  web: { ssh: a, groups: [both] }
  agent: { ssh: a, agent: no-such-file }
  no: { local: false }
workers:
  w: { command: [cat], protocol: lines, on: wbe }
jobs:
  - { id: a, run: [echo], on: [] }
  - { id: b, task: w, on: web }
  - { id: c, run: [echo], on: host }
  - { id: d, run: [echo], on: host, host: elsewhere }
  - { id: e, run: [echo], on: web, cache: true }
"#,
    );
    let ended = ratchet(&folder)
        .args(["check", "jobs.yaml"])
        .run()
        .with_code(2);
    let stderr = ended.stderr();
    for said in [
        "host `both` is reached by `ssh` or by `docker`, not by both",
        "nothing says how host `none` is reached",
        "`local` has a meaning of its own in `on`",
        "this is no name",
        "a port is a number from 1 to 65535",
        "group `both` has the name of a host",
        "no-such-file cannot be copied: No such file or directory",
        "`local: false` says of no host how it is reached",
        "there is no host `wbe`",
        "did you mean `web`?",
        "`on`: the list is empty",
        "a task runs where its worker does",
        "`on: host` is the host of the job, and it names none",
        "there is no host `elsewhere` to run on",
        "the result of a command on another host cannot be used again",
    ] {
        assert!(stderr.contains(said), "{said}\n{stderr}");
    }
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
fn the_hosts_of_a_file_are_listed_with_their_groups_and_nobody_is_reached() {
    let folder = folder().file(
        "jobs.yaml",
        r#"
hosts:
  web1: { ssh: "deploy@web1.example:2222", slots: 2, groups: [web, eu] }
  box: { via: [env, IN_BOX=1] }
jobs:
  - { run: [echo], on: web1 }
"#,
    );
    let ended = ratchet(&folder)
        .args(["hosts", "jobs.yaml"])
        .run()
        .with_code(0);
    assert_eq!(
        ended.stdout(),
        "HOST  SLOTS  GROUPS  REACHED BY\n\
         web1  2      eu,web  ssh -p 2222 deploy@web1.example\n\
         box   -              env IN_BOX=1\n"
    );
    let args = [
        "hosts",
        "list",
        "jobs.yaml",
        "-S",
        "@eu,3/:",
        "--format",
        "json",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    let hosts: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
    assert_eq!(hosts[0]["host"], "web1");
    assert_eq!(hosts[0]["groups"], serde_json::json!(["eu", "web"]));
    assert_eq!(hosts[0]["launcher"][0], "ssh");
    assert_eq!(
        hosts[1],
        serde_json::json!({"host": "local", "groups": [], "launcher": [], "slots": 3})
    );
    assert!(!folder.at("log").exists(), "nobody was reached");
}

#[test]
fn a_call_that_names_no_hosts_says_how_to() {
    let folder = folder().file("jobs.yaml", "jobs: [{run: [echo]}]\n");
    let run = |args: &[&str]| ratchet(&folder).args(["hosts"]).args(args).run();
    for (args, said) in [
        (&[][..], "nothing says which hosts are meant"),
        (&["check", "-"], "not read from stdin"),
        (&["--on", "host"], "there are no jobs"),
        (&["jobs.yaml", "--on", "@web"], "no host or group `web`"),
        (&["no.yaml"], "no.yaml"),
    ] {
        let ended = run(args).with_code(2);
        assert!(
            ended.stderr().contains(said),
            "{args:?}: {}",
            ended.stderr()
        );
    }
    let ended = run(&["jobs.yaml"]).with_code(4);
    assert!(ended.stderr().contains("there are no hosts"));
}

#[test]
fn hosts_are_tried_and_those_that_do_not_answer_are_told_with_the_words_of_their_launcher() {
    let folder = folder();
    let check = |on: &str, format: &str| {
        let args = ["hosts", "check", "-S", on, "--format", format];
        ratchet(&folder).args(args).run()
    };
    let ended = check("4/web1,:,web2", "human").with_code(0);
    let stdout = ended.stdout();
    assert!(stdout.contains("3 of 3 reached"), "{stdout}");
    assert_eq!(stdout.matches("reached\n").count(), 4, "{stdout}");

    let ended = check("4/web1,down1", "json").with_code(100);
    let hosts: Value = serde_json::from_str(&ended.stdout()).expect("it is JSON");
    let (web1, down1) = (&hosts[0], &hosts[1]);
    assert_eq!(
        (&web1["host"], &web1["reached"]),
        (&"web1".into(), &true.into())
    );
    assert_eq!(
        (&web1["slots"], &web1["ratchet"]),
        (&4.into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert!(web1["round_trip_ms"].as_f64().unwrap() > 0.0);
    assert!(web1["cores"].as_u64().unwrap() > 0);
    let platform = web1["platform"].as_str().unwrap();
    assert!(platform.starts_with(std::env::consts::OS), "{platform}");
    assert_eq!(down1["reached"], false);
    let error = down1["error"].as_str().unwrap();
    assert!(error.contains("No route to host"), "{error}");
    let ended = check("down1", "human").with_code(100);
    assert!(ended.stdout().contains("No route to host"));
    assert!(ended.stdout().contains("0 of 1 reached"));
    nothing_is_left(&folder);
}

#[test]
fn a_command_runs_once_on_each_host_and_hosts_with_the_same_output_are_shown_together() {
    let folder = folder();
    let run = |flags: &[&str], command: &[&str]| {
        let map = ratchet(&folder).args(["map", "-q", "--each-host"]);
        map.args(flags).args(["--"]).args(command).run()
    };
    let script = "case {host} in web2) echo two; echo late >&2; exit 3;; *) echo same;; esac";
    let ended = run(&["-S", "web1,web2,:,web3", "--shell"], &[script]).with_code(100);
    assert_eq!(
        ended.stdout(),
        "HOSTS              EXIT  OUTPUT\n\
         web1, local, web3  0     same\n\
         web2               3     two\n\
        \x20                        late\n"
    );
    let ended = run(&["-S", "web1,:", "--format", "jsonl"], &["echo", "hello"]).with_code(0);
    let results = results(&ended);
    assert_eq!(results.len(), 2);
    for line in &results {
        let host = line["host"].as_str().unwrap();
        assert_eq!(line["item"], host);
        let place = (host != "local").then_some(host);
        assert_eq!(line["place"].as_str(), place);
        assert_eq!(line["result"]["stdout"], "hello\n");
    }
    nothing_is_left(&folder);
}

#[test]
fn a_command_for_each_host_says_which_hosts_were_not_reached_and_takes_no_items() {
    let folder = folder().file(
        "hosts.ini",
        "web1\nbox ansible_connection=docker ansible_host=no-such-container\n",
    );
    let dry = [
        "map",
        "--each-host",
        "-i",
        "hosts.ini",
        "--dry-run",
        "echo",
        "{}",
    ];
    let ended = ratchet(&folder).args(dry).run().with_code(0);
    assert_eq!(ended.stdout(), "echo web1\necho box\n");
    for (args, said) in [
        (&["echo", ":::", "a"][..], "without items"),
        (&["echo"], "nothing says which hosts are meant"),
        (&["--on", "@db", "echo"], "no host or group `db`"),
        (&["-S", "web1", "echo", "{1}"], "--each-host has no items"),
        (&["-S", "web1", "echo", "{hots}"], "did you mean {host}?"),
        (&["-S", "web1", "--cache", "echo"], "cannot be used again"),
    ] {
        let map = ratchet(&folder).args(["map", "--no-record", "--each-host"]);
        let ended = map.args(args).run().with_code(2);
        let stderr = ended.stderr();
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    // Without the program there is nothing to try again; with it, there is no such container.
    let args = ["map", "-q", "--each-host", "-i", "hosts.ini", "echo", "hi"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let stdout = ended.stdout();
    assert!(stdout.contains("web1   0     hi\n"), "{stdout}");
    let unreached = "box    -     ratchet: host box cannot be reached: ";
    assert!(stdout.contains(unreached), "{stdout}");
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
fn the_time_before_a_host_is_connected_is_charged_to_the_connection() {
    let folder = folder();
    let args = [
        "map", "-q", "--format", "jsonl", "--on", "1/web1", "echo", ":::", "a", "b",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    for line in results(&ended) {
        let waited = line["waited"]["connect"].as_f64().unwrap();
        assert!(waited > 0.0 && waited <= line["queued_ms"].as_f64().unwrap());
        // There is no worker to wait for, and the second job waits for the slot of the first.
        assert_eq!(line["waited"]["worker"], Value::Null, "{line}");
        assert!(line["waited"]["slot"].as_f64().unwrap() > 0.0, "{line}");
    }
}

#[test]
fn whoever_asks_is_told_which_jobs_wait_for_a_connection() {
    let folder = folder();
    let said = fs::File::create(folder.at("said")).unwrap();
    let map = ["map", "-q", "--on", "down1", "echo", ":::", "a"];
    let running = ratchet(&folder).args(map).stderr_to(said).start();
    running.until("it tries to connect", || folder.at("log").exists());
    running.until("it tells of the connection", || {
        running.signal(Signal::User1);
        let said = fs::read_to_string(folder.at("said")).unwrap();
        said.contains("  waits for a connection to a host\n")
    });
    running.signal(Signal::Interrupt);
    let _ = running.wait().with_code(130);
    nothing_is_left(&folder);
}

#[test]
fn memory_and_load_are_measured_on_each_host_and_hold_jobs_back_there_alone() {
    let folder = folder();
    let run = |limit: &[&str], on: &str| {
        let map = ratchet(&folder).args(["map", "-q", "--format", "jsonl"]);
        map.args(limit).args(["--on", on, "echo", ":::", "a"]).run()
    };
    // The agent has to tell how things stand before the first job starts there.
    let ended = run(&["--memory-free", "1MB", "--load", "100000"], "web1").with_code(0);
    let results = results(&ended);
    assert_eq!(results[0]["place"], "web1");
    assert!(results[0]["waited"]["connect"].as_f64().unwrap() > 0.0);
    // All memory but a byte is never free, so the job is held back.
    let sampler = Sampler::new();
    let total = sampler.expect("this system tells").read().memory_total;
    let free = format!("{}B", total - 1);
    let map = [
        "map",
        "-q",
        "--memory-free",
        &free,
        "--on",
        "web1",
        "echo",
        ":::",
        "a",
    ];
    fs::remove_file(folder.at("log")).unwrap();
    let said = fs::File::create(folder.at("said")).unwrap();
    let running = ratchet(&folder).args(map).stderr_to(said).start();
    running.until("it connects", || folder.at("log").exists());
    running.until("the agent has told of the memory", || {
        running.signal(Signal::User1);
        let said = fs::read_to_string(folder.at("said")).unwrap();
        said.contains("is held back: web1: ") && said.contains("of memory are free")
    });
    running.signal(Signal::Interrupt);
    let _ = running.wait().with_code(130);
    nothing_is_left(&folder);
}

#[test]
fn a_copy_of_the_agent_that_was_damaged_is_replaced() {
    let folder = folder();
    let run = || {
        let args = ["map", "-q", "--on", "web1", "echo", ":::", "a"];
        ratchet(&folder).args(args).run().with_code(0)
    };
    run();
    let agents = folder.at("cache/ratchet/agents");
    let copy = fs::read_dir(&agents)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&agents), mode(&copy)), (0o700, 0o700));
    // A program that still runs cannot be written to.
    nothing_is_left(&folder);
    fs::write(&copy, "#!/bin/sh\necho damaged\n").unwrap();
    run();
    assert!(
        fs::metadata(&copy).unwrap().len() > 1 << 20,
        "it was copied anew"
    );
    assert_eq!(
        fs::read_dir(&agents).unwrap().count(),
        1,
        "nothing else is left"
    );
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
fn containers_pods_nodes_and_this_machine_are_reached_by_their_launchers() {
    let folder = folder()
        .launcher("docker", "box")
        .launcher("kubectl", "--")
        .launcher("srun", "n1")
        .file(
            "jobs.yaml",
            r#"
hosts:
  box: { docker: box, slots: 1 }
  pod: { kubectl: { pod: web-0, container: main, namespace: prod, context: eu }, slots: 1 }
  node: { srun: n1, slots: 1 }
  again: { local: true, slots: 1, env: { AGAIN: "1" } }
jobs:
  - { id: box, run: [pwd], on: box }
  - { id: pod, run: [pwd], on: pod }
  - { id: node, run: [pwd], on: node }
  - { id: again, run: [sh, -c, 'echo $AGAIN'], on: again }
"#,
        );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    let results = results(&ended);
    for (id, stdout) in [
        ("box", "/\n"),
        ("pod", "/\n"),
        ("node", "/\n"),
        ("again", "1\n"),
    ] {
        let result = result(&results, id);
        assert_eq!(result["result"]["stdout"], stdout, "{result}");
        assert_eq!(result["place"], id);
    }
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    let mut reached: Vec<&str> = reached.lines().collect();
    reached.sort_unstable();
    assert_eq!(
        reached,
        [
            "docker exec -i box sh",
            "kubectl --context eu --namespace prod exec -i web-0 --container main -- sh",
            "srun --overlap --nodes=1 --ntasks=1 --cpu-bind=none --unbuffered --quiet -w n1 sh",
        ]
    );
    nothing_is_left(&folder);
}

#[test]
fn commands_and_workers_run_behind_a_bare_launcher_where_no_agent_is_wanted() {
    // As the real one, this ssh passes its words to a shell.
    let ssh = SSH.replace(r#"exec "$@""#, r#"exec sh -c "$*""#);
    let ssh = ssh.replace("echo \"Welcome! You have no new mail.\"\n", "");
    let folder = Folder::new()
        .file("bin/ssh", &ssh)
        .program("ssh")
        .launcher("docker", "box")
        .file(
            "jobs.yaml",
            r#"
hosts:
  web1: { ssh: web1, agent: none, slots: 2, env: { REGION: "eu west's", A: host } }
  box: { docker: box, agent: none }
workers:
  upper: { command: [sh, -c, 'while read -r line; do echo "$line" | tr a-z A-Z; done'], protocol: lines, on: box }
jobs:
  - { id: words, run: [printf, '<%s>', a b, "it's", '', '$HOME', '*'], on: web1 }
  - { id: env, run: [sh, -c, 'echo "$REGION $A"; pwd'], env: { A: own }, cwd: /usr, on: web1 }
  - { id: boxed, run: [sh, -c, 'echo "$1"; cat; pwd', sh, 'a  b'], on: box }
  - { id: worker, task: upper, input: hello }
  - { id: fails, run: [sh, -c, 'exit 3'], on: box }
  - { id: missing, run: [no-such-program], on: web1 }
"#,
        );
    let args = ["run", "jobs.yaml", "--format", "jsonl"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let results = results(&ended);
    let stdout = |id| result(&results, id)["result"]["stdout"].as_str();
    assert_eq!(stdout("words"), Some("<a b><it's><><$HOME><*>"));
    assert_eq!(stdout("env"), Some("eu west's own\n/usr\n"));
    assert_eq!(stdout("boxed"), Some("a  b\n/\n"));
    assert_eq!(result(&results, "worker")["result"], "HELLO");
    assert_eq!(result(&results, "worker")["worker"], "upper@box/1");
    assert_eq!(result(&results, "fails")["error"]["code"], "exit_3");
    assert_eq!(result(&results, "missing")["error"]["code"], "exit_127");
    let said = "no agent on box, web1: a job that is stopped may live on behind its launcher there";
    assert_eq!(
        ended.stderr().matches(said).count(),
        1,
        "{}",
        ended.stderr()
    );
    let check = ["hosts", "check", "jobs.yaml", "--format", "json"];
    let checked = ratchet(&folder).args(check).run().with_code(0);
    let checked: Value = serde_json::from_str(&checked.stdout()).unwrap();
    assert_eq!(checked[0]["reached"], true, "{checked}");
    assert_eq!(checked[1]["slots"], 1, "{checked}");
    assert!(!folder.at("cache/ratchet/agents").exists());
    nothing_is_left(&folder);
}

#[test]
fn memory_cannot_be_limited_where_no_agent_is_wanted() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "hosts: { box: { docker: box, agent: none } }\nworkers:\n  w: { command: [cat], protocol: lines, memory: 1GiB, on: box }\njobs:\n  - { id: a, task: w }\n",
    );
    let ended = ratchet(&folder)
        .args(["check", "jobs.yaml"])
        .run()
        .with_code(2);
    let said =
        "worker `w` can run on host `box`, which has no agent, so its memory is not measured";
    assert!(ended.stderr().contains(said), "{}", ended.stderr());
}

#[test]
fn an_output_that_a_launcher_cuts_without_a_word_is_never_taken_for_a_whole_one() {
    // The first connection is cut in the midst of the output, and the launcher ends as if that were all.
    let kubectl = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
if mkdir "$SSH_LOG.first" 2>/dev/null; then "$@" | stdbuf -o0 head -c 300000; exit 0; fi
exec "$@"
"#;
    let folder = folder()
        .file("bin/kubectl", kubectl)
        .program("kubectl")
        .file(
            "jobs.yaml",
            r"
hosts: { pod: { kubectl: { pod: web-0 }, slots: 1 } }
jobs:
  - { id: cut, run: [sh, -c, 'yes | head -c 1000000'], on: pod }
  - { id: whole, run: [sh, -c, 'yes | head -c 1000000'], on: pod }
",
        );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let results = results(&ended);
    let cut = result(&results, "cut");
    assert_eq!(cut["error"]["class"], "host", "{}", cut["error"]);
    assert_eq!(result(&results, "whole")["status"], "succeeded");
    nothing_is_left(&folder);
}

/// An `srun` that notes its node, and runs the command on this machine.
const SRUN: &str = r#"#!/bin/sh
while [ "$1" != -w ]; do shift; done
echo "$2" >> "$SSH_LOG"
shift 2
cd / && exec "$@"
"#;

fn seconds_from_now(seconds: u64) -> String {
    let now = SystemClock.now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_secs();
    (now + seconds).to_string()
}

#[test]
fn the_nodes_of_a_slurm_allocation_run_as_many_jobs_as_it_has_tasks_there() {
    let folder = folder().file("bin/srun", SRUN).program("srun");
    // The first jobs end when as many have begun as there are slots, so no node is left out.
    let script = r#"printf x >> "$0"; until [ "$(wc -c < "$0")" -ge 4 ]; do sleep 0.01; done"#;
    let begun = folder.at("begun").display().to_string();
    let args = [
        "map", "--format", "jsonl", "--on", "slurm", "sh", "-c", script, &begun, ":::",
    ];
    let items: Vec<String> = (0..12).map(|item| item.to_string()).collect();
    let ended = ratchet(&folder)
        .args(args)
        .args(&items)
        .env("SLURM_JOB_ID", "4711")
        .env("SLURM_JOB_NODELIST", "n[01-02],gpu1")
        .env("SLURM_NTASKS", "4")
        .env("SLURM_TASKS_PER_NODE", "1(x2),2")
        .env("SLURM_JOB_CPUS_PER_NODE", "64(x3)")
        .env("SLURM_JOB_END_TIME", seconds_from_now(100_000))
        .run()
        .with_code(0);
    let results = results(&ended);
    let mut used = std::collections::BTreeMap::<&str, u64>::new();
    for result in &results {
        let most = used.entry(result["place"].as_str().unwrap()).or_default();
        *most = (*most).max(result["slot"].as_u64().unwrap());
    }
    let used: Vec<(&str, u64)> = used.into_iter().collect();
    assert_eq!(used, [("gpu1", 2), ("n01", 1), ("n02", 1)]);
    assert!(!ended.stderr().contains("allocation"), "{}", ended.stderr());
    let outside = ratchet(&folder).args(["map", "--on", "slurm", "echo", ":::", "a"]);
    let outside = outside.run().with_code(2);
    assert!(
        outside.stderr().contains("no allocation of Slurm's"),
        "{}",
        outside.stderr()
    );
    nothing_is_left(&folder);
}

/// A `squeue` that answers when the first job has begun: with one time, and with another one from then on.
const SQUEUE: &str = r#"#!/bin/sh
[ "$*" = '-h -j 4711 -o %L' ] || exit 1
until [ -s "$BEGUN" ]; do sleep 0.01; done
echo >> "$BEGUN.asked"
if [ "$(wc -l < "$BEGUN.asked")" -gt 1 ]; then echo LATER; else echo FIRST; fi
"#;

/// Runs two jobs one after the other in an allocation, whose end `squeue` tells. The first one ends when this text was
/// printed, or when `squeue` was asked.
fn run_in_allocation(squeue: &str, end: Option<String>, text: Option<&str>) -> (Ended, String) {
    let folder = folder().file("bin/srun", SRUN).program("srun");
    let folder = folder.file("bin/squeue", squeue).program("squeue");
    let begun = folder.at("begun");
    let script = "echo {} >> \"$BEGUN\"; until [ -e \"$BEGUN.go\" ]; do sleep 0.01; done";
    let args = [
        "map", "-k", "--format", "jsonl", "--grace", "1s", "--on", "slurm",
    ];
    let mut ratchet = ratchet(&folder)
        .args(args)
        .args(["sh", "-c", script, ":::", "a", "b"])
        .env("BEGUN", &begun)
        .env("SLURM_JOB_ID", "4711")
        .env("SLURM_JOB_NODELIST", "n1")
        .env("SLURM_JOB_CPUS_PER_NODE", "1");
    if let Some(end) = end {
        ratchet = ratchet.env("SLURM_JOB_END_TIME", end);
    }
    let running = ratchet.start();
    match text {
        Some(text) => drop(running.wait_for_stderr(text)),
        None => running.until("Slurm is asked", || folder.at("begun.asked").exists()),
    }
    fs::write(folder.at("begun.go"), "").expect("the folder is ours");
    let ended = running.wait();
    nothing_is_left(&folder);
    (ended, fs::read_to_string(begun).expect("it has begun"))
}

#[test]
fn no_new_jobs_start_when_a_slurm_allocation_ends_soon() {
    let squeue = SQUEUE.replace("FIRST", "0:33").replace("LATER", "0:01");
    // Slurm is asked for the end where no variable tells it.
    for end in [Some(seconds_from_now(2)), None] {
        let said =
            "the Slurm allocation 4711 ends soon: no new jobs; running jobs have 1.0 s to finish";
        let (ended, begun) = run_in_allocation(&squeue, end, Some(said));
        let ended = ended.with_code(100);
        let results = results(&ended);
        let statuses: Vec<_> = results.iter().map(|line| line["status"].as_str()).collect();
        assert_eq!(statuses, [Some("succeeded"), Some("cancelled")]);
        assert_eq!(begun, "a\n");
        assert!(
            ended.stderr().contains("ratchet resume"),
            "{}",
            ended.stderr()
        );
    }
}

#[test]
fn a_slurm_allocation_that_was_given_more_time_is_used_on() {
    let squeue = SQUEUE.replace("FIRST", "2-01:00:00");
    let (ended, begun) = run_in_allocation(&squeue, Some(seconds_from_now(2)), None);
    assert_eq!(begun, "a\nb\n");
    assert!(!ended.with_code(0).stderr().contains("allocation"));
}

#[test]
fn an_allocation_whose_end_is_not_known_is_used_with_a_warning() {
    let squeue = "#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1\n";
    let said = "it is not known when the Slurm allocation 4711 ends, so nothing stops the run before that: squeue said: slurm_load_jobs error";
    let (ended, begun) = run_in_allocation(squeue, None, Some(said));
    assert_eq!(begun, "a\nb\n");
    let _ = ended.with_code(0);
}

/// Runs a job on a host, and returns why it failed.
fn failure(folder: &Folder, host: &str) -> String {
    let jobs =
        format!("hosts: {{ web1: {host} }}\njobs:\n  - {{ id: a, run: [echo, hi], on: web1 }}\n");
    fs::write(folder.at("jobs.yaml"), jobs).expect("the folder is ours");
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q", "--no-record"];
    let ended = ratchet(folder).args(args).run().with_code(100);
    let results = results(&ended);
    let error = &result(&results, "a")["error"];
    assert_eq!(error["class"], "unreachable");
    let message = error["message"].as_str();
    message.expect("it has one").to_owned()
}

#[test]
fn a_host_of_another_platform_needs_an_agent_that_was_made_for_it() {
    let uname = "#!/bin/sh\ncase $1 in -s) echo Plan9;; -m) echo vax;; esac\n";
    let folder = folder().file("bin/uname", uname).program("uname");
    let said = failure(&folder, "{ ssh: web1 }");
    assert!(
        said.contains("the host is plan9-vax and this machine is "),
        "{said}"
    );
    assert!(
        said.contains("name a ratchet for plan9-vax by `agent: PATH` of the host"),
        "{said}"
    );

    // Another program than this one, which stands for the one that was made for vax.
    let mut program = fs::read(Ratchet::program()).unwrap();
    program.extend_from_slice(b"for vax");
    fs::write(folder.at("ratchet-vax"), &program).unwrap();
    let job = "hosts: { web1: { ssh: web1, agent: ratchet-vax } }\njobs:\n  - { id: a, run: [echo, hi], on: web1 }\n";
    fs::write(folder.at("jobs.yaml"), job).unwrap();
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(result(&results(&ended), "a")["result"]["stdout"], "hi\n");
    let agents: Vec<_> = fs::read_dir(folder.at("cache/ratchet/agents"))
        .unwrap()
        .map(|agent| agent.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(agents, [program.len() as u64]);
    nothing_is_left(&folder);
}

#[test]
fn an_agent_that_does_not_run_on_its_host_is_refused_with_the_reason() {
    let folder = folder()
        .file("other", "#!/bin/sh\necho 'I am another program'\n")
        .file("libc", "#!/no/such/loader\n");
    for (agent, reason) in [
        ("other", "does not run: it is damaged, or no agent"),
        ("libc", "is it linked to a libc that is not there?"),
    ] {
        let said = failure(&folder, &format!("{{ ssh: web1, agent: {agent} }}"));
        assert!(said.contains(reason), "{said}");
        assert!(
            said.contains("name another program by `agent: PATH`"),
            "{said}"
        );
        let left = fs::read_dir(folder.at("cache/ratchet/agents")).unwrap();
        assert_eq!(left.count(), 0, "no copy is left");
    }
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    assert_eq!(reached.lines().count(), 2, "it is not tried again");
    nothing_is_left(&folder);
}

#[test]
fn a_real_ssh_server_is_reached_with_a_key() {
    let Some(sshd) = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap())
    else {
        eprintln!("SKIPPED: there is no sshd, so no real ssh connection is tried");
        return;
    };
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: only root may start a server for ssh, so no real connection is tried");
        return;
    }
    let folder = Folder::new();
    let at = |name: &str| folder.at(name).display().to_string();
    for key in ["host_key", "user_key"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
            .status();
        assert!(made.unwrap().success());
    }
    fs::copy(folder.at("user_key.pub"), folder.at("authorized_keys")).unwrap();
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n",
        at("host_key"),
        at("authorized_keys")
    );
    fs::write(folder.at("sshd_config"), config).unwrap();
    // Each connection is served by an sshd of its own on stdin and stdout, so no port is needed.
    let host_key = fs::read_to_string(folder.at("host_key.pub")).unwrap();
    fs::write(folder.at("known_hosts"), format!("web1 {host_key}")).unwrap();
    let client = format!(
        "Host web1\n  HostKeyAlias web1\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n  ProxyCommand {sshd} -i -f {}\n",
        at("user_key"),
        at("known_hosts"),
        at("sshd_config")
    );
    fs::write(folder.at("ssh_config"), client).unwrap();
    let ssh = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F '{}' \"$@\"\n",
        at("ssh_config")
    );
    fs::create_dir(folder.at("bin")).unwrap();
    fs::write(folder.at("bin/ssh"), ssh).unwrap();
    fs::set_permissions(folder.at("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let _ = fs::create_dir("/run/sshd");
    let args = [
        "map",
        "-q",
        "-k",
        "--on",
        "web1",
        "echo",
        "{} on the other side",
        ":::",
        "a",
        "b c",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(
        ended.stdout(),
        "a on the other side\nb c on the other side\n"
    );
}
