//! Lookups that run programs while a play runs: they hold up no other host, and none of them outlives its task.

use ratchet_tests::{Folder, Ratchet, Running, Signal, with_argument};

use super::play_site::{recap, run, site, text_of, until};

/// How long a program of these tests may run before its test has failed.
const LONG: &str = "600";

/// Returns a play whose only task never ends its lookup, and a word by which the processes of the lookup are found.
fn endless(options: &str) -> (Folder, Running, String) {
    let folder = site(&format!(
        "- hosts: h1
  gather_facts: false
  tasks:
    - command: echo {{{{ lookup('pipe', 'touch begun; sleep {LONG}; echo ' ~ playbook_dir) }}}}
{options}"
    ));
    let word = folder.path().display().to_string();
    let call = Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv", "--grace", "1s"]);
    let running = call.start();
    until("the lookup runs", || folder.at("begun").exists());
    (folder, running, word)
}

/// Waits until no process of a lookup is left.
fn is_gone(word: &str) {
    until("the processes of the lookup are gone", || {
        let processes = with_argument(&format!("touch begun; sleep {LONG}; echo {word}"));
        processes.is_empty()
    });
}

#[test]
fn hosts_look_up_at_the_same_time() {
    // Each host waits for the lookups of the others, so one after another they would take longer than they may.
    let folder = site(
        "- hosts: h1,h2,h3
  gather_facts: false
  tasks:
    - shell: echo {{ lookup('pipe', meet) }} >> {{ playbook_dir }}/met
      timeout: 60
  vars:
    meet: \"touch at-{{ inventory_hostname }}; until test -e at-h1 -a -e at-h2 -a -e at-h3; do sleep 0.02; done; echo here\"
",
    );
    let _ended = run(&folder, &[]).with_code(0);
    assert_eq!(text_of(&folder, "met"), "here\nhere\nhere\n");
}

#[test]
fn the_timeout_of_a_task_ends_its_lookup() {
    let folder = site(&format!(
        "- hosts: h1
  gather_facts: false
  tasks:
    - command: echo {{{{ lookup('pipe', 'sleep {LONG}; echo ' ~ playbook_dir) }}}}
      timeout: 1
      ignore_errors: true
    - command: touch went-on
      args: {{chdir: \"{{{{ playbook_dir }}}}\"}}
"
    ));
    let ended = run(&folder, &["-v"]).with_code(0);
    let shown = ended.stdout();
    assert!(
        shown.contains("a lookup took longer than the `timeout` of the task allows"),
        "{shown}"
    );
    assert_eq!(recap(&shown)["h1"]["ignored"], 1, "{shown}");
    assert!(folder.at("went-on").exists());
    let word = folder.path().display().to_string();
    until("the lookup is gone", || {
        with_argument(&format!("sleep {LONG}; echo {word}")).is_empty()
    });
}

#[test]
fn a_signal_ends_a_lookup_with_its_play() {
    let (_folder, running, word) = endless("");
    running.signal(Signal::Terminate);
    let _ended = running.wait().with_code(143);
    is_gone(&word);
}

#[test]
fn a_lookup_does_not_outlive_a_killed_ratchet() {
    let (_folder, running, word) = endless("");
    running.signal(Signal::Kill);
    let _killed = running.wait();
    is_gone(&word);
}

#[test]
fn conditions_and_connections_look_up_in_the_runner() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  vars:
    ansible_connection: \"{{ lookup('pipe', 'echo local') }}\"
  tasks:
    - command: echo hello
      register: said
      changed_when: lookup('pipe', 'echo ' ~ said.stdout) == 'hello'
    - command: echo changed
      when: said is changed
",
    );
    let ended = run(&folder, &[]).with_code(0);
    let counts = recap(&ended.stdout());
    assert_eq!((counts["h1"]["ok"], counts["h1"]["changed"]), (2, 2));
}

#[test]
fn lookups_are_neither_shown_nor_recorded_as_results_and_are_done_again_when_a_play_is_resumed() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - shell: \"echo {{ lookup('pipe', 'echo run >> log; echo sesame') | length }}; test -e {{ playbook_dir }}/go\"
",
    );
    let args = ["--state-dir", "state", "--format", "jsonl"];
    let ended = run(&folder, &args).with_code(100);
    assert_eq!(ended.stdout().lines().count(), 1, "{}", ended.stdout());
    assert!(ended.stdout().contains("\"rc\":1"), "{}", ended.stdout());
    std::fs::write(folder.path().join("go"), "").expect("the folder is ours");
    let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
    let _ended = call.run().with_code(0);
    assert_eq!(text_of(&folder, "log"), "run\nrun\n");
    let recorded = std::process::Command::new("grep")
        .args(["-rq", "sesame", "state"])
        .current_dir(folder.path())
        .status();
    assert!(!recorded.expect("grep is there").success());
}
