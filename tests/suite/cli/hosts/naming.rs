//! Hosts are named in files, inventories and options, and mistakes are refused.

use super::*;

#[test]
fn hosts_can_be_named_as_in_gnu_parallel() {
    let folder = folder().file("logins", "# hosts\n2/web1\n\n:\n");
    let args = [
        "map",
        "-k",
        "-q",
        "--sshloginfile",
        "logins",
        "echo",
        "{}",
        ":::",
        "a",
        "b",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(ended.stdout(), "a\nb\n");
    let args = ["map", "-q", "-S", "1/web1", "sh", "-c", "pwd", ":::", "a"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(ended.stdout(), "/\n");
}

#[test]
fn hosts_and_groups_of_an_inventory_can_be_named() {
    let inventory = "[web]\nweb1 ansible_host=10.9.8.7 ansible_user=deploy ansible_port=2222\nweb2 ansible_connection=local\n[db]\ndb1\n";
    let folder = folder().file("hosts.ini", inventory);
    let run = |on: &str, items: &[&str]| {
        let args = [
            "map",
            "-q",
            "--format",
            "jsonl",
            "-i",
            "hosts.ini",
            "--on",
            on,
            "echo",
            ":::",
        ];
        ratchet(&folder).args(args).args(items).run()
    };
    let ended = run("@web", &["a", "b", "c"]).with_code(0);
    assert!(
        results(&ended)
            .iter()
            .all(|line| line["place"].as_str().unwrap().starts_with("web"))
    );
    let ended = run("web1", &["a"]).with_code(0);
    assert_eq!(results(&ended)[0]["place"], "web1");
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    assert!(
        reached.lines().all(|name| name == "deploy@10.9.8.7"),
        "{reached}"
    );
    let ended = run("@wbe", &["a"]).with_code(2);
    assert!(
        ended.stderr().contains("no host or group `wbe`"),
        "{}",
        ended.stderr()
    );
    assert!(
        ended.stderr().contains("did you mean `web`?"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn what_cannot_be_on_another_host_is_refused_before_anything_runs() {
    let folder = folder();
    for (flags, said) in [
        (&["--on", "web1", "--cache"][..], "cannot be reused"),
        (&["--on", "host"][..], "the jobs of this map name none"),
        (&["--on", "web1:x"][..], "a port is a number"),
        (&["--on", "0/web1"][..], "not a number of slots"),
        (&["--on", "-oProxyCommand=x"][..], ""),
    ] {
        let args = ["map", "--no-record"].iter().chain(flags);
        let ended = ratchet(&folder)
            .args(args)
            .args(["echo", ":::", "a"])
            .run()
            .with_code(2);
        assert!(
            ended.stderr().contains(said),
            "{flags:?}: {}",
            ended.stderr()
        );
    }
    assert!(!folder.at("log").exists(), "nobody was reached");
}

#[test]
fn every_mistake_in_the_hosts_of_a_file_is_named_with_its_place() {
    let folder = folder().file(
        "jobs.yaml",
        r#"
hosts:
  both: { ssh: a, docker: b }
  none: { slots: 2 }
  local: { ssh: a }
  flag: { docker: --privileged }
  port: { ssh: "a:99999" }
  web: { ssh: a, groups: [both] }
  agent: { ssh: a, agent: no-such-file }
  no: { local: false }
workers:
  w: { command: [cat], protocol: lines, on: wbe }
jobs:
  - { id: a, run: [echo], on: [] }
  - { id: b, task: w, on: web }
  - { id: c, run: [echo], on: host }
  - { id: d, run: [echo], on: host, host: elsewhere }
  - { id: e, run: [echo], on: web, cache: true }
"#,
    );
    let ended = ratchet(&folder)
        .args(["check", "jobs.yaml"])
        .run()
        .with_code(2);
    let stderr = ended.stderr();
    for said in [
        "host `both` is reached by `ssh` or by `docker`, not by both",
        "host `none` has no way to reach it",
        "`local` has a special meaning in `on`",
        "this cannot be a name: it is empty, begins with a dash or contains NUL",
        "a port is a number from 1 to 65535",
        "group `both` has the name of a host",
        "no-such-file cannot be copied: No such file or directory",
        "`local: false` does not define how the host is reached",
        "there is no host `wbe`",
        "did you mean `web`?",
        "`on`: the list is empty",
        "a job of a worker cannot have `on`: it runs where its worker runs",
        "`on: host` means the host that the job names, and this job names none",
        "the job has to run on host `elsewhere`, which is not declared",
        "the result of a command on another host cannot be reused",
    ] {
        assert!(stderr.contains(said), "{said}\n{stderr}");
    }
}
