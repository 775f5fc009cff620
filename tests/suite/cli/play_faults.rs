//! What is wrong with playbooks, inventories and settings, and what users are told of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ratchet_tests::{Folder, Ratchet, Signal};
use serde_json::Value;

use super::ansible::ansible;
use super::play_site::{INVENTORY, path_with, recap, run, site, text_of, until};

#[test]
fn a_handler_that_is_nowhere_ends_the_plays_for_all_hosts() {
    let folder = site(
        "- hosts: h1,h2
  gather_facts: false
  tasks:
    - command: echo 1
      notify: nowhere
      when: inventory_hostname == 'h1'
    - command: touch {{ playbook_dir }}/went-on
- hosts: h2
  gather_facts: false
  tasks:
    - command: touch {{ playbook_dir }}/went-on
",
    );
    let ended = run(&folder, &[]).with_code(100);
    assert!(
        ended.stderr().contains("no handler is called `nowhere`"),
        "{}",
        ended.stderr()
    );
    assert!(!folder.at("went-on").exists());
    assert_eq!(recap(&ended.stdout())["h1"]["failed"], 1);
    let _ended = run(&folder, &["--ansible-exit-codes"]).with_code(1);
}

#[test]
fn only_the_items_that_are_secret_are_hidden() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - command: echo {{ item }}
      loop: [open, sesame]
      no_log: \"{{ item == 'sesame' }}\"
",
    );
    let ended = run(&folder, &["-v", "--state-dir", "state"]).with_code(0);
    let shown = ended.stdout();
    assert!(
        shown.contains("(item=open)") && shown.contains("(item=(censored due to no_log))"),
        "{shown}"
    );
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn what_could_not_work_is_refused_before_anything_runs() {
    let refused = |playbook: &str| {
        let folder = site(playbook);
        let told = run(&folder, &[]).with_code(2).stderr();
        assert!(!folder.at("made").exists());
        told
    };
    let told = refused(
        "- hosts: h1\n  gather_facts: false\n  tasks:\n    - command: touch {{ playbook_dir }}/made\n    - pause:\n",
    );
    assert!(
        told.contains("waits for a key") && told.contains("site.yml:5"),
        "{told}"
    );
    let told = refused(
        "- hosts: h1\n  gather_facts: false\n  tasks:\n    - command: touch {{ playbook_dir }}/made\n      connection: winrm\n\
         \x20     become_method: su\n",
    );
    assert!(
        told.contains("the connection `winrm` is not supported")
            && told.contains("`become_method: su` is not supported"),
        "{told}"
    );
    let told = refused(
        "- hosts: h1\n  gather_facts: false\n  module_defaults:\n    group/no.such.thing: {a: 1}\n  tasks:\n\
         \x20   - command: touch {{ playbook_dir }}/made\n",
    );
    assert!(
        told.contains("there is no group of modules `no.such.thing`")
            && told.contains("site.yml:4"),
        "{told}"
    );
}

#[test]
fn a_host_with_a_connection_that_is_not_supported_is_refused_only_where_it_is_meant() {
    let folder = Folder::new()
        .file(
            "inv",
            format!("{INVENTORY}[windows]\nw1 ansible_connection=winrm\n"),
        )
        .file(
            "site.yml",
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: touch {{ playbook_dir }}/made\n",
        );
    let told = run(&folder, &[]).with_code(2).stderr();
    assert!(
        told.contains("host `w1`: the connection `winrm` is not supported")
            && told.contains("--limit"),
        "{told}"
    );
    assert!(!folder.at("made").exists());
    let _ended = run(&folder, &["--limit", "!windows"]).with_code(0);
    assert!(folder.at("made").exists());
}

#[test]
fn settings_of_the_environment_that_are_not_used_are_named_once() {
    let folder = site("- hosts: h1\n  gather_facts: false\n  tasks: [debug: {msg: x}]\n");
    let call = Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv"]);
    let ended = call
        .env("ANSIBLE_STDOUT_CALLBACK", "yaml")
        .env("ANSIBLE_NOCOWS", "1")
        .run()
        .with_code(0);
    let told = ended.stderr();
    assert_eq!(told.matches("ANSIBLE_STDOUT_CALLBACK").count(), 1, "{told}");
    assert!(!told.contains("NOCOWS"), "{told}");
}

#[test]
fn variables_beside_a_playbook_are_in_the_inventory_that_is_shown() {
    let folder = Folder::new()
        .file("inv", INVENTORY)
        .file("group_vars/web.yml", "color: red\nsize: 1\n")
        .file("deploy/group_vars/web.yml", "color: blue\n");
    let variables = |args: &[&str]| -> Value {
        let call = Ratchet::within(&folder).args(["inventory", "-i", "inv", "--host", "h1"]);
        let printed = call.args(args).run().with_code(0).stdout();
        serde_json::from_str(&printed).expect("it is JSON")
    };
    assert_eq!(variables(&[])["color"], "red");
    let beside = variables(&["--playbook-dir", "deploy"]);
    assert_eq!(
        (&beside["color"], &beside["size"]),
        (&"blue".into(), &1.into())
    );
    let call =
        Ratchet::within(&folder).args(["inventory", "-i", "inv", "--playbook-dir", "nowhere"]);
    let told = call.run().with_code(2).stderr();
    assert!(told.contains("there is no such folder"), "{told}");
}

#[test]
fn an_inventory_that_a_task_has_changed_is_read_again() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - lineinfile: {path: \"{{ playbook_dir }}/inv\", line: fresh colour=blue, insertafter: h1}
    - meta: refresh_inventory
    - debug: {msg: \"{{ groups.web }} {{ hostvars.fresh.colour }}\"}
- hosts: web
  gather_facts: false
  tasks:
    - copy: {content: here, dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\"}
",
    );
    let ended = run(&folder, &[]).with_code(0);
    assert!(ended.stdout().contains("blue"), "{}", ended.stdout());
    assert_eq!(text_of(&folder, "fresh"), "here");
}

#[test]
fn the_end_of_a_play_says_where_its_time_went() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - name: takes its time
      command: sleep 1.2
      loop: [1, 2]
      loop_control: {parallel: 2}
      hint: host_exclusive
",
    );
    let shown = run(&folder, &["-v"]).with_code(0).stdout();
    let (_, end) = shown.split_once("SLOWEST TASKS").expect("it is told");
    assert!(end.contains("takes its time [h1]"), "{end}");
    let (_, end) = shown
        .split_once("WAITED FOR LOCKS AND LIMITS")
        .expect("it is told");
    assert!(
        end.contains("takes its time for the lock of a host"),
        "{end}"
    );
    assert!(shown.contains("waited: [h1] "), "{shown}");
    let folder = site("- hosts: h1\n  gather_facts: false\n  tasks: [debug: {msg: x}]\n");
    let shown = run(&folder, &[]).with_code(0).stdout();
    assert!(!shown.contains("SLOWEST"), "{shown}");
}

#[test]
fn module_defaults_of_a_group_reach_its_modules() {
    let module = "#!/usr/bin/python\nfrom ansible.module_utils.basic import AnsibleModule\n\
                  module = AnsibleModule(argument_spec=dict(word=dict(type='str')))\n\
                  module.exit_json(changed=False, said=module.params['word'])\n";
    let Some(program) = ansible("ansible-playbook") else {
        return;
    };
    let bin = program.parent().expect("a program is in a folder");
    let folder = site(
        "- hosts: h1
  gather_facts: false
  module_defaults:
    group/some.where.talkers: {word: given}
  tasks:
    - some.where.say:
      register: r
    - copy: {content: \"{{ r.said }}\", dest: \"{{ playbook_dir }}/said\"}
",
    )
    .file("ansible_collections/some/where/plugins/modules/say.py", module)
    .file(
        "ansible_collections/some/where/meta/runtime.yml",
        "action_groups:\n  talkers:\n    - metadata:\n        extend_group: [more]\n  more: [say]\n",
    );
    let call = Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv"]);
    let call = call.env("PATH", path_with(bin));
    let _ended = call
        .env("ANSIBLE_COLLECTIONS_PATH", folder.path())
        .run()
        .with_code(0);
    assert_eq!(text_of(&folder, "said"), "given");
}

/// Returns two hosts that are reached by a program in the place of ssh, and a playbook.
fn site_by_ssh(playbook: &str) -> Folder {
    let host = |name: &str| {
        format!("{name} ansible_ssh_executable=\"{{{{ playbook_dir }}}}/ssh-{name}\"\n")
    };
    let program = |name: &str| {
        format!(
            "#!/bin/sh\necho $$ > \"$(dirname \"$0\")/process-{name}\"\nfor last; do :; done\nexec /bin/sh -c \"$last\"\n"
        )
    };
    let folder = Folder::new()
        .file(
            "inv",
            host("h1") + &host("h2") + "[all:vars]\nansible_python_interpreter=/usr/bin/python3\n",
        )
        .file("ssh-h1", program("h1"))
        .file("ssh-h2", program("h2"))
        .file("site.yml", playbook);
    for name in ["ssh-h1", "ssh-h2"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.at(name), mode).expect("the file is ours");
    }
    folder
}

/// A task that ends the connection to h1 in its midst, once.
const LOSE: &str = "shell: test -e {{ playbook_dir }}/lost || { touch {{ playbook_dir }}/lost; \
                    kill -9 $(cat {{ playbook_dir }}/process-h1); sleep 600; }";

#[test]
fn a_host_that_is_lost_is_counted_once_wherever_its_play_was() {
    let places = [
        (
            "middle of a play",
            format!(
                "  tasks:\n    - command: echo 1\n    - {LOSE}\n      when: inventory_hostname == 'h1'\n    - command: echo 2\n"
            ),
            [1, 0],
        ),
        (
            "handler",
            format!(
                "  tasks:\n    - command: echo 1\n      notify: lose\n  handlers:\n    - name: lose\n      {LOSE}\n      \
                 when: inventory_hostname == 'h1'\n"
            ),
            [1, 0],
        ),
        (
            "rescue",
            format!(
                "  tasks:\n    - block:\n        - command: \"false\"\n          when: inventory_hostname == 'h1'\n      rescue:\n        \
                 - {LOSE}\n      always:\n        - command: echo always\n    - command: echo 2\n"
            ),
            [0, 1],
        ),
    ];
    for (place, tasks, [ok, rescued]) in places {
        for strategy in ["linear", "free", "host_pinned"] {
            let folder = site_by_ssh(&format!(
                "- hosts: all\n  gather_facts: false\n  strategy: {strategy}\n{tasks}"
            ));
            let ended = run(&folder, &["--state-dir", "state"]).with_code(100);
            let counts = recap(&ended.stdout());
            let lost = &counts["h1"];
            let about = format!("{place}, {strategy}\n{}", ended.stdout());
            assert_eq!((lost["unreachable"], lost["failed"]), (1, 0), "{about}");
            assert_eq!((lost["ok"], lost["rescued"]), (ok, rescued), "{about}");
            assert_eq!(
                (counts["h2"]["unreachable"], counts["h2"]["failed"]),
                (0, 0),
                "{about}"
            );
            // The next run tries the host again, from where it was.
            let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
            let again = call.run().with_code(0);
            let counts = recap(&again.stdout());
            let about = format!("{place}, {strategy}\n{}", again.stdout());
            assert_eq!(
                (counts["h1"]["unreachable"], counts["h1"]["failed"]),
                (0, 0),
                "{about}"
            );
        }
    }
}

#[test]
fn a_play_that_is_killed_in_its_second_batch_goes_on_there() {
    let folder = site(
        "- hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - shell: echo one >> {{ playbook_dir }}/log-{{ inventory_hostname }}
      notify: told
    - shell: test -e {{ playbook_dir }}/go || { touch {{ playbook_dir }}/waits; sleep 600; }
      when: inventory_hostname == 'h2'
  handlers:
    - name: told
      shell: echo told >> {{ playbook_dir }}/log-{{ inventory_hostname }}
",
    );
    let call =
        Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv", "--state-dir", "state"]);
    let running = call.start();
    until("the second batch waits", || folder.at("waits").exists());
    running.signal(Signal::Kill);
    let _killed = running.wait();
    assert!(!folder.at("log-h3").exists());
    fs::write(folder.at("go"), "").expect("it can be written");
    let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
    let ended = call.run().with_code(0);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(text_of(&folder, &format!("log-{host}")), "one\ntold\n");
        let counts = &recap(&ended.stdout())[host];
        assert_eq!((counts["failed"], counts["unreachable"]), (0, 0));
    }
}
