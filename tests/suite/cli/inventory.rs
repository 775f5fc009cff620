//! Inventories as they are shown, beside what Ansible itself makes of them where it is installed.

use std::os::unix::fs::PermissionsExt as _;

use ratchet_tests::{Folder, Ratchet};
use serde_json::Value;

use super::ansible::{ansible, printed};

const INI: &str = r#"
# Hosts before any section are in no group.
lone:2200 x=1 # y=2
fe80::7

[web] # the web
web[01:03].example ansible_port=22 note="two words" list="[1, 'x', None]" flag=True octal=0644 word=yes
db1   text='it''s' quoted="a \"b\" \c" escaped=a\ b#not=this

[db]
db[a:c] n=1.5 big=12345678901 negative=-3 tuple="(1, 2)" map="{'a': {'b': [True]}}"
db1

[db:vars]
v = {"a": [1, 2]}
empty =
ansible_group_priority = 10
text = "quoted text"
equals = a=b

[prod:children]
web
db

[prod:vars]
v=prod
w=prod
[all:vars]
w=all
everywhere=1
"#;

const YAML: &str = r#"
all:
  hosts:
    lone: {x: 1}
    bare:
  children:
    web:
      hosts:
        "web[1:3]": {port: 0644, ok: yes, quiet: off, ratio: 1.5, at: 1:30, none: ~, day: "2020-01-02"}
        web9:
          <<: &shared {a: 1, b: [x, y]}
          b: own
      vars:
        tls: true
        text: no way
        secret: !unsafe "{{ x }}"
      children:
        edge:
          hosts:
            web1:
            edge1: {<<: [{a: 2}, {a: 3, c: 4}]}
          vars: {tls: false, ansible_group_priority: 5}
    other:
      hosts: {web9: {}}
      vars: {text: other, tls: 1_000}
"#;

const PROGRAM: &str = r#"#!/bin/sh
echo '{"web": {"hosts": ["w1", "w2"], "vars": {"v": 1}, "children": ["sub"]}, "sub": ["s1", "w2"],
  "single": {"x": 7}, "_meta": {"hostvars": {"w1": {"n": {"deep": [1.5, null]}}, "s1": {}}}}'
"#;

const PROGRAM_WITHOUT_META: &str = r#"#!/bin/sh
if [ "$1" = --host ]; then echo "{\"name\": \"$2\"}"; else echo '{"web": ["w1", "w2"]}'; fi
"#;

/// Returns a folder with an inventory of every kind.
fn inventories() -> Folder {
    let folder = Folder::new()
        .file("site/hosts", INI)
        .file(
            "site/group_vars/all.yml",
            "everywhere: yes\nfrom_all: 0o7\n",
        )
        .file("site/group_vars/web/a.yml", "w: a\nfolder: [1, 2]\n")
        .file("site/group_vars/web/b", "---\nw: b\n")
        .file("site/group_vars/web/.hidden.yml", "w: hidden\n")
        .file("site/group_vars/web/c.txt", "w: text\n")
        .file("site/group_vars/db.json", r#"{"from_json": {"a": 1}}"#)
        .file("site/host_vars/db1", "v: file\n")
        .file("tree.yml", YAML)
        .file("tree-without-an-extension", YAML)
        .file("many/10-hosts", "[web]\nw1 a=1\nw2\n")
        .file("many/20-more.yaml", "web: {hosts: {w3: {}, w1: {a: 2}}}\n")
        .file("many/30.txt", "not = read\n")
        .file("many/.hidden", "not = read\n")
        .file("program", PROGRAM)
        .file("without-meta", PROGRAM_WITHOUT_META);
    for name in ["program", "without-meta"] {
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.at(name), executable).expect("it is ours");
    }
    folder
}

const SOURCES: [&str; 7] = [
    "site/hosts",
    "tree.yml",
    "tree-without-an-extension",
    "many",
    "program",
    "without-meta",
    "a1,b:22,",
];

fn ours(folder: &Folder, args: &[&str]) -> String {
    let call = Ratchet::within(folder).args(["inventory"]).args(args);
    call.run().with_code(0).quiet().stdout()
}

fn json(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).expect("it is JSON");
    if let Some(Value::Object(meta)) = value.get_mut("_meta") {
        // Newer versions of Ansible name a profile, which is about their own programs.
        meta.remove("profile");
    }
    value
}

#[test]
fn inventories_are_listed_as_ansible_lists_them() {
    let Some(program) = ansible("ansible-inventory") else {
        return;
    };
    let folder = inventories();
    for source in SOURCES {
        let args = ["-i", source, "--list"];
        let theirs = json(&printed(&program, &folder, &args));
        assert_eq!(json(&ours(&folder, &args)), theirs, "{source}");
    }
    let several = ["-i", "site/hosts", "-i", "many", "--list"];
    assert_eq!(
        json(&ours(&folder, &several)),
        json(&printed(&program, &folder, &several))
    );
}

#[test]
fn the_groups_of_inventories_are_drawn_as_ansible_draws_them() {
    let Some(program) = ansible("ansible-inventory") else {
        return;
    };
    let folder = inventories();
    for source in SOURCES {
        let args = ["-i", source, "--graph"];
        assert_eq!(
            ours(&folder, &args),
            printed(&program, &folder, &args),
            "{source}"
        );
    }
    let args = ["-i", "tree.yml", "--graph", "web"];
    assert_eq!(ours(&folder, &args), printed(&program, &folder, &args));
}

#[test]
fn patterns_select_the_hosts_that_ansible_selects() {
    let Some(program) = ansible("ansible") else {
        return;
    };
    let folder = inventories();
    for pattern in [
        "all",
        "web:!db1",
        "web:&db",
        "!db",
        "web[0]",
        "web[-1]",
        "web[1:2]",
        "web*.example,lone",
        "db?",
        "db[!b]",
        "*:!web*",
    ] {
        let theirs = printed(
            &program,
            &folder,
            &["-i", "site/hosts", pattern, "--list-hosts"],
        );
        let mut theirs: Vec<&str> = theirs.lines().skip(1).map(str::trim).collect();
        theirs.sort_unstable();
        let listed = json(&ours(
            &folder,
            &["-i", "site/hosts", "--list", "--limit", pattern],
        ));
        let groups = listed.as_object().expect("it is a map").values();
        let hosts = groups.filter_map(|group| group["hosts"].as_array());
        let mut hosts: Vec<&str> = hosts.flatten().filter_map(Value::as_str).collect();
        hosts.sort_unstable();
        hosts.dedup();
        assert_eq!(hosts, theirs, "{pattern}");
    }
}

#[test]
fn the_variables_of_a_host_come_from_its_groups_its_files_and_itself() {
    let folder = inventories();
    let told = json(&ours(&folder, &["-i", "site/hosts", "--host", "db1"]));
    for (name, expected) in [
        ("v", "\"file\""),
        ("w", "\"b\""),
        ("everywhere", "true"),
        ("folder", "[1,2]"),
        ("from_json", "{\"a\":1}"),
    ] {
        assert_eq!(told[name].to_string(), expected, "{name}");
    }
    let drawn = ours(
        &folder,
        &["-i", "many", "--graph", "@web", "--vars", "--limit", "w1"],
    );
    assert_eq!(drawn, "@web:\n  |--w1\n  |  |--{a = 2}\n");
}

#[test]
fn what_is_wrong_with_sources_is_told_at_once_with_its_place() {
    let folder = Folder::new()
        .file("hosts", "[web]\nw1 port\n[web:vars]\nx\n")
        .file("group_vars/web", "a: 1\na: 2\n")
        .file("tree.yml", "web: {host: {w2: {}}}\n");
    let call = Ratchet::within(&folder).args(["inventory", "-i", "hosts", "-i", "tree.yml"]);
    let told = call.run().with_code(2).stderr();
    for expected in [
        "hosts:2:4",
        "`port` is not a variable of the host",
        "hosts:4:1",
        "expected a variable",
        "tree.yml:1:7",
        "unknown key `host` in the group `web`",
        "did you mean `hosts`?",
        "group_vars/web:2:1",
        "`a` is set twice",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn a_source_that_cannot_be_read_says_what_to_do() {
    let folder = Folder::new()
        .file("fails", "#!/bin/sh\necho '{}'\nexit 3\n")
        .file("odd", "#!/bin/sh\necho no json\n")
        .file("vault/group_vars/all", "$ANSIBLE_VAULT;1.1;AES256\n6162\n")
        .file("vault/hosts", "w1\n")
        .file("hosts.toml", "")
        .file("sound", "[web]\nw1\n");
    for name in ["fails", "odd"] {
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.at(name), executable).expect("it is ours");
    }
    for (args, expected) in [
        (
            vec!["-i", "web1"],
            "a list of hosts has to contain a comma: `web1,`",
        ),
        (vec!["-i", "fails"], "`fails --list` failed: exit status: 3"),
        (vec!["-i", "odd"], "odd --list:1:1"),
        (vec!["-i", "vault/hosts"], "--vault-password-file"),
        (vec!["-i", "hosts.toml"], "write it in YAML or INI"),
        (vec!["-i", "a[3:1],"], "ends before it begins"),
        (vec!["-i", "sound", "--host", "w2"], "did you mean `w1`?"),
        (vec!["-i", "sound", "--graph", "wed"], "did you mean `web`?"),
        (vec!["-i", "sound", "-l", "webb"], "did you mean `web`?"),
        (
            vec!["-i", "sound", "-l", "~w("],
            "is not a regular expression",
        ),
    ] {
        let call = Ratchet::within(&folder).args(["inventory"]).args(&args);
        let told = call.run().with_code(2).stderr();
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn the_inventory_of_ansible_cfg_counts_where_none_is_named() {
    let folder = Folder::new()
        .file("ansible.cfg", "[defaults]\ninventory = hosts.ini\n")
        .file("hosts.ini", "[web]\nweb1 x=1\n");
    let shown = ours(&folder, &["--graph"]);
    assert_eq!(shown, "@all:\n  |--@ungrouped:\n  |--@web:\n  |  |--web1\n");
    let empty = Folder::new();
    let told = Ratchet::within(&empty)
        .args(["inventory"])
        .run()
        .with_code(2)
        .stderr();
    assert!(told.contains("no inventory is given"), "{told}");
}
