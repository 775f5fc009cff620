//! The agent gets to its host, or it is said why not.

use std::path::PathBuf;

use super::*;

/// Runs a command on the host.
fn run_there(folder: &Folder) -> Ended {
    let args = ["map", "-q", "--on", "web1", "echo", ":::", "a"];
    ratchet(folder).args(args).run().with_code(0)
}

/// Returns the folder of the agents on the host, and the one agent in it.
fn copied_agent(folder: &Folder) -> (PathBuf, PathBuf) {
    let agents = folder.at("cache/ratchet/agents");
    let mut copies = fs::read_dir(&agents).expect("an agent was copied there");
    let copy = copies.next().expect("an agent was copied there");
    (agents, copy.expect("it can be read").path())
}

#[test]
fn a_copy_of_the_agent_that_was_damaged_is_replaced() {
    let folder = folder();
    let run = || run_there(&folder);
    run();
    let (agents, copy) = copied_agent(&folder);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&agents), mode(&copy)), (0o700, 0o700));
    // A program that is just ending cannot be written to, so another one takes its place.
    let damaged = folder.at("damaged");
    fs::write(&damaged, "#!/bin/sh\necho damaged\n").unwrap();
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(&damaged, &copy).unwrap();
    run();
    assert!(
        fs::metadata(&copy).unwrap().len() > 1 << 20,
        "it was copied anew"
    );
    assert_eq!(
        fs::read_dir(&agents).unwrap().count(),
        1,
        "nothing else is left"
    );
}

/// Runs a job on a host, and returns why it failed.
fn failure(folder: &Folder, host: &str) -> String {
    let jobs =
        format!("hosts: {{ web1: {host} }}\njobs:\n  - {{ id: a, run: [echo, hi], on: web1 }}\n");
    fs::write(folder.at("jobs.yaml"), jobs).expect("the folder is ours");
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q", "--no-record"];
    let ended = ratchet(folder).args(args).run().with_code(100);
    let results = results(&ended);
    let error = &result(&results, "a")["error"];
    assert_eq!(error["class"], "unreachable");
    let message = error["message"].as_str();
    message.expect("it has one").to_owned()
}

#[test]
fn a_host_of_another_platform_needs_an_agent_that_was_made_for_it() {
    let uname = "#!/bin/sh\ncase $1 in -s) echo Plan9;; -m) echo vax;; esac\n";
    let folder = folder().file("bin/uname", uname).program("uname");
    let said = failure(&folder, "{ ssh: web1 }");
    assert!(
        said.contains("the host is plan9-vax and this machine is "),
        "{said}"
    );
    assert!(
        said.contains("name a ratchet for plan9-vax by `agent: PATH` of the host"),
        "{said}"
    );

    // Another program than this one, which stands for the one that was made for vax.
    let mut program = fs::read(Ratchet::program()).unwrap();
    program.extend_from_slice(b"for vax");
    fs::write(folder.at("ratchet-vax"), &program).unwrap();
    let job = "hosts: { web1: { ssh: web1, agent: ratchet-vax } }\njobs:\n  - { id: a, run: [echo, hi], on: web1 }\n";
    fs::write(folder.at("jobs.yaml"), job).unwrap();
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(&folder).args(args).run().with_code(0);
    assert_eq!(result(&results(&ended), "a")["result"]["stdout"], "hi\n");
    let agents: Vec<_> = fs::read_dir(folder.at("cache/ratchet/agents"))
        .unwrap()
        .map(|agent| agent.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(agents, [program.len() as u64]);
    nothing_is_left(&folder);
}

#[test]
fn an_agent_that_does_not_run_on_its_host_is_refused_with_the_reason() {
    let folder = folder()
        .file("other", "#!/bin/sh\necho 'I am another program'\n")
        .file("libc", "#!/no/such/loader\n");
    for (agent, reason) in [
        ("other", "does not run: it is damaged, or no agent"),
        ("libc", "is it linked to a libc that is not there?"),
    ] {
        let said = failure(&folder, &format!("{{ ssh: web1, agent: {agent} }}"));
        assert!(said.contains(reason), "{said}");
        assert!(
            said.contains("name another program by `agent: PATH`"),
            "{said}"
        );
        let left = fs::read_dir(folder.at("cache/ratchet/agents")).unwrap();
        assert_eq!(left.count(), 0, "no copy is left");
    }
    let reached = fs::read_to_string(folder.at("log")).unwrap();
    assert_eq!(reached.lines().count(), 2, "it is not tried again");
    nothing_is_left(&folder);
}

/// Sets the rights of a file or a folder.
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn an_agent_that_others_could_have_put_on_the_host_is_not_run() {
    let folder = folder();
    let run = || run_there(&folder);
    run();
    let (agents, copy) = copied_agent(&folder);
    let (planted, ran) = (folder.at("planted"), folder.at("ran"));
    let program = Ratchet::program();
    // It serves as the agent, and has the name and the hash of the right one.
    let script = format!(
        "#!/bin/sh\necho >> {}\nexec {} \"$@\"\n",
        ran.display(),
        program.display()
    );
    let plant = |mode| {
        fs::write(&planted, &script).unwrap();
        set_mode(&planted, mode);
        fs::rename(&planted, &copy).unwrap();
    };
    let is_root = rustix::process::geteuid().is_root();
    plant(0o777);
    run();
    if is_root {
        plant(0o755);
        chown(&copy, Some(65534), None).unwrap();
        run();
    }
    assert!(
        fs::metadata(&copy).unwrap().len() > 1 << 20,
        "it was copied anew"
    );

    let refused = |culprit: &Path| {
        let said = failure(&folder, "{ ssh: web1 }");
        let culprit = format!(
            "{} has to be a folder of this user that nobody else can write to",
            culprit.display()
        );
        assert!(said.contains(&culprit), "{said}");
        assert!(said.contains("set XDG_CACHE_HOME there"), "{said}");
    };
    plant(0o700);
    for culprit in [&agents, &folder.at("cache/ratchet")] {
        for mode in [0o1777, 0o770] {
            set_mode(culprit, mode);
            refused(culprit);
        }
        set_mode(culprit, 0o700);
        if is_root {
            chown(culprit, Some(65534), None).unwrap();
            refused(culprit);
            chown(culprit, Some(0), None).unwrap();
        }
    }
    assert!(!ran.exists(), "what was planted has run");
    // A link of this user is as good as its folder.
    let real = folder.at("scratch");
    fs::rename(&agents, &real).unwrap();
    std::os::unix::fs::symlink(&real, &agents).unwrap();
    set_mode(&real, 0o777);
    refused(&agents);
    set_mode(&real, 0o700);
    run();
    assert!(ran.exists(), "the file of this user was not taken");
    nothing_is_left(&folder);
}
