//! Step mode on a terminal: each task is asked for before it runs.

use ratchet_tests::{Ratchet, Shown};

use super::play_site::{recap, site, text_of};

#[test]
fn step_mode_asks_before_each_task_until_the_answer_is_to_continue() {
    let folder = site(
        "- hosts: h1,h2
  gather_facts: false
  tasks:
    - name: first
      shell: echo first-{{ inventory_hostname }} >> {{ playbook_dir }}/log
    - name: second
      shell: echo second-{{ inventory_hostname }} >> {{ playbook_dir }}/log
    - name: third
      shell: echo third-{{ inventory_hostname }} >> {{ playbook_dir }}/log
    - name: fourth
      shell: echo fourth-{{ inventory_hostname }} >> {{ playbook_dir }}/log
",
    );
    let call =
        Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv", "--step", "--color=never"]);
    let running = call.on_terminal(100, 40, Shown::Everything).start();
    for (task, answer) in [("first", "y\n"), ("second", "\n"), ("third", "c\n")] {
        running.wait_for_screen(&format!("Perform task: {task} (N)o/(y)es/(c)ontinue: "));
        running.type_on_terminal(answer);
    }
    let ended = running.wait().with_code(0);
    let screen = ended.screen();
    assert!(!screen.contains("Perform task: fourth"), "{screen}");
    let log = text_of(&folder, "log");
    let mut lines: Vec<&str> = log.lines().collect();
    lines[..].sort_unstable();
    assert_eq!(
        lines,
        [
            "first-h1",
            "first-h2",
            "fourth-h1",
            "fourth-h2",
            "third-h1",
            "third-h2"
        ]
    );
    assert_eq!(recap(&screen.replace('\r', ""))["h1"]["ok"], 3, "{screen}");
    // The result of a task is shown before the next question.
    let first = screen.find("TASK [first]").expect("its heading is shown");
    let second = screen
        .find("Perform task: second")
        .expect("it is asked for");
    assert!(first < second, "{screen}");
}

#[test]
fn the_end_of_the_input_answers_every_question_of_step_mode_with_no() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - name: first
      shell: touch {{ playbook_dir }}/ran
    - name: second
      shell: touch {{ playbook_dir }}/ran
",
    );
    let call =
        Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv", "--step", "--color=never"]);
    let running = call.on_terminal(100, 40, Shown::Everything).start();
    running.wait_for_screen("Perform task: first");
    // Ctrl-D, once for each question.
    running.type_on_terminal("\x04");
    running.wait_for_screen("Perform task: second");
    running.type_on_terminal("\x04");
    // The run had nothing to do, which has a code of its own.
    let _ended = running.wait().with_code(4);
    assert!(!folder.at("ran").exists());
}
