//! Files of jobs on other hosts. An `ssh` that is a small script stands in for the real one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ratchet_tests::{Ended, Folder, Ratchet, Signal, eventually};
use serde_json::Value;

/// An `ssh` that connects to this machine, with a limit for the size of files if there is one.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift 2
if [ -n "$LIMIT" ]; then ulimit -f "$LIMIT"; fi
cd / && exec "$@"
"#;

/// Returns a folder with the `ssh`, a folder `job` for the files here, and the cache folder of the host.
fn folder() -> Folder {
    let folder = Folder::new()
        .file("bin/ssh", SSH)
        .file("job/in.txt", "in\n");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.at("bin/ssh"), executable).expect("it is ours");
    folder
}

fn ratchet(folder: &Folder) -> Ratchet {
    let path = std::env::var("PATH").expect("it is set");
    Ratchet::within(folder)
        .below("job")
        .env("PATH", format!("{}:{path}", folder.at("bin").display()))
        .env("XDG_CACHE_HOME", folder.at("cache"))
}

fn read(folder: &Folder, path: &str) -> String {
    fs::read_to_string(folder.at(path)).expect("it is there")
}

/// Runs a job file and returns the results.
fn run(folder: &Folder, jobs: &str, flags: &[&str]) -> (Ended, Vec<Value>) {
    fs::write(folder.at("job/jobs.yaml"), jobs).expect("it is ours");
    let args = ["run", "jobs.yaml", "--format", "jsonl", "-q"];
    let ended = ratchet(folder).args(args).args(flags).run();
    let lines = ended.stdout();
    let results = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"));
    (ended, results.collect())
}

fn map(folder: &Folder, words: &[&str]) -> Ended {
    ratchet(folder).args(["map", "-q", "-k"]).args(words).run()
}

/// Runs a map that has to succeed, and returns what it printed.
fn mapped(folder: &Folder, words: &[&str]) -> String {
    map(folder, words).with_code(0).stdout()
}

/// Returns what agents have left of work folders.
fn work_folders(folder: &Folder) -> Vec<PathBuf> {
    let agents = fs::read_dir(folder.at("cache/ratchet/work"));
    let mut found = Vec::new();
    for agent in agents.into_iter().flatten() {
        // One that has just ended removes its folder.
        for entry in fs::read_dir(agent.expect("it is read").path())
            .into_iter()
            .flatten()
        {
            found.extend(entry.map(|entry| entry.path()));
        }
    }
    found.retain(|path| path.is_dir());
    found
}

#[test]
fn a_command_gets_its_files_on_its_host_and_what_it_makes_comes_back() {
    let folder = folder().file("job/model/v1", "model\n").file(
        "job/tool",
        "#!/bin/sh\ncat in.txt model/latest > \"$1\"\npwd\n",
    );
    fs::set_permissions(folder.at("job/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("v1", folder.at("job/model/latest")).unwrap();
    let (ended, results) = run(
        &folder,
        r"
hosts: { web1: { ssh: web1 } }
jobs:
  - { id: b, run: [./tool, out.txt], on: web1, push: [tool, in.txt, model/], pull: ['out.txt'] }
  - id: c
    run: [sh, -c, 'mkdir -p out/c; cp ../out.txt out/c/copy; ln -s copy out/c/link; pwd']
    on: host
    host: web1
    needs: [b]
    cwd: sub
    push: [out.txt, sub]
    pull: ['sub/out/{id}']
",
        &[],
    );
    // The folder that `cwd` names is not there yet.
    assert!(
        ended.stderr().contains("sub") || !results.is_empty(),
        "{}",
        ended.stderr()
    );
    assert_eq!(results[0]["status"], "succeeded", "{results:?}");
    assert_eq!(read(&folder, "job/out.txt"), "in\nmodel\n");
    let mode = |path: &str| fs::metadata(folder.at(path)).unwrap().permissions().mode();
    let as_usual = mode("job/in.txt");
    assert_eq!(mode("job/out.txt"), as_usual, "its umask is the usual one");
    let ran_in = results[0]["result"]["stdout"].as_str().unwrap();
    assert!(
        Path::new(ran_in).starts_with(folder.at("cache/ratchet/work")),
        "{ran_in}"
    );
    assert_eq!(results[1]["error"]["class"], "input", "{results:?}");
    let message = results[1]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("sub` has to be pushed, but does not exist"),
        "{message}"
    );

    fs::create_dir(folder.at("job/sub")).unwrap();
    let jobs = read(&folder, "job/jobs.yaml");
    let (_, results) = run(&folder, &jobs, &[]);
    assert_eq!(results[1]["status"], "succeeded", "{results:?}");
    assert_eq!(read(&folder, "job/sub/out/c/copy"), "in\nmodel\n");
    assert_eq!(
        fs::read_link(folder.at("job/sub/out/c/link")).unwrap(),
        Path::new("copy")
    );
    assert_eq!(work_folders(&folder), Vec::<PathBuf>::new());
}

#[test]
fn workers_get_their_files_in_a_folder_of_their_own() {
    let folder = folder().file("job/answer", "x\n");
    let (_, results) = run(
        &folder,
        r"
hosts: { web1: { ssh: web1, slots: 1 } }
workers:
  read: { command: [sh, -c, 'while read -r line; do cat answer; echo y > answer; done'], protocol: lines, on: [web1], push: [answer] }
jobs:
  - { id: a, task: read, input: one }
  - { id: b, task: read, input: two }
",
        &["-j1"],
    );
    let mut answers: Vec<&str> = results
        .iter()
        .filter_map(|line| line["result"].as_str())
        .collect();
    answers.sort_unstable();
    assert_eq!(answers, ["x", "y"], "{results:?}");
    assert_eq!(
        read(&folder, "job/answer"),
        "x\n",
        "the file here is another one"
    );
}

/// A worker that makes a file for each job, and says where it runs. It ends after a job with the input `last`, and makes
/// nothing for `lazy`.
const RESIZE: &str = r#"
import json, os, sys
model = open("model/v1").read().strip()
os.makedirs("out", exist_ok=True)
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] != "request":
        continue
    if m["input"] != "lazy":
        with open("out/" + m["key"] + ".png", "w") as made:
            made.write(model + " " + m["input"])
    print(json.dumps({"type": "response", "id": m["id"], "result": os.getcwd()}), flush=True)
    if m["input"] == "last":
        sys.exit(0)
"#;

#[test]
fn files_that_workers_make_come_back_before_their_jobs_end() {
    for (place, slots) in [("web1", 1), ("web2", 4)] {
        let folder = folder()
            .file("job/model/v1", "v1\n")
            .file("job/resize.py", RESIZE);
        let jobs = format!(
            r"
hosts: {{ {place}: {{ ssh: web, slots: {slots} }} }}
workers:
  resize: {{ command: [python3, resize.py], on: [{place}], push: [resize.py, model/] }}
jobs:
  - {{ id: a, task: resize, input: one, pull: ['out/{{id}}.png'] }}
  - {{ id: b, task: resize, input: two, pull: ['out/{{id}}.png'] }}
  - {{ id: reads, run: [cat, out/a.png, out/b.png], needs: [a, b] }}
  - {{ id: lazy, task: resize, input: lazy, pull: ['out/{{id}}.png'], retry: {{ max: 1 }} }}
  - {{ id: none, task: resize, input: none }}
  - {{ id: last, task: resize, input: last, needs: [lazy], pull: ['out/{{id}}.png'] }}
"
        );
        let jobs = jobs.replace("needs: [lazy]", "needs: [reads]");
        let (_, results) = run(&folder, &jobs, &[]);
        let of = |id: &str| {
            let mut lines = results.iter();
            lines.find(|line| line["id"] == id).expect("it has ended")
        };
        assert_eq!(
            of("reads")["result"]["stdout"],
            "v1 onev1 two",
            "{results:?}"
        );
        let ran_in = of("a")["result"].as_str().expect("it says where");
        assert!(Path::new(ran_in).starts_with(folder.at("cache/ratchet/work")));
        assert_eq!(read(&folder, "job/out/b.png"), "v1 two");
        assert!(
            !folder.at("job/out/none.png").exists(),
            "it was not asked for"
        );
        // What the worker did not make fails its job, and not the worker.
        assert_eq!(of("lazy")["error"]["class"], "transfer", "{results:?}");
        // A worker that ends with its answer has its files brought back all the same.
        assert_eq!(of("last")["status"], "succeeded", "{results:?}");
        assert_eq!(read(&folder, "job/out/last.png"), "v1 last");
        assert_eq!(work_folders(&folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_worker_on_this_machine_leaves_its_files_where_they_are_and_has_to_make_them() {
    let folder = folder()
        .file("job/model/v1", "v1\n")
        .file("job/resize.py", RESIZE);
    let (_, results) = run(
        &folder,
        r"
workers:
  resize: { command: [python3, resize.py] }
jobs:
  - { id: a, task: resize, input: one, pull: ['out/{id}.png'] }
  - { id: lazy, task: resize, input: lazy, pull: ['out/{id}.png'], retry: { max: 1 } }
",
        &["-k"],
    );
    assert_eq!(results[0]["status"], "succeeded", "{results:?}");
    assert_eq!(read(&folder, "job/out/a.png"), "v1 one");
    assert_eq!(results[1]["error"]["class"], "transfer", "{results:?}");
}

#[test]
fn a_timeout_ends_an_attempt_whose_files_do_not_come() {
    // The file takes several times as long as the timeout, and fits on any disk.
    let folder = folder().file("job/model/v1", "v1\n").file(
        "job/slow.py",
        r#"
import json, os, sys
os.makedirs("out", exist_ok=True)
for line in sys.stdin:
    m = json.loads(line)
    if m["type"] == "request":
        with open("out/large", "wb") as made:
            made.truncate(1 << 32)
        print(json.dumps({"type": "response", "id": m["id"], "result": 1}), flush=True)
"#,
    );
    let (_, results) = run(
        &folder,
        r"
hosts: { web1: { ssh: web1 } }
workers:
  slow: { command: [python3, slow.py], on: [web1], push: [slow.py] }
jobs:
  - { id: a, task: slow, pull: [out/large], timeout: 1s, retry: { max: 1 } }
",
        &["--grace", "1s"],
    );
    assert_eq!(results[0]["error"]["class"], "timeout", "{results:?}");
    assert!(!folder.at("job/out/large").exists());
}

#[test]
fn files_that_are_wrong_are_refused_before_anything_runs() {
    let folder = folder();
    for (job, expected) in [
        (
            "{ run: [touch, ran], on: web1, push: [no.txt] }",
            "`no.txt` has to be pushed, but does not exist",
        ),
        (
            "{ run: [touch, ran], on: web1, push: [/etc/passwd] }",
            "an absolute path lies outside of the work folder",
        ),
        (
            "{ run: [touch, ran], on: web1, pull: [../x] }",
            "`..` leads out of the work folder",
        ),
        (
            "{ run: [touch, ran], on: web1, cwd: /tmp, push: [in.txt] }",
            "this job runs in `/tmp`",
        ),
        (
            "{ run: [touch, ran], push: [in.txt], cache: true }",
            "the result of a job with files cannot be reused, because reusing a result makes no files",
        ),
        (
            "{ task: t, input: x, push: [in.txt] }",
            "`push` has an effect only with `run`",
        ),
        (
            "{ task: t, input: x, pull: [out.txt] }",
            "`pull` is not possible with `protocol: lines`",
        ),
        (
            "{ task: far, input: x, pull: [out.txt] }",
            "takes files from the work folder of the worker, and it has none",
        ),
    ] {
        let jobs = format!(
            "hosts: {{ web1: {{ ssh: web1 }} }}\nworkers: {{ t: {{ command: cat, protocol: lines }}, far: {{ command: cat, on: web1 }} }}\njobs:\n  - {{ run: [touch, ran] }}\n  - {job}\n"
        );
        let (ended, _) = run(&folder, &jobs, &[]);
        let ended = ended.with_code(2);
        assert!(
            ended.stderr().contains(expected),
            "{job}: {}",
            ended.stderr()
        );
        assert!(
            ended.stderr().contains("jobs.yaml:5:"),
            "{job}: {}",
            ended.stderr()
        );
    }
    assert!(!folder.at("job/ran").exists());
}

#[test]
fn jobs_on_this_machine_use_their_files_where_they_are() {
    let folder = folder();
    let (_, results) = run(
        &folder,
        "jobs:\n  - { id: a, run: [cp, in.txt, out.txt], push: [in.txt], pull: [out.txt] }\n  - { id: b, run: 'true', pull: [none.txt] }\n",
        &[],
    );
    let of = |id: &str| results.iter().find(|line| line["id"] == id).unwrap();
    assert_eq!(of("a")["status"], "succeeded");
    assert_eq!(read(&folder, "job/out.txt"), "in\n");
    assert_eq!(of("b")["error"]["class"], "transfer");
    assert!(
        of("b")["error"]["message"]
            .as_str()
            .unwrap()
            .contains("none.txt` has to be pulled, but the process has not made it")
    );
}

#[test]
fn parallels_words_for_files_are_understood() {
    let folder = folder()
        .file("job/a.txt", "a\n")
        .file("job/dir/b.txt", "b\n")
        .file("job/base", "base\n");
    let command = [
        "--shell",
        "cat {} base > {.}.out",
        ":::",
        "a.txt",
        "dir/b.txt",
    ];
    let spellings: [&[&str]; 3] = [
        &["--transferfile", "{}", "--return", "{.}.out", "--cleanup"],
        &["--trc", "{.}.out"],
        &["--transfer", "--pull", "{.}.out"],
    ];
    for files in spellings {
        let hosts = ["--on", "2/web1", "--basefile", "base"];
        mapped(&folder, &[&hosts[..], files, &command].concat());
        assert_eq!(read(&folder, "job/a.out"), "a\nbase\n");
        assert_eq!(read(&folder, "job/dir/b.out"), "b\nbase\n");
        fs::remove_file(folder.at("job/a.out")).unwrap();
        fs::remove_file(folder.at("job/dir/b.out")).unwrap();
        assert_eq!(work_folders(&folder), Vec::<PathBuf>::new());
    }
    // What stands before `/./` is only here.
    let item = folder.at("job/dir").display().to_string() + "/./b.txt";
    let words = ["--on", "web1", "--push", "{}", "cat", "{/}", ":::", &item];
    assert_eq!(mapped(&folder, &words), "b\n");
    let words = ["--on", "web1", "--push", "{}", "cat", ":::", "/etc/passwd"];
    let ended = map(&folder, &words).with_code(100);
    assert!(
        ended.stderr().contains("absolute path"),
        "{}",
        ended.stderr()
    );
    let words = [
        "--on",
        ":",
        "--trc",
        "{}.out",
        "--shell",
        "cp {} {}.out",
        ":::",
        "a.txt",
    ];
    mapped(&folder, &words);
    assert_eq!(read(&folder, "job/a.txt.out"), "a\n");
    // A filter has the same files for all its items.
    let filter = "while read -r line; do cat base; done";
    let words = [
        "--on",
        "1/web1",
        "--warm",
        "--basefile",
        "base",
        "sh",
        "-c",
        filter,
        ":::",
        "x",
    ];
    assert_eq!(mapped(&folder, &words), "base\n");
}

#[test]
fn a_work_folder_is_kept_when_that_is_asked_for() {
    let folder = folder();
    let words = [
        "--on",
        "web1",
        "--keep-remote",
        "--push",
        "{}",
        "--shell",
        "cp {} made",
        ":::",
        "in.txt",
    ];
    mapped(&folder, &words);
    assert_eq!(read(&folder, "cache/ratchet/kept/job-1-1/made"), "in\n");
    let jobs = "hosts: { web1: { ssh: web1 } }\njobs:\n  - { id: b, run: [cp, in.txt, made], on: web1, push: [in.txt] }\n";
    assert!(
        run(&folder, jobs, &["--keep-remote"])
            .0
            .with_code(0)
            .stderr()
            .is_empty()
    );
    assert_eq!(read(&folder, "cache/ratchet/kept/job-b-1/made"), "in\n");
    // It means nothing without files, or beside its opposite.
    let words: [&[&str]; 3] = [
        &["--on", "web1", "--keep-remote", "true", ":::", "a"],
        &["--on", "web1", "--cleanup", "true", ":::", "a"],
        &[
            "--on",
            "web1",
            "--trc",
            "{}",
            "--keep-remote",
            "true",
            ":::",
            "a",
        ],
    ];
    for words in words {
        assert!(map(&folder, words).with_code(2).stdout().is_empty());
    }
    let jobs = "jobs:\n  - { run: 'true' }\n";
    let ended = run(&folder, jobs, &["--keep-remote"]).0.with_code(2);
    assert!(
        ended
            .stderr()
            .contains("no job copies files to or from hosts"),
        "{}",
        ended.stderr()
    );
}

#[test]
fn a_host_without_room_for_a_file_says_so_and_keeps_nothing_of_it() {
    let folder = folder();
    // This one puts the agent there, which is larger than the limit.
    mapped(&folder, &["--on", "web1", "true", ":::", "a"]);
    fs::write(folder.at("job/big"), vec![7; 300_000]).unwrap();
    let words = [
        "-q", "--on", "web1", "--push", "{}", "--format", "jsonl", "wc", "-c", ":::", "big",
        "in.txt",
    ];
    let ended = ratchet(&folder)
        .args(["map"])
        .args(words)
        .env("LIMIT", "200")
        .run()
        .with_code(100);
    let results: Vec<Value> = ended
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |item: &str| results.iter().find(|line| line["item"] == item).unwrap();
    assert_eq!(of("in.txt")["status"], "succeeded", "{results:?}");
    assert_eq!(of("big")["error"]["class"], "transfer", "{results:?}");
    let message = of("big")["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("host `web1` says: a file cannot be stored in")
            && message.contains("File too large"),
        "{message}"
    );
    assert_eq!(work_folders(&folder), Vec::<PathBuf>::new());
}

#[test]
fn a_run_that_is_killed_leaves_no_half_file_on_either_side() {
    let folder = folder();
    let script = ": {}; head -c 100000000 /dev/zero > big";
    let args = [
        "map", "-q", "--on", "web1", "--pull", "big", "--shell", script, ":::", "a",
    ];
    let running = ratchet(&folder).args(args).start();
    // A folder without its lock is just being made.
    let staging = || {
        let mut paths = fs::read_dir(folder.at("job")).unwrap();
        paths.any(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name();
            name.to_string_lossy().starts_with(".ratchet-pull-")
                && entry.path().join("lock").exists()
        })
    };
    running.until("it is being pulled", staging);
    running.signal(Signal::Kill);
    drop(running);
    assert!(!folder.at("job/big").exists());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let is_clean = || work_folders(&folder).is_empty();
    let clean = eventually("the host has removed its folder", is_clean);
    runtime.unwrap().block_on(clean);
    // The next pull into this folder removes what the killed one could not.
    let args = [
        "--on",
        "web1",
        "--pull",
        "small",
        "--shell",
        "echo > small",
        ":::",
        "a",
    ];
    mapped(&folder, &args);
    assert!(folder.at("job/small").exists() && !staging());
}

#[test]
fn what_each_host_gives_back_goes_into_a_folder_of_its_name() {
    let folder = folder();
    let script = "mkdir -p out && echo {host} | tee log.txt name > out/name";
    let files = ["--pull", "log.txt", "--pull", "out/./name"];
    let run = |hosts: &str| {
        let words = ["--each-host", "-S", hosts, "--shell"];
        map(&folder, &[&words[..], &files, &[script]].concat())
    };
    drop(run("web1,web2,:").with_code(0));
    for host in ["web1", "web2"] {
        let said = format!("{host}\n");
        assert_eq!(read(&folder, &format!("job/{host}/log.txt")), said);
        assert_eq!(read(&folder, &format!("job/out/{host}/name")), said);
    }
    // On this machine the files stay where they were made.
    assert_eq!(read(&folder, "job/log.txt"), "local\n");
    assert!(!folder.at("job/local").exists());

    let hosts = "[all]\n.. ansible_host=web1\n";
    fs::write(folder.at("job/hosts.ini"), hosts).expect("it is ours");
    let words = ["--each-host", "-i", "hosts.ini", "--shell"];
    let ended = map(&folder, &[&words[..], &files, &[script]].concat());
    let ended = ended.with_code(100);
    let said = ended.stdout() + &ended.stderr();
    assert!(
        said.contains("`..` cannot be the name of a folder"),
        "{said}"
    );
    assert!(!folder.at("log.txt").exists());
}
