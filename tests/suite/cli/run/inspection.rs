//! SIGUSR1 asks a run what it does.

use ratchet_tests::{Ratchet, Signal};

use super::file;

const WAITS: &str = "touch begun; until test -e go; do sleep 0.05; done";

#[test]
fn sigusr1_prints_running_and_waiting_jobs_and_the_run_goes_on() {
    let folder = file(&format!(
        "jobs:
  - {{ id: holds, host: web1, hint: host_exclusive, run: [sh, -c, \"{WAITS}\"] }}
  - {{ id: locked, host: web1, hint: host_exclusive, run: [echo] }}
  - {{ id: after, needs: [holds, locked], run: [echo] }}
"
    ));
    let call = Ratchet::within(&folder).args(["run", "-q", "-j2", "jobs.yaml"]);
    let running = call.start();
    running.until("its job runs", || folder.at("begun").exists());
    running.signal(Signal::User1);
    let said = running.wait_for_stderr("needs holds, locked\n");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "ratchet: 1 running, 2 waiting, 0 ended", "{said}");
    let line = lines[1];
    assert!(line.starts_with("  running  holds  "), "{said}");
    assert!(
        line.ends_with(&format!("  host web1  sh -c '{WAITS}'")),
        "{said}"
    );
    let line = lines[2];
    assert!(line.starts_with("  waiting  locked  "), "{said}");
    assert!(
        line.ends_with("  waits for host web1, held by holds"),
        "{said}"
    );
    assert!(lines[3].starts_with("  waiting  after  "), "{said}");
    std::fs::write(folder.at("go"), "").expect("it is written");
    assert_eq!(running.wait().with_code(0).stdout().lines().count(), 3);
}

#[test]
fn sigusr1_names_the_items_of_a_map() {
    let folder = ratchet_tests::Folder::new();
    let call = Ratchet::within(&folder).args(["map", "-q", "-j1", "--", "sh", "-c", WAITS]);
    let running = call.args([":::", "one item", "another"]).start();
    running.until("its job runs", || folder.at("begun").exists());
    running.signal(Signal::User1);
    let said = running.wait_for_stderr("waits for a slot\n");
    assert!(said.contains("\n  running  1 (one item)  "), "{said}");
    assert!(
        said.contains(&format!("  sh -c '{WAITS}' 'one item'\n")),
        "{said}"
    );
    assert!(said.contains("\n  waiting  2 (another)  "), "{said}");
    std::fs::write(folder.at("go"), "").expect("it is written");
    let _ = running.wait().with_code(0);
}
