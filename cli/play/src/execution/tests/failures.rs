//! Tests of what follows when tasks fail.

use super::*;

#[test]
fn a_failed_host_ends_and_the_others_go_on() {
    let mut play = play("- hosts: all\n  tasks:\n    - command: one\n    - command: two\n");
    play.run(|id| json!({"failed": id == "1/tasks.0/h2"}));
    assert_eq!(play.counts("h2"), [0, 0, 1, 0, 0, 0]);
    assert_eq!(play.counts("h1"), [2, 0, 0, 0, 0, 0]);
    assert!(!play.ids.contains(&"1/tasks.1/h2".to_owned()));
}

#[test]
fn hosts_in_a_rescue_come_after_those_that_go_on_in_the_block() {
    let text = "
- hosts: all
  tasks:
    - block:
        - command: one
        - command: two
      rescue:
        - command: mend
      always:
        - command: clean
    - command: after
";
    let mut play = play(text);
    play.run(|id| json!({"failed": id == "1/tasks.0.0/h1"}));
    let places: Vec<_> = play.ids.iter().filter(|id| id.ends_with("h1")).collect();
    assert_eq!(
        places,
        [
            "1/tasks.0.0/h1",
            "1/tasks.0.rescue.0/h1",
            "1/tasks.0.always.0/h1",
            "1/tasks.1/h1"
        ]
    );
    let at = |id: &str| play.ids.iter().position(|known| known == id).unwrap();
    assert!(at("1/tasks.0.1/h2") < at("1/tasks.0.rescue.0/h1"));
    assert!(at("1/tasks.0.rescue.0/h1") < at("1/tasks.0.always.0/h2"));
    assert_eq!(play.counts("h1"), [3, 0, 0, 0, 1, 0]);
}

#[test]
fn a_failure_counts_at_the_end_of_an_always_unless_it_is_rescued() {
    let text = "
- hosts: h1
  tasks:
    - block:
        - command: one
      always:
        - command: clean
    - command: never
";
    let mut play = play(text);
    play.run(|id| json!({"failed": id == "1/tasks.0.0/h1"}));
    assert_eq!(play.ids, ["1/tasks.0.0/h1", "1/tasks.0.always.0/h1"]);
    assert_eq!(play.counts("h1"), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn a_failure_in_a_rescue_ends_the_host_after_the_always() {
    let text = "
- hosts: h1
  tasks:
    - block:
        - command: one
      rescue:
        - command: mend
        - command: never
      always:
        - command: clean
    - command: never
";
    let mut play = play(text);
    play.run(|id| json!({"failed": !id.contains("always")}));
    assert_eq!(
        play.ids,
        [
            "1/tasks.0.0/h1",
            "1/tasks.0.rescue.0/h1",
            "1/tasks.0.always.0/h1"
        ]
    );
    assert_eq!(play.counts("h1"), [1, 0, 1, 0, 1, 0]);
}

#[test]
fn a_rescue_further_out_sees_the_failure_of_a_rescue_whose_block_has_an_always() {
    let text = "
- hosts: h1
  tasks:
    - block:
        - block:
            - {name: first, command: c}
          rescue:
            - {name: second, command: c}
          always:
            - debug: {msg: 'always {{ ansible_failed_task.name }} {{ ansible_failed_result.rc }}'}
      rescue:
        - debug: {msg: 'rescue {{ ansible_failed_task.name }} {{ ansible_failed_result.rc }}'}
";
    let mut play = play(text);
    play.end("1/tasks.0.0.0/h1", &json!({"rc": 1}));
    play.end("1/tasks.0.0.rescue.0/h1", &json!({"rc": 2}));
    let mut shown = Vec::new();
    while let Some(id) = play.open.first().map(|job| job.id.as_str().to_owned()) {
        let call = play.execution.calls().get(&id).unwrap();
        if let Work::Done(result) = &call.work {
            shown.push(result["msg"].clone());
        }
        play.end(&id, &json!({}));
    }
    assert_eq!(shown, ["always second 2", "rescue second 2"]);
}

#[test]
fn a_rescue_sees_the_name_of_the_failed_task_without_its_role() {
    let role = "
- block:
    - {name: 'first of {{ role_name }}', command: c}
  rescue:
    - debug: {msg: '{{ ansible_failed_task.name }}'}
";
    let files = [("roles/app/tasks/main.yml", role)];
    let text = "- {hosts: h1, roles: [app]}\n";
    let mut play = play_with(text, &files, usual_options());
    let failed = play.open[0].id.as_str().to_owned();
    play.end(&failed, &json!({"rc": 1}));
    assert_eq!(shown(play), ["h1: first of app"]);
}

#[test]
fn hosts_whose_errors_were_cleared_are_not_lost() {
    let text = |meta: &str| {
        format!(
            "
- hosts: all
  tasks:
    - command: one
    - meta: {meta}
"
        )
    };
    let lost = |meta: &str| {
        let mut play = play(&text(meta));
        play.run(|id| match id {
            "1/tasks.0/h1" => json!({"rc": 1}),
            "1/tasks.0/h2" => json!({"unreachable": true}),
            _ => json!({}),
        });
        play.execution.lost_hosts()
    };
    assert_eq!(lost("noop"), (1, 1));
    assert_eq!(lost("clear_host_errors"), (0, 0));
}

#[test]
fn a_fatal_failure_on_one_host_has_all_hosts_go_through_the_rescue_together() {
    let text = |play: &str, task: &str| {
        format!(
            "
- hosts: all
{play}
  tasks:
    - block:
        - command: one
{task}
        - command: never
      rescue:
        - command: mend
      always:
        - command: clean
    - command: after
- hosts: all
  tasks:
    - command: later
"
        )
    };
    let key = "any_errors_fatal: true";
    for (of_play, of_task) in [(key, ""), ("", key)] {
        let text = text(&format!("  {of_play}"), &format!("          {of_task}"));
        let mut play = play(&text);
        play.run(|id| json!({"failed": id == "1/tasks.0.0/h2"}));
        let expected = [
            "1/tasks.0.0",
            "1/tasks.0.rescue.0",
            "1/tasks.0.always.0",
            "1/tasks.1",
            "2/tasks.0",
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .flat_map(|path| ["h1", "h2", "h3"].map(|host| format!("{path}/{host}")))
            .collect();
        assert_eq!(play.ids, expected);
        assert_eq!(play.counts("h1"), [5, 0, 0, 0, 0, 0]);
        assert_eq!(play.counts("h2"), [4, 0, 0, 0, 1, 0]);
        assert_eq!(play.execution.lost_hosts(), (0, 0));
    }
}

#[test]
fn hosts_on_which_a_fatal_task_fails_as_well_are_failed_once() {
    let text = "
- hosts: all
  any_errors_fatal: true
  tasks:
    - block:
        - command: one
      rescue:
        - command: mend
";
    let mut play = play(text);
    play.run(|id| match id {
        "1/tasks.0.0/h1" => json!({"failed": true}),
        "1/tasks.0.0/h2" => json!({"unreachable": true}),
        "1/tasks.0.0/h3" => json!({"rc": 1}),
        _ => json!({}),
    });
    let mended: Vec<_> = play.ids.iter().filter(|id| id.contains("rescue")).collect();
    assert_eq!(mended, ["1/tasks.0.rescue.0/h1", "1/tasks.0.rescue.0/h3"]);
    assert_eq!(play.execution.lost_hosts(), (0, 1));
}

#[test]
fn a_fatal_failure_without_a_rescue_ends_all_hosts_after_their_always() {
    let text = "
- hosts: all
  any_errors_fatal: true
  tasks:
    - meta: end_host
      when: inventory_hostname == 'h3'
    - block:
        - command: one
        - command: never
      always:
        - command: clean
    - command: never
- hosts: all
  tasks:
    - command: never
";
    let mut play = play(text);
    play.run(|id| json!({"failed": id == "1/tasks.1.0/h2"}));
    let expected = [
        "1/tasks.1.0/h1",
        "1/tasks.1.0/h2",
        "1/tasks.1.always.0/h1",
        "1/tasks.1.always.0/h2",
    ];
    assert_eq!(play.ids, expected);
    assert_eq!(play.counts("h1"), [2, 0, 0, 0, 0, 0]);
    assert_eq!(play.counts("h2"), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn a_loop_that_fails_sets_no_variable_after_its_end() {
    let text = "
- hosts: h1
  tasks:
    - set_fact: {kept: 0}
    - set_fact: {kept: '{{ item }}', all: '{{ all | default([]) + [item] }}'}
      loop: [1, 2, 3]
      failed_when: item == 2
      ignore_errors: true
      register: out
    - set_fact: {good: '{{ good | default([]) + [item] }}'}
      loop: [1, 2]
    - command: 'echo {{ kept }} {{ all | default(0) }} {{ out.results[2].ansible_facts.all }} {{ good }}'
";
    let mut play = play(text);
    let facts = |all: serde_json::Value| json!({"ansible_facts": all});
    for (id, result) in [
        ("1/tasks.0/h1", facts(json!({"kept": 0}))),
        ("1/tasks.1/h1/0", json!({})),
        ("1/tasks.1/h1/1", json!({})),
        ("1/tasks.1/h1/2", json!({})),
        ("1/tasks.2/h1/0", json!({})),
        ("1/tasks.2/h1/1", json!({})),
    ] {
        play.end(id, &result);
    }
    let call = play.execution.calls().get("1/tasks.3/h1").unwrap();
    let Work::Action(action) = &call.work else {
        panic!("it is an action")
    };
    // The items of the loop saw what the ones before them had set, also the one that had failed.
    assert_eq!(action.arguments["_raw_params"], "echo 0 0 [1, 2, 3] [1, 2]");
}
