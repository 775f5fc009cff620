//! Refuses tasks that cannot run, before anything runs: those whose modules do not exist, and those that use features
//! that are not supported.

use std::path::{Path, PathBuf};

use ratchet_input::value::closest;

use crate::actions::modules_of;
use crate::data::{Data, Value};
use crate::known_modules::{is_module, nearest_module};
use crate::language::{Keyword, PlaybookReader, Section, Settings, Step, Task, builtin, nearest};
use crate::modules::Modules;
use crate::targets::is_connection;

/// Refuses tasks that cannot run.
pub(crate) fn check_steps(
    steps: &[Step],
    playbook: &Path,
    modules: &Modules,
    reader: &mut PlaybookReader,
) {
    for step in steps {
        match step {
            Step::Task(task) => {
                check_settings(&task.settings, modules, reader);
                check_pause(task, reader);
                check_task(task, playbook, modules, reader);
            }
            Step::Block(block) => {
                check_settings(&block.settings, modules, reader);
                for inner in [&block.steps, &block.rescue, &block.always, &block.handlers] {
                    check_steps(inner, playbook, modules, reader);
                }
            }
        }
    }
}

fn check_task(task: &Task, playbook: &Path, modules: &Modules, reader: &mut PlaybookReader) {
    let wanted = modules_of(&task.module);
    if wanted.is_empty() {
        return;
    }
    let libraries = libraries_of(task, playbook);
    let collections = task.settings.get(Keyword::Collections);
    let collections = collections.map(Data::words).unwrap_or_default();
    if let Err(error) = modules.find(wanted, &libraries, &collections) {
        let is_unknown = !is_module(builtin(&task.module));
        let meant = is_unknown.then(|| meant_word(builtin(wanted))).flatten();
        let help = match (meant, error.help()) {
            (Some(meant), Some(help)) => Some(format!("{meant} Otherwise {help}")),
            (meant, help) => meant.or(help),
        };
        reader.refuse(task.place, error.to_string(), help);
    } else if !is_module(builtin(&task.module)) {
        reader.refuse_text(builtin(&task.module), &task.arguments);
    }
}

/// Asks whether the keyword or the module was meant to which an unknown word is closest.
fn meant_word(word: &str) -> Option<String> {
    let keyword = nearest(word, Section::Task);
    let closest = closest(word, keyword.into_iter().chain(nearest_module(word)))?;
    Some(if keyword == Some(closest) {
        format!("did you mean the keyword `{closest}`?")
    } else {
        format!("did you mean `{closest}`?")
    })
}

/// Refuses keywords whose values are not supported: kinds of connections, methods of becoming another user, and groups
/// of modules that do not exist.
pub(crate) fn check_settings(settings: &Settings, modules: &Modules, reader: &mut PlaybookReader) {
    let defaults = settings.get(Keyword::ModuleDefaults);
    let defaults = defaults.and_then(|data| match &data.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    });
    for entry in defaults.into_iter().flatten() {
        let Some(group) = entry.name.strip_prefix("group/") else {
            continue;
        };
        if let Err(error) = modules.group(group) {
            reader.refuse(
                entry.place,
                format!("`module_defaults`: {error}"),
                error.help(),
            );
        }
    }
    for (keyword, reason) in [
        (
            Keyword::Connection,
            refused_connection as fn(&str) -> Option<String>,
        ),
        (Keyword::BecomeMethod, refused_method),
    ] {
        let Some(data) = settings.get(keyword) else {
            continue;
        };
        // The value of a template is known only when it is rendered.
        let written = data.word().filter(|text| !text.contains("{{"));
        if let Some(reason) = written.and_then(|text| reason(&text)) {
            reader.refuse(data.place, reason, None);
        }
    }
}

/// Returns why a kind of connection is refused, if it is.
pub(crate) fn refused_connection(kind: &str) -> Option<String> {
    (!is_connection(kind)).then(|| {
        format!("the connection `{kind}` is not supported; `ssh`, `local` and `docker` are")
    })
}

/// Returns why a method of becoming another user is refused, if it is.
pub(crate) fn refused_method(method: &str) -> Option<String> {
    (builtin(method) != "sudo")
        .then(|| format!("`become_method: {method}` is not supported; `sudo` is"))
}

/// Refuses a task that waits for a key press, since a run may have no terminal.
fn check_pause(task: &Task, reader: &mut PlaybookReader) {
    if builtin(&task.module) != "pause" || task.arguments.free.is_some() {
        return;
    }
    let mut names = task.arguments.named.iter().map(|entry| entry.name.as_str());
    if !names.any(|name| matches!(name, "seconds" | "minutes")) {
        let message =
            "`pause` without `seconds` or `minutes` waits for a key, which a run does not read";
        let help =
            "set how long it waits, or ask with `vars_prompt`, which does so before anything runs";
        reader.refuse(task.place, message, Some(help.to_owned()));
    }
}

/// Returns the folders that are searched for the module of a task: those of its roles and that of the playbook.
pub(crate) fn libraries_of(task: &Task, playbook: &Path) -> Vec<PathBuf> {
    let mut libraries = Vec::new();
    let mut next = task.role.as_ref();
    while let Some(role) = next {
        libraries.push(role.folder.join("library"));
        next = role.parent.as_ref();
    }
    libraries.push(playbook.join("library"));
    libraries
}
