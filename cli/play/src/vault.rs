//! Values and files that `ansible-vault` has encrypted. The same program decrypts them.
//!
//! No password is written where others can see it: not to the arguments of a process, its environment, a log, or a
//! file.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::programs::{self, Program};

/// The source of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum VaultPassword {
    /// A file that holds it, or a program that prints it, as `--vault-password-file` and `--vault-id` name them.
    File {
        /// The label that encrypted texts name, which may be empty.
        id: String,
        /// The file or the program.
        path: PathBuf,
    },
    /// The password itself, as it was typed.
    Typed(String),
}

/// Debug output must not contain a typed password.
impl fmt::Debug for VaultPassword {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { id, path } => write!(out, "{id}@{}", path.display()),
            Self::Typed(_) => out.write_str("a password that was typed"),
        }
    }
}

/// Decrypts texts, and caches the results.
#[derive(Default)]
pub struct Vault {
    passwords: Vec<VaultPassword>,
    /// The program, if it is not the `ansible-vault` in `PATH`.
    program: Option<PathBuf>,
    /// The decrypted content of each encrypted text.
    known: Mutex<HashMap<Arc<str>, Arc<[u8]>>>,
}

/// Debug output must not contain decrypted texts.
impl fmt::Debug for Vault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Vault")
            .field("passwords", &self.passwords)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes a vault with these passwords.
    pub fn new(passwords: Vec<VaultPassword>, program: Option<PathBuf>) -> Self {
        Self {
            passwords,
            program,
            known: Mutex::default(),
        }
    }

    /// Decrypts a text, or returns why it cannot be decrypted.
    pub fn decrypt(&self, text: &str) -> Result<Arc<str>, String> {
        let plain = self.decrypt_bytes(text)?;
        let plain = std::str::from_utf8(&plain);
        let plain = plain.map_err(|_| "the decrypted text is not UTF-8".to_owned())?;
        Ok(plain.into())
    }

    /// Returns the content of a file, decrypted if it is encrypted.
    pub(crate) fn plain(&self, content: Vec<u8>) -> Result<Vec<u8>, String> {
        if !is_encrypted(&content) {
            return Ok(content);
        }
        // `ansible-vault` writes ASCII characters only, so anything else is damage that it reports itself.
        let plain = self.decrypt_bytes(&String::from_utf8_lossy(&content))?;
        Ok(plain.to_vec())
    }

    fn decrypt_bytes(&self, text: &str) -> Result<Arc<[u8]>, String> {
        // No code panics while it holds the lock, so the data behind a poisoned lock is intact.
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(text)
            .map(Arc::clone);
        if let Some(known) = known {
            return Ok(known);
        }
        let plain: Arc<[u8]> = self.run(text)?.into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(text.into(), Arc::clone(&plain));
        Ok(plain)
    }

    /// Decrypts a text by running `ansible-vault`.
    fn run(&self, text: &str) -> Result<Vec<u8>, String> {
        if self.passwords.is_empty() {
            // Without a password the program would ask for one, on a terminal that may not exist.
            return Err("it is encrypted, and no password is given; name a file with --vault-password-file, \
                        with ANSIBLE_VAULT_PASSWORD_FILE or in ansible.cfg"
                .to_owned());
        }
        let program = self.program.clone();
        let mut program = Program::new(program.unwrap_or_else(|| "ansible-vault".into()));
        program.arguments = ["decrypt", "--output", "-"].map(Into::into).to_vec();
        for password in &self.passwords {
            match password {
                VaultPassword::File { id, path } => {
                    let mut argument =
                        std::ffi::OsString::from(if id.is_empty() { "default" } else { id });
                    argument.push("@");
                    argument.push(path);
                    program.arguments.extend(["--vault-id".into(), argument]);
                }
                VaultPassword::Typed(text) => {
                    program.stdin = format!("{text}\n").into_bytes();
                    let typed = ["--vault-password-file", "/dev/stdin"].map(Into::into);
                    program.arguments.extend(typed);
                }
            }
        }
        // The lines of a value in YAML are indented.
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: String = lines.flat_map(|line| [line, "\n"]).collect();
        program.file = Some(lines.into_bytes());
        let output = programs::output(&program).map_err(|error| {
            format!("`ansible-vault`, which decrypts it, cannot be used: {error}")
        })?;
        if output.failure.is_some() {
            let said = output.stderr;
            let said = said
                .lines()
                .find(|line| line.contains("ERROR"))
                .or_else(|| said.lines().next());
            let said = said
                .unwrap_or("it printed no reason")
                .trim_start_matches("[ERROR]: ")
                .trim_start_matches("ERROR! ");
            return Err(format!("it cannot be decrypted: {}", said.trim()));
        }
        Ok(output.stdout)
    }
}

/// The beginning of a file that `ansible-vault` has encrypted.
pub(crate) const HEADER: &[u8] = b"$ANSIBLE_VAULT";

/// Whether the content of a file is encrypted.
pub(crate) fn is_encrypted(content: &[u8]) -> bool {
    content.starts_with(HEADER)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    /// Writes a program that replaces `ansible-vault`, and records how it is called.
    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("vault");
        std::fs::write(
            &path,
            format!(
                "#!/bin/sh\necho \"$@\" >> {}/calls\n{script}\n",
                folder.display()
            ),
        )
        .expect("it can be written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it can be changed");
        path
    }

    #[test]
    fn a_text_is_decrypted_once_and_a_typed_password_goes_by_stdin() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let script =
            "for last; do :; done; read password; printf '%s/' \"$password\"; cat \"$last\"";
        let vault = Vault::new(
            vec![VaultPassword::Typed("pass word".to_owned())],
            Some(program(folder.path(), script)),
        );
        for _ in 0..2 {
            let plain = vault.decrypt("$ANSIBLE_VAULT;1\n   61\n");
            assert_eq!(plain.as_deref(), Ok("pass word/$ANSIBLE_VAULT;1\n61\n"));
        }
        let calls = std::fs::read_to_string(folder.path().join("calls")).expect("it was called");
        assert_eq!(calls.lines().count(), 1);
        assert!(
            calls.starts_with("decrypt --output - --vault-password-file /dev/stdin /"),
            "{calls}"
        );
        assert!(!format!("{vault:?}").contains("pass word"), "{vault:?}");
    }

    #[test]
    fn an_encrypted_file_may_hold_bytes_that_are_no_text() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let vault = Vault::new(
            vec![VaultPassword::Typed("p".to_owned())],
            Some(program(folder.path(), r"printf '\377\000x'")),
        );
        let encrypted = b"$ANSIBLE_VAULT;1.1;AES256\n61\n";
        assert_eq!(vault.plain(encrypted.to_vec()), Ok(vec![0xff, 0, b'x']));
        let said = vault.decrypt("$ANSIBLE_VAULT;1.1;AES256\n61\n");
        assert_eq!(said, Err("the decrypted text is not UTF-8".to_owned()));
        assert_eq!(vault.plain(vec![0xff, 1]), Ok(vec![0xff, 1]));
    }

    #[test]
    fn what_cannot_be_decrypted_says_why() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let file = |id: &str| VaultPassword::File {
            id: id.to_owned(),
            path: "pw".into(),
        };
        let script = "echo '[WARNING]: x' >&2; echo '[ERROR]: Decryption failed' >&2; exit 1";
        let vault = Vault::new(
            vec![file(""), file("prod")],
            Some(program(folder.path(), script)),
        );
        let said = vault.decrypt("$ANSIBLE_VAULT;1");
        assert_eq!(
            said,
            Err("it cannot be decrypted: Decryption failed".to_owned())
        );
        let calls = std::fs::read_to_string(folder.path().join("calls")).expect("it was called");
        assert!(
            calls.contains("--vault-id default@pw --vault-id prod@pw"),
            "{calls}"
        );

        let said = Vault::default()
            .decrypt("x")
            .expect_err("there is no password");
        assert!(said.contains("--vault-password-file"), "{said}");
        let nowhere = Vault::new(vec![file("")], Some("/nowhere/vault".into()));
        let said = nowhere.decrypt("x").expect_err("there is no program");
        assert!(
            said.contains("`ansible-vault`, which decrypts it, cannot be used"),
            "{said}"
        );
    }
}
