//! Jobs through a queue on a real server: `ratchet node`, `submit`, `queue`, and `run --queue`.
#![cfg(target_os = "linux")]

mod attempts;
mod fences;
mod following;
mod reach;
mod server;

use std::collections::HashMap;

use ratchet_tests::{Ended, Folder, Ratchet, Running, Signal, is_alive};
use serde_json::Value;

use self::server::Server;

/// Jobs whose results are the same wherever they run.
const JOBS: &str = r#"
workers:
  builtin: { command: [RATCHET, worker], tasks: [echo, flaky, fail] }
limits: { one: { max: 1 } }
defaults: { env: { GREETING: hello } }
jobs:
  - { id: a, task: echo, input: { x: [1, 2] } }
  - { id: b, run: "sh -c 'echo $GREETING $RATCHET_JOB_ID $RATCHET_ATTEMPT; pwd'", needs: [a], limits: [one] }
  - { id: c, run: "sh -c 'echo out; echo bad >&2; exit 3'", host: web1, hint: host_exclusive }
  - { id: d, run: "true", needs: [c] }
  - { id: e, task: flaky, input: { failures: 1 }, retry: { max: 2, base: 1ms, backoff: fixed } }
  - { id: f, run: [sleep, "60"], timeout: 50ms }
  - { id: g, run: [cat], stdin: { text: "from stdin" }, slots: 2, priority: high }
"#;

/// A queue with sessions that are short, since tests wait for their ends.
struct Queue {
    server: Server,
    folder: Folder,
}

impl Queue {
    /// Starts a server and makes the queue; nothing where there is no server.
    fn start(folder: Folder) -> Option<Self> {
        let queue = Self {
            server: Server::start()?,
            folder,
        };
        let created = queue.call(["queue", "create", "--session", "3s"]).run();
        let _created = created.with_code(0);
        Some(queue)
    }

    /// Makes a call with the address of the queue.
    fn call<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ratchet {
        let url = self.server.url();
        let args = args.into_iter().map(str::to_owned);
        let args: Vec<String> = args.chain(["--queue".to_owned(), url]).collect();
        Ratchet::within(&self.folder).args(args)
    }

    /// Starts a node, and waits until it takes jobs.
    fn node(&self, name: &str, args: &[&str]) -> Running {
        let all = ["node", "--name", name]
            .into_iter()
            .chain(args.iter().copied());
        let node = self.call(all).start();
        node.wait_for_stderr("takes jobs from");
        node
    }

    /// Writes the file of jobs, with the program in it.
    fn jobs(folder: Folder, text: &str) -> Folder {
        let program = Ratchet::program().display().to_string();
        folder.file(
            "jobs.yaml",
            text.replace("RATCHET,", &format!("{program},")),
        )
    }
}

/// Returns a file with this many jobs, each with its number for `ID` in the script.
fn file_of(jobs: u32, script: &str) -> String {
    let job = |id: u32| {
        let script = script.replace("ID", &id.to_string());
        format!("  - {{ id: j{id}, run: [sh, -c, '{script}'] }}\n")
    };
    let jobs: Vec<String> = (0..jobs).map(job).collect();
    format!("jobs:\n{}", jobs.concat())
}

/// Ends a node that has to leave by itself.
fn leave(node: Running) -> Ended {
    node.signal(Signal::Terminate);
    node.wait().with_code(143)
}

/// Returns results without times, places and names of workers, by the ids of the jobs.
fn settled(lines: &str) -> HashMap<String, Value> {
    let settle = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("a result");
        let fields = line.as_object_mut().expect("an object");
        for name in [
            "queued_ms",
            "duration_ms",
            "started_at",
            "ended_at",
            "waited",
            "slot",
            "worker",
            "place",
            "cpu_ms",
            "max_rss",
            "attempts_detail",
        ] {
            fields.remove(name);
        }
        (line["id"].as_str().expect("an id").to_owned(), line)
    };
    lines.lines().map(settle).collect()
}

/// Returns the lines of a file that commands write to.
fn lines(folder: &Folder, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.at(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns the processes that have written their ids to the file `pids`.
fn pids(folder: &Folder) -> Vec<u32> {
    let pids = lines(folder, "pids");
    pids.iter()
        .map(|pid| pid.parse().expect("a number"))
        .collect()
}

/// Counts how often an interval begins while another one of its key lasts, in a file with lines `begin KEY` and `end KEY`.
fn overlaps(log: &[String]) -> usize {
    let mut running = HashMap::new();
    let mut overlaps = 0;
    for line in log {
        let (what, key) = line.split_once(' ').expect("two words");
        let count: &mut u32 = running.entry(key.to_owned()).or_default();
        match what {
            "begin" => {
                overlaps += usize::from(*count > 0);
                *count += 1;
            }
            _ => *count = count.checked_sub(1).expect("what ends has begun"),
        }
    }
    overlaps
}

#[test]
fn a_queue_gives_the_same_results_as_a_local_run_in_every_format() {
    let folder = Queue::jobs(Folder::new(), JOBS);
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "2", "--config", "jobs.yaml"]);
    let run = ["run", "jobs.yaml", "-j", "2", "--no-record"];
    let local = Ratchet::within(&queue.folder)
        .args(run)
        .run()
        .with_code(100);
    let through = ["run", "jobs.yaml", "--no-record"];
    let queued = queue.call(through).run().with_code(100);
    assert_eq!(settled(&queued.stdout()), settled(&local.stdout()));
    assert!(
        queued.stdout().contains(r#""place":"n1""#),
        "{}",
        queued.stdout()
    );
    assert!(
        queued
            .stderr()
            .contains("the workers of `jobs.yaml` are not started here")
    );

    // -k writes them in the order of the file.
    let ordered = queue
        .call(through.into_iter().chain(["-k"]))
        .run()
        .with_code(100);
    let ids: Vec<String> = (ordered.stdout().lines())
        .map(|line| serde_json::from_str::<Value>(line).expect("a result")["id"].to_string())
        .collect();
    assert_eq!(ids.join(""), r#""a""b""c""d""e""f""g""#);

    let document = |ended: Ended| {
        let document: Value =
            serde_json::from_str(&ended.with_code(100).stdout()).expect("a document");
        let counts = [
            "total",
            "succeeded",
            "failed",
            "timed_out",
            "skipped",
            "retries",
        ];
        counts.map(|name| document["summary"][name].clone())
    };
    let json = ["--format", "json"];
    let local_json = Ratchet::within(&queue.folder).args(run).args(json).run();
    let queued_json = queue.call(through.into_iter().chain(json)).run();
    assert_eq!(document(queued_json), document(local_json));

    let junit = queue
        .call(through.into_iter().chain(["--format", "junit"]))
        .run();
    let junit = junit.with_code(100).stdout();
    assert!(
        junit.contains(r#"tests="7""#) && junit.contains("it ended with exit code 3"),
        "{junit}"
    );
    let human = queue
        .call(through.into_iter().chain(["--format", "human"]))
        .run();
    let human = human.with_code(100).stdout();
    assert!(
        human.contains("it needs `c`, which did not succeed"),
        "{human}"
    );
    let left = leave(node);
    assert!(
        left.stderr().contains("node n1 has left"),
        "{}",
        left.stderr()
    );
}

#[test]
fn jobs_that_were_submitted_are_followed_later_and_never_run_twice() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, -c, 'echo a >> log'] }, { id: b, run: [sh, -c, 'echo b >> log'], needs: [a] }]\n",
    );
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let submitted = queue
        .call(["submit", "jobs.yaml", "--name", "nightly"])
        .run()
        .with_code(0);
    assert_eq!(submitted.stdout(), "nightly\n");
    assert!(
        submitted.stderr().contains("2 jobs submitted as `nightly`"),
        "{}",
        submitted.stderr()
    );
    assert!(
        submitted
            .stderr()
            .contains("ratchet run --attach nightly --queue"),
        "{}",
        submitted.stderr()
    );
    let again = queue
        .call(["submit", "jobs.yaml", "--name", "nightly"])
        .run()
        .with_code(0);
    assert!(
        again.stderr().contains("2 were in the queue already"),
        "{}",
        again.stderr()
    );

    let explained = queue
        .call(["queue", "explain", "nightly/a"])
        .run()
        .with_code(0);
    assert!(
        explained.stdout().contains("because no node has joined"),
        "{}",
        explained.stdout()
    );
    let node = queue.node("n1", &["-j", "2"]);
    let followed = queue
        .call(["run", "--attach", "nightly"])
        .run()
        .with_code(0);
    let results = settled(&followed.stdout());
    assert_eq!(results["a"]["status"], "succeeded");
    assert_eq!(results["b"]["status"], "succeeded");
    // Whoever has the file can follow as well, and hears of those that have ended.
    let known = queue
        .call(["run", "jobs.yaml", "--name", "nightly"])
        .run()
        .with_code(0);
    assert_eq!(settled(&known.stdout()).len(), 2);
    assert!(
        known
            .stderr()
            .contains("2 of the jobs were in the queue already"),
        "{}",
        known.stderr()
    );
    assert_eq!(lines(&queue.folder, "log"), ["a", "b"]);

    let shown = queue
        .call(["queue", "show", "nightly", "--format", "json"])
        .run()
        .with_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout()).expect("a document");
    assert_eq!(shown["jobs"][1]["job"], "nightly/b");
    assert_eq!(shown["jobs"][1]["state"], "succeeded");
    let nobody = queue.call(["run", "--attach", "nobody"]).run().with_code(4);
    assert!(
        nobody.stderr().contains("no jobs of submission `nobody`"),
        "{}",
        nobody.stderr()
    );
    leave(node);
}

#[test]
fn host_exclusive_jobs_of_two_nodes_never_overlap() {
    let job = |id: u32| {
        let host = id % 3;
        format!(
            "  - {{ id: j{id}, host: h{host}, hint: host_exclusive, run: [sh, -c, 'echo begin h{host} >> log; sleep 0.02; echo end h{host} >> log'] }}\n"
        )
    };
    let jobs: String = (0..60).map(job).collect();
    let folder = Folder::new().file("jobs.yaml", format!("jobs:\n{jobs}"));
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    // Two hosts are free for the other node while one node does its only job.
    let nodes = [
        queue.node("n1", &["-j", "1"]),
        queue.node("n2", &["-j", "1"]),
    ];
    let ended = queue
        .call(["run", "jobs.yaml", "--no-record"])
        .run()
        .with_code(0);
    let log = lines(&queue.folder, "log");
    assert_eq!(log.len(), 120);
    assert_eq!(overlaps(&log), 0, "two at once on a host: {log:?}");
    // Both have done some: otherwise nothing was shared.
    for place in [r#""place":"n1""#, r#""place":"n2""#] {
        assert!(ended.stdout().contains(place), "{place}");
    }
    for node in nodes {
        leave(node);
    }
}

/// A job that says when it begins and ends, and takes longer than a session.
const LONG: &str = "jobs: [{ id: a, host: h, hint: host_exclusive, run: [sh, -c, 'echo begin h >> log; echo $$ >> pids; echo $RATCHET_ATTEMPT >> attempts; if [ $RATCHET_ATTEMPT = 1 ]; then sleep 600; fi; echo end h >> log'] }]\n";

#[test]
fn the_jobs_of_a_node_that_was_killed_run_on_another_one() {
    let folder = Folder::new().file("jobs.yaml", LONG);
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let lost = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml", "--no-record"]).start();
    run.until("the job runs", || {
        !lines(&queue.folder, "attempts").is_empty()
    });
    let command = pids(&queue.folder);
    lost.signal(Signal::Kill);
    let _killed = lost.wait();
    // Nothing of it is left, because its keeper has killed it.
    run.until("what it ran is dead", || {
        command.iter().all(|command| !is_alive(*command))
    });
    let node = queue.node("n2", &["-j", "1"]);
    let ended = run.wait().with_code(0);
    let results = settled(&ended.stdout());
    assert_eq!(results["a"]["attempts"], 2);
    assert!(
        ended.stdout().contains(r#""place":"n2""#),
        "{}",
        ended.stdout()
    );
    assert_eq!(lines(&queue.folder, "attempts"), ["1", "2"]);
    leave(node);
}

#[test]
fn a_node_that_was_stopped_past_its_session_runs_nothing_beside_its_successor() {
    let folder = Folder::new().file("jobs.yaml", LONG);
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let stopped = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml", "--no-record"]).start();
    run.until("the job runs", || {
        !lines(&queue.folder, "attempts").is_empty()
    });
    let commands = pids(&queue.folder);
    assert_eq!(commands.len(), 1);
    stopped.signal(Signal::Stop);
    let node = queue.node("n2", &["-j", "1"]);
    run.until("its successor begins", || {
        lines(&queue.folder, "attempts").len() == 2
    });
    // The keeper has killed the stopped node with all that it ran, before the queue gave the job away.
    assert!(
        !is_alive(commands[0]),
        "a process of the stopped node lives"
    );
    stopped.signal(Signal::Continue);
    let _ended = run.wait().with_code(0);
    let _killed = stopped.wait();
    assert_eq!(lines(&queue.folder, "attempts"), ["1", "2"]);
    leave(node);
}

#[test]
fn a_submitter_that_was_killed_is_resumed_and_no_job_runs_twice() {
    let jobs = file_of(20, "echo ID >> log; until [ -e go ]; do sleep 0.01; done");
    let folder = Folder::new().file("jobs.yaml", jobs);
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "2"]);
    let killed = queue.call(["run", "jobs.yaml"]).start();
    killed.until("jobs run", || lines(&queue.folder, "log").len() == 2);
    killed.signal(Signal::Kill);
    let _killed = killed.wait();
    std::fs::write(queue.folder.at("go"), "").expect("it can be written");
    let resumed = Ratchet::within(&queue.folder)
        .args(["resume"])
        .run()
        .with_code(0);
    assert_eq!(settled(&resumed.stdout()).len(), 20);
    let mut log: Vec<u32> = (lines(&queue.folder, "log").iter())
        .map(|line| line.parse().expect("a number"))
        .collect();
    log.sort_unstable();
    assert_eq!(log, (0..20).collect::<Vec<_>>());
    leave(node);
}

#[test]
fn resuming_runs_what_failed_again_and_keeps_the_rest() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, -c, 'echo a >> log'] }, { id: b, run: [sh, -c, 'echo b >> log; test -e ok'], needs: [a] }, { id: c, run: [sh, -c, 'echo c >> log'], needs: [b] }]\n",
    );
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &[]);
    let failed = queue.call(["run", "jobs.yaml"]).run().with_code(100);
    assert_eq!(settled(&failed.stdout())["c"]["status"], "skipped");
    std::fs::write(queue.folder.at("ok"), "").expect("it can be written");
    let resumed = Ratchet::within(&queue.folder)
        .args(["resume"])
        .run()
        .with_code(0);
    assert!(
        resumed.stderr().contains("1 had succeeded before"),
        "{}",
        resumed.stderr()
    );
    assert_eq!(lines(&queue.folder, "log"), ["a", "b", "b", "c"]);
    leave(node);
}

#[test]
fn a_run_goes_on_when_its_server_was_killed_and_comes_back() {
    let jobs = file_of(8, "echo ID >> log; sleep 0.2");
    let folder = Folder::new().file("jobs.yaml", jobs);
    let Some(mut queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml", "--no-record"]).start();
    run.until("jobs run", || lines(&queue.folder, "log").len() >= 2);
    queue.server.kill();
    run.wait_for_stderr("the queue does not go on");
    assert!(queue.server.run(), "the port is still free");
    let ended = run.wait().with_code(0);
    assert_eq!(settled(&ended.stdout()).len(), 8);
    let trouble = ended.stderr().matches("the queue does not go on").count();
    assert_eq!(trouble, 1, "it is told once: {}", ended.stderr());
    assert!(
        ended.stderr().contains("the queue answers again"),
        "{}",
        ended.stderr()
    );
    leave(node);
}

#[test]
fn a_signal_cancels_what_waits_and_runs_and_resume_does_it_again() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, -c, 'echo a >> log; test -e ok || sleep 600'] }, { id: b, run: [sh, -c, 'echo b >> log'] }]\n",
    );
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml"]).start();
    run.until("a job runs", || !lines(&queue.folder, "log").is_empty());
    run.signal(Signal::Interrupt);
    let ended = run.wait().with_code(130);
    let results = settled(&ended.stdout());
    assert_eq!(results["a"]["status"], "cancelled");
    assert_eq!(results["b"]["status"], "cancelled");
    assert!(
        ended
            .stderr()
            .contains("the jobs are cancelled in the queue"),
        "{}",
        ended.stderr()
    );
    assert_eq!(lines(&queue.folder, "log"), ["a"]);
    std::fs::write(queue.folder.at("ok"), "").expect("it can be written");
    let resumed = Ratchet::within(&queue.folder)
        .args(["resume"])
        .run()
        .with_code(0);
    assert_eq!(settled(&resumed.stdout()).len(), 2);
    assert_eq!(lines(&queue.folder, "log"), ["a", "a", "b"]);
    leave(node);
}

#[test]
fn a_failure_limit_cancels_the_rest() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [\"false\"] }, { id: b, run: [sleep, '600'] }, { id: c, run: [sleep, '600'] }]\n",
    );
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "1"]);
    let ended = queue
        .call(["run", "jobs.yaml", "--no-record", "--max-fail", "1"])
        .run()
        .with_code(102);
    let results = settled(&ended.stdout());
    assert_eq!(results["a"]["status"], "failed");
    assert_eq!(results["c"]["status"], "cancelled");
    assert!(
        ended.stderr().contains("stopped early: a job failed"),
        "{}",
        ended.stderr()
    );
    leave(node);
}

#[test]
fn a_node_that_drains_finishes_what_runs_and_leaves_the_rest() {
    let jobs = file_of(3, "echo ID >> log; until [ -e go ]; do sleep 0.01; done");
    let folder = Folder::new().file("jobs.yaml", jobs);
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let _submitted = queue
        .call(["submit", "jobs.yaml", "--name", "s"])
        .run()
        .with_code(0);
    let node = queue.node("n1", &["-j", "1"]);
    node.until("a job runs", || lines(&queue.folder, "log").len() == 1);
    node.signal(Signal::Terminate);
    node.wait_for_stderr("no more jobs are taken");
    std::fs::write(queue.folder.at("go"), "").expect("it can be written");
    let left = node.wait().with_code(143);
    assert!(
        left.stderr().contains("1 jobs succeeded"),
        "{}",
        left.stderr()
    );
    let status = queue
        .call(["queue", "status", "--format", "json"])
        .run()
        .with_code(0);
    let status: Value = serde_json::from_str(&status.stdout()).expect("a document");
    assert_eq!(
        (&status["waiting"], &status["nodes"]),
        (&Value::from(2), &Value::from(0))
    );
    // With --drain, a node does what is there and leaves.
    let drained = queue
        .call(["node", "--name", "n2", "--drain"])
        .run()
        .with_code(0);
    assert!(
        drained.stderr().contains("node n2 has left"),
        "{}",
        drained.stderr()
    );
    assert_eq!(lines(&queue.folder, "log").len(), 3);
}

#[test]
fn a_second_signal_stops_what_a_node_runs_and_another_one_does_it() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ id: a, run: [sh, -c, 'echo $RATCHET_ATTEMPT >> log; test -e ok || sleep 600'] }]\n",
    );
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &["-j", "1"]);
    let run = queue.call(["run", "jobs.yaml", "--no-record"]).start();
    run.until("the job runs", || lines(&queue.folder, "log").len() == 1);
    node.signal(Signal::Interrupt);
    node.wait_for_stderr("no more jobs are taken");
    node.signal(Signal::Interrupt);
    let left = node.wait().with_code(130);
    assert!(
        left.stderr().contains("1 were given back"),
        "{}",
        left.stderr()
    );
    std::fs::write(queue.folder.at("ok"), "").expect("it can be written");
    let other = queue.node("n2", &["-j", "1"]);
    let ended = run.wait().with_code(0);
    assert_eq!(settled(&ended.stdout())["a"]["attempts"], 1);
    leave(other);
}

#[test]
fn only_nodes_with_the_task_and_the_label_do_a_job() {
    let jobs = "workers: { builtin: { command: [RATCHET, worker], tasks: [echo] } }\njobs: [{ id: a, task: echo, input: 1 }]\n";
    let folder = Queue::jobs(Folder::new(), jobs);
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let plain = queue.node("plain", &[]);
    let without_label = queue.node("unlabelled", &["--config", "jobs.yaml"]);
    let _submitted = queue
        .call(["submit", "jobs.yaml", "--name", "s", "--label", "gpu"])
        .run()
        .with_code(0);
    let explained = queue.call(["queue", "explain", "s/a"]).run().with_code(0);
    assert!(
        explained.stdout().contains("`gpu`"),
        "{}",
        explained.stdout()
    );
    let fit = queue.node("fit", &["--config", "jobs.yaml", "--label", "gpu"]);
    let ended = queue.call(["run", "--attach", "s"]).run().with_code(0);
    assert!(
        ended.stdout().contains(r#""place":"fit""#),
        "{}",
        ended.stdout()
    );
    let nodes = queue.call(["queue", "nodes"]).run().with_code(0).stdout();
    assert!(
        nodes.contains("fit: 0 of") && nodes.contains("labels gpu"),
        "{nodes}"
    );
    for node in [plain, without_label, fit] {
        leave(node);
    }
    let failed = [
        "submit",
        "jobs.yaml",
        "--name",
        "t",
        "--unservable-after",
        "10ms",
    ];
    let _submitted = queue.call(failed).run().with_code(0);
    let ended = queue.call(["run", "--attach", "t"]).run().with_code(100);
    assert!(
        ended.stdout().contains("no living node could do it"),
        "{}",
        ended.stdout()
    );
}

#[test]
fn a_queue_is_paused_continued_and_cleaned() {
    let folder = Folder::new().file("jobs.yaml", "jobs: [{ id: a, run: [\"false\"] }]\n");
    let Some(queue) = Queue::start(folder) else {
        return;
    };
    let node = queue.node("n1", &[]);
    let _paused = queue.call(["queue", "pause"]).run().with_code(0);
    let _submitted = queue
        .call(["submit", "jobs.yaml", "--name", "s"])
        .run()
        .with_code(0);
    let explained = queue
        .call(["queue", "explain", "s/a"])
        .run()
        .with_code(0)
        .stdout();
    assert!(explained.contains("the queue is paused"), "{explained}");
    let status = queue.call(["queue"]).run().with_code(0).stdout();
    assert!(
        status.contains("1 waiting") && status.contains("it is paused"),
        "{status}"
    );
    let _going_on = queue.call(["queue", "continue"]).run().with_code(0);
    let _failed = queue.call(["run", "--attach", "s"]).run().with_code(100);
    let explained = queue
        .call(["queue", "explain", "s/a"])
        .run()
        .with_code(0)
        .stdout();
    assert!(
        explained.contains("has ended after 1 attempts: failed"),
        "{explained}"
    );
    let again = queue
        .call(["queue", "requeue", "s/a"])
        .run()
        .with_code(0)
        .stdout();
    assert!(again.contains("it waits again"), "{again}");
    let _failed = queue.call(["run", "--attach", "s"]).run().with_code(100);
    let purged = queue
        .call(["queue", "purge", "s/a"])
        .run()
        .with_code(0)
        .stdout();
    assert!(purged.contains("its name is free again"), "{purged}");
    let unknown = queue
        .call(["queue", "cancel", "s/a"])
        .run()
        .with_code(100)
        .stdout();
    assert!(unknown.contains("the queue does not know it"), "{unknown}");
    leave(node);
}

#[test]
fn what_a_queue_cannot_keep_is_refused_before_anything_runs() {
    let Some(queue) = Queue::start(Folder::new()) else {
        return;
    };
    let refused = |job: &str, reason: &str| {
        std::fs::write(queue.folder.at("jobs.yaml"), format!("jobs:\n  - {job}\n"))
            .expect("it can be written");
        for verb in ["run", "submit"] {
            let ended = queue.call([verb, "jobs.yaml"]).run().with_code(2);
            let stderr = ended.stderr();
            assert!(
                stderr.contains("job `a` of `jobs.yaml` cannot go through a queue")
                    && stderr.contains(reason),
                "{stderr}"
            );
            assert!(
                stderr.contains("help") || stderr.contains("leave"),
                "{stderr}"
            );
        }
    };
    refused(
        "{ id: a, run: [echo], cache: true }",
        "`cache` is kept on one machine",
    );
    refused(
        "{ id: a, run: [echo], timeout: { queue: 5s } }",
        "`timeout.queue`",
    );
    refused(
        "{ id: a, run: [echo], retry: { max: 2, within: 5s } }",
        "`retry.within`",
    );
    refused(
        "{ id: a, run: [echo], retry: { max: 2, backoff: decorrelated } }",
        "decorrelated",
    );
    refused("{ id: a, run: [echo], pull: [x] }", "`pull`");
    let status = queue.call(["queue", "status"]).run().with_code(0).stdout();
    assert!(status.contains("0 waiting"), "{status}");

    std::fs::write(
        queue.folder.at("jobs.yaml"),
        "jobs: [{ id: a, run: [echo] }]\n",
    )
    .expect("it can be written");
    for (args, reason) in [
        (
            &["run", "jobs.yaml", "-j", "4"][..],
            "--jobs has no effect with --queue",
        ),
        (
            &["run", "jobs.yaml", "--on", "web1"],
            "--on has no effect with --queue",
        ),
        (
            &["run", "jobs.yaml", "--cache"],
            "--cache has no effect with --queue",
        ),
        (
            &["run", "jobs.yaml", "--name", "a/b"],
            "a submission has no `/`",
        ),
    ] {
        let ended = queue.call(args.iter().copied()).run().with_code(2);
        assert!(ended.stderr().contains(reason), "{}", ended.stderr());
    }
    let idle = Ratchet::within(&queue.folder)
        .args(["run", "jobs.yaml", "--name", "x"])
        .run();
    assert!(
        idle.with_code(2)
            .stderr()
            .contains("--name has an effect only on jobs in a queue")
    );
}

#[test]
fn a_server_that_cannot_be_used_is_refused_with_the_way_out() {
    let folder = || Folder::new().file("jobs.yaml", "jobs: [{ id: a, run: [echo] }]\n");
    let call = |url: &str| {
        let args = ["run", "jobs.yaml", "--queue", url];
        Ratchet::within(&folder())
            .args(args)
            .run()
            .with_code(2)
            .stderr()
    };
    let refused = call("redis://bob:secret@127.0.0.1/");
    assert!(
        refused.contains("contains a password") && refused.contains("--queue-password-file"),
        "{refused}"
    );
    assert!(!refused.contains("secret"), "{refused}");
    assert!(call("jobs1").contains("is no address of a queue"));
    // Nobody listens on port 1.
    let away = call("redis://127.0.0.1:1/");
    assert!(
        away.contains("cannot be used") && away.contains("start the server"),
        "{away}"
    );
    let Some(evicting) = Server::with(&["--maxmemory-policy", "allkeys-lru"]) else {
        return;
    };
    let refused = call(&evicting.url());
    assert!(refused.contains("maxmemory-policy noeviction"), "{refused}");

    let guarded = Server::with(&["--requirepass", "open sesame"]).expect("there is one");
    let refused = call(&guarded.url());
    assert!(refused.contains("RATCHET_QUEUE_PASSWORD"), "{refused}");
    let folder = folder().file("password", "open sesame\n");
    let url = guarded.url();
    let status = ["queue", "status", "--queue", &url];
    let by_file = status
        .iter()
        .copied()
        .chain(["--queue-password-file", "password"]);
    let _let_in = Ratchet::within(&folder).args(by_file).run().with_code(0);
    let by_variable = Ratchet::within(&folder)
        .args(status)
        .env("RATCHET_QUEUE_PASSWORD", "open sesame");
    let _let_in = by_variable.run().with_code(0);
    // The settings name the server, and the jobs of a node do not see the password.
    let folder = folder
        .file(
            "ratchet.toml",
            format!("queue = \"{url}\"\nqueue-password-file = \"password\"\n"),
        )
        .file(
            "env.yaml",
            "jobs: [{ id: a, run: [sh, -c, 'echo =$RATCHET_QUEUE_PASSWORD='] }]\n",
        );
    let node = Ratchet::within(&folder)
        .args(["node"])
        .env("RATCHET_QUEUE_PASSWORD", "open sesame")
        .start();
    node.wait_for_stderr("takes jobs from");
    let ended = Ratchet::within(&folder)
        .args(["run", "env.yaml", "--queue"])
        .run()
        .with_code(0);
    assert!(
        ended.stdout().contains(r#""stdout":"==\n""#),
        "{}",
        ended.stdout()
    );
    leave(node);
}

#[test]
fn events_and_a_stream_go_through_a_queue() {
    let Some(queue) = Queue::start(Folder::new()) else {
        return;
    };
    let node = queue.node("n1", &["-j", "2"]);
    let stream = "{\"run\":[\"echo\",\"1\"]}\n{\"nonsense\":1}\n{\"run\":[\"echo\",\"3\"]}\n";
    let call = queue.call(["run", "-", "--events", "events.jsonl", "--no-record"]);
    let ended = call.stdin(stream).run().with_code(100);
    let results = settled(&ended.stdout());
    assert_eq!(results.len(), 3);
    assert_eq!(results["1"]["status"], "succeeded");
    assert_eq!(results["2"]["error"]["class"], "input");
    let events = lines(&queue.folder, "events.jsonl");
    let at = |name: &str| {
        let wanted = format!("\"event\":\"{name}\"");
        events
            .iter()
            .position(|line| line.contains(&wanted) && line.contains("\"1\""))
    };
    let order = [at("job_queued"), at("attempt_started"), at("job_ended")];
    assert!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{order:?} {events:#?}"
    );
    leave(node);
}
