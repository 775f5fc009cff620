//! Jobs on other hosts. An `ssh` that is a small script stands in for the real one, except where a real server is tried.

mod agents;
mod each_host;
mod launchers;
mod listing;
mod naming;
mod resources;
mod running;
mod slurm;
mod waiting;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::monitor::{Probe as _, Sampler};
use ratchet_tests::{Ended, Folder, Ratchet, Signal, eventually, marked};
use serde_json::Value;
use tokio::time::Instant;

/// An `ssh` that connects to this machine, whatever the destination is, and takes it down.
const SSH: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
echo "$2" >> "$SSH_LOG"
case $2 in
    *down*) echo "ssh: connect to host $2 port 22: No route to host" >&2; exit 255;;
    denied) echo "deploy@$2: Permission denied (publickey)." >&2; exit 255;;
esac
shift 2
echo "Welcome! You have no new mail."
cd / && exec "$@"
"#;

/// A program that notes its words, passes over those up to the one that ends its own, and runs the rest on this machine.
const EXEC: &str = r#"#!/bin/sh
echo "${0##*/} $*" >> "$SSH_LOG"
while [ "$1" != LAST ]; do shift; done
shift
cd / && exec "$@"
"#;

/// Returns a folder with the `ssh`, and a cache of its own.
fn folder() -> Folder {
    Folder::new().file("bin/ssh", SSH).program("ssh")
}

/// What tests do with their folder.
trait Programs {
    /// Makes a file in `bin` executable.
    fn program(self, name: &str) -> Self;
    /// Adds a launcher that runs a command on this machine: the one behind the first word that is `last`.
    fn launcher(self, name: &str, last: &str) -> Self;
}

impl Programs for Folder {
    fn program(self, name: &str) -> Self {
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.at(&format!("bin/{name}")), executable).expect("it is ours");
        self
    }

    fn launcher(self, name: &str, last: &str) -> Self {
        let script = EXEC.replace("LAST", last);
        self.file(&format!("bin/{name}"), &script).program(name)
    }
}

/// Runs ratchet with the `ssh`. Everything that it starts has a mark in its environment.
fn ratchet(folder: &Folder) -> Ratchet {
    let path = std::env::var("PATH").expect("it is set");
    Ratchet::within(folder)
        .env("PATH", format!("{}:{path}", folder.at("bin").display()))
        .env("SSH_LOG", folder.at("log"))
        .env("XDG_CACHE_HOME", folder.at("cache"))
        .env("HOSTS_TEST", folder.path())
}

/// Checks that nothing is left of what ratchet has started anywhere.
fn nothing_is_left(folder: &Folder) {
    let mark = format!("HOSTS_TEST={}", folder.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("it has a timer");
    runtime.block_on(eventually("nothing is left", || marked(&mark).is_empty()));
}

fn results(ended: &Ended) -> Vec<Value> {
    let stdout = ended.stdout();
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect()
}

/// Returns the result of this job.
fn result<'a>(results: &'a [Value], id: &str) -> &'a Value {
    results
        .iter()
        .find(|line| line["id"] == id)
        .expect("each job has its outcome")
}
