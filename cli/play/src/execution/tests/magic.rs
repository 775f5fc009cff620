//! Tests of the variables that plays, hosts and roles have without being told.

use super::*;

#[test]
fn the_lists_of_hosts_follow_batches_and_hosts_that_leave() {
    let text = "
- hosts: all
  serial: [2, 1]
  tasks:
    - debug: {msg: '{{ play_hosts }} {{ ansible_play_batch }} {{ ansible_play_hosts }}'}
    - meta: end_host
      when: inventory_hostname == 'h1'
    - debug: {msg: '{{ play_hosts }} {{ ansible_play_batch }} {{ ansible_play_hosts }} {{ ansible_play_hosts_all | length }}'}
";
    let expected = [
        "h1: ['h1', 'h2'] ['h1', 'h2'] ['h1', 'h2', 'h3']",
        "h2: ['h1', 'h2'] ['h1', 'h2'] ['h1', 'h2', 'h3']",
        "h2: ['h2'] ['h2'] ['h2', 'h3'] 3",
        "h3: ['h3'] ['h3'] ['h1', 'h2', 'h3']",
        "h3: ['h3'] ['h3'] ['h1', 'h2', 'h3'] 3",
    ];
    assert_eq!(shown(play(text)), expected);
}

#[test]
fn the_names_of_roles_tell_how_each_is_used() {
    let tell = "- debug: {msg: '{{ role_name }} {{ ansible_role_name }} {{ role_names }} {{ ansible_dependent_role_names }}'}\n";
    let files = [
        ("roles/app/tasks/main.yml", tell),
        ("roles/app/meta/main.yml", "dependencies: [base]\n"),
        ("roles/base/tasks/main.yml", tell),
        ("roles/imported/tasks/main.yml", tell),
        ("roles/included/tasks/main.yml", tell),
    ];
    let text = "
- hosts: h1
  roles: [app]
  tasks:
    - import_role: {name: imported}
    - include_role: {name: included}
    - debug: {msg: '{{ ansible_role_names | sort | join }} {{ ansible_play_role_names }}'}
";
    let expected = [
        "h1: base base ['app', 'imported'] ['base']",
        "h1: app app ['app', 'imported'] ['base']",
        "h1: imported imported ['app', 'imported'] ['base']",
        "h1: included included ['app', 'imported', 'included'] ['base']",
        "h1: appbaseimportedincluded ['app', 'imported', 'included']",
    ];
    assert_eq!(shown(play_with(text, &files, usual_options())), expected);
}

#[test]
fn only_a_role_that_another_one_includes_knows_parents() {
    let files = [
        (
            "roles/app/tasks/main.yml",
            "- include_role: {name: inner}\n",
        ),
        (
            "roles/inner/tasks/main.yml",
            "- debug: {msg: '{{ ansible_parent_role_names | d(\"none\") }} {{ ansible_parent_role_paths | d([]) | map(\"basename\") | list }}'}\n",
        ),
    ];
    let text = "
- hosts: h1
  tasks:
    - include_role: {name: app}
    - include_role: {name: inner}
";
    let expected = ["h1: ['app'] ['app']", "h1: none []"];
    assert_eq!(shown(play_with(text, &files, usual_options())), expected);
}

#[test]
fn a_name_beside_role_is_a_description() {
    let files = [(
        "roles/app/tasks/main.yml",
        "- debug: {msg: '{{ role_name }}'}\n",
    )];
    let text = "
- hosts: h1
  roles:
    - {role: app, name: the application}
    - {name: the application, role: app, x: 1}
";
    assert_eq!(
        shown(play_with(text, &files, usual_options())),
        ["h1: app", "h1: app"]
    );
}

#[test]
fn a_host_without_an_address_has_its_name_as_address() {
    let text = "
- hosts: h1
  tasks:
    - debug: {msg: '{{ ansible_host }} {{ hostvars.h1.ansible_host is defined }}'}
    - debug: {msg: '{{ ansible_host }} {{ ansible_delegated_vars.h2.ansible_host }} {{ inventory_hostname }}'}
      delegate_to: h2
    - debug: {msg: '{{ ansible_host }} {{ ansible_delegated_vars is defined }}'}
      vars: {ansible_host: set}
    - debug: {msg: '{{ ansible_host }}'}
      vars: {ansible_host: set}
      delegate_to: h2
    - debug: {msg: '{{ inventory_file }} {{ inventory_dir is none }} {{ ansible_config_file is none }}'}
";
    let expected = [
        "h1: h1 False",
        "h1: h2 h2 h1",
        "h1: set False",
        "h1: set",
        "h1: h1,h2,h3 True True",
    ];
    assert_eq!(shown(play(text)), expected);
}

#[test]
fn what_is_registered_for_loops_and_skipped_tasks_has_the_keys_of_ansible() {
    let text = "
- hosts: h1
  tasks:
    - command: c
      loop: [1, 2]
      when: item == 1
      register: some
    - debug: {msg: '{{ some.skipped }} {{ some.results[1].false_condition }}'}
    - command: c
      loop: []
      register: empty
    - debug: {msg: '{{ empty.skipped }} {{ empty.skipped_reason }} {{ empty.skip_reason is defined }} {{ empty.results }}'}
    - command: c
      loop: '{{ nowhere }}'
      when: [true, 1 == 2]
      register: whole
    - debug: {msg: '{{ whole.false_condition }}'}
";
    let expected = [
        "h1: False item == 1",
        "h1: True No items in the list False []",
        "h1: 1 == 2",
    ];
    assert_eq!(shown(play(text)), expected);
}

#[test]
fn a_difference_that_nobody_wants_is_registered_and_not_shown() {
    let text = "
- hosts: h1
  tasks:
    - command: c
      register: r
    - command: c
      diff: true
    - command: c
      loop: [1]
    - debug: {msg: '{{ r.diff.after }}'}
";
    let mut play = play(text);
    let mut told = Vec::new();
    while let Some(id) = play.open.first().map(|job| job.id.as_str().to_owned()) {
        play.end(&id, &json!({"diff": {"before": "", "after": "x"}}));
        for event in play.execution.take_events() {
            match event {
                PlayEvent::Ended { result, .. } => told.push((result.msg, result.diff.is_some())),
                PlayEvent::Item(result) => {
                    told.push((Some("item".to_owned()), result.diff.is_some()));
                }
                _ => {}
            }
        }
    }
    let told: Vec<_> = told
        .iter()
        .map(|(msg, diff)| (msg.as_deref(), *diff))
        .collect();
    let expected = [
        (None, false),
        (None, true),
        (Some("item"), false),
        (Some("All items completed"), false),
        (Some("x"), false),
    ];
    assert_eq!(told, expected);
}

#[test]
fn only_the_batch_is_in_the_order_of_the_play_and_lost_hosts_stay_among_all() {
    let text = "
- hosts: all
  tasks:
    - command: one
- hosts: all
  order: reverse_inventory
  tasks:
    - debug: {msg: '{{ ansible_play_hosts }} {{ ansible_play_batch }} {{ ansible_play_hosts_all }}'}
      run_once: true
";
    let mut play = play(text);
    for host in ["h1", "h2", "h3"] {
        let id = format!("1/tasks.0/{host}");
        play.end(&id, &json!({"failed": host == "h3"}));
    }
    assert_eq!(
        shown(play),
        ["h2: ['h1', 'h2'] ['h2', 'h1'] ['h1', 'h2', 'h3']"]
    );
}

#[test]
fn a_play_without_hosts_tells_that_no_inventory_is_given() {
    let warned = |sources: &[&str]| {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        let options = options_with(|settings| settings.inventory = sources);
        let mut play = play_with("- hosts: web\n  tasks: []\n", &[], options);
        let events = play.execution.take_events();
        let told = |event: &PlayEvent| matches!(event, PlayEvent::Warning(text) if text.starts_with("no inventory is given"));
        events.iter().any(told)
    };
    assert!(warned(&[]));
    assert!(!warned(&["hosts.ini"]));
}

#[test]
fn the_variables_of_an_added_host_are_never_templates() {
    let text = "
- hosts: h1
  tasks:
    - command: one
      register: out
    - add_host: {name: h9, text: '{{ out.stdout }}', list: ['{{ out.stdout }}']}
    - command: 'echo {{ hostvars.h9.text }} {{ hostvars.h9.list }}'
";
    let mut play = play(text);
    play.end(
        "1/tasks.0/h1",
        &json!({"stdout": "{{ inventory_hostname }}"}),
    );
    play.end("1/tasks.1/h1", &json!({}));
    let call = play.execution.calls().get("1/tasks.2/h1").unwrap();
    let Work::Action(action) = &call.work else {
        panic!("it is an action")
    };
    assert_eq!(
        action.arguments["_raw_params"],
        "echo {{ inventory_hostname }} ['{{ inventory_hostname }}']"
    );
}
