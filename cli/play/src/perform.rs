//! The actions of the controller that need a host.

mod copy;
mod fetch;
mod packages;
mod reboot;
mod script;
mod sources;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use ratchet_runtime::{Class, Context, Failure};
use serde_json::{Map, Value};

use crate::call::{Action, ActionCall};
use crate::modules::{Become, ModuleCall, Modules, Secret};
use crate::programs::ProgramRunner;
use crate::targets::{CallError, Target, Targets};
use crate::templates::to_json;

/// The connection settings of all hosts, which the variables of a host override.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionDefaults {
    pub(crate) remote_user: Option<String>,
    pub(crate) private_key: Option<String>,
    pub(crate) connection: Option<String>,
    pub(crate) timeout: Option<u64>,
    pub(crate) ssh_common_args: Option<String>,
    pub(crate) checks_host_keys: bool,
    pub(crate) password: Option<Secret>,
    pub(crate) become_password: Option<Secret>,
    pub(crate) port: Option<u16>,
    /// The Python interpreter on the hosts.
    pub(crate) python: Option<String>,
    pub(crate) ssh_executable: Option<String>,
    pub(crate) verbosity: u8,
}

/// What a module, or an action, returns.
pub(crate) type ActionResult = Result<Map<String, Value>, CallError>;

/// Performs actions on hosts.
pub(crate) struct Performer {
    pub(crate) modules: Arc<Modules>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) defaults: ConnectionDefaults,
    /// Runs programs that variables of connections need, such as one that prints a password.
    pub(crate) programs: ProgramRunner,
}

/// An action, and the host on which it runs.
struct HostAction<'a> {
    performer: &'a Performer,
    call: &'a ActionCall,
    target: Arc<Target>,
    privilege: Option<Become>,
    context: &'a Context,
}

impl Performer {
    /// Performs an action.
    pub(crate) async fn perform(&self, call: &ActionCall, context: &Context) -> ActionResult {
        let connection = || Ok((self.target(call)?, self.privilege(call)?));
        let connected = self.programs.evaluate(context, connection).await;
        let (target, privilege) =
            connected.map_err(|failure| CallError::Failed(Box::new(failure)))??;
        let host = HostAction {
            performer: self,
            call,
            target: Arc::new(target),
            privilege,
            context,
        };
        match &call.action {
            Action::Module(name) => host.module(name, call.arguments.clone()).await,
            Action::Copy(source) => host.copy(source).await,
            Action::Fetch => host.fetch().await,
            Action::Script { path, words } => host.script(path, words).await,
            Action::Raw => host.raw().await,
            Action::Unarchive(source) => host.unarchive(source.as_deref()).await,
            Action::Package => host.package().await,
            Action::Service => host.service().await,
            Action::GatherFacts => {
                host.module("ansible.builtin.setup", call.arguments.clone())
                    .await
            }
            Action::Reboot => host.reboot().await,
            Action::WaitForConnection => host.wait_for_connection().await,
            Action::ResetConnection => {
                self.targets.reset(&host.target).await;
                Ok(Map::new())
            }
        }
    }

    /// Returns the host of an action as a target, from its variables, the keywords and the settings of the command
    /// line.
    fn target(&self, call: &ActionCall) -> Result<Target, CallError> {
        let error = RefCell::new(None);
        let defaults = &self.defaults;
        let target = Target::of(&call.host, |name| {
            match call.connection.get(name) {
                Ok(Some(value)) => return Some(to_json(&value)),
                Ok(None) => {}
                Err(reason) => {
                    error.replace(Some(format!("`{name}`: {reason}")));
                    return None;
                }
            }
            let text = |value: &Option<String>| value.clone().map(Value::String);
            match name {
                "ansible_user" => text(&call.remote_user).or_else(|| text(&defaults.remote_user)),
                "ansible_port" => text(&call.port).or_else(|| defaults.port.map(Value::from)),
                "ansible_python_interpreter" => text(&defaults.python),
                "ansible_ssh_executable" => text(&defaults.ssh_executable),
                "ansible_connection" => {
                    text(&call.connection_kind).or_else(|| text(&defaults.connection))
                }
                "ansible_ssh_private_key_file" => text(&defaults.private_key),
                "ansible_timeout" => defaults.timeout.map(Value::from),
                "ansible_ssh_common_args" => text(&defaults.ssh_common_args),
                "ansible_host_key_checking" => Some(defaults.checks_host_keys.into()),
                "ansible_password" => {
                    let password = defaults.password.as_ref()?;
                    Some(password.reveal().into())
                }
                _ => None,
            }
        });
        match (error.into_inner(), target) {
            (Some(reason), _) | (None, Err(reason)) => Err(failed(reason)),
            (None, Ok(target)) => Ok(target),
        }
    }

    fn privilege(&self, call: &ActionCall) -> Result<Option<Become>, CallError> {
        let Some(wanted) = &call.privilege else {
            return Ok(None);
        };
        let mut privilege = Become::new(wanted.user.clone());
        let names = [
            "ansible_become_password",
            "ansible_become_pass",
            "ansible_sudo_pass",
        ];
        for name in names {
            let value = call.connection.get(name);
            if let Some(value) = value.map_err(|error| failed(format!("`{name}`: {error}")))? {
                privilege.password = Some(Secret::new(crate::templates::text_of(&value)));
                break;
            }
        }
        if privilege.password.is_none() {
            privilege
                .password
                .clone_from(&self.defaults.become_password);
        }
        privilege.program.clone_from(&wanted.exe);
        if let Some(flags) = &wanted.flags {
            let line = ratchet_input::value::split_words(flags);
            privilege.flags = line
                .map_err(|error| failed(format!("`become_flags`: {error}")))?
                .words;
        }
        Ok(Some(privilege))
    }
}

impl HostAction<'_> {
    /// Runs a module with these arguments.
    async fn module(&self, name: &str, arguments: Map<String, Value>) -> ActionResult {
        self.module_in(name, arguments, self.call.check).await
    }

    /// Runs a module with this check mode, whatever the check mode of the task is.
    async fn module_in(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        check: bool,
    ) -> ActionResult {
        let (call, modules) = (self.call, &self.performer.modules);
        let module = modules
            .find(name, &call.libraries, &call.collections)
            .map_err(|error| failed(error.to_string()))?;
        let call = ModuleCall {
            module,
            arguments,
            check,
            diff: call.diff,
            no_log: call.no_log,
            verbosity: self.performer.defaults.verbosity,
            environment: call.environment.clone(),
            privilege: self.privilege.clone(),
        };
        let targets = &self.performer.targets;
        targets.call(&self.target, &call, self.context).await
    }

    fn argument(&self, name: &str) -> Option<&Value> {
        self.call
            .arguments
            .get(name)
            .filter(|value| !value.is_null())
    }

    /// Returns an argument as text.
    fn text(&self, name: &str) -> Option<String> {
        match self.argument(name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    fn required(&self, name: &str) -> Result<String, CallError> {
        self.text(name)
            .ok_or_else(|| failed(format!("the argument `{name}` is missing")))
    }

    fn flag(&self, name: &str) -> bool {
        crate::result::flag(&self.call.arguments, name)
    }

    fn seconds(&self, name: &str, usual: u64) -> Result<std::time::Duration, CallError> {
        let Some(text) = self.text(name) else {
            return Ok(std::time::Duration::from_secs(usual));
        };
        let seconds: f64 = text.trim().parse().map_err(|_| {
            failed(format!(
                "`{name}` has to be a number of seconds, not `{text}`"
            ))
        })?;
        std::time::Duration::try_from_secs_f64(seconds.max(0.0))
            .map_err(|error| failed(format!("`{name}`: {error}")))
    }

    /// Returns the state of a path on the host.
    async fn stat(&self, path: &str, follow: bool) -> Result<Map<String, Value>, CallError> {
        let mut arguments = Map::new();
        arguments.insert("path".to_owned(), path.into());
        arguments.insert("follow".to_owned(), follow.into());
        arguments.insert("get_checksum".to_owned(), true.into());
        arguments.insert("checksum_algorithm".to_owned(), "sha1".into());
        arguments.insert("get_mime".to_owned(), false.into());
        arguments.insert("get_attributes".to_owned(), false.into());
        let result = self.module("ansible.legacy.stat", arguments).await?;
        if crate::result::flag(&result, "failed") {
            return Err(failed(message_of(&result)));
        }
        match result.get("stat") {
            Some(Value::Object(stat)) => Ok(stat.clone()),
            _ => Err(failed(format!("the host did not report what `{path}` is"))),
        }
    }
}

/// Makes the error of an action that has failed itself, rather than its module.
fn failed(reason: impl Into<String>) -> CallError {
    CallError::Failed(Box::new(Failure::new(Class::Task, reason)))
}

/// Returns the error message of a module.
fn message_of(result: &Map<String, Value>) -> String {
    let said = ["msg", "module_stderr", "stderr"]
        .iter()
        .filter_map(|name| result.get(*name)?.as_str())
        .find(|text| !text.is_empty());
    said.unwrap_or("the module failed").to_owned()
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> CallError {
    failed(format!("`{}` cannot be read: {error}", path.display()))
}

/// Joins a folder on the host and a relative path.
fn below(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

/// Lists the files and folders in a folder, each by its relative path, the folders first.
fn walk(folder: &std::path::Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), CallError> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let path = folder.join(&inner);
        let entries = std::fs::read_dir(&path).map_err(|error| unreadable(&path, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&path, &error))?;
            let relative = inner.join(entry.file_name());
            if folder.join(&relative).is_dir() {
                folders.push(relative.clone());
                open.push(relative);
            } else {
                files.push(relative);
            }
        }
    }
    folders.sort_unstable();
    files.sort_unstable();
    Ok((folders, files))
}
