//! The settings of Ansible: `ansible.cfg`, and environment variables.

mod flags;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_input::InputError;

pub use flags::PlayFlags;

use crate::vault::VaultPassword;
use reader::SettingsReader;

/// When facts are gathered for a play that does not set `gather_facts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Gathering {
    /// For each play.
    #[default]
    Implicit,
    /// Only for plays that ask for it.
    Explicit,
    /// For hosts whose facts are not known yet.
    Smart,
}

/// The settings of Ansible that have an effect here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting that people write as true or false"
)]
pub struct Configuration {
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// The sources of hosts.
    pub inventory: Vec<String>,
    /// The folders that are searched for roles.
    pub roles_path: Vec<PathBuf>,
    /// The folders that are searched for collections.
    pub collections_path: Vec<PathBuf>,
    /// The folders that are searched for modules.
    pub library: Vec<PathBuf>,
    /// The user who logs in.
    pub remote_user: Option<String>,
    /// The port to connect to.
    pub remote_port: Option<u16>,
    /// The private key for logging in.
    pub private_key_file: Option<PathBuf>,
    /// Where the passwords of encrypted files come from.
    pub vault_passwords: Vec<VaultPassword>,
    /// Whether the password of encrypted files is asked for.
    pub ask_vault_pass: bool,
    /// Whether the keys of hosts have to be known.
    pub host_key_checking: bool,
    /// Whether the password for logging in is asked for.
    pub ask_pass: bool,
    /// The file that holds the password for logging in.
    pub connection_password_file: Option<PathBuf>,
    /// Whether tasks are run as another user.
    pub becomes: bool,
    /// The other user.
    pub become_user: Option<String>,
    /// How tasks become another user.
    pub become_method: Option<String>,
    /// Whether the password for becoming another user is asked for.
    pub become_ask_pass: bool,
    /// The file that holds the password for becoming another user.
    pub become_password_file: Option<PathBuf>,
    /// The program that switches to another user.
    pub become_exe: Option<String>,
    /// The flags of that program.
    pub become_flags: Option<String>,
    /// How long it may take to establish a connection.
    pub timeout: Option<Duration>,
    /// How long a task may take.
    pub task_timeout: Option<Duration>,
    /// How many hosts are worked on at once.
    pub forks: Option<u32>,
    /// When facts are gathered.
    pub(crate) gathering: Gathering,
    /// The kind of connection to hosts.
    pub transport: Option<String>,
    /// The Python interpreter on the hosts.
    pub interpreter_python: Option<String>,
    /// Whether handlers run after a failure, too.
    pub force_handlers: bool,
    /// Whether a failure on one host ends the play on all of them.
    pub any_errors_fatal: bool,
    /// The strategy of plays that name none.
    pub strategy: Option<String>,
    /// Whether maps that set the same variable are merged instead of replaced.
    merges_maps: bool,
    /// Whether differences are shown.
    pub always_diffs: bool,
    /// Whether results are kept secret.
    pub no_log: bool,
    /// The tags to run.
    pub run_tags: Vec<String>,
    /// The tags to skip.
    pub skip_tags: Vec<String>,
    /// The text that templates write into the files that they make.
    pub ansible_managed: String,
    /// Whether facts are variables of their own, too.
    inject_facts_as_vars: bool,
    /// The arguments of ssh.
    pub ssh_args: Option<String>,
    /// More arguments of ssh and of its relatives `scp` and `sftp`.
    pub ssh_common_args: Option<String>,
    /// More arguments of ssh alone.
    pub ssh_extra_args: Option<String>,
    /// The ssh program.
    pub ssh_executable: Option<String>,
    /// The names of settings that are set and have no effect here, as they are written.
    unused: Vec<String>,
    /// Warnings about the files that were found.
    warnings: Vec<String>,
}

/// How many tasks run at once by default.
const USUAL_FORKS: u32 = 50;

impl Configuration {
    /// Reads the settings that apply in a folder with these environment variables.
    pub fn load(
        folder: &Path,
        environment: &BTreeMap<OsString, OsString>,
    ) -> Result<Self, InputError> {
        SettingsReader::open(folder, environment)?.configuration()
    }

    /// Returns how many jobs may run at once.
    pub fn forks(&self) -> u32 {
        self.forks.unwrap_or(USUAL_FORKS).max(1)
    }

    /// Whether facts are gathered for plays that do not set `gather_facts`.
    pub(crate) fn gathers_facts(&self) -> bool {
        self.gathering != Gathering::Explicit
    }

    /// Returns warnings about the settings: what is wrong with them, and which of them have no effect.
    pub fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        if !self.unused.is_empty() {
            warnings.push(format!(
                "settings of Ansible that are not used here: {}",
                self.unused.join(", ")
            ));
        }
        if self.merges_maps {
            warnings
                .push("`hash_behaviour = merge` is not used: maps replace each other".to_owned());
        }
        if !self.inject_facts_as_vars {
            warnings
                .push("`inject_facts_as_vars` is not used: facts are variables, too".to_owned());
        }
        warnings
    }
}
