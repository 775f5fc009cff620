//! What the tasks of a playbook do: which of them the controller does itself, and what it does before a module runs.

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

/// What a task is to do: something that the controller has done already, or an action on a host with its arguments.
#[derive(Debug)]
pub(crate) enum PlannedAction {
    Local(Work),
    Remote(Action, Map<String, Value>),
}

/// The folders in which the files of a task are looked for: those of its role and of the roles around it, the folder of its
/// file, and that of the playbook.
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

/// The file or folder that a task names. In each folder, one within `kind` comes first.
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

/// A path with the folder of the user in the place of `~`.
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
        // All other words of `meta` are no jobs.
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

/// The command of `raw` and `script`.
fn command(request: &ActionRequest<'_>) -> Result<String, String> {
    let named = ["cmd", "_raw_params"].iter().find_map(|name| {
        let value = request.arguments.get(*name)?;
        value.as_str().map(str::to_owned)
    });
    let command = request.free.clone().or(named).unwrap_or_default();
    if command.trim().is_empty() {
        return Err("there is no command".to_owned());
    }
    Ok(command)
}

/// Whether a task runs once for all hosts, whatever it says.
pub(crate) fn is_for_all_hosts(module: &str) -> bool {
    matches!(builtin(module), "add_host" | "pause")
}

/// Whether the controller does all of a task by itself.
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

/// The modules that a task needs on the host, for whatever the controller does before.
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

/// An argument that is true or false.
fn option(arguments: &Map<String, Value>, name: &str) -> bool {
    flag(arguments, name)
}

/// An argument that is a text, or a number as text.
fn text(arguments: &Map<String, Value>, name: &str) -> Option<String> {
    match arguments.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// An argument that is a number of seconds, or of minutes.
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
