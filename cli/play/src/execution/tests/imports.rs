//! Tests of playbooks that other playbooks import.

use super::*;

/// Imports of one playbook by another, whose play has a variable, a task and a handler.
const FILES: [(&str, &str); 2] = [
    (
        "middle.yml",
        "- import_playbook: inner.yml\n  when: b\n  vars: {inner: middle, both: middle}\n",
    ),
    (
        "inner.yml",
        "- hosts: h1
  name: the play of {{ both }}
  vars: {own: play, inner: play, both: play, b: true}
  tasks:
    - command: echo {{ own }} {{ inner }} {{ both }}
      notify: handler
  handlers:
    - {name: handler, command: handled}
",
    ),
];

#[test]
fn variables_of_an_import_override_those_of_its_plays() {
    let text = "
- import_playbook: middle.yml
  vars: {both: outer}
";
    let mut play = play_with(text, &FILES, usual_options());
    let call = play.execution.calls().get("1/tasks.0/h1").unwrap();
    let Work::Action(action) = &call.work else {
        panic!("a command is an action");
    };
    assert_eq!(action.arguments["_raw_params"], "echo play middle outer");
    assert_eq!(call.names.play, "the play of outer");
    play.run_well();
    assert_eq!(play.ids.len(), 2);
}

#[test]
fn a_condition_of_an_import_holds_for_all_tasks_of_its_plays() {
    let text = "
- import_playbook: middle.yml
  when: [true, false]
- import_playbook: middle.yml
  vars: {b: false}
- import_playbook: inner.yml
  when: inventory_hostname == 'h1'
";
    let mut play = play_with(text, &FILES, usual_options());
    play.run_well();
    assert_eq!(play.counts("h1"), [2, 2, 0, 2, 0, 0]);
    assert_eq!(
        play.ids,
        [
            "1/tasks.0/h1",
            "2/tasks.0/h1",
            "3/tasks.0/h1",
            "3/handlers4.0/h1"
        ]
    );
}
