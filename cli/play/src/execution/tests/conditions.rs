//! Tests of `changed_when`, `failed_when` and `until`.

use super::*;

/// What the `debug` task at the end of a play shows on h1.
fn shown_at_end(text: &str, files: &[(&str, &str)], result: &serde_json::Value) -> (String, Play) {
    let mut play = play_with(text, files, usual_options());
    let mut shown = String::new();
    while let Some(id) = play.open.first().map(|job| job.id.as_str().to_owned()) {
        let call = play.execution.calls().get(&id).unwrap();
        if let Work::Done(result) = &call.work
            && let Some(value) = result.get("msg")
        {
            shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
        }
        play.end(&id, result);
    }
    assert!(play.execution.is_done());
    (shown, play)
}

#[test]
fn conditions_see_the_facts_that_their_task_returns() {
    let text = "
- hosts: h1
  tasks:
    - set_fact: {fact: 4}
      changed_when: fact == 4
    - set_fact: {fact: '{{ item }}'}
      changed_when: fact == 5
      loop: [5, 6]
    - set_fact: {count: '{{ count | default(0) + 1 }}'}
      until: count >= 1
      retries: 2
    - set_fact: {fact: 7}
      failed_when: fact == 7
      ignore_errors: true
    - my_facts: {}
      changed_when: ansible_facts.colour == 'red' and ansible_colour == 'red' and mine.changed == false
      register: mine
    - debug: {msg: '{{ fact }} {{ count }} {{ ansible_facts.colour }}'}
";
    let facts = json!({"ansible_facts": {"ansible_colour": "red"}});
    let (shown, play) = shown_at_end(text, &[], &facts);
    // A task that has failed sets nothing.
    assert_eq!(shown, "6 1 red");
    assert_eq!(play.counts("h1"), [6, 3, 0, 0, 0, 1]);
}

#[test]
fn a_variable_that_debug_shows_sets_no_facts() {
    let text = "
- hosts: h1
  tasks:
    - my_facts: {}
    - debug: {var: ansible_facts}
    - debug: {msg: '{{ colour is defined }}'}
";
    let facts = json!({"ansible_facts": {"ansible_colour": "red"}});
    assert_eq!(shown_at_end(text, &[], &facts).0, "false");
}

#[test]
fn conditions_decide_what_including_variables_means() {
    let text = "
- hosts: h1
  tasks:
    - include_vars: two.yml
      changed_when: two == 2
      notify: told
    - include_vars: nowhere.yml
      failed_when: false
    - include_vars: three.yml
      failed_when: three == 3
      ignore_errors: true
    - debug: {msg: '{{ two }} {{ three is defined }}'}
  handlers:
    - {name: told, command: handle}
";
    let files = [("two.yml", "two: 2\n"), ("three.yml", "three: 3\n")];
    let (shown, play) = shown_at_end(text, &files, &json!({}));
    assert_eq!(shown, "2 False");
    assert_eq!(play.counts("h1"), [5, 1, 0, 0, 0, 1]);
    assert!(
        play.ids.contains(&"1/handlers4.0/h1".to_owned()),
        "{:?}",
        play.ids
    );
}

#[test]
fn variables_that_are_included_once_are_set_on_all_hosts() {
    let text = "
- hosts: all
  tasks:
    - include_vars: two.yml
      run_once: true
    - debug: {msg: '{{ hostvars.h3.two }}'}
      run_once: true
";
    let (shown, _) = shown_at_end(text, &[("two.yml", "two: 2\n")], &json!({}));
    assert_eq!(shown, "2");
}

#[test]
fn conditions_decide_what_new_hosts_and_groups_mean() {
    let text = "
- hosts: h1
  tasks:
    - add_host: {name: one, groups: made}
      changed_when: false
    - add_host: {name: two, groups: made}
      failed_when: true
      ignore_errors: true
    - group_by: {key: quiet}
      changed_when: false
    - group_by: {key: never}
      failed_when: true
      ignore_errors: true
    - group_by: {key: loud}
      changed_when: true
    - debug: {msg: '{{ groups.made }} {{ group_names }}'}
";
    let (shown, play) = shown_at_end(text, &[], &json!({}));
    assert_eq!(shown, "['one'] ['loud', 'quiet']");
    assert_eq!(play.counts("h1"), [6, 1, 0, 0, 0, 2]);
}

#[test]
fn a_host_that_is_added_again_with_nothing_new_changes_nothing() {
    let text = "
- hosts: h1
  tasks:
    - add_host: {name: new, groups: made, colour: red}
    - add_host: {name: new, groups: made}
    - add_host: {name: new, groups: made, colour: red}
    - add_host: {name: new, groups: made, colour: blue}
    - add_host: {name: new, groups: [made, more]}
";
    let (_, play) = shown_at_end(text, &[], &json!({}));
    assert_eq!(play.counts("h1"), [5, 3, 0, 0, 0, 0]);
}
