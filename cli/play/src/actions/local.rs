//! The actions that need no host: the controller performs them while it decides what comes next.

use ratchet_input::inventory::Inventory;
use serde_json::{Map, Value, json};

use super::{ActionRequest, PlannedAction, option, seconds, text};
use crate::call::{Work, hold};
use crate::data::Value as DataValue;
use crate::language::Condition;
use crate::templates::{expression, to_json};

/// The planned action, or why the task is refused.
type Planning = Result<PlannedAction, String>;

/// The key by which a result of `set_fact` marks its variables as facts, too.
pub(crate) const CACHEABLE: &str = "_ansible_facts_cacheable";

fn done(result: Value) -> Planning {
    match result {
        Value::Object(result) => Ok(PlannedAction::Local(Work::Done(result))),
        other => Err(format!("an action has returned {other}")),
    }
}

/// Performs `debug`.
pub(super) fn debug(request: &ActionRequest<'_>) -> Planning {
    let arguments = &request.arguments;
    if arguments.contains_key("var") && arguments.contains_key("msg") {
        return Err("`msg` and `var` exclude each other".to_owned());
    }
    refuse_unknown(request, &["msg", "var", "verbosity"])?;
    let wanted = text(arguments, "verbosity").and_then(|text| text.parse::<u64>().ok());
    let given = request.variables.get("ansible_verbosity").ok().flatten();
    let given = given
        .and_then(|value| u64::try_from(value).ok())
        .unwrap_or(0);
    if wanted.is_some_and(|wanted| wanted > given) {
        return done(json!({"skipped": true, "skipped_reason": "Verbosity threshold not met."}));
    }
    let Some(name) = text(arguments, "var") else {
        let message = arguments.get("msg").cloned();
        let message = message.unwrap_or_else(|| "Hello world!".into());
        return done(json!({"msg": message}));
    };
    let value = match expression(&name, request.variables) {
        Ok(value) => to_json(&value),
        Err(error) if error.is_undefined() => "VARIABLE IS NOT DEFINED!".into(),
        Err(error) => return Err(error.to_string()),
    };
    let mut result = Map::new();
    result.insert(name, value);
    done(Value::Object(result))
}

/// Performs `set_fact`.
pub(super) fn set_fact(request: &ActionRequest<'_>) -> Planning {
    let mut facts = request.arguments.clone();
    facts.shift_remove("cacheable");
    let is_cacheable = option(&request.arguments, "cacheable");
    if facts.is_empty() {
        return Err("`set_fact` has no arguments: write names and values".to_owned());
    }
    for name in facts.keys() {
        if !crate::language::is_name(name) {
            return Err(format!("`{name}` cannot be the name of a variable"));
        }
    }
    let mut result = json!({"ansible_facts": facts});
    if is_cacheable {
        result[CACHEABLE] = true.into();
    }
    done(result)
}

/// Performs `assert`.
pub(super) fn assert(request: &ActionRequest<'_>) -> Planning {
    refuse_unknown(
        request,
        &["that", "fail_msg", "msg", "success_msg", "quiet"],
    )?;
    // Conditions are expressions, so they are taken unrendered.
    let Some(that) = request.task.arguments.get("that") else {
        return Err("`assert` needs `that`, the conditions that have to hold".to_owned());
    };
    let written = match &that.data.value {
        DataValue::List(members) => members.iter().collect(),
        _ => vec![&that.data],
    };
    let message = |name: &str| request.arguments.get(name).cloned();
    let mut passed = Vec::new();
    for data in written {
        let Some(condition) = Condition::of(data) else {
            return Err(format!("a condition of `that` is {}", data.kind()));
        };
        // A template may evaluate to a list of conditions.
        let holds = hold(std::slice::from_ref(&condition), request.variables)
            .map_err(|error| format!("the condition `{condition}` fails: {error}"))?;
        if !holds {
            let told = message("fail_msg").or_else(|| message("msg"));
            return done(json!({
                "failed": true,
                "evaluated_to": false,
                "assertion": condition.to_string(),
                "msg": told.unwrap_or_else(|| "Assertion failed".into()),
            }));
        }
        passed.push(condition.to_string());
    }
    let told = message("success_msg").unwrap_or_else(|| "All assertions passed".into());
    done(json!({"changed": false, "msg": told}))
}

/// Performs `fail`.
pub(super) fn fail(request: &ActionRequest<'_>) -> Planning {
    refuse_unknown(request, &["msg"])?;
    let told = request.arguments.get("msg").cloned();
    let told = told.unwrap_or_else(|| "Failed as requested from task".into());
    done(json!({"failed": true, "msg": told, "changed": false}))
}

/// Performs `add_host`.
pub(super) fn add_host(request: &ActionRequest<'_>) -> Planning {
    let mut variables = request.arguments.clone();
    let mut take = |names: &[&str]| {
        let found: Vec<_> = names
            .iter()
            .filter_map(|name| variables.shift_remove(*name))
            .collect();
        found.into_iter().next()
    };
    let name = take(&["name", "hostname", "host"]);
    let groups = take(&["groups", "groupname", "group"]);
    let Some(Value::String(name)) = name else {
        return Err("`add_host` needs `name`".to_owned());
    };
    let groups = names_of(groups.as_ref());
    let inventory = request.variables.search().inventory.as_deref();
    let is_known =
        inventory.is_some_and(|inventory| is_known(inventory, &name, &groups, &variables));
    done(json!({
        "changed": !is_known,
        "add_host": {
            "host_name": name,
            "groups": groups,
            "host_vars": variables,
        },
    }))
}

/// Whether a host is in these groups already, and has these variables.
fn is_known(
    inventory: &Inventory,
    name: &str,
    groups: &[String],
    variables: &Map<String, Value>,
) -> bool {
    let Some(host) = inventory.find_host(name) else {
        return false;
    };
    let of_host = inventory.groups_of(host);
    let known = inventory.get_host(host).own_variables();
    groups.iter().all(|group| of_host.contains(group))
        && variables
            .iter()
            .all(|(name, value)| known.get(name) == Some(value))
}

/// Performs `group_by`.
pub(super) fn group_by(request: &ActionRequest<'_>) -> Planning {
    refuse_unknown(request, &["key", "parents"])?;
    let Some(key) = text(&request.arguments, "key") else {
        return done(json!({"failed": true, "msg": "`group_by` needs `key`"}));
    };
    let parents = request.arguments.get("parents");
    let parents = parents.map_or_else(|| vec!["all".to_owned()], |value| names_of(Some(value)));
    let parents: Vec<_> = parents.iter().map(|name| name.replace(' ', "-")).collect();
    let group = key.replace(' ', "-");
    let groups = request.variables.get("group_names");
    let groups = groups
        .map_err(|error| error.to_string())?
        .as_ref()
        .map(to_json);
    let is_member = names_of(groups.as_ref()).contains(&group);
    done(json!({"changed": !is_member, "add_group": group, "parent_groups": parents}))
}

/// Plans `pause` as a wait.
pub(super) fn pause(request: &ActionRequest<'_>) -> Planning {
    refuse_unknown(request, &["seconds", "minutes", "prompt", "echo"])?;
    let arguments = &request.arguments;
    let minutes = seconds(arguments, "minutes")?.map(|minutes| minutes * 60);
    let wait = seconds(arguments, "seconds")?.or(minutes);
    let Some(wait) = wait else {
        // No one could answer: programs read the results, and a run continues without a terminal.
        return Err(
            "`pause` without `seconds` or `minutes` waits for a key, which a run does not read; set how long, or ask \
             with `vars_prompt`"
                .to_owned(),
        );
    };
    let result = json!({
        "changed": false,
        "rc": 0,
        "stdout": format!("Paused for {} seconds", wait.as_secs_f64()),
        "delta": wait.as_secs(),
        "echo": true,
    });
    match result {
        Value::Object(result) => Ok(PlannedAction::Local(Work::Wait(wait, result))),
        other => Err(other.to_string()),
    }
}

/// Performs `set_stats`.
pub(super) fn set_stats(request: &ActionRequest<'_>) -> Planning {
    refuse_unknown(request, &["data", "per_host", "aggregate"])?;
    let Some(Value::Object(data)) = request.arguments.get("data") else {
        return done(json!({"failed": true, "msg": "`set_stats` needs `data`, a map"}));
    };
    let aggregate = request
        .arguments
        .get("aggregate")
        .is_none_or(|_| option(&request.arguments, "aggregate"));
    done(json!({
        "changed": false,
        "ansible_stats": {
            "data": data,
            "per_host": option(&request.arguments, "per_host"),
            "aggregate": aggregate,
        },
    }))
}

/// Checks the variables of a role against the argument specification of its authors.
pub(super) fn validate_argument_spec(request: &ActionRequest<'_>) -> Planning {
    let Some(Value::Object(spec)) = request.arguments.get("argument_spec") else {
        return done(json!({"changed": false, "msg": "The arg spec validation passed"}));
    };
    let mut errors = Vec::new();
    for (name, about) in spec {
        let value = request
            .variables
            .get(name)
            .map_err(|error| error.to_string())?;
        let Some(value) = value else {
            if flag_of(about, "required") {
                errors.push(format!("missing required arguments: {name}"));
            }
            continue;
        };
        check_argument(name, about, &to_json(&value), &mut errors);
    }
    if errors.is_empty() {
        return done(json!({"changed": false, "msg": "The arg spec validation passed"}));
    }
    let told = format!("Validation of arguments failed:\n{}", errors.join("\n"));
    done(json!({"failed": true, "msg": told, "argument_errors": errors}))
}

fn flag_of(about: &Value, key: &str) -> bool {
    about.as_object().is_some_and(|about| option(about, key))
}

/// Checks one argument, and the arguments within it.
fn check_argument(name: &str, about: &Value, value: &Value, errors: &mut Vec<String>) {
    let kind = about.get("type").and_then(Value::as_str).unwrap_or("str");
    if !is_of_kind(kind, value) {
        let told = format!(
            "argument '{name}' is of type {} and we were unable to convert to {kind}",
            python_type(value)
        );
        errors.push(told);
        return;
    }
    if let Some(Value::Array(choices)) = about.get("choices") {
        let given = match (kind, value) {
            ("list", Value::Array(members)) => members.iter().collect(),
            _ => vec![value],
        };
        if given.iter().any(|given| !choices.contains(given)) {
            let known: Vec<_> = choices.iter().map(plain_text).collect();
            errors.push(format!(
                "value of {name} must be one of: {}, got: {}",
                known.join(", "),
                plain_text(value)
            ));
        }
    }
    let members = match (kind, value) {
        ("list", Value::Array(members)) => members.iter().collect(),
        ("dict", _) => vec![value],
        _ => Vec::new(),
    };
    if let Some(elements) = about.get("elements").and_then(Value::as_str) {
        for member in &members {
            if !is_of_kind(elements, member) {
                errors.push(format!(
                    "Elements value for option '{name}' is of type {} and we were unable to convert to {elements}",
                    python_type(member)
                ));
            }
        }
    }
    let Some(Value::Object(options)) = about.get("options") else {
        return;
    };
    for member in members.iter().filter_map(|member| member.as_object()) {
        for (inner, about) in options {
            match member.get(inner) {
                Some(value) => check_argument(inner, about, value, errors),
                None if flag_of(about, "required") => errors.push(format!(
                    "missing required arguments: {inner} found in {name}"
                )),
                None => {}
            }
        }
        for key in member.keys().filter(|key| !options.contains_key(*key)) {
            errors.push(format!("Unsupported parameters for {name}: {key}"));
        }
    }
}

/// Whether a value is of a type, or can be converted to it.
fn is_of_kind(kind: &str, value: &Value) -> bool {
    let as_text = plain_text(value);
    match kind {
        "int" => value.is_i64() || value.is_u64() || as_text.trim().parse::<i64>().is_ok(),
        "float" => value.is_number() || as_text.trim().parse::<f64>().is_ok(),
        "bool" => {
            value.is_boolean()
                || matches!(
                    as_text.to_lowercase().as_str(),
                    "yes"
                        | "on"
                        | "1"
                        | "true"
                        | "y"
                        | "t"
                        | "no"
                        | "off"
                        | "0"
                        | "false"
                        | "n"
                        | "f"
                )
        }
        "list" => !value.is_object() && !value.is_null(),
        "dict" => value.is_object() || as_text.contains('=') || as_text.starts_with('{'),
        "str" | "path" => !value.is_object() && !value.is_array() || value.is_string(),
        _ => true,
    }
}

fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<class 'NoneType'>",
        Value::Bool(_) => "<class 'bool'>",
        Value::Number(number) if number.is_f64() => "<class 'float'>",
        Value::Number(_) => "<class 'int'>",
        Value::String(_) => "<class 'str'>",
        Value::Array(_) => "<class 'list'>",
        Value::Object(_) => "<class 'dict'>",
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns the names in a list, or in a comma-separated text.
pub(crate) fn names_of(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(members)) => members.iter().map(plain_text).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(other) => {
            let text = plain_text(other);
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        }
    }
}

fn refuse_unknown(request: &ActionRequest<'_>, known: &[&str]) -> Result<(), String> {
    let unknown = request
        .arguments
        .keys()
        .find(|name| !known.contains(&name.as_str()));
    match unknown {
        Some(name) => Err(format!(
            "`{name}` is not an argument of `{}`, which takes {}",
            request.task.module,
            known.join(", ")
        )),
        None => Ok(()),
    }
}
