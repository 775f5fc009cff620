//! The playbooks of the collection, beside what Ansible makes of them where it is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratchet_tests::{Folder, Ratchet};
use serde_json::{Map, Value};

use super::ansible::ansible;
use super::play_site::{INVENTORY, path_with, recap, tree};
#[cfg(target_os = "linux")]
use crate::ssh::SshServer;

/// The share of the playbooks that are compared unless all are asked for: one in this many.
const SHARE: usize = 8;

/// The same for hosts behind ssh, where both programs take longer.
const SHARE_OVER_SSH: usize = 24;

/// The variable that asks for all playbooks.
const ALL: &str = "RATCHET_ALL_PLAYBOOKS";

/// The variable that names the playbooks to compare, separated by commas.
const CHOSEN: &str = "RATCHET_PLAYBOOKS";

/// Returns the folder of the playbooks that are compared.
fn playbooks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks")
}

/// A plugin by which Ansible writes what each task has returned.
const RECORDER: &str = include_str!("play_oracle/record.py");

/// Both programs, and the hosts on which they run playbooks.
struct Comparison {
    /// `ansible-playbook`.
    program: PathBuf,
    /// The folder of the program.
    bin: PathBuf,
    /// The inventory of the hosts.
    inventory: String,
}

impl Comparison {
    /// Makes a comparison on the hosts of an inventory; nothing where Ansible is not installed.
    fn on(inventory: &str) -> Option<Self> {
        let program = ansible("ansible-playbook")?;
        Some(Self {
            bin: program.parent().expect("a program is in a folder").into(),
            program,
            inventory: inventory.to_owned(),
        })
    }

    /// Returns a folder with the inventory, and with one for the files that a playbook makes.
    fn folder(&self) -> Folder {
        Folder::new()
            .file("inv", self.inventory.as_str())
            .file("out/.keep", "")
    }

    /// Returns the call that runs a playbook of the collection by ratchet.
    fn call(&self, folder: &Folder, name: &str) -> Ratchet {
        Ratchet::within(folder)
            .args(["play", "-i", "inv", "--no-record", "-e"])
            .args([format!("out={}", folder.path().join("out").display())])
            .args([playbooks().join(format!("{name}.yml"))])
            .env("PATH", path_with(&self.bin))
    }

    /// Runs a playbook of the collection by ratchet. Returns what it printed and the files that it made.
    fn ours(&self, name: &str) -> (String, BTreeMap<String, (u32, String)>) {
        let folder = self.folder();
        let out = folder.path().join("out");
        let ended = self.call(&folder, name).run();
        (ended.stdout(), without_folder(tree(&out), &out))
    }

    /// Runs a playbook of the collection by Ansible. Returns what it printed, the files that it made, and what its tasks
    /// returned.
    fn theirs(&self, name: &str) -> (String, BTreeMap<String, (u32, String)>, ByHost) {
        let folder = self
            .folder()
            .file("plugins/record.py", RECORDER)
            .file("results", "");
        let out = folder.path().join("out");
        let output = Command::new(&self.program)
            .args(["-i", "inv", "-e"])
            .arg(format!("out={}", out.display()))
            .arg(playbooks().join(format!("{name}.yml")))
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("ANSIBLE_LOCALHOST_WARNING", "False")
            .env("ANSIBLE_CALLBACK_PLUGINS", folder.at("plugins"))
            .env("ANSIBLE_CALLBACKS_ENABLED", "record")
            .env("RECORD_FILE", folder.at("results"))
            .output()
            .expect("it can be started");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let written = fs::read_to_string(folder.at("results")).expect("the plugin wrote it");
        let results = their_results(&written, &out);
        (printed, without_folder(tree(&out), &out), results)
    }

    /// Returns what the tasks of a playbook return by ratchet.
    fn our_results(&self, name: &str) -> ByHost {
        let folder = self.folder();
        let out = folder.path().join("out");
        let ended = self.call(&folder, name).args(["--format", "jsonl"]).run();
        let mut told = ByHost::new();
        for line in ended.stdout().lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            let result = match &line["result"] {
                Value::Null => line["error"]["data"].clone(),
                result => result.clone(),
            };
            let status = match result["status"].as_str().unwrap_or_default() {
                _ if result["result"]["unreachable"] == true => "unreachable",
                "changed" | "ok" => "ok",
                "failed" | "ignored" | "rescued" => "failed",
                other => other,
            };
            add(&mut told, &result, status, &out);
        }
        told
    }

    /// Says where the programs differ in a playbook.
    fn differences(&self, name: &str) -> Vec<String> {
        let (printed, files) = self.ours(name);
        let (their_text, their_files, their_told) = self.theirs(name);
        let (counts, their_counts) = (recap(&printed), recap(&their_text));
        let mut found = Vec::new();
        if counts != their_counts || files != their_files || counts.is_empty() {
            found.push(format!(
                "{name}: counts {counts:?}\n  beside {their_counts:?}\n  files {files:?}\n  beside {their_files:?}\n{printed}"
            ));
        }
        if !RESULTS_DIFFER.contains(&name) {
            let differences = differences(&self.our_results(name), &their_told);
            found.extend(differences.iter().map(|found| format!("{name}: {found}")));
        }
        found
    }

    /// Runs one of each `share` playbooks, or all of them if that is asked for, and fails if one of them differs.
    fn compare(&self, share: usize) {
        let entries = fs::read_dir(playbooks()).expect("the playbooks are there");
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let name = entry.expect("it can be read").file_name();
                name.to_str()?.strip_suffix(".yml").map(str::to_owned)
            })
            .filter(|name| name != "included")
            .collect();
        names.sort_unstable();
        assert!(names.len() > 120, "{names:?}");
        let chosen = std::env::var(CHOSEN).ok();
        let share = match (&chosen, std::env::var_os(ALL)) {
            (None, None) => share,
            _ => 1,
        };
        if let Some(chosen) = chosen {
            let chosen: Vec<_> = chosen.split(',').collect();
            names.retain(|name| chosen.contains(&name.as_str()));
            assert_eq!(
                names.len(),
                chosen.len(),
                "{CHOSEN}: not all of {chosen:?} are there"
            );
        }
        let names = names.iter().step_by(share);
        let different: Vec<_> = names.flat_map(|name| self.differences(name)).collect();
        assert!(different.is_empty(), "{}", different.join("\n\n"));
    }
}

/// What a task has returned on a host, for itself or for an item.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    task: String,
    status: String,
    result: Value,
}

/// What all tasks have returned, by their hosts.
type ByHost = BTreeMap<String, Vec<Told>>;

/// Keys of results that are about the moment, the program or the way to the host.
const OF_THE_MOMENT: &[&str] = &[
    "atime",
    "ctime",
    "delta",
    "deprecations",
    "elapsed",
    "end",
    "exception",
    "inode",
    "invocation",
    "mtime",
    "start",
    // Of a file, by which its system tells it from one that had its number before.
    "version",
    "warnings",
];

/// Keys of results that one of the programs leaves out where it tells them otherwise: by the status, by the item, or for people.
const TOLD_OTHERWISE: &[&str] = &[
    "ansible_index_var",
    "ansible_loop_var",
    "censored",
    "diff",
    "failed",
    "item",
    "module_stderr",
    "failed_when_suppressed_exception",
    "module_stdout",
    "skipped",
    "src",
];

/// Playbooks whose results differ, each for a reason that stands in `FROM_ANSIBLE.md`.
const RESULTS_DIFFER: &[&str] = &[
    // Another number of forks is usual.
    "magic_variables",
    // Files have names by chance.
    "tempfile_and_file_states",
    // A variable that is not defined is shown in other words.
    "debug_forms",
    "undefined_variable_in_message",
];

/// Modules whose results are not compared: what they tell is not about the task, or is about this machine.
const PASSED_OVER: &[&str] = &[
    "gather_facts",
    "include_role",
    "include_tasks",
    "meta",
    "setup",
];

/// Returns a result without what differs from call to call.
fn settled(value: &Value, out: &str, is_set_fact: bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| {
                let is_of_the_moment = OF_THE_MOMENT.contains(&key.as_str())
                    || TOLD_OTHERWISE.contains(&key.as_str())
                    || key.starts_with("_ansible");
                let is_of_host = *key == "ansible_facts" && !is_set_fact;
                let text = value.as_str().unwrap_or_default();
                // Files on their way to the host.
                let is_on_its_way = text.contains("ansible-tmp")
                    || text.contains("ansible-local")
                    || text.contains("/ratchet-");
                !is_of_the_moment && !is_of_host && !is_on_its_way
            });
            let kept: Map<_, _> = kept
                .map(|(key, value)| (key.clone(), settled(value, out, is_set_fact)))
                .collect();
            Value::Object(kept)
        }
        Value::Array(members) => members
            .iter()
            .map(|member| settled(member, out, is_set_fact))
            .collect(),
        Value::String(text) => text.replace(out, "OUT").into(),
        other => other.clone(),
    }
}

/// Adds a result, unless it is passed over.
fn add(told: &mut ByHost, line: &Value, status: &str, out: &Path) {
    let module = line["module"].as_str().unwrap_or_default();
    let module = module.rsplit('.').next().unwrap_or_default();
    if PASSED_OVER.contains(&module) {
        return;
    }
    let host = line["host"].as_str().unwrap_or_default().to_owned();
    let title = line["task"].as_str().unwrap_or_default();
    // The role stands in front of it.
    let task = title.rsplit(" : ").next().unwrap_or_default().to_owned();
    let mut result = settled(
        &line["result"],
        &out.display().to_string(),
        module == "set_fact",
    );
    if matches!(status, "failed" | "unreachable")
        && let Some(result) = result.as_object_mut()
    {
        // Each program has its own words for what went wrong.
        result.remove("msg");
    }
    told.entry(host).or_default().push(Told {
        task,
        status: status.to_owned(),
        result,
    });
}

/// Returns what the tasks of a playbook return by Ansible, from the lines of the plugin.
fn their_results(written: &str, out: &Path) -> ByHost {
    let mut told = ByHost::new();
    for line in written.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        // Items have told it.
        let is_loop = line["result"]["results"]
            .as_array()
            .is_some_and(|results| !results.is_empty());
        if !is_loop {
            add(
                &mut told,
                &line,
                line["status"].as_str().unwrap_or_default(),
                out,
            );
        }
    }
    told
}

/// Says where two programs differ.
fn differences(ours: &ByHost, theirs: &ByHost) -> Vec<String> {
    let mut found = Vec::new();
    let hosts: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for host in hosts {
        let of = |told: &ByHost| told.get(host).cloned().unwrap_or_default();
        let (ours, theirs) = (of(ours), of(theirs));
        if ours.len() != theirs.len() {
            found.push(format!("{host}: {ours:?}\n  beside {theirs:?}"));
            continue;
        }
        let pairs = ours
            .iter()
            .zip(&theirs)
            .filter(|(ours, theirs)| ours != theirs);
        found.extend(pairs.map(|(ours, theirs)| format!("{host}: {ours:?}\n  beside {theirs:?}")));
    }
    found
}

/// Puts one word in the place of the folder, which has another name in each call.
fn without_folder(
    files: BTreeMap<String, (u32, String)>,
    out: &Path,
) -> BTreeMap<String, (u32, String)> {
    let folder = out.display().to_string();
    let files = files.into_iter();
    files
        .map(|(name, (mode, text))| (name, (mode, text.replace(&folder, "OUT"))))
        .collect()
}

#[test]
fn playbooks_end_as_with_ansible_in_the_same_counts_files_and_results() {
    if let Some(comparison) = Comparison::on(INVENTORY) {
        comparison.compare(SHARE);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn playbooks_end_as_with_ansible_on_hosts_behind_ssh() {
    // Each of many tasks of Ansible is a session of its own, three hosts at once.
    let options = "MaxStartups 100:30:200\nMaxSessions 100";
    let Some(server) = SshServer::start(options, &SshServer::own_address(), &[]).await else {
        return;
    };
    let inventory = INVENTORY.replace("ansible_connection=local", &server.ansible_variables());
    if let Some(comparison) = Comparison::on(&inventory) {
        comparison.compare(SHARE_OVER_SSH);
    }
}
