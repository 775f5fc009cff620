//! Files that `ansible-vault` has encrypted reach hosts as plain text.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use ratchet_tests::{Ended, Folder, Ratchet};

use super::play_site::{path_with, site, text_of};

/// Stands for `ansible-vault`: a line follows the header, and is base64.
const PROGRAM: &str = "#!/bin/sh\nfor last; do :; done\necho \"$last\" >> \"$CALLS\"\ntail -n +2 \"$last\" | base64 -d\n";

/// The header of an encrypted file.
const HEADER: &str = "$ANSIBLE_VAULT;1.1;AES256\n";

/// A site with a playbook of these tasks, with encrypted files, and with the program that decrypts them.
fn encrypted_site(tasks: &str) -> Folder {
    let encrypted = |base64: &str| format!("{HEADER}{base64}\n");
    let playbook = format!(
        "- hosts: h1\n  gather_facts: false\n  vars: {{out: \"{{{{ playbook_dir }}}}/out\"}}\n  tasks:\n{tasks}"
    );
    let folder = site(&playbook)
        .file("bin/ansible-vault", PROGRAM)
        .file("password", "p\n")
        .file("out/.keep", "")
        // `secret` with a newline.
        .file("files/secret.txt", encrypted("c2VjcmV0Cg=="))
        // The bytes ff 00 fe.
        .file("files/secret.bin", encrypted("/wD+"))
        .file("files/tree/inner/secret.txt", encrypted("c2VjcmV0Cg=="))
        .file("files/tree/plain.txt", "plain\n")
        // `host {{ inventory_hostname }}` with a newline.
        .file(
            "templates/secret.j2",
            encrypted("aG9zdCB7eyBpbnZlbnRvcnlfaG9zdG5hbWUgfX0K"),
        )
        // A shell script that prints `ran` and its argument.
        .file(
            "files/secret.sh",
            encrypted("IyEvYmluL3NoCmVjaG8gcmFuICQxCg=="),
        )
        .file("files/parts/1", "one\n")
        .file("files/parts/2", encrypted("c2VjcmV0Cg=="));
    let program = folder.path().join("bin/ansible-vault");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it can be changed");
    folder
}

fn run(folder: &Folder) -> Ended {
    Ratchet::within(folder)
        .args([
            "play",
            "site.yml",
            "-i",
            "inv",
            "--vault-password-file",
            "password",
        ])
        .env("PATH", path_with(&folder.path().join("bin")))
        .env("CALLS", folder.path().join("calls"))
        .run()
}

#[test]
fn encrypted_files_reach_hosts_as_plain_text() {
    let folder = encrypted_site(
        "    - copy: {src: secret.txt, dest: \"{{ out }}/copied\", mode: preserve}
    - copy: {src: secret.bin, dest: \"{{ out }}/binary\"}
    - copy: {src: tree, dest: \"{{ out }}\"}
    - template: {src: secret.j2, dest: \"{{ out }}/rendered\"}
    - assemble: {src: files/parts, dest: \"{{ out }}/assembled\", remote_src: false}
    - script: secret.sh well
      register: script
    - copy: {content: \"{{ lookup('unvault', 'secret.txt') }}\", dest: \"{{ out }}/looked-up\"}
    - copy: {content: \"{{ script.stdout }}\", dest: \"{{ out }}/script\"}
",
    );
    let _ended = run(&folder).with_code(0);
    assert_eq!(text_of(&folder, "out/copied"), "secret\n");
    let binary = fs::read(folder.path().join("out/binary")).expect("it is there");
    assert_eq!(binary, [0xff, 0, 0xfe]);
    assert_eq!(text_of(&folder, "out/tree/inner/secret.txt"), "secret\n");
    assert_eq!(text_of(&folder, "out/tree/plain.txt"), "plain\n");
    assert_eq!(text_of(&folder, "out/rendered"), "host h1\n");
    assert_eq!(text_of(&folder, "out/assembled"), "one\nsecret\n");
    assert_eq!(text_of(&folder, "out/looked-up"), "secret\n");
    assert_eq!(text_of(&folder, "out/script").trim(), "ran well");
    // The text of three of the files is the same, so it is decrypted once.
    assert_eq!(text_of(&folder, "calls").lines().count(), 4);
}

#[test]
fn files_stay_encrypted_where_the_task_says_so() {
    let folder = encrypted_site(
        "    - copy: {src: secret.txt, dest: \"{{ out }}/copied\", decrypt: false}
    - assemble: {src: files/parts, dest: \"{{ out }}/assembled\", remote_src: false, decrypt: false}
",
    );
    let _ended = run(&folder).with_code(0);
    let encrypted = format!("{HEADER}c2VjcmV0Cg==\n");
    assert_eq!(text_of(&folder, "out/copied"), encrypted);
    assert_eq!(
        text_of(&folder, "out/assembled"),
        format!("one\n{encrypted}")
    );
    assert!(!folder.at("calls").exists());
}

#[test]
fn an_encrypted_file_without_a_password_fails_its_task_and_nothing_is_written() {
    let folder = encrypted_site("    - copy: {src: secret.txt, dest: \"{{ out }}/copied\"}\n");
    let ended = Ratchet::within(&folder)
        .args(["play", "site.yml", "-i", "inv"])
        .run()
        .with_code(100);
    let shown = ended.stdout();
    assert!(shown.contains("secret.txt` cannot be read"), "{shown}");
    assert!(shown.contains("--vault-password-file"), "{shown}");
    assert!(!folder.at("out/copied").exists());
}
