//! What the options of a call select, and the codes with which it ends.

use super::play_site::{recap, run, site, text_of};

#[test]
fn a_name_of_no_task_for_the_start_is_refused_before_anything_runs() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - {name: first, command: touch done, args: {chdir: \"{{ playbook_dir }}\"}}
    - {name: second, command: \"true\", tags: more}
",
    );
    for (arguments, help) in [
        (vec!["--start-at-task", "secnd"], "did you mean `second`?"),
        (vec!["--start-at-task", "nowhere"], "--list-tasks"),
        // The task does not have this tag, so it would not run.
        (
            vec!["--start-at-task", "first", "-t", "more"],
            "--list-tasks",
        ),
    ] {
        let told = run(&folder, &arguments).with_code(2).stderr();
        assert!(
            told.contains("none of the tasks that would run has this name"),
            "{told}"
        );
        assert!(told.contains(help), "{told}");
    }
    assert!(!folder.at("done").exists());
    let ended = run(&folder, &["--start-at-task", "second"]).with_code(0);
    assert_eq!(recap(&ended.stdout())["h1"]["ok"], 1);
    assert!(!folder.at("done").exists());
}

#[test]
fn cleared_errors_of_hosts_are_no_failure_for_the_exit_codes_of_ansible() {
    let folder = site(
        "- hosts: h1,h2
  gather_facts: false
  tasks:
    - command: \"false\"
      when: inventory_hostname == 'h1'
    - meta: clear_host_errors
",
    );
    let ended = run(&folder, &["--ansible-exit-codes"]).with_code(0);
    assert_eq!(recap(&ended.stdout())["h1"]["failed"], 1);
    let _failed = run(&folder, &[]).with_code(100);
}

#[test]
fn a_task_whose_time_is_over_fails_like_any_other() {
    let folder = site(
        "- hosts: h1,h2
  gather_facts: false
  tasks:
    - command: sleep 600
      timeout: 1
      ignore_errors: true
      until: false
      register: late
    - copy: {content: \"{{ late.timedout.period }} {{ late is failed }}\", dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\"}
    - block:
        - pause: {seconds: 600}
          timeout: 1
      rescue:
        - command: touch rescued
          args: {chdir: \"{{ playbook_dir }}\"}
",
    );
    let ended = run(&folder, &[]).with_code(0);
    let counts = &recap(&ended.stdout())["h1"];
    assert_eq!(
        (counts["failed"], counts["ignored"], counts["rescued"]),
        (0, 1, 1)
    );
    assert!(
        ended.stdout().contains("longer than its `timeout` of 1 s"),
        "{}",
        ended.stdout()
    );
    assert_eq!(text_of(&folder, "h2"), "1 True");
    assert!(folder.at("rescued").exists());
}
