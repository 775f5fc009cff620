//! Ansible's own programs, where they are installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratchet_tests::Folder;

/// Returns a program of Ansible, where it is installed.
pub(super) fn ansible(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("ANSIBLE_BIN").or_else(|| std::env::var_os("PATH"));
    let folders = folders.unwrap_or_default();
    let mut programs = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let found = programs.find(|program| program.is_file());
    if found.is_none() {
        let skipped = "nothing is compared with Ansible, which is not installed";
        let _ = writeln!(std::io::stderr(), "\n!! SKIPPED: {skipped}\n");
    }
    found
}

/// Returns what a program of Ansible prints.
pub(super) fn printed(program: &Path, folder: &Folder, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("ANSIBLE_LOCALHOST_WARNING", "False")
        .output()
        .expect("it can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it is UTF-8")
}
