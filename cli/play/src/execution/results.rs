//! Results that the engine creates, rather than a module.

use serde_json::{Map, Value as Json};

use crate::actions::CACHEABLE;
use crate::call::Names;
use crate::language::Condition;
use crate::result::{TaskResult, TaskStatus, flag};

/// Returns the value that `register` stores for a result.
pub(super) fn registered(result: &TaskResult) -> Json {
    let mut map = result.result.clone();
    map.remove(CACHEABLE);
    if let Some(diff) = &result.diff {
        map.insert("diff".to_owned(), diff.clone());
    }
    map.entry("changed").or_insert(false.into());
    map.entry("failed").or_insert(false.into());
    for (wrong, usual) in [("stdout", "stdout_lines"), ("stderr", "stderr_lines")] {
        if let Some(Json::String(text)) = map.get(wrong)
            && !map.contains_key(usual)
        {
            let lines: Vec<Json> = text.lines().map(Json::from).collect();
            map.insert(usual.to_owned(), Json::Array(lines));
        }
    }
    Json::Object(map)
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
    result.insert("changed".to_owned(), false.into());
    result.insert("failed".to_owned(), true.into());
    result.insert("msg".to_owned(), reason.into());
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
