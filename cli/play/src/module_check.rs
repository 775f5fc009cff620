//! Refuses tasks whose modules are nowhere, before they run.

use std::path::{Path, PathBuf};

use crate::actions::modules_of;
use crate::data::Data;
use crate::language::{Keyword, Reader, Step, Task};
use crate::modules::Modules;

/// Refuses tasks whose modules are nowhere.
pub(crate) fn check_steps(steps: &[Step], playbook: &Path, modules: &Modules, reader: &mut Reader) {
    for step in steps {
        match step {
            Step::Task(task) => check_task(task, playbook, modules, reader),
            Step::Block(block) => {
                for inner in [&block.steps, &block.rescue, &block.always, &block.handlers] {
                    check_steps(inner, playbook, modules, reader);
                }
            }
        }
    }
}

fn check_task(task: &Task, playbook: &Path, modules: &Modules, reader: &mut Reader) {
    let wanted = modules_of(&task.module);
    if wanted.is_empty() {
        return;
    }
    let libraries = libraries_of(task, playbook);
    let collections = task.settings.get(Keyword::Collections);
    let collections = collections.map(Data::words).unwrap_or_default();
    if let Err(error) = modules.find(wanted, &libraries, &collections) {
        let help = error.help();
        reader.refuse(task.place, error.to_string(), help);
    }
}

/// The folders of modules of a task: those of its roles and that of the playbook.
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
