//! Resources: who has which, and what is refused.

use std::collections::BTreeSet;

use ratchet_tests::{Ended, Folder, Ratchet, Signal};
use serde_json::Value;

fn json_lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"));
    lines.collect()
}

fn refused(jobs: &str) -> String {
    let folder = Folder::new().file("jobs.yaml", jobs);
    let call = Ratchet::within(&folder).args(["run", "jobs.yaml"]);
    call.run().with_code(2).stderr()
}

#[test]
fn no_two_commands_have_one_device_at_once_and_each_is_told_which_it_has() {
    // A second command with the same device would not be able to make the folder.
    let script = "mkdir on-$RATCHET_GPU && sleep 0.0{} && rmdir on-$RATCHET_GPU && echo $RATCHET_GPU-$CUDA_VISIBLE_DEVICES";
    let call = Ratchet::new().args(["map", "-q", "-j8", "--resource", "gpu=3,5"]);
    let call = call.args(["--use", "gpu=1", "--shell", "--", script, ":::"]);
    let ended = call.args((0..40).map(|item| (item % 7).to_string())).run();
    let told: BTreeSet<String> = ended
        .with_code(0)
        .stdout()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(told, ["3-3", "5-5"].map(str::to_owned).into());
}

#[test]
fn a_command_and_a_worker_are_told_what_they_have_and_the_wait_is_charged_to_the_resource() {
    let folder = Folder::new().file("jobs.yaml", r#"
resources: { gpu: [0, 1], port: 8000-8001, license: 2, memory: 1GiB }
workers: { ask: { command: [python3, ask.py] } }
jobs:
  - id: command
    resources: { gpu: 1, port: 2, license: 1, memory: 256MiB }
    env: { DEVICE: "cuda:${gpu}", CUDA_VISIBLE_DEVICES: none }
    run: [sh, -c, "sleep 0.1; echo $DEVICE $CUDA_VISIBLE_DEVICES $RATCHET_GPU $RATCHET_PORT $RATCHET_LICENSE $RATCHET_MEMORY"]
  - { id: worker, task: ask, needs: [command], resources: { gpu: 2, memory: 1KiB } }
  - { id: waits, run: "true", resources: { port: 1 } }
  - { id: free, run: [sh, -c, 'echo "<$RATCHET_GPU>"'] }
"#).file("ask.py", r#"
import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] == "request":
        print(json.dumps({"type": "response", "id": m["id"], "result": m["resources"]}), flush=True)
"#);
    let call = Ratchet::within(&folder).args(["run", "-q", "-k", "-j8", "jobs.yaml"]);
    let results = json_lines(&call.run().with_code(0));
    assert_eq!(
        results[0]["result"]["stdout"],
        "cuda:0 none 0 8000,8001 1 268435456\n"
    );
    assert_eq!(
        results[1]["result"],
        serde_json::json!({"gpu": [0, 1], "memory": 1024})
    );
    let waited = results[2]["waited"]["resource:port"].as_f64();
    assert!(waited.is_some_and(|waited| waited >= 90.0), "{results:?}");
    assert_eq!(results[3]["result"]["stdout"], "<>\n");
}

#[test]
fn memory_is_what_jobs_say_that_they_need_and_no_more_start_than_fit() {
    let script = "mkdir first 2>/dev/null && w=first || { mkdir second && w=second; } && sleep 0.05 && rmdir $w && echo {}";
    let call = Ratchet::new().args(["map", "-q", "-j8", "--resource", "memory=1GiB"]);
    let call = call.args(["--use", "memory=400MiB", "--shell", "--", script, ":::"]);
    let _ = call
        .args((0..12).map(|item| item.to_string()))
        .run()
        .with_code(0);
}

#[test]
fn what_no_resource_can_meet_is_refused_with_its_place_before_anything_runs() {
    for (jobs, place, message) in [
        (
            "resources: { gpu: [0, 1] }\njobs:\n  - { run: [touch, x], resources: { gpu: 3 } }\n",
            "jobs.yaml:3:",
            "a job that takes 3 of resource `gpu` can never run with 2 in all",
        ),
        (
            "resources: { gpu: [0, 1] }\njobs:\n  - { run: [touch, x], resources: { gup: 1 } }\n",
            "jobs.yaml:3:",
            "did you mean `gpu`?",
        ),
        (
            "resources: { memory: 4GiB }\njobs:\n  - { run: [touch, x], resources: { memory: 2 } }\n",
            "jobs.yaml:3:",
            "has no unit",
        ),
        (
            "resources: { license: 2 }\ndefaults: { resources: { license: 2MiB } }\njobs: [{ run: [touch, x] }]\n",
            "jobs.yaml:2:",
            "`license` is counted",
        ),
        (
            "resources: { memory: 16 }\njobs: [{ run: [touch, x] }]\n",
            "jobs.yaml:1:",
            "`memory` has to be a size",
        ),
        (
            "resources: { gpu: [0, 0] }\njobs: [{ run: [touch, x] }]\n",
            "jobs.yaml:1:",
            "is there twice",
        ),
        (
            "resources: { gpu: 4XB }\njobs: [{ run: [touch, x] }]\n",
            "jobs.yaml:1:",
            "unknown unit",
        ),
        (
            "resources: { 'g pu': 4 }\njobs: [{ run: [touch, x] }]\n",
            "jobs.yaml:1:",
            "no name of a resource",
        ),
        (
            "resources: { gpu: [0] }\njobs: [{ run: [touch, x], env: { A: 'on-${gpu}' } }]\n",
            "jobs.yaml:2:",
            "takes none of this resource",
        ),
    ] {
        let said = refused(jobs);
        assert!(said.contains(place) && said.contains(message), "{said}");
        assert!(!Folder::new().at("x").exists());
    }
    let folder = Folder::new().file(
        "jobs.yaml",
        "jobs: [{ run: [\"true\"], retry: { max: 2, memory: 2 } }]\n",
    );
    let check = Ratchet::within(&folder).args(["check", "jobs.yaml"]);
    let said = check.run().with_code(0).stderr();
    assert!(
        said.contains("no effect on a job that has no limit `memory` and takes no `memory`"),
        "{said}"
    );
    let map = |flags: &[&str]| {
        let call = Ratchet::new().args(["map"]).args(flags);
        call.args(["--", "true", ":::", "a"])
            .run()
            .with_code(2)
            .stderr()
    };
    let said = map(&["--use", "gpu=1"]);
    assert!(
        said.contains("unknown resource `gpu`") && said.contains("--resource gpu=0,1"),
        "{said}"
    );
    let said = map(&["--resource", "gpu=0,1", "--use", "gpu=3"]);
    assert!(said.contains("can never run with 2 in all"), "{said}");
    assert!(map(&["--resource", "gpu=a"]).contains("write [a] for one identity"));
}

#[test]
fn flags_come_before_the_resources_of_a_file_and_check_shows_them() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "resources: { gpu: [0, 1], license: 2 }\njobs: [{ id: a, run: [sh, -c, 'echo $RATCHET_GPU $RATCHET_LICENSE'] }]\n",
    );
    let call = Ratchet::within(&folder).args(["run", "-q", "--resource", "gpu=[7]", "--use"]);
    let results = json_lines(
        &call
            .args(["gpu=1,license=2", "jobs.yaml"])
            .run()
            .with_code(0),
    );
    assert_eq!(results[0]["result"]["stdout"], "7 2\n");
    let check = Ratchet::within(&folder).args(["check", "jobs.yaml"]);
    let said = check.run().with_code(0).stdout();
    assert!(
        said.contains("gpu: 0, 1\n") && said.contains("license: 2\n"),
        "{said}"
    );
}

#[test]
fn sigusr1_tells_who_has_a_resource_and_who_waits_for_it() {
    let folder = Folder::new();
    let waits = "touch begun; until test -e go; do sleep 0.05; done";
    let call = Ratchet::within(&folder).args(["map", "-q", "-j4", "--resource", "gpu=[4]"]);
    let call = call.args(["--use", "gpu=1", "--", "sh", "-c", waits, ":::", "a", "b"]);
    let running = call.start();
    running.until("its job runs", || folder.at("begun").exists());
    running.signal(Signal::User1);
    let said = running.wait_for_stderr("waits for resource gpu, held by 1\n");
    assert!(said.contains("  gpu 4  "), "{said}");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let _ = running.wait().with_code(0);
}
