//! What commands and workers are told of their attempts.

use std::collections::BTreeSet;

use ratchet_tests::{Ended, Folder, Ratchet};
use serde_json::Value;

fn json_lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"));
    lines.collect()
}

#[test]
fn a_command_knows_its_slot_its_job_its_attempt_its_host_and_its_run() {
    let jobs = "jobs:
  - { id: first, run: [sh, -c, 'echo $RATCHET_SLOT $RATCHET_JOB_ID $RATCHET_ATTEMPT $RATCHET_HOST $RATCHET_RUN_ID'] }
  - id: second
    host: db1
    needs: [first]
    retry: { max: 2, base: 1ms }
    run: [sh, -c, 'echo $RATCHET_JOB_ID $RATCHET_ATTEMPT $RATCHET_HOST; [ $RATCHET_ATTEMPT = 3 ]']
  - { id: third, env: { RATCHET_SLOT: own }, needs: [second], run: [sh, -c, 'echo $RATCHET_SLOT'] }
";
    let folder = Folder::new().file("jobs.yaml", jobs);
    let call = Ratchet::within(&folder).args(["run", "-q", "jobs.yaml", "--format", "jsonl"]);
    let results = json_lines(&call.run().with_code(0));
    let list = Ratchet::within(&folder).args(["runs", "list", "--format", "json"]);
    let runs: Value = serde_json::from_str(&list.run().with_code(0).stdout()).unwrap();
    let run = runs[0]["id"].as_str().unwrap();
    let printed: Vec<&str> = results
        .iter()
        .map(|result| result["result"]["stdout"].as_str().unwrap().trim())
        .collect();
    let first = format!("1 first 1 local {run}");
    assert_eq!(printed, [first.as_str(), "second 3 db1", "own"]);
}

#[test]
fn no_two_commands_have_one_slot_at_once_and_no_number_is_beyond_the_last() {
    // A second command in the same slot would not be able to make the folder.
    let script = "mkdir in-{%} && sleep 0.0{} && rmdir in-{%} && echo {%}-$RATCHET_SLOT";
    let call = Ratchet::new().args(["map", "-q", "-j3", "--shell", "--", script, ":::"]);
    let ended = call.args((0..40).map(|item| (item % 7).to_string())).run();
    let slots: BTreeSet<String> = ended
        .with_code(0)
        .stdout()
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(slots.contains("1-1"), "{slots:?}");
    assert!(
        slots.is_subset(&["1-1", "2-2", "3-3"].map(str::to_owned).into()),
        "{slots:?}"
    );
}

#[test]
fn a_command_of_a_run_within_a_run_is_told_of_its_own_run() {
    let inner = [
        Ratchet::program().to_str().unwrap(),
        "map",
        "--no-record",
        "-q",
        "--",
        "sh",
        "-c",
        "echo \"$RATCHET_JOB_ID $RATCHET_HOST <$RATCHET_RUN_ID>\"",
        "sh",
        ":::",
        "b",
    ];
    let job = serde_json::json!({"id": "outer", "host": "db1", "run": inner});
    let call = Ratchet::new().args(["run", "-q", "-", "--format", "jsonl"]);
    let ended = call.stdin(job.to_string()).run().with_code(0);
    let results = json_lines(&ended);
    assert_eq!(
        results[0]["result"]["stdout"], "1 local <>\n",
        "{results:?}"
    );
}

#[test]
fn a_slot_is_no_part_of_a_path_of_a_file_and_stays_as_it_is_in_a_dry_run() {
    let call = Ratchet::new().args(["map", "--pull", "{%}.txt", "--", "true", ":::", "a"]);
    let refused = call.run().with_code(2).stderr();
    assert!(
        refused.contains("{%} cannot be part of `{%}.txt`"),
        "{refused}"
    );
    let call = Ratchet::new().args(["map", "--dry-run", "--", "echo", "{%}", "{}", ":::", "a"]);
    assert_eq!(call.run().with_code(0).stdout(), "echo '{%}' a\n");
}

#[test]
fn a_worker_is_told_the_slot_in_which_its_job_begins_even_of_jobs_that_are_sent_ahead() {
    // It answers with the slot of each request. One that it has not would make the answer no JSON.
    let worker = r#"while read -r line; do
        id=${line#*'"id":'}; id=${id%%,*}
        slot=${line#*'"slot":'}; slot=${slot%%,*}
        echo "{\"type\":\"response\",\"id\":$id,\"result\":$slot}"
    done"#;
    let folder = Folder::new().file("worker.sh", worker);
    let jobs = "{\"task\":\"slot\"}\n".repeat(3000);
    let call = Ratchet::within(&folder).args(["run", "-q", "-", "-j2", "--format", "jsonl"]);
    let call = call.args(["--worker", "sh worker.sh", "--protocol", "ratchet"]);
    let results = json_lines(&call.stdin(jobs).run().with_code(0));
    assert_eq!(results.len(), 3000);
    for result in &results {
        assert_eq!(result["result"], result["slot"], "{result}");
        assert!((1..=2).contains(&result["slot"].as_u64().unwrap()));
    }
}

#[test]
fn a_command_whose_job_has_an_id_that_no_variable_can_hold_is_told_none() {
    for id in ["x".repeat(200_000), "a\0b".to_owned()] {
        let script = "echo \"<$RATCHET_JOB_ID> $RATCHET_ATTEMPT\"";
        let job = serde_json::json!({"id": id, "run": ["sh", "-c", script]});
        let call = Ratchet::new().args(["run", "-q", "-", "--format", "jsonl"]);
        let ended = call.stdin(job.to_string()).run().with_code(0);
        let results = json_lines(&ended);
        assert_eq!(results[0]["result"]["stdout"], "<> 1\n", "{results:?}");
    }
}
