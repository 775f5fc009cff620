//! Hosts have resources of their own: each job has those of the host on which it runs.

use std::collections::BTreeSet;

use super::*;

#[test]
fn jobs_have_the_devices_of_the_host_on_which_they_run_and_no_two_have_one_at_once() {
    let mut jobs = String::from(
        r#"
resources: { gpu: [here], license: 4 }
hosts:
  web1: { ssh: web1, slots: 8, resources: { gpu: [0, 1], memory: 2GiB } }
  web2: { ssh: web2, slots: 8, resources: { gpu: [7] } }
workers:
  ask: { command: [python3, PROGRAM], on: [web1, web2] }
jobs:
  - { id: both, run: [sh, -c, "echo $RATCHET_GPU $RATCHET_MEMORY"], on: web1, resources: { gpu: 2, memory: 1GiB } }
  - { id: worker, task: ask, resources: { gpu: 1 } }
  - { id: free, run: [sh, -c, 'echo "<$RATCHET_GPU>"'], on: web2 }
"#,
    );
    // A second command with the same device of the same host would not be able to make the folder.
    let script = "mkdir $DIR/gpu-$RATCHET_GPU && sleep 0.02 && rmdir $DIR/gpu-$RATCHET_GPU && echo $RATCHET_GPU $CUDA_VISIBLE_DEVICES $DEVICE";
    for number in 0..40 {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = writeln!(
            jobs,
            "  - {{ id: any{number}, needs: [both, free], run: [sh, -c, 'DIR=FOLDER; {script}'], on: [local, web1, web2], \
             env: {{ DEVICE: \"cuda:${{gpu}}\" }}, resources: {{ gpu: 1, license: 1 }} }}",
        );
    }
    let folder = folder().file(
        "ask.py",
        r#"
import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] == "request":
        print(json.dumps({"type": "response", "id": m["id"], "result": m["resources"]}), flush=True)
"#,
    );
    let program = folder.at("ask.py").display().to_string();
    let place = folder.path().display().to_string();
    let jobs = jobs.replace("PROGRAM", &program).replace("FOLDER", &place);
    let folder = folder.file("jobs.yaml", jobs);
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q", "-j8"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    let results = results(&ended);
    let stdout = |id: &str| result(&results, id)["result"]["stdout"].as_str().unwrap();
    assert_eq!(stdout("both"), "0,1 1073741824\n");
    assert_eq!(stdout("free"), "<>\n");
    let worker = result(&results, "worker");
    let own: &[&str] = match worker["place"].as_str() {
        Some("web1") => &["0", "1"],
        Some("web2") => &["7"],
        other => panic!("it ran on {other:?}"),
    };
    let had = worker["result"]["gpu"][0].to_string();
    assert!(own.contains(&had.as_str()), "{worker}");
    let mut places = BTreeSet::new();
    for number in 0..40 {
        let id = format!("any{number}");
        let place = result(&results, &id)["place"].as_str().unwrap_or("here");
        let told = stdout(&id);
        let expected: &[&str] = match place {
            "web1" => &["0 0 cuda:0\n", "1 1 cuda:1\n"],
            "web2" => &["7 7 cuda:7\n"],
            _ => &["here here cuda:here\n"],
        };
        assert!(expected.contains(&told), "{place}: {told}");
        places.insert(place.to_owned());
    }
    assert_eq!(places, ["here", "web1", "web2"].map(str::to_owned).into());
    nothing_is_left(&folder);
}

#[test]
fn a_job_that_no_host_can_give_its_resources_is_refused_and_the_others_run() {
    let folder = folder().file(
        "jobs.yaml",
        r"
hosts:
  web1: { ssh: web1, slots: 2, resources: { gpu: [0, 1] } }
  web2: { ssh: web2, slots: 2 }
jobs:
  - { id: well, run: 'true', on: [web1, web2], resources: { gpu: 2 } }
  - { id: nowhere, run: 'true', on: web2, resources: { gpu: 1 } }
  - { id: here, run: 'true', resources: { gpu: 1 } }
",
    );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run();
    let results = results(&ended);
    assert_eq!(
        result(&results, "well")["place"],
        "web1",
        "{}",
        ended.stderr()
    );
    for id in ["nowhere", "here"] {
        let refused = result(&results, id)["error"]["message"].to_string();
        assert!(
            refused.contains("takes resource `gpu`, and no place where it may run has any"),
            "{refused}"
        );
    }
}

#[test]
fn a_file_with_more_than_any_host_has_is_refused_where_it_is_written() {
    let refused = |jobs: &str| {
        let folder = folder().file("jobs.yaml", jobs);
        let call = ratchet(&folder).args(["check", "jobs.yaml"]);
        call.run().with_code(2).stderr()
    };
    let told = refused(
        "hosts: { web1: { ssh: web1, resources: { gpu: [0, 1] } } }\n\
         jobs: [{ id: a, run: 'true', on: web1, resources: { gpu: 3 } }]\n",
    );
    assert!(told.contains("takes 3 of resource `gpu`"), "{told}");
    let told = refused(
        "hosts: { web1: { ssh: web1, resources: { memory: 16 } } }\n\
         jobs: [{ id: a, run: 'true', on: web1, resources: { gpo: 3 } }]\n",
    );
    assert!(
        told.contains("`memory` has to be a size with a unit"),
        "{told}"
    );
    assert!(told.contains("unknown resource `gpo`"), "{told}");
}
