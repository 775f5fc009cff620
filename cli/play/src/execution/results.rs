//! Results that the engine creates, rather than a module.

use serde_json::{Map, Value as Json};

use crate::actions::CACHEABLE;
use crate::call::Names;
use crate::language::Condition;
use crate::result::{TaskResult, TaskStatus, flag};

/// Returns the value that `register` stores for a result.
pub(super) fn registered(result: &TaskResult) -> Json {
    let mut map = result.result.clone();
    map.shift_remove(CACHEABLE);
    if let Some(diff) = &result.diff {
        map.insert("diff".to_owned(), diff.clone());
    }
    map.entry("changed").or_insert(false.into());
    // A task that was skipped and a loop have neither failed nor not.
    if !map.contains_key("skipped") {
        map.entry("failed").or_insert(false.into());
    }
    for (wrong, usual) in [("stdout", "stdout_lines"), ("stderr", "stderr_lines")] {
        if let Some(Json::String(text)) = map.get(wrong)
            && !map.contains_key(usual)
        {
            let lines: Vec<Json> = text.lines().map(Json::from).collect();
            let at = place_of_lines(&map);
            // The lines of stdout come first.
            let at = at + usize::from(map.keys().nth(at).is_some_and(|key| key == "stdout_lines"));
            map.shift_insert(at, usual.to_owned(), Json::Array(lines));
        }
    }
    Json::Object(map)
}

/// Returns the place of the lines of an output: behind what the module has returned, and before what the task has added.
fn place_of_lines(map: &Map<String, Json>) -> usize {
    let place = |name: &str| map.keys().position(|key| key == name);
    match (place("failed"), place("msg")) {
        // The module has returned that it has failed.
        (Some(failed), Some(message)) if failed < message => message + 1,
        (Some(failed), _) => failed,
        (None, _) => map.len(),
    }
}

/// Makes the result of a task that did not run, because a condition did not hold.
pub(super) fn skipped(condition: &Condition) -> Map<String, Json> {
    let condition = match condition {
        Condition::Fixed(value) => Json::from(*value),
        Condition::Expression(text) => Json::from(text.as_str()),
    };
    let mut result = Map::new();
    result.insert("changed".to_owned(), false.into());
    result.insert("skipped".to_owned(), true.into());
    result.insert(
        "skip_reason".to_owned(),
        "Conditional result was False".into(),
    );
    result.insert("false_condition".to_owned(), condition);
    result
}

/// Makes the result of a task whose loop has no items.
pub(super) fn without_items() -> Map<String, Json> {
    let mut result = Map::new();
    result.insert("changed".to_owned(), false.into());
    result.insert("skipped".to_owned(), true.into());
    result.insert("skipped_reason".to_owned(), "No items in the list".into());
    result.insert("results".to_owned(), Json::Array(Vec::new()));
    result
}

/// Makes the result of a failed task.
pub(super) fn failed(reason: &str) -> Map<String, Json> {
    let mut result = Map::new();
    result.insert("failed".to_owned(), true.into());
    result.insert("msg".to_owned(), reason.into());
    result.insert("changed".to_owned(), false.into());
    result
}

/// Makes the result of a task with a known status, without its rules.
pub(super) fn plain_result(
    names: Names,
    result: Map<String, Json>,
    status: TaskStatus,
) -> TaskResult {
    TaskResult {
        status,
        changed: flag(&result, "changed"),
        msg: result.get("msg").and_then(Json::as_str).map(str::to_owned),
        play: names.play,
        task: names.task,
        module: names.module,
        host: names.host,
        item: names.item,
        result,
        diff: None,
    }
}
