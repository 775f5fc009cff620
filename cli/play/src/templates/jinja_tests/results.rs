//! Tests of the results of tasks.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::function_arguments::{kind, wrong};
use super::super::names::NamedFunctions;

/// Adds the tests.
pub(super) fn add(engine: &mut NamedFunctions) {
    for name in ["failed", "failure"] {
        engine.question(name, &[], |result, _| flag(result, "failed"));
    }
    for name in ["succeeded", "success", "successful"] {
        engine.question(name, &[], |result, _| Ok(!flag(result, "failed")?));
    }
    for name in ["changed", "change"] {
        engine.question(name, &[], |result, _| has_changed(result));
    }
    for name in ["skipped", "skip"] {
        engine.question(name, &[], |result, _| flag(result, "skipped"));
    }
    engine.question("unreachable", &[], |result, _| flag(result, "unreachable"));
    engine.question("reachable", &[], |result, _| {
        Ok(!flag(result, "unreachable")?)
    });
}

fn flag(result: &Value, name: &str) -> Result<bool, Error> {
    if result.kind() != ValueKind::Map {
        return Err(wrong(format!(
            "this is not a result of a task, but {}",
            kind(result)
        )));
    }
    Ok(result.get_item(&Value::from(name))?.is_true())
}

/// Whether a result, or one of the results of a loop, reports a change.
fn has_changed(result: &Value) -> Result<bool, Error> {
    let changed = flag(result, "changed")?;
    if !result.get_item(&Value::from("changed"))?.is_undefined() {
        return Ok(changed);
    }
    let results = result.get_item(&Value::from("results"))?;
    if results.kind() != ValueKind::Seq {
        return Ok(false);
    }
    for one in results.try_iter()? {
        if one.kind() == ValueKind::Map && flag(&one, "changed")? {
            return Ok(true);
        }
    }
    Ok(false)
}
