//! Hosts are reached by programs of all kinds, with an agent or without.

use super::*;

#[test]
fn containers_pods_nodes_and_this_machine_are_reached_by_their_launchers() {
    let folder = folder()
        .launcher("docker", "box")
        .launcher("kubectl", "--")
        .launcher("srun", "n1")
        .file(
            "jobs.yaml",
            r#"
hosts:
  box: { docker: box, slots: 1 }
  pod: { kubectl: { pod: web-0, container: main, namespace: prod, context: eu }, slots: 1 }
  node: { srun: n1, slots: 1 }
  again: { local: true, slots: 1, env: { AGAIN: "1" } }
jobs:
  - { id: box, run: [pwd], on: box }
  - { id: pod, run: [pwd], on: pod }
  - { id: node, run: [pwd], on: node }
  - { id: again, run: [sh, -c, 'echo $AGAIN'], on: again }
"#,
        );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    let results = results(&ended);
    for (id, stdout) in [
        ("box", "/\n"),
        ("pod", "/\n"),
        ("node", "/\n"),
        ("again", "1\n"),
    ] {
        let result = result(&results, id);
        assert_eq!(result["result"]["stdout"], stdout, "{result}");
        assert_eq!(result["place"], id);
    }
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    let mut reached: Vec<&str> = reached.lines().collect();
    reached.sort_unstable();
    assert_eq!(
        reached,
        [
            "docker exec -i box sh",
            "kubectl --context eu --namespace prod exec -i web-0 --container main -- sh",
            "srun --overlap --nodes=1 --ntasks=1 --cpu-bind=none --unbuffered --quiet -w n1 sh",
        ]
    );
    nothing_is_left(&folder);
}

#[test]
fn commands_and_workers_run_behind_a_bare_launcher_where_no_agent_is_wanted() {
    // As the real one, this ssh passes its words to a shell.
    let ssh = SSH.replace(r#"exec "$@""#, r#"exec sh -c "$*""#);
    let ssh = ssh.replace("echo \"Welcome! You have no new mail.\"\n", "");
    let folder = Folder::new()
        .file("bin/ssh", &ssh)
        .program("ssh")
        .launcher("docker", "box")
        .file(
            "jobs.yaml",
            r#"
hosts:
  web1: { ssh: web1, agent: none, slots: 2, env: { REGION: "eu west's", A: host } }
  box: { docker: box, agent: none }
workers:
  upper: { command: [sh, -c, 'while read -r line; do echo "$line" | tr a-z A-Z; done'], protocol: lines, on: box }
jobs:
  - { id: words, run: [printf, '<%s>', a b, "it's", '', '$HOME', '*'], on: web1 }
  - { id: env, run: [sh, -c, 'echo "$REGION $A"; pwd'], env: { A: own }, cwd: /usr, on: web1 }
  - { id: boxed, run: [sh, -c, 'echo "$1"; cat; pwd', sh, 'a  b'], on: box }
  - { id: worker, task: upper, input: hello }
  - { id: fails, run: [sh, -c, 'exit 3'], on: box }
  - { id: missing, run: [no-such-program], on: web1 }
"#,
        );
    let args = ["run", "jobs.yaml", "--format", "jsonl"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let results = results(&ended);
    let stdout = |id| result(&results, id)["result"]["stdout"].as_str();
    assert_eq!(stdout("words"), Some("<a b><it's><><$HOME><*>"));
    assert_eq!(stdout("env"), Some("eu west's own\n/usr\n"));
    assert_eq!(stdout("boxed"), Some("a  b\n/\n"));
    assert_eq!(result(&results, "worker")["result"], "HELLO");
    assert_eq!(result(&results, "worker")["worker"], "upper@box/1");
    assert_eq!(result(&results, "fails")["error"]["code"], "exit_3");
    assert_eq!(result(&results, "missing")["error"]["code"], "exit_127");
    let said = "no agent on box, web1: the process of a stopped job may stay alive there";
    assert_eq!(
        ended.stderr().matches(said).count(),
        1,
        "{}",
        ended.stderr()
    );
    let check = ["hosts", "check", "jobs.yaml", "--format", "json"];
    let checked = ratchet(&folder).args(check).run().with_code(0);
    let checked: Value = serde_json::from_str(&checked.stdout()).unwrap();
    assert_eq!(checked[0]["reached"], true, "{checked}");
    assert_eq!(checked[1]["slots"], 1, "{checked}");
    assert!(!folder.at("cache/ratchet/agents").exists());
    nothing_is_left(&folder);
}

#[test]
fn memory_cannot_be_limited_where_no_agent_is_wanted() {
    let folder = Folder::new().file(
        "jobs.yaml",
        "hosts: { box: { docker: box, agent: none } }\nworkers:\n  w: { command: [cat], protocol: lines, memory: 1GiB, on: box }\njobs:\n  - { id: a, task: w }\n",
    );
    let ended = ratchet(&folder)
        .args(["check", "jobs.yaml"])
        .run()
        .with_code(2);
    let said =
        "worker `w` can run on host `box`, which has no agent, so its memory is not measured";
    assert!(ended.stderr().contains(said), "{}", ended.stderr());
}

#[test]
fn an_output_that_a_launcher_cuts_without_a_word_is_never_taken_for_a_whole_one() {
    // The first connection is cut in the midst of the output, and the launcher ends as if that were all.
    let kubectl = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
if mkdir "$SSH_LOG.first" 2>/dev/null; then "$@" | stdbuf -o0 head -c 300000; exit 0; fi
exec "$@"
"#;
    let folder = folder()
        .file("bin/kubectl", kubectl)
        .program("kubectl")
        .file(
            "jobs.yaml",
            r"
hosts: { pod: { kubectl: { pod: web-0 }, slots: 1 } }
jobs:
  - { id: cut, run: [sh, -c, 'yes | head -c 1000000'], on: pod }
  - { id: whole, run: [sh, -c, 'yes | head -c 1000000'], on: pod }
",
        );
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let results = results(&ended);
    let cut = result(&results, "cut");
    assert_eq!(cut["error"]["class"], "host", "{}", cut["error"]);
    assert_eq!(result(&results, "whole")["status"], "succeeded");
    nothing_is_left(&folder);
}

#[test]
fn a_real_ssh_server_is_reached_with_a_key() {
    let Some(sshd) = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap())
    else {
        eprintln!("SKIPPED: there is no sshd, so no real ssh connection is tried");
        return;
    };
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: only root may start a server for ssh, so no real connection is tried");
        return;
    }
    let folder = Folder::new();
    let at = |name: &str| folder.at(name).display().to_string();
    for key in ["host_key", "user_key"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
            .status();
        assert!(made.unwrap().success());
    }
    fs::copy(folder.at("user_key.pub"), folder.at("authorized_keys")).unwrap();
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n",
        at("host_key"),
        at("authorized_keys")
    );
    fs::write(folder.at("sshd_config"), config).unwrap();
    // Each connection is served by an sshd of its own on stdin and stdout, so no port is needed.
    let host_key = fs::read_to_string(folder.at("host_key.pub")).unwrap();
    fs::write(folder.at("known_hosts"), format!("web1 {host_key}")).unwrap();
    let client = format!(
        "Host web1\n  HostKeyAlias web1\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n  ProxyCommand {sshd} -i -f {}\n",
        at("user_key"),
        at("known_hosts"),
        at("sshd_config")
    );
    fs::write(folder.at("ssh_config"), client).unwrap();
    let ssh = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F '{}' \"$@\"\n",
        at("ssh_config")
    );
    fs::create_dir(folder.at("bin")).unwrap();
    fs::write(folder.at("bin/ssh"), ssh).unwrap();
    fs::set_permissions(folder.at("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let _ = fs::create_dir("/run/sshd");
    let args = [
        "map",
        "-q",
        "-k",
        "--on",
        "web1",
        "echo",
        "{} on the other side",
        ":::",
        "a",
        "b c",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(
        ended.stdout(),
        "a on the other side\nb c on the other side\n"
    );
}

#[test]
fn a_launcher_that_always_fails_is_given_up_in_time_with_its_exit_code() {
    let folder = folder().file(
        "jobs.yaml",
        "
hosts: { box: { via: [sh, -c, 'exit 3'], give_up: 1s } }
jobs: [{ id: a, run: [echo, hi], on: box }]
",
    );
    // A host that was never reached is tried for half a minute if `give_up` is longer, and the deadline would come first.
    let args = [
        "run",
        "jobs.yaml",
        "--format",
        "jsonl",
        "-q",
        "--no-record",
        "--deadline",
        "25s",
    ];
    let ended = ratchet(&folder).args(args).run().with_code(100);
    let results = results(&ended);
    let error = &result(&results, "a")["error"];
    assert_eq!(error["class"], "unreachable");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("the launcher ended with exit code 3"),
        "{message}"
    );
}
