//! Jobs wait for connections, memory and load of their hosts.

use super::*;

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
