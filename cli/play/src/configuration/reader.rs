//! Reads settings from `ansible.cfg` and from environment variables.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ratchet_input::InputError;

use super::{Configuration, Gathering};
use crate::ini::{Ini, IniDialect};
use crate::vault::VaultPassword;

/// Settings that make no difference here, because ratchet never does what they control, or always does it.
const NEEDLESS: [(&str, &str); 13] = [
    ("defaults", "retry_files_enabled"),
    ("defaults", "deprecation_warnings"),
    ("defaults", "command_warnings"),
    ("defaults", "system_warnings"),
    ("defaults", "localhost_warning"),
    ("defaults", "nocows"),
    ("defaults", "jinja2_extensions"),
    ("defaults", "pipelining"),
    ("connection", "pipelining"),
    ("ssh_connection", "pipelining"),
    ("ssh_connection", "control_path"),
    ("ssh_connection", "control_path_dir"),
    ("ssh_connection", "transfer_method"),
];

/// The settings as they are written, with a record of which were read, to warn about the others.
pub(super) struct SettingsReader<'a> {
    folder: PathBuf,
    home: PathBuf,
    file: Option<PathBuf>,
    ini: Ini,
    environment: &'a BTreeMap<OsString, OsString>,
    /// The environment variables that were read.
    used_variables: BTreeSet<String>,
    used: BTreeSet<(&'static str, &'static str)>,
    warnings: Vec<String>,
}

/// A setting as it is written.
struct Written {
    text: String,
    /// Its name in the place where it is set.
    name: String,
    /// The folder to which relative paths in it refer.
    folder: PathBuf,
}

impl<'a> SettingsReader<'a> {
    /// Finds and reads the configuration file of a folder.
    pub(super) fn open(
        folder: &Path,
        environment: &'a BTreeMap<OsString, OsString>,
    ) -> Result<Self, InputError> {
        let home = environment
            .get(OsStr::new("HOME"))
            .map(PathBuf::from)
            .unwrap_or_default();
        let mut reader = Self {
            folder: folder.to_path_buf(),
            home,
            file: None,
            ini: Ini::default(),
            environment,
            used_variables: BTreeSet::new(),
            used: BTreeSet::new(),
            warnings: Vec::new(),
        };
        let Some(path) = reader.find() else {
            return Ok(reader);
        };
        let refused = |reason: String| {
            InputError::new(format!("`{}` cannot be used: {reason}", path.display()))
        };
        let text = std::fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        let form = IniDialect {
            has_inline_comments: true,
            allows_none: true,
            ..IniDialect::default()
        };
        reader.ini = Ini::parse(&text, form).map_err(refused)?;
        reader.file = Some(path);
        Ok(reader)
    }

    fn variable(&self, name: &str) -> Option<&'a OsString> {
        self.environment.get(OsStr::new(name))
    }

    /// Finds the first configuration file that exists.
    fn find(&mut self) -> Option<PathBuf> {
        if let Some(named) = self.variable("ANSIBLE_CONFIG") {
            let path = self.path(&self.folder, &named.to_string_lossy());
            let path = if path.is_dir() {
                path.join("ansible.cfg")
            } else {
                path
            };
            if path.is_file() {
                return Some(path);
            }
        }
        let here = self.folder.join("ansible.cfg");
        // In a folder that anyone can write to, another user could have placed a file that runs programs as this user.
        let mode = self
            .folder
            .metadata()
            .map_or(0, |folder| folder.permissions().mode());
        let is_public = mode & 0o002 != 0;
        if is_public && here.exists() {
            self.warnings.push(format!(
                "`{}` is ignored, because everybody may write into its folder",
                here.display()
            ));
        }
        let of_user = self.home.join(".ansible.cfg");
        let mut paths = vec![of_user, PathBuf::from("/etc/ansible/ansible.cfg")];
        if !is_public {
            paths.insert(0, here);
        }
        paths.into_iter().find(|path| path.is_file())
    }

    fn path(&self, folder: &Path, text: &str) -> PathBuf {
        let text = text.trim();
        let expanded = match text.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None if text == "~" => self.home.clone(),
            None => PathBuf::from(self.with_variables(text)),
        };
        folder.join(expanded)
    }

    /// Replaces `$NAME`, `${NAME}` and `{{CWD}}` in a text by their values.
    fn with_variables(&self, text: &str) -> String {
        let text = text.replace("{{CWD}}", &self.folder.display().to_string());
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, behind)) = rest.split_once('$') {
            out.push_str(before);
            let braced = behind
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'));
            let end = behind
                .find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            let (name, after) =
                braced.unwrap_or_else(|| behind.split_at(end.unwrap_or(behind.len())));
            if let Some(value) = self.variable(name) {
                out.push_str(&value.to_string_lossy());
            } else {
                out.push('$');
                out.push_str(&behind[..behind.len() - after.len()]);
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// Returns a setting. An environment variable takes precedence over the file.
    fn written(
        &mut self,
        variables: &[&str],
        places: &[(&'static str, &'static str)],
    ) -> Option<Written> {
        self.used.extend(places);
        let names = variables.iter().map(|name| (*name).to_owned());
        self.used_variables.extend(names);
        for name in variables {
            if let Some(value) = self.variable(name).filter(|value| !value.is_empty()) {
                return Some(Written {
                    text: value.to_string_lossy().into_owned(),
                    name: (*name).to_owned(),
                    folder: self.folder.clone(),
                });
            }
        }
        let file = self.file.as_ref()?;
        let folder = self.folder.join(file.parent().unwrap_or(Path::new("")));
        places.iter().find_map(|(section, key)| {
            let text = self.ini.get(section, key).filter(|text| !text.is_empty())?;
            Some(Written {
                text: text.trim_matches(['"', '\'']).to_owned(),
                name: format!("`{key}` of [{section}] in `{}`", file.display()),
                folder: folder.clone(),
            })
        })
    }

    fn text(&mut self, variable: &str, section: &'static str, key: &'static str) -> Option<String> {
        self.written(&[variable], &[(section, key)])
            .map(|written| written.text)
    }

    fn flag(
        &mut self,
        variable: &str,
        section: &'static str,
        key: &'static str,
    ) -> Result<Option<bool>, InputError> {
        let Some(written) = self.written(&[variable], &[(section, key)]) else {
            return Ok(None);
        };
        match written.text.to_lowercase().as_str() {
            "yes" | "on" | "1" | "true" | "t" | "y" | "1.0" => Ok(Some(true)),
            "no" | "off" | "0" | "false" | "f" | "n" | "0.0" => Ok(Some(false)),
            _ => Err(refused(&written, "true or false")),
        }
    }

    fn number<T: std::str::FromStr>(
        &mut self,
        variable: &str,
        section: &'static str,
        key: &'static str,
    ) -> Result<Option<T>, InputError> {
        let written = self.written(&[variable], &[(section, key)]);
        let read = |written: Written| {
            written
                .text
                .parse()
                .map_err(|_| refused(&written, "a whole number"))
        };
        written.map(read).transpose()
    }

    fn file(
        &mut self,
        variable: &str,
        section: &'static str,
        key: &'static str,
    ) -> Option<PathBuf> {
        let written = self.written(&[variable], &[(section, key)])?;
        Some(self.path(&written.folder, &written.text))
    }

    fn folders(
        &mut self,
        variables: &[&str],
        places: &[(&'static str, &'static str)],
        usual: &[&str],
    ) -> Vec<PathBuf> {
        if let Some(written) = self.written(variables, places) {
            let parts = written
                .text
                .split(':')
                .filter(|part| !part.trim().is_empty());
            return parts.map(|part| self.path(&written.folder, part)).collect();
        }
        let home = self.variable("ANSIBLE_HOME");
        let home = home.map_or_else(|| self.home.join(".ansible"), PathBuf::from);
        let resolved = |path: &&str| match path.strip_prefix("HOME/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(path),
        };
        usual.iter().map(resolved).collect()
    }

    fn list(&mut self, variable: &str, section: &'static str, key: &'static str) -> Vec<String> {
        let text = self.text(variable, section, key).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn inventory(&mut self) -> Vec<String> {
        let Some(written) = self.written(
            &["ANSIBLE_INVENTORY"],
            &[("defaults", "inventory"), ("defaults", "hostfile")],
        ) else {
            return Vec::new();
        };
        let parts = written
            .text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        parts
            .map(|part| self.path(&written.folder, part).display().to_string())
            .collect()
    }

    fn vault_passwords(&mut self) -> Vec<VaultPassword> {
        let mut passwords = Vec::new();
        let file = self.file(
            "ANSIBLE_VAULT_PASSWORD_FILE",
            "defaults",
            "vault_password_file",
        );
        passwords.extend(file.map(|path| VaultPassword::File {
            id: String::new(),
            path,
        }));
        let list = self.written(
            &["ANSIBLE_VAULT_IDENTITY_LIST"],
            &[("defaults", "vault_identity_list")],
        );
        let Some(list) = list else {
            return passwords;
        };
        for part in list
            .text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (id, path) = part.split_once('@').unwrap_or(("", part));
            let path = self.path(&list.folder, path);
            passwords.push(VaultPassword::File {
                id: id.to_owned(),
                path,
            });
        }
        passwords
    }

    fn gathering(&mut self) -> Result<Gathering, InputError> {
        let Some(written) = self.written(&["ANSIBLE_GATHERING"], &[("defaults", "gathering")])
        else {
            return Ok(Gathering::Implicit);
        };
        match written.text.as_str() {
            "implicit" => Ok(Gathering::Implicit),
            "explicit" => Ok(Gathering::Explicit),
            "smart" => Ok(Gathering::Smart),
            _ => Err(refused(&written, "implicit, explicit or smart")),
        }
    }

    fn merges_maps(&mut self) -> Result<bool, InputError> {
        let Some(written) = self.written(
            &["ANSIBLE_HASH_BEHAVIOUR"],
            &[("defaults", "hash_behaviour")],
        ) else {
            return Ok(false);
        };
        match written.text.as_str() {
            "replace" => Ok(false),
            "merge" => Ok(true),
            _ => Err(refused(&written, "replace or merge")),
        }
    }

    /// Reads all settings.
    #[expect(
        clippy::too_many_lines,
        reason = "it is a table with a line for each setting"
    )]
    pub(super) fn configuration(&mut self) -> Result<Configuration, InputError> {
        let seconds =
            |number: Option<u64>| number.filter(|number| *number > 0).map(Duration::from_secs);
        let escalation = "privilege_escalation";
        Ok(Configuration {
            inventory: self.inventory(),
            roles_path: self.folders(
                &["ANSIBLE_ROLES_PATH"],
                &[("defaults", "roles_path")],
                &[
                    "HOME/roles",
                    "/usr/share/ansible/roles",
                    "/etc/ansible/roles",
                ],
            ),
            collections_path: self.folders(
                &["ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_COLLECTIONS_PATHS"],
                &[
                    ("defaults", "collections_path"),
                    ("defaults", "collections_paths"),
                ],
                &["HOME/collections", "/usr/share/ansible/collections"],
            ),
            library: self.folders(
                &["ANSIBLE_LIBRARY"],
                &[("defaults", "library")],
                &["HOME/plugins/modules", "/usr/share/ansible/plugins/modules"],
            ),
            remote_user: self.text("ANSIBLE_REMOTE_USER", "defaults", "remote_user"),
            remote_port: self.number("ANSIBLE_REMOTE_PORT", "defaults", "remote_port")?,
            private_key_file: self.file("ANSIBLE_PRIVATE_KEY_FILE", "defaults", "private_key_file"),
            vault_passwords: self.vault_passwords(),
            ask_vault_pass: self.flag("ANSIBLE_ASK_VAULT_PASS", "defaults", "ask_vault_pass")?
                == Some(true),
            host_key_checking: self.flag(
                "ANSIBLE_HOST_KEY_CHECKING",
                "defaults",
                "host_key_checking",
            )? != Some(false),
            ask_pass: self.flag("ANSIBLE_ASK_PASS", "defaults", "ask_pass")? == Some(true),
            connection_password_file: self.file(
                "ANSIBLE_CONNECTION_PASSWORD_FILE",
                "defaults",
                "connection_password_file",
            ),
            becomes: self.flag("ANSIBLE_BECOME", escalation, "become")? == Some(true),
            become_user: self.text("ANSIBLE_BECOME_USER", escalation, "become_user"),
            become_method: self.text("ANSIBLE_BECOME_METHOD", escalation, "become_method"),
            become_ask_pass: self.flag("ANSIBLE_BECOME_ASK_PASS", escalation, "become_ask_pass")?
                == Some(true),
            become_password_file: self.file(
                "ANSIBLE_BECOME_PASSWORD_FILE",
                "defaults",
                "become_password_file",
            ),
            become_exe: self.text("ANSIBLE_BECOME_EXE", escalation, "become_exe"),
            become_flags: self.text("ANSIBLE_BECOME_FLAGS", escalation, "become_flags"),
            timeout: seconds(self.number("ANSIBLE_TIMEOUT", "defaults", "timeout")?),
            task_timeout: seconds(self.number(
                "ANSIBLE_TASK_TIMEOUT",
                "defaults",
                "task_timeout",
            )?),
            forks: self.number("ANSIBLE_FORKS", "defaults", "forks")?,
            gathering: self.gathering()?,
            transport: self.text("ANSIBLE_TRANSPORT", "defaults", "transport"),
            interpreter_python: self.text(
                "ANSIBLE_PYTHON_INTERPRETER",
                "defaults",
                "interpreter_python",
            ),
            force_handlers: self.flag("ANSIBLE_FORCE_HANDLERS", "defaults", "force_handlers")?
                == Some(true),
            any_errors_fatal: self.flag(
                "ANSIBLE_ANY_ERRORS_FATAL",
                "defaults",
                "any_errors_fatal",
            )? == Some(true),
            strategy: self.text("ANSIBLE_STRATEGY", "defaults", "strategy"),
            merges_maps: self.merges_maps()?,
            always_diffs: self.flag("ANSIBLE_DIFF_ALWAYS", "diff", "always")? == Some(true),
            no_log: self.flag("ANSIBLE_NO_LOG", "defaults", "no_log")? == Some(true),
            run_tags: self.list("ANSIBLE_RUN_TAGS", "tags", "run"),
            skip_tags: self.list("ANSIBLE_SKIP_TAGS", "tags", "skip"),
            ansible_managed: self
                .written(&[], &[("defaults", "ansible_managed")])
                .map_or_else(|| "Ansible managed".to_owned(), |written| written.text),
            inject_facts_as_vars: self.flag(
                "ANSIBLE_INJECT_FACT_VARS",
                "defaults",
                "inject_facts_as_vars",
            )? != Some(false),
            ssh_args: self.text("ANSIBLE_SSH_ARGS", "ssh_connection", "ssh_args"),
            ssh_common_args: self.text(
                "ANSIBLE_SSH_COMMON_ARGS",
                "ssh_connection",
                "ssh_common_args",
            ),
            ssh_extra_args: self.text("ANSIBLE_SSH_EXTRA_ARGS", "ssh_connection", "ssh_extra_args"),
            ssh_executable: self.text("ANSIBLE_SSH_EXECUTABLE", "ssh_connection", "ssh_executable"),
            // This has to be evaluated last: it returns what none of the lines above has read.
            unused: self.unused(),
            warnings: std::mem::take(&mut self.warnings),
            file: self.file.clone(),
        })
    }

    /// Returns the settings that were not read, each once.
    fn unused(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for setting in &self.ini.settings {
            let place = (setting.section.as_str(), setting.name.as_str());
            // Settings of inventories are for the program that reads inventories.
            let is_known =
                self.used.contains(&place) || NEEDLESS.contains(&place) || place.0 == "inventory";
            if !is_known {
                names.insert(format!("{} in [{}]", setting.name, setting.section));
            }
        }
        let variables = self.environment.keys().filter_map(|name| name.to_str());
        let unused = variables
            .filter(|name| name.starts_with("ANSIBLE_") && !self.used_variables.contains(*name))
            .filter(|name| !is_needless_variable(name));
        names.extend(unused.map(str::to_owned));
        names.into_iter().collect()
    }
}

/// Whether an environment variable makes no difference here, or is for another program of Ansible.
fn is_needless_variable(name: &str) -> bool {
    const NEEDLESS_VARIABLES: [&str; 5] = [
        "ANSIBLE_CONFIG",
        "ANSIBLE_FORCE_COLOR",
        "ANSIBLE_HOME",
        "ANSIBLE_PIPELINING",
        "ANSIBLE_SSH_PIPELINING",
    ];
    // The programs of Ansible that read inventories and decrypt files read these themselves.
    let of_others = ["ANSIBLE_INVENTORY_", "ANSIBLE_VAULT_"];
    NEEDLESS_VARIABLES.contains(&name)
        || of_others.iter().any(|start| name.starts_with(start))
        || NEEDLESS.iter().any(|(section, key)| {
            let key = key.to_uppercase();
            let with_section = format!("ANSIBLE_{}_{key}", section.to_uppercase());
            name == format!("ANSIBLE_{key}") || name == with_section
        })
}

fn refused(written: &Written, expected: &str) -> InputError {
    InputError::new(format!(
        "{} has to be {expected}, not `{}`",
        written.name, written.text
    ))
}
