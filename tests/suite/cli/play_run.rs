//! Plays as they run: their ends, what goes on after a kill, secrets, and how parallel their modules are.

use std::fs;

use ratchet_tests::{Folder, Ratchet, Signal};
use serde_json::Value;

use super::play_site::{recap, run, site, text_of, tree, until};

#[test]
fn a_play_works_without_ansible() {
    let folder = site(
        "- hosts: all
  gather_facts: false
  tasks:
    - command: echo {{ inventory_hostname }}
      register: said
    - copy: {content: \"{{ said.stdout }}\\n\", dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\"}
      notify: told
  handlers:
    - name: told
      shell: echo handled >> {{ playbook_dir }}/{{ inventory_hostname }}
",
    );
    let call = Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv"]);
    let ended = call.env("PATH", "/usr/bin:/bin").run().with_code(0);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(text_of(&folder, host), format!("{host}\nhandled\n"));
    }
    let counts = &recap(&ended.stdout())["h2"];
    assert_eq!(
        (counts["ok"], counts["changed"], counts["failed"]),
        (3, 3, 0)
    );
}

#[test]
fn a_module_that_is_nowhere_is_refused_before_anything_runs() {
    let folder = site(
        "- hosts: all\n  tasks:\n    - command: touch made\n    - name: x\n      no.such.module: {a: 1}\n",
    );
    let ended = run(&folder, &[]).with_code(2);
    let told = ended.stderr();
    assert!(
        told.contains("no.such.module") && told.contains("site.yml:5"),
        "{told}"
    );
    assert!(!folder.at("made").exists());
    assert_eq!(ended.stdout(), "");
}

#[test]
fn a_failure_ends_with_an_exit_code_and_says_what_went_wrong() {
    let folder = site(
        "- hosts: h1,h2
  gather_facts: false
  tasks:
    - name: break it
      shell: echo out; echo err >&2; exit 3
      when: inventory_hostname == 'h1'
    - command: echo on
",
    );
    let ended = run(&folder, &[]).with_code(100);
    let shown = ended.stdout();
    for line in [
        "TASK [break it]",
        "failed: [h1]: non-zero return code",
        "    rc: 3",
        "    stdout: out",
        "    stderr: err",
        "skipping: [h2]",
        "changed: [h2]",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let _ended = run(&folder, &["--ansible-exit-codes"]).with_code(2);
}

#[test]
fn a_host_that_cannot_be_reached_is_told_apart_from_one_that_failed() {
    let folder = Folder::new()
        .file(
            "inv",
            "gone ansible_host=127.0.0.1 ansible_port=1 ansible_ssh_common_args='-o ConnectTimeout=5'\n\
             here ansible_connection=local\n",
        )
        .file(
            "site.yml",
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - command: echo a\n    - command: echo b\n",
        );
    let ended = run(&folder, &[]).with_code(100);
    let counts = recap(&ended.stdout());
    assert_eq!(counts["gone"]["unreachable"], 1, "{}", ended.stdout());
    assert_eq!(counts["gone"]["failed"], 0);
    assert_eq!(counts["here"]["ok"], 2);
    let _ended = run(&folder, &["--ansible-exit-codes"]).with_code(4);
}

#[test]
fn results_for_programs_are_json_lines_and_nothing_else() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - name: say it
      command: echo {{ item }}
      loop: [a, b]
    - command: echo secret
      no_log: true
    - debug: msg=never
      when: false
",
    );
    let ended = run(&folder, &["--format", "jsonl"]).with_code(0);
    let lines: Vec<Value> = ended
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let ids: Vec<_> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(
        ids,
        [
            "1/tasks.0/h1/0",
            "1/tasks.0/h1/1",
            "1/tasks.1/h1",
            "1/tasks.2/h1"
        ]
    );
    assert_eq!(lines[1]["task"], "command");
    assert_eq!(lines[1]["host"], "h1");
    let result = &lines[1]["result"];
    assert_eq!(result["status"], "changed");
    assert_eq!(result["task"], "say it");
    assert_eq!(result["item"], "b");
    assert_eq!(result["result"]["stdout"], "b");
    assert_eq!(lines[3]["result"]["status"], "skipped");
    assert!(!ended.stdout().contains("secret"), "{}", ended.stdout());
}

#[test]
fn a_run_that_failed_goes_on_with_what_it_has_registered_and_notified() {
    let folder = site(
        "- hosts: h1,h2
  gather_facts: false
  tasks:
    - shell: echo once >> {{ playbook_dir }}/count-{{ inventory_hostname }}; echo {{ inventory_hostname }}
      register: said
      notify: told
    - set_fact: {kept: \"kept {{ said.stdout }}\"}
    - command: test -e {{ playbook_dir }}/mended
      when: inventory_hostname == 'h1'
    - copy: {content: \"{{ kept }}\", dest: \"{{ playbook_dir }}/{{ inventory_hostname }}\"}
  handlers:
    - name: told
      shell: echo handled {{ said.stdout }} >> {{ playbook_dir }}/handled-{{ inventory_hostname }}
",
    );
    let first = run(&folder, &["--state-dir", "state"]).with_code(100);
    assert_eq!(recap(&first.stdout())["h1"]["failed"], 1);
    assert!(!folder.at("handled-h1").exists());
    assert_eq!(text_of(&folder, "handled-h2"), "handled h2\n");
    fs::write(folder.path().join("mended"), "").expect("it can be written");
    let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
    let again = call.run().with_code(0);
    let counts = recap(&again.stdout());
    assert_eq!(counts["h1"]["failed"], 0, "{}", again.stdout());
    assert_eq!(text_of(&folder, "count-h1"), "once\n");
    assert_eq!(text_of(&folder, "h1"), "kept h1");
    assert_eq!(text_of(&folder, "handled-h1"), "handled h1\n");
    assert_eq!(text_of(&folder, "handled-h2"), "handled h2\n");
}

#[test]
fn a_run_that_was_killed_goes_on_and_does_no_finished_task_again() {
    let folder = site(
        "- hosts: all
  gather_facts: false
  tasks:
    - shell: echo one >> {{ playbook_dir }}/log-{{ inventory_hostname }}
    - shell: test -e {{ playbook_dir }}/go || { touch {{ playbook_dir }}/waits-{{ inventory_hostname }}; sleep 600; }
    - shell: echo two >> {{ playbook_dir }}/log-{{ inventory_hostname }}
",
    );
    let call =
        Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv", "--state-dir", "state"]);
    let running = call.start();
    let waits = || {
        ["h1", "h2", "h3"]
            .iter()
            .all(|host| folder.at(&format!("waits-{host}")).exists())
    };
    until("all hosts wait", waits);
    running.signal(Signal::Kill);
    let _killed = running.wait();
    fs::write(folder.path().join("go"), "").expect("it can be written");
    // A flag that a play does not have is not ignored.
    for flag in [["--on", "h1"], ["--limit", "x=1"], ["-j", "50%"]] {
        let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
        let said = call.args(flag).run().with_code(2).stderr();
        assert!(said.contains("has no effect on a play"), "{said}");
    }
    let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
    let _ended = call.run().with_code(0);
    for host in ["h1", "h2", "h3"] {
        assert_eq!(text_of(&folder, &format!("log-{host}")), "one\ntwo\n");
    }
}

#[test]
fn secrets_are_neither_shown_nor_recorded() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - command: echo sesame
      no_log: true
      register: r
    - command: test {{ r.stdout }} = sesame
      no_log: true
    - fail: {msg: \"{{ r.stdout }}\"}
      no_log: true
",
    );
    let ended = run(&folder, &["--state-dir", "state", "-v"]).with_code(100);
    let shown = format!("{}{}", ended.stdout(), ended.stderr());
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(shown.contains("hidden"), "{shown}");
    for (name, (_, text)) in tree(&folder.path().join("state")) {
        assert!(!text.contains("sesame"), "{name}");
    }
}

#[test]
fn lines_that_twenty_hosts_add_to_one_file_of_the_controller_are_all_there() {
    let hosts: Vec<_> = (1..=20)
        .map(|number| format!("n{number:02} ansible_connection=local\n"))
        .collect();
    let folder = Folder::new().file("inv", hosts.concat()).file(
        "site.yml",
        "- hosts: all
  gather_facts: false
  tasks:
    - lineinfile: {path: \"{{ playbook_dir }}/known\", line: \"{{ inventory_hostname }}\", create: true}
      delegate_to: localhost
",
    );
    let ended = run(&folder, &[]).with_code(0);
    let mut lines: Vec<_> = text_of(&folder, "known")
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort_unstable();
    let wanted: Vec<_> = (1..=20).map(|number| format!("n{number:02}")).collect();
    assert_eq!(lines, wanted, "{}", ended.stdout());
}

/// A module that notes when it began and when it ended.
const NOTING: &str = "#!/usr/bin/python3
import json, os, sys, time
args = json.load(open(sys.argv[1]))
name = os.path.basename(args['log'])
begin = time.time()
time.sleep(0.15)
with open(args['log'], 'a') as log:
    log.write('%s %f %f\\n' % (args['host'], begin, time.time()))
print(json.dumps({'changed': True}))
# WANT_JSON
";

/// Returns the notes of a module: the host, the begin and the end.
fn notes(folder: &Folder, name: &str) -> Vec<(String, f64, f64)> {
    let text = text_of(folder, name);
    let lines = text.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let time = |word: &str| word.parse::<f64>().expect("it is a time");
        (words[0].to_owned(), time(words[1]), time(words[2]))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by(|one, other| one.1.total_cmp(&other.1));
    lines
}

#[test]
fn modules_run_as_parallel_as_they_may() {
    let call = |module: &str| {
        format!(
            "{module}: {{log: \"{{{{ playbook_dir }}}}/{module}.log\", host: \"{{{{ inventory_hostname }}}}\"}}"
        )
    };
    let playbook = format!(
        "- hosts: all
  gather_facts: false
  tasks:
    - name: packages
      {}
      loop: [1, 2]
      loop_control: {{parallel: 2}}
    - name: instances
      {}
      loop: [1, 2, 3]
      loop_control: {{parallel: 3}}
    - name: members
      {}
",
        call("apt"),
        call("ec2"),
        call("etcd_member"),
    );
    let folder = site(&playbook)
        .file("library/apt", NOTING)
        .file("library/ec2", NOTING)
        .file("library/etcd_member", NOTING);
    let _ended = run(&folder, &[]).with_code(0);

    // One at a time on a host, and hosts beside each other.
    let packages = notes(&folder, "apt.log");
    assert_eq!(packages.len(), 6);
    let overlap =
        |one: &(String, f64, f64), other: &(String, f64, f64)| one.1 < other.2 && other.1 < one.2;
    let mut beside = false;
    for (at, one) in packages.iter().enumerate() {
        for other in &packages[at + 1..] {
            beside |= overlap(one, other);
            assert!(one.0 != other.0 || !overlap(one, other), "{packages:?}");
        }
    }
    assert!(beside, "{packages:?}");

    // Ten a second of the provider. A start is noted a moment after it was granted, so only the whole is compared.
    let instances = notes(&folder, "ec2.log");
    assert_eq!(instances.len(), 9);
    let whole = instances[8].1 - instances[0].1;
    assert!(whole > 0.6, "{instances:?}");

    // One at a time everywhere.
    let members = notes(&folder, "etcd_member.log");
    assert_eq!(members.len(), 3);
    for pair in members.windows(2) {
        assert!(!overlap(&pair[0], &pair[1]), "{members:?}");
    }
}

#[test]
fn check_mode_changes_nothing_and_shows_what_would_change() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - copy: {content: \"one\\ntwo\\n\", dest: \"{{ playbook_dir }}/file\"}
    - command: touch {{ playbook_dir }}/made
",
    )
    .file("file", "one\n");
    let ended = run(&folder, &["--check", "--diff"]).with_code(0);
    assert_eq!(text_of(&folder, "file"), "one\n");
    assert!(!folder.at("made").exists());
    let shown = ended.stdout();
    assert!(shown.contains(" one\n+two\n"), "{shown}");
    assert_eq!(recap(&shown)["h1"]["changed"], 1, "{shown}");
    assert_eq!(recap(&shown)["h1"]["skipped"], 1, "{shown}");
}

#[test]
fn a_question_without_a_terminal_is_answered_by_its_default_or_refused() {
    let playbook = |default: &str| {
        format!(
            "- hosts: h1\n  gather_facts: false\n  vars_prompt:\n    - {{name: colour, prompt: Which{default}}}\n  \
             tasks:\n    - debug: msg={{{{ colour }}}}\n"
        )
    };
    let folder = site(&playbook(", default: red"));
    let ended = run(&folder, &[]).with_code(0);
    assert!(
        ended.stdout().contains("ok: [h1]: red"),
        "{}",
        ended.stdout()
    );
    let folder = site(&playbook(""));
    let told = run(&folder, &[]).with_code(2).stderr();
    assert!(told.contains("Which") && told.contains("-e"), "{told}");
    let ended = run(&folder, &["-e", "colour=blue"]).with_code(0);
    assert!(ended.stdout().contains("ok: [h1]: blue"));
}

#[test]
fn a_task_that_takes_too_long_is_killed_and_its_host_fails() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - command: sleep 600
      timeout: 1
",
    );
    let ended = run(&folder, &[]).with_code(100);
    assert_eq!(
        recap(&ended.stdout())["h1"]["failed"],
        1,
        "{}",
        ended.stdout()
    );
}

#[test]
fn a_signal_ends_a_play_and_it_goes_on_when_it_is_resumed() {
    let folder = site(
        "- hosts: h1
  gather_facts: false
  tasks:
    - shell: echo one >> {{ playbook_dir }}/log
    - shell: touch {{ playbook_dir }}/waits; until test -e {{ playbook_dir }}/go; do sleep 0.05; done
    - shell: echo two >> {{ playbook_dir }}/log
",
    );
    let call =
        Ratchet::within(&folder).args(["play", "site.yml", "-i", "inv", "--state-dir", "state"]);
    let running = call.start();
    until("the second task runs", || folder.at("waits").exists());
    running.signal(Signal::Interrupt);
    fs::write(folder.path().join("go"), "").expect("it can be written");
    let _ended = running.wait().with_code(130);
    assert_eq!(text_of(&folder, "log"), "one\n");
    let call = Ratchet::within(&folder).args(["resume", "--state-dir", "state"]);
    let _ended = call.run().with_code(0);
    assert_eq!(text_of(&folder, "log"), "one\ntwo\n");
}

#[test]
fn a_file_of_hints_says_how_parallel_modules_are_and_which_limits_there_are() {
    let playbook = "- hosts: all
  gather_facts: false
  tasks:
    - mine: {log: \"{{ playbook_dir }}/mine.log\", host: \"{{ inventory_hostname }}\"}
    - other: {log: \"{{ playbook_dir }}/other.log\", host: \"{{ inventory_hostname }}\"}
      hint: fully_parallel
      limits: [one]
";
    let folder = site(playbook)
        .file("library/mine", NOTING)
        .file("library/other", NOTING)
        .file(
            "hints.yml",
            "modules: {mine: global_exclusive}\nlimits: {one: {max: 1}}\n",
        );
    let _ended = run(&folder, &[]).with_code(0);
    for name in ["mine.log", "other.log"] {
        let notes = notes(&folder, name);
        assert_eq!(notes.len(), 3);
        for pair in notes.windows(2) {
            assert!(pair[0].2 <= pair[1].1, "{name}: {notes:?}");
        }
    }
    let told = |hints: &str| {
        let folder = site(playbook)
            .file("library/mine", NOTING)
            .file("library/other", NOTING)
            .file("hints.yml", hints);
        run(&folder, &[]).with_code(2).stderr()
    };
    let unknown = told("modules: {mine: global_exclusive}\n");
    assert!(
        unknown.contains("no limit is called `one`") && unknown.contains("site.yml:7"),
        "{unknown}"
    );
    let wrong = told("modules: {mine: sometimes}\nlimits: {one: {max: 0}}\nmore: 1\n");
    for part in ["hints.yml:1", "hints.yml:2", "cannot have a section `more`"] {
        assert!(wrong.contains(part), "{part}\n{wrong}");
    }
}

#[test]
fn the_settings_of_a_project_say_how_parallel_modules_are_and_a_file_of_hints_comes_first() {
    let playbook = "- hosts: all
  gather_facts: false
  tasks:
    - mine: {log: \"{{ playbook_dir }}/mine.log\", host: \"{{ inventory_hostname }}\"}
    - other: {log: \"{{ playbook_dir }}/other.log\", host: \"{{ inventory_hostname }}\"}
";
    let project = |settings: &str| {
        site(playbook)
            .file("library/mine", NOTING)
            .file("library/other", NOTING)
            .file("hints.yml", "modules: {other: global_exclusive}\n")
            .file("ratchet.toml", settings)
    };
    let folder = project("modules = { mine = \"global_exclusive\", other = \"fully_parallel\" }\n");
    let _ended = run(&folder, &[]).with_code(0);
    for name in ["mine.log", "other.log"] {
        let notes = notes(&folder, name);
        assert_eq!(notes.len(), 3);
        for pair in notes.windows(2) {
            assert!(pair[0].2 <= pair[1].1, "{name}: {notes:?}");
        }
    }
    let wrong = project("modules = { mine = \"sometimes\" }\n");
    let told = run(&wrong, &[]).with_code(2).stderr();
    assert!(
        told.contains("ratchet.toml:1") && told.contains("sometimes"),
        "{told}"
    );
}
