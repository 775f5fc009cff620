//! What tests of plays have in common: hosts that are this machine, and the results of a play.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ratchet_tests::{Ended, Folder, Ratchet, eventually};

/// Hosts that are this machine, with its own Python.
pub(super) const INVENTORY: &str = "[web]\nh1\nh2\n[db]\nh3\n[all:vars]\nansible_connection=local\n\
                         ansible_python_interpreter=/usr/bin/python3\n";

/// Returns the files below a folder with their contents and permissions.
pub(super) fn tree(folder: &Path) -> BTreeMap<String, (u32, String)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(&inner).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            let name = path
                .strip_prefix(folder)
                .expect("it is below")
                .display()
                .to_string();
            let known = fs::symlink_metadata(&path).expect("it is there");
            let content = if known.is_symlink() {
                fs::read_link(&path)
                    .expect("it is a link")
                    .display()
                    .to_string()
            } else if known.is_dir() {
                open.push(path);
                String::new()
            } else {
                String::from_utf8_lossy(&fs::read(&path).expect("it can be read")).into_owned()
            };
            found.insert(name, (known.permissions().mode(), content));
        }
    }
    found
}

/// Returns the counts of each host at the end of a play.
pub(super) fn recap(printed: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let (_, recap) = printed.rsplit_once("PLAY RECAP").unwrap_or(("", ""));
    let lines = recap.lines().filter_map(|line| line.split_once(" : "));
    let lines = lines.map(|(host, counts)| {
        let counts = counts.split_whitespace().filter_map(|word| {
            let (name, count) = word.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        (host.trim().to_owned(), counts.collect())
    });
    lines.collect()
}

/// Waits until something holds.
pub(super) fn until(what: &str, holds: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime
        .expect("a runtime can be made")
        .block_on(eventually(what, holds));
}

/// Returns the text of a file in a folder.
pub(super) fn text_of(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.at(name)).expect("the file is there")
}

/// Returns a folder with hosts that are this machine, and a playbook.
pub(super) fn site(playbook: &str) -> Folder {
    Folder::new()
        .file("inv", INVENTORY)
        .file("site.yml", playbook)
}

pub(super) fn run(folder: &Folder, args: &[&str]) -> Ended {
    let call = Ratchet::within(folder).args(["play", "site.yml", "-i", "inv"]);
    call.args(args).run()
}

pub(super) fn path_with(bin: &Path) -> String {
    let rest = std::env::var("PATH").unwrap_or_default();
    format!("{}:{rest}", bin.display())
}
