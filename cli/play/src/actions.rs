//! The actions of tasks: which of them the controller performs itself, and what it does before a module runs.

mod encoding;
mod files;
mod local;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::call::{Action, Work};
use crate::language::{Task, builtin};
use crate::result::flag;
use crate::templates::{SearchPath, Variables};

pub(crate) use local::{CACHEABLE, names_of};

/// A task for one host or one item, with its arguments rendered.
#[derive(Debug)]
pub(crate) struct ActionRequest<'a> {
    pub(crate) task: &'a Task,
    pub(crate) variables: &'a Variables,
    /// The named arguments.
    pub(crate) arguments: Map<String, Value>,
    /// The text without a name, such as the command.
    pub(crate) free: Option<String>,
}

/// What a task does: something that the controller has already done, or an action on a host with its arguments.
#[derive(Debug)]
pub(crate) enum PlannedAction {
    Local(Work),
    Remote(Action, Map<String, Value>),
}

/// Returns the folders that are searched for the files of a task: those of its role and of the roles around it, the
/// folder of its file, and that of the playbook.
pub(crate) fn folders_of(task: &Task, playbook: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut next = task.role.as_ref();
    while let Some(role) = next {
        folders.push(role.folder.clone());
        next = role.parent.as_ref();
    }
    for folder in [task.folder.as_path(), playbook] {
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_path_buf());
        }
    }
    folders
}

/// Finds the file or folder that a task names. In each folder, the subfolder `kind` is searched first.
pub(crate) fn find_file(search: &SearchPath, kind: &str, name: &str) -> Result<PathBuf, String> {
    let name = expanded(name);
    if let Some(found) = search.find(kind, &name) {
        return Ok(found);
    }
    let looked = search.candidates(kind, &name).into_iter();
    let looked: Vec<_> = looked.map(|path| format!("`{}`", path.display())).collect();
    Err(format!(
        "there is no file `{name}`; it was looked for as {}",
        looked.join(", ")
    ))
}

/// Returns a path with a leading `~` replaced by the home folder of the user.
fn expanded(name: &str) -> String {
    match (name.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => name.to_owned(),
    }
}

/// Plans what a task does.
pub(crate) fn plan(request: ActionRequest<'_>) -> Result<PlannedAction, String> {
    let name = builtin(&request.task.module);
    match name {
        "debug" => local::debug(&request),
        "set_fact" => local::set_fact(&request),
        "assert" => local::assert(&request),
        "fail" => local::fail(&request),
        "add_host" => local::add_host(&request),
        "group_by" => local::group_by(&request),
        "pause" => local::pause(&request),
        "set_stats" => local::set_stats(&request),
        "validate_argument_spec" => local::validate_argument_spec(&request),
        "copy" => files::copy(request),
        "template" => files::template(request),
        "script" => files::script(request),
        "unarchive" => files::unarchive(request),
        "assemble" => files::assemble(request),
        "fetch" => Ok(remote(request, Action::Fetch)),
        "raw" => {
            let command = command(&request)?;
            let mut arguments = request.arguments;
            arguments.insert("_raw_params".to_owned(), command.into());
            Ok(PlannedAction::Remote(Action::Raw, arguments))
        }
        "command" | "shell" => {
            let mut arguments = request.arguments;
            if let Some(text) = request.free {
                arguments.insert("_raw_params".to_owned(), text.into());
            }
            if name == "shell" {
                arguments.insert("_uses_shell".to_owned(), true.into());
            }
            let module = Action::Module("ansible.legacy.command".to_owned());
            Ok(PlannedAction::Remote(module, arguments))
        }
        "package" => Ok(remote(request, Action::Package)),
        "service" => Ok(remote(request, Action::Service)),
        "gather_facts" => Ok(remote(request, Action::GatherFacts)),
        // `reset_connection` is the only word of `meta` for which a job is planned.
        "meta" => Ok(remote(request, Action::ResetConnection)),
        "reboot" => Ok(remote(request, Action::Reboot)),
        "wait_for_connection" => Ok(remote(request, Action::WaitForConnection)),
        _ => {
            let module = request.task.module.clone();
            Ok(remote(request, Action::Module(module)))
        }
    }
}

fn remote(request: ActionRequest<'_>, action: Action) -> PlannedAction {
    PlannedAction::Remote(action, request.arguments)
}

/// Returns the command of `raw` and `script`.
fn command(request: &ActionRequest<'_>) -> Result<String, String> {
    let named = ["cmd", "_raw_params"].iter().find_map(|name| {
        let value = request.arguments.get(*name)?;
        value.as_str().map(str::to_owned)
    });
    let command = request.free.clone().or(named).unwrap_or_default();
    if command.trim().is_empty() {
        return Err("the command is missing".to_owned());
    }
    Ok(command)
}

/// Whether a task always runs once for all hosts, even without `run_once`.
pub(crate) fn is_for_all_hosts(module: &str) -> bool {
    matches!(builtin(module), "add_host" | "pause")
}

/// Whether the controller performs all of a task itself.
pub(crate) fn is_local(module: &str) -> bool {
    matches!(
        builtin(module),
        "debug"
            | "set_fact"
            | "assert"
            | "fail"
            | "add_host"
            | "group_by"
            | "pause"
            | "set_stats"
            | "validate_argument_spec"
            | "meta"
            | "include_tasks"
            | "include_role"
            | "include_vars"
            | "import_tasks"
            | "import_role"
    )
}

/// Returns the name of the module that a task needs on the host after the controller has done its part; empty if none.
pub(crate) fn modules_of(module: &str) -> &str {
    match builtin(module) {
        "template" | "assemble" => "ansible.builtin.copy",
        "shell" | "script" | "reboot" => "ansible.builtin.command",
        "gather_facts" => "ansible.builtin.setup",
        "fetch" => "ansible.builtin.slurp",
        "wait_for_connection" => "ansible.builtin.ping",
        "raw" => "",
        _ if is_local(module) => "",
        _ => module,
    }
}

/// Whether an argument is set and true.
fn option(arguments: &Map<String, Value>, name: &str) -> bool {
    flag(arguments, name)
}

/// Returns an argument that is a text, or a number as text.
fn text(arguments: &Map<String, Value>, name: &str) -> Option<String> {
    match arguments.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// Returns an argument that is a number of seconds, or of minutes.
fn seconds(arguments: &Map<String, Value>, name: &str) -> Result<Option<Duration>, String> {
    let Some(text) = text(arguments, name) else {
        return Ok(None);
    };
    let number: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("`{name}` has to be a number, not `{text}`"))?;
    Duration::try_from_secs_f64(number.max(0.0))
        .map(Some)
        .map_err(|_| format!("`{name}` is too large: {text}"))
}
