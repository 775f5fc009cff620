//! Playbooks as they are checked and listed, beside what Ansible makes of them where it is installed.

use ratchet_tests::{Folder, Ratchet};

use super::ansible::{ansible, printed};
use super::play_site::path_with;

const INVENTORY: &str = "[web]\nw1\nw2\n[db]\nd1\n";

const SITE: &str = r#"
- name: first play
  hosts: web:db
  gather_facts: false
  tags: [p1]
  vars: {a: 1}
  pre_tasks:
    - name: pre {{ a }}
      debug: msg="hello world" # blanks in quotes
      tags: always
  roles:
    - r1
    - {role: r2, tags: [x, y], when: a is defined, own: 1}
  tasks:
    - command: echo hi creates=/x
      name:
    - block:
        - name: in block
          ping:
        - fail: msg=no
      rescue:
        - name: rescued
          debug: msg=rescued
      always:
        - name: always
          debug: msg=always
          tags: never
      tags: blk
    - import_role: {name: r2, tasks_from: other}
      tags: ir
    - include_role:
        name: r2
    - meta: flush_handlers
    - name: tagged
      apt: name=x
      tags: a,b
      notify: hh
    - name: many
      ansible.builtin.debug: {msg: "{{ item }}"}
      with_items: [1, 2]
      loop_control: {label: x}
      tags: [c, "d,e"]
  handlers:
    - name: hh
      debug: msg=1
      listen: topic
  post_tasks:
    - action: ping
    - action: {module: debug, msg: x}
- hosts: [all, "!d1"]
  tasks:
    - local_action: command echo 1
    - set_fact: a=1
    - shell: |
        echo "in quotes" chdir=/tmp
- import_playbook: more/other.yml
  tags: imp
"#;

/// Returns a folder with a playbook that imports playbooks, roles and tasks.
fn site() -> Folder {
    Folder::new()
        .file("inv", INVENTORY)
        .file("site.yml", SITE)
        .file(
            "more/other.yml",
            "- hosts: nosuch\n  tasks:\n    - debug:\n- hosts: localhost\n  tasks: []\n\
             - hosts: w2\n  name: roles beside\n  roles: [beside]\n",
        )
        .file(
            "more/roles/beside/tasks/main.yaml",
            "- name: b\n  debug:\n- import_tasks: sub/one.yml\n",
        )
        .file(
            "more/roles/beside/tasks/sub/one.yml",
            "- import_tasks: two.yml\n- name: one\n  ping:\n",
        )
        .file(
            "more/roles/beside/tasks/sub/two.yml",
            "- name: two\n  ping:\n",
        )
        .file(
            "more/roles/beside/meta/argument_specs.yml",
            "argument_specs: {main: {short_description: Beside, options: {}}}\n",
        )
        .file(
            "roles/r1/tasks/main.yml",
            "- name: r1 first\n  command: echo 1\n  tags: [r1t]\n- import_tasks: more.yml\n  tags: mt\n\
             - include_tasks: \"{{ x }}.yml\"\n",
        )
        .file(
            "roles/r1/tasks/more.yml",
            "- name: more\n  shell: echo more | cat\n  notify: h1\n",
        )
        .file(
            "roles/r1/handlers/main.yml",
            "- name: h1\n  debug: msg=h1\n",
        )
        .file(
            "roles/r1/meta/main.yml",
            "dependencies: [{role: r2, tags: dep}]\n",
        )
        .file("roles/r1/defaults/main.yml", "x: y\n")
        .file("roles/r2/tasks/main.yml", "- debug: var=x\n")
        .file("roles/r2/tasks/other.yml", "- debug: var=other\n")
}

fn listed(folder: &Folder, args: &[&str]) -> String {
    let call = Ratchet::within(folder).args(["play"]).args(args);
    call.run().with_code(0).stdout()
}

/// The calls that are compared with Ansible.
const CALLS: [&[&str]; 9] = [
    &["--syntax-check"],
    &["--list-tasks"],
    &["--list-tags"],
    &["--list-tasks", "--list-tags", "--tags", "x,never"],
    &["--list-tasks", "--skip-tags", "blk,x"],
    &["--list-tasks", "--tags", "tagged"],
    &["--list-tasks", "--tags", "untagged"],
    &["--list-tasks", "--tags", "all", "--skip-tags", "always"],
    &["--list-hosts", "--list-tasks", "--limit", "w1"],
];

#[test]
fn playbooks_are_listed_as_ansible_lists_them() {
    let Some(program) = ansible("ansible-playbook") else {
        return;
    };
    let bin = program.parent().expect("a program is in a folder");
    let folder = site();
    for call in CALLS {
        let args = [&["-i", "inv", "site.yml"], call].concat();
        let theirs = printed(&program, &folder, &args);
        // The modules are looked for in the Ansible that `PATH` names.
        let ours = Ratchet::within(&folder)
            .args(["play"])
            .args(args)
            .env("PATH", path_with(bin))
            .run()
            .with_code(0);
        assert_eq!(ours.stdout(), theirs, "{call:?}");
    }
}

#[test]
fn the_hosts_of_each_play_are_listed() {
    let folder = site();
    let args = ["play", "-i", "inv", "site.yml", "--list-hosts"];
    let ended = Ratchet::within(&folder).args(args).run().with_code(0);
    let text = ended.stdout();
    let (first, rest) = text.split_once("play #2").expect("there are more plays");
    assert!(
        first.ends_with("pattern: ['web:db']\n    hosts (3):\n      w1\n      w2\n      d1\n\n  "),
        "{first}"
    );
    assert!(rest.starts_with(" (all,!d1): all,!d1\tTAGS: []\n    pattern: ['all', '!d1']\n    hosts (2):\n      w1\n      w2\n"), "{rest}");
    assert!(
        rest.contains("pattern: ['nosuch']\n    hosts (0):\n"),
        "{rest}"
    );
    assert!(rest.contains("hosts (1):\n      localhost\n"), "{rest}");
    assert!(ended.stderr().contains("no host or group `nosuch`"));
}

#[test]
fn tasks_have_the_tags_of_all_that_they_are_part_of() {
    let text = listed(
        &site(),
        &["-i", "inv", "site.yml", "--list-tasks", "--limit", "web"],
    );
    for line in [
        "      pre {{ a }}\tTAGS: [always, p1]\n      debug\tTAGS: [dep, p1]\n      r1 : r1 first\tTAGS: [p1, r1t]\n      \
         r1 : more\tTAGS: [mt, p1]\n      include_tasks\tTAGS: [p1]\n      debug\tTAGS: [p1, x, y]\n",
        "      tagged\tTAGS: [a, b, p1]\n",
        "      beside : Validating arguments against arg spec 'main' - Beside\tTAGS: [always, imp]\n      beside : \
         b\tTAGS: [imp]\n      beside : two\tTAGS: [imp]\n      beside : one\tTAGS: [imp]\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_command_may_have_a_quote_that_only_the_shell_understands() {
    let folder = Folder::new().file(
        "site.yml",
        "- hosts: all\n  tasks:\n  - shell: echo x # it's fine\n",
    );
    listed(&folder, &["site.yml", "--syntax-check"]);
}

#[test]
fn roles_are_found_where_the_environment_says() {
    let folder = Folder::new()
        .file("site.yml", "- hosts: all\n  roles: [far, a.b.c]\n")
        .file("elsewhere/far/tasks/main.yml", "- name: far\n  ping:\n")
        .file(
            "col/ansible_collections/a/b/roles/c/tasks/main.yml",
            "- name: of a collection\n  ping:\n",
        );
    let text = Ratchet::within(&folder)
        .args(["play", "site.yml", "--list-tasks"])
        .env("ANSIBLE_ROLES_PATH", "elsewhere")
        .env("ANSIBLE_COLLECTIONS_PATH", "col")
        .run()
        .with_code(0)
        .stdout();
    assert!(text.contains("far : far"), "{text}");
    assert!(text.contains("a.b.c : of a collection"), "{text}");
}

/// Returns what a playbook with one play and these lines in it is told.
fn refused(play: &str) -> String {
    let folder = Folder::new().file("site.yml", format!("- hosts: all\n{play}"));
    let args = ["play", "site.yml", "--syntax-check"];
    let ended = Ratchet::within(&folder).args(args).run().with_code(2);
    assert_eq!(ended.stdout(), "");
    ended.stderr()
}

/// Lines of a play, and the parts of what is said of them.
const REFUSED: &[(&str, &str)] = &[
    (
        "  tasks:\n  - debug: {msg: '{{ x'}\n",
        "site.yml:3:18|this template cannot be read",
    ),
    (
        "  tasks:\n  - debug:\n    when: a ==\n",
        "site.yml:4:11|this template cannot be read",
    ),
    (
        "  tasks:\n  - debug:\n    when: [a, b c]\n",
        "site.yml:4:15|this template cannot be read",
    ),
    (
        "  vars_files: [no.yml]\n",
        "site.yml:2:16|there is no file `no.yml`",
    ),
    (
        "  tasks:\n  - action: '{{ x }} a=b'\n",
        "the module has to be known before anything runs|a task for each module",
    ),
    (
        "  vars: {a: '{{ b }}', b: '{{ a }}'}\n  roles: ['{{ a }}']\n",
        "site.yml:3:11|a variable refers to itself",
    ),
    ("  roles: [\"{{ 'x' | nosuch }}\"]\n", "nosuch is unknown"),
    (
        "  tsks: []\n",
        "site.yml:2:3|unknown keyword `tsks` in a play|did you mean `tasks`?",
    ),
    (
        "  when: x\n",
        "`when` has no effect in a play|it is a keyword of a block",
    ),
    (
        "  gather_facts: maybe\n",
        "site.yml:2:17|`gather_facts` has to be `true` or `false`",
    ),
    ("  vars: [a]\n", "`vars` has to be a map"),
    (
        "  strategy: quick\n",
        "unknown strategy `quick`|strategies: linear, free, host_pinned",
    ),
    (
        "  order: sort\n",
        "unknown order `sort`|did you mean `sorted`?",
    ),
    (
        "  roles: [nosuch]\n",
        "site.yml:2:11|there is no role `nosuch`|roles are looked for in",
    ),
    ("  roles: [{tags: x}]\n", "no role is named here"),
    (
        "  roles: ['{{ x }}']\n",
        "has to be known before anything runs|include_role",
    ),
    ("  tasks: {a: 1}\n", "expected a list of tasks, found a map"),
    ("  tasks: [debug]\n", "expected a task, found text"),
    ("  tasks: [{name: x}]\n", "a task names no module"),
    (
        "  tasks:\n  - debug:\n    whn: x\n",
        "site.yml:4:5|unknown keyword `whn` in a task|did you mean `when`?",
    ),
    (
        "  tasks:\n  - debug:\n    copy: {}\n",
        "site.yml:4:5|a second one: `copy`|the first",
    ),
    (
        "  tasks:\n  - debug:\n    serial: 1\n",
        "`serial` has no effect in a task|it is a keyword of a play",
    ),
    (
        "  tasks:\n  - debug:\n    register: a-b\n",
        "`register` has to be a name of letters",
    ),
    (
        "  tasks:\n  - debug:\n    retries: many\n",
        "`retries` has to be a whole number",
    ),
    (
        "  tasks:\n  - debug:\n    async: 10\n",
        "no task is left running in the background|use `timeout`",
    ),
    (
        "  tasks:\n  - debug:\n    delegate_facts: true\n",
        "facts belong to the host of the task",
    ),
    (
        "  tasks:\n  - debug:\n    debugger: always\n",
        "`debugger` is not supported",
    ),
    (
        "  tasks:\n  - debug:\n    loop: [1]\n    with_items: [1]\n",
        "site.yml:5:5|a task can have only one loop|the other loop",
    ),
    (
        "  tasks:\n  - debug:\n    with_itms: [1]\n",
        "unknown loop `with_itms`|did you mean `with_items`?",
    ),
    (
        "  tasks:\n  - debug:\n    loop: [1]\n    loop_control: {lable: x}\n",
        "unknown key `lable`|did you mean `label`?",
    ),
    (
        "  tasks:\n  - debug: hello\n",
        "`hello` is not an argument: `debug` takes `name=value`",
    ),
    (
        "  tasks:\n  - debug: msg='open\n",
        "a quote is not closed|write them as a map",
    ),
    (
        "  tasks:\n  - debug: [1]\n",
        "the arguments of `debug` have to be a map or text, not a list",
    ),
    (
        "  tasks:\n  - meta: flush\n",
        "unknown action `flush` of `meta`",
    ),
    (
        "  tasks:\n  - include: x.yml\n",
        "`include` cannot be a task|include_tasks",
    ),
    (
        "  tasks:\n  - import_tasks: no.yml\n",
        "there is no file `no.yml`",
    ),
    (
        "  tasks:\n  - import_tasks: site.yml\n    loop: [1]\n",
        "cannot be in a loop|write `include_tasks`",
    ),
    (
        "  tasks:\n  - import_tasks: '{{ x }}'\n",
        "has to be known before anything runs",
    ),
    (
        "  tasks:\n  - include_role: {tasks_from: x}\n",
        "`include_role` needs `name`",
    ),
    (
        "  tasks:\n  - rescue: []\n",
        "belong to a `block`, which is missing",
    ),
    (
        "  tasks:\n  - block: []\n    loop: [1]\n",
        "`loop` has no effect in a block",
    ),
    (
        "  tasks:\n  - {debug: , listen: x}\n",
        "`listen` has no effect in a task|it is a keyword of a handler",
    ),
    (
        "  handlers:\n  - block: []\n",
        "a block cannot be a handler",
    ),
    ("  tasks:\n  - action: {a: b}\n", "`action` names no module"),
    ("  tasks:\n  - debug: {a: 1, a: 2}\n", "`a`|twice"),
];

#[test]
fn what_is_wrong_in_a_play_is_refused_at_its_place() {
    for (play, said) in REFUSED {
        let told = refused(play);
        for part in said.split('|') {
            assert!(told.contains(part), "{play}: {part}\n{told}");
        }
    }
}

/// Returns a folder with a playbook whose names are templates.
fn templated() -> Folder {
    Folder::new()
        .file(
            "p.yml",
            r#"
- name: "on {{ target }}"
  hosts: "{{ target }}"
  tasks:
    - import_tasks: "{{ which }}.yml"
    - import_tasks: "{{ own }}.yml"
      vars: {own: two}
    - block:
        - import_tasks: "{{ playbook_dir }}/{{ own }}.yml"
      vars: {own: two}
    - name: "task {{ which }}"
      debug: {msg: "{{ x | default('y') }}"}
  roles:
    - "{{ first }}"
    - role: "{{ from_file }}"
      which: three
  vars: {first: one, which: two, from_file: nobody}
  vars_files: ["v.yml", [no.yml, v2.yml], ["{{ fact }}.yml", v3.yml]]
- hosts: "{{ many }}"
  tasks: []
- import_playbook: "{{ book }}.yml"
"#,
        )
        .file("v.yml", "from_file: one\nfirst: \"{{ from_file }}\"\n")
        .file("v2.yml", "which: \"t{{ 'w' ~ 'o' }}\"\n")
        .file("v3.yml", "which: nothing\n")
        .file("two.yml", "- name: two\n  ping:\n")
        .file("b.yml", "- hosts: all\n  tasks: []\n")
        .file(
            "roles/one/tasks/main.yml",
            "- import_tasks: '{{ which }}.yml'\n- import_tasks: '{{ set }}.yml'\n\
             - import_tasks: '{{ fixed }}.yml'\n",
        )
        .file(
            "roles/one/defaults/main.yml",
            "set: two\nfixed: no\nwhich: no\n",
        )
        .file("roles/one/vars/main.yml", "fixed: three\n")
        .file("roles/one/tasks/two.yml", "- name: r two\n  ping:\n")
        .file("roles/one/tasks/three.yml", "- name: r three\n  ping:\n")
        .file("extra.yml", "book: b\n")
}

const TEMPLATED: [&str; 11] = [
    "-i",
    "a,b,",
    "p.yml",
    "--list-tasks",
    "-e",
    "target=no other='x y'",
    "-e",
    r#"{"many": ["a", "b"], "target": "a"}"#,
    "-e",
    "@extra.yml",
    "--list-tags",
];

#[test]
fn names_are_rendered_with_the_variables_that_are_known() {
    let text = listed(&templated(), &TEMPLATED);
    assert!(text.contains("play #1 (a): on a\t"), "{text}");
    assert!(text.contains("play #2 (a,b): ['a', 'b']\t"), "{text}");
    let tasks: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("      ")?.strip_suffix("\tTAGS: []"))
        .collect();
    assert_eq!(
        tasks,
        [
            "one : r two",
            "one : r two",
            "one : r three",
            "one : r three",
            "one : r two",
            "one : r three",
            "two",
            "two",
            "two",
            "task {{ which }}"
        ]
    );
    if let Some(program) = ansible("ansible-playbook") {
        assert_eq!(text, printed(&program, &templated(), &TEMPLATED));
    }
}

#[test]
fn names_that_are_known_only_later_are_refused_with_the_reason() {
    let args = ["play", "p.yml", "--syntax-check", "-e", "first=one"];
    let told = Ratchet::within(&templated()).args(args).run().with_code(2);
    let told = told.stderr();
    for said in [
        "p.yml:3:10",
        "`hosts` has to be known before anything runs, but `target` is undefined",
        "but `many` is undefined",
        "`{{ book }}.yml` has to be known before anything runs, but `book` is undefined",
        "set the variable with -e",
    ] {
        assert!(told.contains(said), "{said}\n{told}");
    }
}

#[test]
fn variables_of_the_call_that_cannot_be_read_are_refused() {
    for (variables, said) in [
        ("name", "-e name: `name` is not of the form `name=value`"),
        ("a='b", "a quote is not closed"),
        ("[1]", "expected a map of variables, found a list"),
        ("{a: ", "-e:1:"),
        ("@no.yml", "`no.yml` cannot be read"),
    ] {
        let args = ["play", "p.yml", "--syntax-check", "-e", variables];
        let told = Ratchet::within(&templated()).args(args).run().with_code(2);
        assert!(
            told.stderr().contains(said),
            "{variables}\n{}",
            told.stderr()
        );
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_every_file() {
    let folder = Folder::new()
        .file(
            "site.yml",
            "- hosts: all\n  roles: [r]\n  tasks:\n  - debug:\n    whn: x\n  - import_tasks: t.yml\n- tasks: []\n",
        )
        .file("t.yml", "- debug:\n  registr: x\n")
        .file("roles/r/tasks/main.yml", "- copy: src\n")
        .file("roles/r/vars/main.yml", "[1]\n")
        .file("roles/r/handlers/main.yml", "- debug:\n  becom: yes\n");
    let ended = Ratchet::within(&folder)
        .args(["play", "site.yml", "--list-tasks"])
        .run()
        .with_code(2);
    let told = ended.stderr();
    for place in [
        "site.yml:5:5",
        "site.yml:7:3",
        "t.yml:2:3",
        "roles/r/tasks/main.yml:1:9",
        "roles/r/vars/main.yml:1:1",
        "roles/r/handlers/main.yml:2:3",
    ] {
        assert!(told.contains(place), "{place}\n{told}");
    }
    assert_eq!(ended.stdout(), "");
}

#[test]
fn circles_are_refused() {
    let folder = Folder::new()
        .file("p.yml", "- import_playbook: q.yml\n")
        .file("q.yml", "- import_playbook: p.yml\n- hosts: all\n  roles: [a]\n  tasks: [{import_tasks: t.yml}]\n")
        .file("t.yml", "- import_tasks: t.yml\n")
        .file("roles/a/meta/main.yml", "dependencies: [b]\n")
        .file("roles/b/meta/main.yml", "dependencies: [a]\n");
    let args = ["play", "p.yml", "--syntax-check"];
    let told = Ratchet::within(&folder).args(args).run().with_code(2);
    for said in [
        "`p.yml` imports itself",
        "t.yml` imports itself",
        "the role `a` depends on itself",
    ] {
        assert!(told.stderr().contains(said), "{said}\n{}", told.stderr());
    }
}

#[test]
fn files_that_are_no_playbooks_are_refused() {
    for (text, said) in [
        ("", "`site.yml` is empty: a playbook is a list of plays"),
        ("a: 1\n", "expected a list of plays, found a map"),
        ("- 1\n", "expected a play, found a number"),
        ("- name: x\n", "a play needs `hosts`"),
        ("- hosts: [\n", "site.yml:"),
        (
            "- hosts: all\n---\n- hosts: all\n",
            "a second document begins here",
        ),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "is encrypted"),
        ("- import_playbook: no.yml\n", "`no.yml` cannot be read"),
        (
            "- import_playbook: x.yml\n  hosts: all\n",
            "unknown keyword `hosts` in `import_playbook`",
        ),
    ] {
        let folder = Folder::new().file("site.yml", text);
        let args = ["play", "site.yml", "--syntax-check"];
        let told = Ratchet::within(&folder).args(args).run().with_code(2);
        assert!(told.stderr().contains(said), "{text}\n{}", told.stderr());
    }
}

#[test]
fn a_file_without_an_end_is_refused() {
    let args = ["play", "/dev/zero", "--syntax-check"];
    let told = Ratchet::new().args(args).run().with_code(2).stderr();
    assert!(told.contains("`/dev/zero` is larger than"), "{told}");
}

#[test]
fn a_limit_that_names_nobody_is_refused() {
    let folder = site();
    let args = ["play", "-i", "inv", "site.yml", "--list-hosts", "-l", "wbe"];
    let told = Ratchet::within(&folder)
        .args(args)
        .run()
        .with_code(2)
        .stderr();
    assert!(told.contains("no host or group `wbe`"), "{told}");
    assert!(told.contains("did you mean `web`?"), "{told}");
}

#[test]
fn a_misspelt_keyword_is_told_as_one_although_there_is_no_ansible() {
    let playbook = "- hosts: all\n  tasks:\n  - whn: x\n";
    let folder = site().file("typo.yml", playbook);
    let call = Ratchet::within(&folder).args(["play", "-i", "inv", "typo.yml"]);
    let told = call.env("PATH", folder.path()).run().with_code(2).stderr();
    assert!(told.contains("did you mean the keyword `when`?"), "{told}");
    assert!(told.contains("typo.yml:3:5"), "{told}");
}

#[test]
fn a_misspelt_module_is_told_with_the_one_that_was_meant() {
    let playbook =
        "- hosts: all\n  tasks:\n  - debgu: {msg: x}\n  - ansible.builtin.lineinfil: {path: x}\n";
    let folder = site().file("typo.yml", playbook);
    let call = Ratchet::within(&folder).args(["play", "-i", "inv", "typo.yml"]);
    let told = call.env("PATH", folder.path()).run().with_code(2).stderr();
    assert!(told.contains("did you mean `debug`?"), "{told}");
    assert!(told.contains("did you mean `lineinfile`?"), "{told}");
}

#[test]
fn a_play_without_an_inventory_tells_that_none_is_given() {
    let playbook = "- hosts: all\n  gather_facts: false\n  tasks: [{debug: {msg: x}}]\n";
    let folder = Folder::new().file("p.yml", playbook);
    let ended = Ratchet::within(&folder).args(["play", "p.yml"]).run();
    let told = ended.with_code(4).stderr();
    assert!(told.contains("no inventory is given"), "{told}");
    assert!(told.contains("-i"), "{told}");
    let codes = ["play", "p.yml", "--ansible-exit-codes"];
    let ended = Ratchet::within(&folder).args(codes).run().with_code(0);
    assert!(ended.stderr().contains("no inventory is given"));
}

#[test]
fn modules_that_are_nowhere_are_found_by_syntax_check() {
    let Some(program) = ansible("ansible-playbook") else {
        return;
    };
    let bin = program.parent().expect("a program is in a folder");
    let playbook = "- hosts: all\n  tasks:\n  - whn: {}\n  - nosuch_module:\n  - yum: {name: x}\n  - tasg: x\n  \
                    - timezon: Europe/Berlin\n";
    let folder = site()
        .file("modules.yml", playbook)
        .file("library/timezon.py", "#!/usr/bin/python3\n");
    let call = |flag| {
        Ratchet::within(&folder)
            .args(["play", "-i", "inv", "modules.yml", flag])
            .env("PATH", path_with(bin))
            .run()
    };
    let told = call("--syntax-check").with_code(2).stderr();
    assert!(told.contains("modules.yml:3:5"), "{told}");
    assert!(told.contains("there is no module `whn`"), "{told}");
    assert!(told.contains("did you mean the keyword `when`?"), "{told}");
    assert!(
        told.contains("there is no module `nosuch_module`"),
        "{told}"
    );
    assert!(!told.contains("`yum`"), "{told}");
    // A misspelt keyword with a text is told as one with a map, and a module that exists takes no text.
    assert!(told.contains("there is no module `tasg`"), "{told}");
    assert!(told.contains("did you mean the keyword `tags`?"), "{told}");
    let text = "`Europe/Berlin` is not an argument: `timezon` takes `name=value`";
    assert!(told.contains(text), "{told}");
    assert!(!told.contains("module `timezon`"), "{told}");
    // The tasks can be listed on a machine that lacks their modules.
    let listed = call("--list-tasks").with_code(0).stdout();
    assert!(listed.contains("nosuch_module"), "{listed}");
}
