//! The command line flags, and how they override the settings.

use std::path::PathBuf;
use std::time::Duration;

use super::Configuration;
use crate::vault::VaultPassword;

/// The flags on the command line besides the playbooks. A flag that was not given leaves the setting as it is.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that can be typed with any other"
)]
pub struct PlayFlags {
    /// The sources of hosts.
    pub inventory: Vec<String>,
    /// The tags to run.
    pub tags: Vec<String>,
    /// The tags to skip.
    pub skip_tags: Vec<String>,
    /// Whether results show how files change.
    pub diff: bool,
    /// How many jobs may run at once.
    pub forks: Option<u32>,
    /// Whether handlers run on hosts that have failed.
    pub force_handlers: bool,
    /// The folders of modules for all playbooks, before those of the settings.
    pub libraries: Vec<PathBuf>,
    /// Whether tasks become another user by default.
    pub becomes: bool,
    /// The user that tasks become.
    pub become_user: Option<String>,
    /// The method by which they become that user.
    pub become_method: Option<String>,
    /// Whether to ask for the password of `become`.
    pub asks_become_password: bool,
    /// The file that holds the password of `become`.
    pub become_password_file: Option<PathBuf>,
    /// The user who logs in to hosts.
    pub remote_user: Option<String>,
    /// Whether the password of that user is asked for.
    pub asks_password: bool,
    /// The file that holds the password of that user.
    pub password_file: Option<PathBuf>,
    /// The file with the key of that user.
    pub private_key: Option<PathBuf>,
    /// The kind of connection.
    pub connection: Option<String>,
    /// How many seconds it may take to connect.
    pub timeout: Option<u64>,
    /// More arguments for ssh, after those of the settings.
    pub ssh_common_args: Option<String>,
    /// Files with passwords of encrypted files, which are tried before those of the settings.
    pub vault_password_files: Vec<PathBuf>,
}

impl Configuration {
    /// Replaces settings by the flags that were given.
    pub fn apply_flags(&mut self, flags: PlayFlags) {
        fn replace<T>(set: &mut Option<T>, typed: Option<T>) {
            if typed.is_some() {
                *set = typed;
            }
        }
        fn replace_list<T>(set: &mut Vec<T>, typed: Vec<T>) {
            if !typed.is_empty() {
                *set = typed;
            }
        }
        replace_list(&mut self.inventory, flags.inventory);
        replace_list(&mut self.run_tags, flags.tags);
        replace_list(&mut self.skip_tags, flags.skip_tags);
        self.always_diffs |= flags.diff;
        replace(&mut self.forks, flags.forks);
        self.force_handlers |= flags.force_handlers;
        self.library.splice(0..0, flags.libraries);
        self.becomes |= flags.becomes;
        replace(&mut self.become_user, flags.become_user);
        replace(&mut self.become_method, flags.become_method);
        self.become_ask_pass |= flags.asks_become_password;
        replace(&mut self.become_password_file, flags.become_password_file);
        replace(&mut self.remote_user, flags.remote_user);
        self.ask_pass |= flags.asks_password;
        replace(&mut self.connection_password_file, flags.password_file);
        replace(&mut self.private_key_file, flags.private_key);
        replace(&mut self.transport, flags.connection);
        replace(&mut self.timeout, flags.timeout.map(Duration::from_secs));
        if let Some(typed) = flags.ssh_common_args {
            let more = self.ssh_extra_args.take();
            let more = more.map(|more| format!("{more} {typed}"));
            self.ssh_extra_args = Some(more.unwrap_or(typed));
        }
        let files = flags.vault_password_files.into_iter();
        let files = files.map(|path| VaultPassword::File {
            id: String::new(),
            path,
        });
        self.vault_passwords.splice(0..0, files);
    }

    /// Returns the arguments of ssh, if any are set.
    pub(crate) fn ssh_arguments(&self) -> Option<String> {
        let parts = [&self.ssh_args, &self.ssh_common_args, &self.ssh_extra_args];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}
