//! The file `hints.yml` next to a playbook: the parallelization hints of a project's modules, and the limits that tasks
//! name.

use std::path::Path;

use ratchet_input::InputError;
use ratchet_runtime::{Limit, ParallelizationHint};
use serde::de::DeserializeOwned;

use crate::data::{Data, Entry, Value};
use crate::hints::{ModuleEntry, ModuleRegistry};
use crate::language::{Block, Keyword, Play, PlaybookReader, Settings, Step};

/// The name of the file.
const NAME: &str = "hints.yml";

/// Reads the hint file of a folder, if there is one: adds its modules to a registry, and returns its limits.
pub(crate) fn read(
    reader: &mut PlaybookReader,
    folder: &Path,
    registry: &mut ModuleRegistry,
) -> Result<Vec<(String, Limit)>, InputError> {
    let path = folder.join(NAME);
    let mut limits = Vec::new();
    if !path.is_file() {
        return Ok(limits);
    }
    let data = reader.data_of(&path).map_err(InputError::new)?;
    for section in data.map(|data| entries(reader, data)).unwrap_or_default() {
        match section.name.as_str() {
            "modules" => {
                for entry in entries(reader, section.data) {
                    if let Some(hint) = value::<ParallelizationHint>(reader, &entry) {
                        registry.register(entry.name, ModuleEntry::new(hint));
                    }
                }
            }
            "limits" => {
                for entry in entries(reader, section.data) {
                    if let Some(limit) = value::<Limit>(reader, &entry) {
                        limits.push((entry.name, limit));
                    }
                }
            }
            other => {
                let message = format!("`{NAME}` cannot have a section `{other}`");
                let help = "its sections are `modules`, with a hint for each module, and `limits`, written as in a job file";
                reader.refuse(section.place, message, Some(help.to_owned()));
            }
        }
    }
    reader.take_error()?;
    Ok(limits)
}

fn entries(reader: &mut PlaybookReader, data: Data) -> Vec<Entry> {
    let kind = data.kind();
    match data.value {
        Value::Map(entries) => entries,
        Value::Null => Vec::new(),
        _ => {
            reader.refuse(data.place, format!("expected a map, found {kind}"), None);
            Vec::new()
        }
    }
}

fn value<T: DeserializeOwned>(reader: &mut PlaybookReader, entry: &Entry) -> Option<T> {
    match serde_json::from_value(entry.data.to_json()) {
        Ok(value) => Some(value),
        Err(error) => {
            reader.refuse(entry.data.place, format!("`{}`: {error}", entry.name), None);
            None
        }
    }
}

/// Refuses limits in a play that no hint file declares.
pub(crate) fn check_limits(play: &Play, limits: &[(String, Limit)], reader: &mut PlaybookReader) {
    check_settings(&play.settings, limits, reader);
    let handlers = std::iter::once(play.handlers.as_slice());
    for steps in play.sections().into_iter().chain(handlers) {
        check_steps(steps, limits, reader);
    }
}

fn check_steps(steps: &[Step], limits: &[(String, Limit)], reader: &mut PlaybookReader) {
    for step in steps {
        match step {
            Step::Task(task) => check_settings(&task.settings, limits, reader),
            Step::Block(block) => {
                check_settings(&block.settings, limits, reader);
                let Block {
                    steps,
                    rescue,
                    always,
                    handlers,
                    ..
                } = &**block;
                for inner in [steps, rescue, always, handlers] {
                    check_steps(inner, limits, reader);
                }
            }
        }
    }
}

fn check_settings(settings: &Settings, limits: &[(String, Limit)], reader: &mut PlaybookReader) {
    let Some(data) = settings.get(Keyword::Limits) else {
        return;
    };
    for name in data.words() {
        let is_known = limits.iter().any(|(known, _)| *known == name);
        if !is_known && !crate::data::is_template(&name) {
            let message = format!("no limit is called `{name}`");
            let help = format!(
                "declare it in `{NAME}` beside the playbook, as in `limits: {{{name}: {{max: 4}}}}`"
            );
            reader.refuse(data.place, message, Some(help));
        }
    }
}
