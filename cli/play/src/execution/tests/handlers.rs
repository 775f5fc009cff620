//! Tests of handlers.

use super::*;

#[test]
fn handlers_run_once_in_the_order_in_which_they_are_written() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      notify: [second, first]
    - command: two
      notify: first
  handlers:
    - name: first
      command: a
    - name: second
      command: b
    - name: third
      command: c
";
    let mut play = play(text);
    play.run_well();
    assert_eq!(
        play.ids,
        [
            "1/tasks.0/h1",
            "1/tasks.1/h1",
            "1/handlers4.0/h1",
            "1/handlers4.1/h1"
        ]
    );
}

#[test]
fn handlers_of_unchanged_tasks_do_not_run() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      notify: h
  handlers:
    - name: h
      command: a
";
    let mut play = play(text);
    play.run(|_| json!({"changed": false}));
    assert_eq!(play.ids, ["1/tasks.0/h1"]);
}

#[test]
fn handlers_of_failed_hosts_run_only_if_they_are_forced() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      notify: h
    - command: two
  handlers:
    - name: h
      command: a
";
    let fails = |id: &str| json!({"changed": true, "failed": id == "1/tasks.1/h1"});
    let mut usual = play(text);
    usual.run(fails);
    assert_eq!(usual.ids, ["1/tasks.0/h1", "1/tasks.1/h1"]);
    let options = options_with(|settings| settings.force_handlers = true);
    let mut forced = play_with(text, &[], options);
    forced.run(fails);
    assert_eq!(
        forced.ids,
        ["1/tasks.0/h1", "1/tasks.1/h1", "1/handlers4.0/h1"]
    );
}

#[test]
fn a_task_that_is_not_wanted_is_left_out_and_so_is_its_handler() {
    let text = "
- hosts: h1
  gather_facts: false
  tasks:
    - name: one
      command: a
      notify: told
    - name: two
      command: b
    - name: three
      command: c
    - name: four
      command: d
  handlers:
    - name: told
      command: e
";
    let mut play = play_asking(text, |name| match name {
        "two" => StepAnswer::No,
        "three" => StepAnswer::Continue,
        _ => StepAnswer::Yes,
    });
    play.run_well();
    assert_eq!(play.told(), ["one", "three", "four", "told"]);
    let mut play = play_asking(text, |name| match name {
        "told" => StepAnswer::No,
        _ => StepAnswer::Yes,
    });
    play.run_well();
    assert_eq!(play.told(), ["one", "two", "three", "four"]);
}

/// The handlers of a role that are used several times, with the variable of the use in their commands.
const ROLE: [(&str, &str); 2] = [
    (
        "roles/app/tasks/main.yml",
        "- command: task {{ v }}\n  notify: [restart app, topic]\n",
    ),
    (
        "roles/app/handlers/main.yml",
        "- name: restart app\n  command: restart {{ v }}\n- name: reload app\n  listen: topic\n  command: reload {{ v }}\n",
    ),
];

/// The commands that a play runs.
fn commands(mut play: Play) -> Vec<String> {
    let mut commands = Vec::new();
    while let Some(id) = play.open.first().map(|job| job.id.as_str().to_owned()) {
        let call = play.execution.calls().get(&id).unwrap();
        if let Work::Action(action) = &call.work {
            commands.extend(action.arguments["_raw_params"].as_str().map(str::to_owned));
        }
        play.end(&id, &json!({"changed": true}));
    }
    commands
}

#[test]
fn handlers_of_a_role_that_is_used_again_replace_those_of_its_earlier_uses() {
    let text = "
- hosts: h1
  roles:
    - {role: app, v: 1}
    - {role: app, v: 2}
  tasks:
    - import_role: {name: app}
      vars: {v: 3}
    - include_role: {name: app}
      vars: {v: '{{ item }}'}
      loop: [4, 5]
";
    let expected = [
        "task 1",
        "task 2",
        "task 3",
        "task 4",
        "task 5",
        "restart 5",
        "reload 5",
    ];
    assert_eq!(commands(play_with(text, &ROLE, usual_options())), expected);
}

#[test]
fn of_handlers_of_one_name_in_a_list_the_first_one_counts() {
    let text = "
- hosts: h1
  tasks:
    - command: task
      notify: [twice, topic]
  handlers:
    - {name: twice, command: first}
    - {name: twice, command: second}
    - {name: same, listen: topic, command: third}
    - {name: same, listen: topic, command: fourth}
    - {listen: topic, command: fifth}
    - {listen: topic, command: sixth}
";
    let expected = ["task", "first", "third", "fifth", "sixth"];
    assert_eq!(commands(play(text)), expected);
}

#[test]
fn a_handler_that_an_earlier_one_notifies_after_its_turn_runs_at_the_next_flush() {
    let text = "
- hosts: h1
  tasks:
    - {command: task, notify: one}
  post_tasks:
    - command: post
  handlers:
    - {name: one, command: first, notify: two}
    - {name: two, command: second, notify: one}
";
    let expected = ["task", "first", "second", "post", "first", "second"];
    assert_eq!(commands(play(text)), expected);
}
