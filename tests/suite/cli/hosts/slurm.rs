//! Jobs run on the nodes of a Slurm allocation.

use super::*;

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
        outside.stderr().contains("outside of a Slurm allocation"),
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
        let said = "the Slurm allocation 4711 ends soon: no new jobs start; running jobs have 1.0 s to finish";
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
    let said = "the end of the Slurm allocation 4711 is unknown, so the run is not stopped before it: squeue said: slurm_load_jobs error";
    let (ended, begun) = run_in_allocation(squeue, None, Some(said));
    assert_eq!(begun, "a\nb\n");
    let _ = ended.with_code(0);
}
