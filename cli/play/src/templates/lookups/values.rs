//! Lookups that compute values from other values.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use ratchet_input::inventory::pattern::Pattern;

use super::super::filters::{self, Random};
use super::super::function_arguments::{FunctionArguments, kind, members, wrong};
use super::super::maps::map_of;
use super::super::regex::{compiled, failed};
use super::super::undefined::undefined;
use super::super::values::text_of;
use super::super::variables::Variables;

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Flattens the terms by one level.
pub(super) fn flat_once(terms: &[Value]) -> Vec<Value> {
    let mut flat = Vec::new();
    for term in terms {
        match members(term) {
            Ok(members) if is_list(term) => flat.extend(members),
            _ => flat.push(term.clone()),
        }
    }
    flat
}

/// Flattens the terms completely.
pub(super) fn flat(terms: &[Value]) -> Vec<Value> {
    let mut all = Vec::new();
    for term in terms {
        match members(term) {
            Ok(members) if is_list(term) => all.extend(flat(&members)),
            _ if term.is_none() => {}
            _ => all.push(term.clone()),
        }
    }
    all
}

/// Returns the entries of maps, each as a map of its key and its value.
pub(super) fn pairs(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut pairs = Vec::new();
    for term in flat_once(terms) {
        if term.kind() != ValueKind::Map {
            return Err(wrong(format!("`dict` takes maps, not {}", kind(&term))));
        }
        for key in term.try_iter()? {
            let value = term.get_item(&key)?;
            pairs.push(map_of([
                (Value::from("key"), key),
                (Value::from("value"), value),
            ]));
        }
    }
    Ok(pairs)
}

fn as_lists(terms: &[Value]) -> Vec<Vec<Value>> {
    let list = |term: &Value| match members(term) {
        Ok(members) if is_list(term) => members,
        _ => vec![term.clone()],
    };
    terms.iter().map(list).collect()
}

/// Returns the first members of all lists, then the second ones, and so on.
pub(super) fn together(terms: &[Value]) -> Result<Vec<Value>, Error> {
    if terms.is_empty() {
        return Err(wrong("`together` needs at least one list"));
    }
    let lists = as_lists(terms);
    let length = lists.iter().map(Vec::len).max().unwrap_or_default();
    let rows = filters::zipped(&lists, length, &Value::from(()));
    Ok(rows.iter().map(|row| Value::from(flat_once(row))).collect())
}

/// Returns the cross product of the lists.
pub(super) fn nested(terms: &[Value]) -> Result<Vec<Value>, Error> {
    if terms.is_empty() {
        return Err(wrong("`nested` needs at least one list"));
    }
    let rows = filters::product(&as_lists(terms));
    Ok(rows.iter().map(|row| Value::from(flat_once(row))).collect())
}

/// Returns each element of a list with each member of a list in it.
pub(super) fn subelements(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let (elements, path, options) = match terms {
        [elements, path] => (elements, path, None),
        [elements, path, options] => (elements, path, Some(options)),
        _ => return Err(wrong("`subelements` takes a list, a key, and options")),
    };
    let skips = match options {
        Some(options) => options.get_item(&Value::from("skip_missing"))?.is_true(),
        None => false,
    };
    let is_kept = |element: &Value| {
        let skipped = element
            .get_item(&Value::from("skipped"))
            .unwrap_or_default();
        !skipped.is_true()
    };
    let elements = match elements.kind() {
        ValueKind::Map => {
            let keys = members(elements)?;
            keys.iter()
                .map(|key| elements.get_item(key))
                .collect::<Result<Vec<_>, _>>()?
        }
        _ => members(elements)?,
    };
    let kept: Vec<Value> = elements.into_iter().filter(is_kept).collect();
    let mut pairs = Vec::new();
    for pair in members(&filters::subelements(&Value::from(kept), path, skips)?)? {
        let (element, member) = (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?);
        let path = text_of(path);
        let path: Vec<&str> = path.split('.').collect();
        pairs.push(Value::from(vec![without(&element, &path)?, member]));
    }
    Ok(pairs)
}

/// Returns a map without the entry at a path.
fn without(map: &Value, path: &[&str]) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    for key in map.try_iter()? {
        let value = map.get_item(&key)?;
        match path {
            [last] if key.as_str() == Some(last) => {}
            [first, rest @ ..] if key.as_str() == Some(first) => {
                pairs.push((key, without(&value, rest)?));
            }
            _ => pairs.push((key, value)),
        }
    }
    Ok(map_of(pairs))
}

/// Returns the members of the terms with their indices.
pub(super) fn indexed(terms: &[Value]) -> Vec<Value> {
    let members = flat_once(terms).into_iter().enumerate();
    members
        .map(|(at, member)| Value::from(vec![Value::from(at), member]))
        .collect()
}

pub(super) fn random_choice(terms: &[Value]) -> Result<Vec<Value>, Error> {
    if terms.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Random::new(None)?.choice(terms)?])
}

/// Returns the values of variables that the terms name.
pub(super) fn variables(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms {
        let Some(name) = term.as_str() else {
            return Err(wrong(format!(
                "the name of a variable is a text, not {}",
                kind(term)
            )));
        };
        found.push(match (variables.lazy(name), given.value("default")) {
            (Some(value), _) => value,
            (None, Some(default)) if !default.is_none() => default.clone(),
            (None, _) => undefined(name.to_owned()),
        });
    }
    Ok(found)
}

/// Returns the names of variables that match a regular expression.
pub(super) fn names(terms: &[Value], variables: &Variables) -> Result<Vec<Value>, Error> {
    let names = variables.names();
    let mut found = Vec::new();
    for term in terms {
        let regex = compiled(&text_of(term), false, false)?;
        for name in &names {
            if regex.is_match(name).map_err(failed)? {
                found.push(Value::from(name.as_str()));
            }
        }
    }
    Ok(found)
}

/// Returns settings of the controller, for the lookup `config`.
pub(super) fn settings(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let on_missing = given.text("on_missing").or_else(|| given.text("missing"));
    let on_missing = on_missing.unwrap_or_else(|| "error".to_owned());
    if !matches!(on_missing.as_str(), "error" | "warn" | "skip") {
        return Err(wrong(format!(
            "`on_missing` is error, warn or skip, not {on_missing}"
        )));
    }
    let known = &variables.search().settings.values;
    let mut found = Vec::new();
    for term in terms {
        let name = text_of(term);
        match known.get(name.as_str()) {
            Some(value) => found.push(value.clone()),
            None if on_missing == "error" => {
                let known: Vec<&str> = known.keys().copied().collect();
                return Err(wrong(format!(
                    "`config` knows no setting `{name}` here; it knows {}",
                    known.join(", ")
                )));
            }
            None => {}
        }
    }
    Ok(found)
}

/// Returns the names of the hosts that patterns select.
pub(super) fn hosts(terms: &[Value], variables: &Variables) -> Result<Vec<Value>, Error> {
    let inventory = variables.search().inventory.as_ref();
    let inventory = inventory.ok_or_else(|| wrong("there is no inventory to look hosts up in"))?;
    let patterns: Vec<String> = flat(terms).iter().map(text_of).collect();
    let pattern = Pattern::parse(&patterns.join(",")).map_err(wrong)?;
    let (hosts, _) = pattern.select_known(inventory);
    Ok(hosts
        .into_iter()
        .map(|host| Value::from(inventory.get_host(host).name.as_str()))
        .collect())
}

/// Returns environment variables of this process.
pub(super) fn environment(terms: &[Value], given: &FunctionArguments) -> Result<Vec<Value>, Error> {
    let mut values = Vec::new();
    for term in terms {
        let term = text_of(term);
        let name = term
            .split_whitespace()
            .next()
            .ok_or_else(|| wrong("`env` takes the name of a variable"))?;
        values.push(match (std::env::var_os(name), given.value("default")) {
            (Some(value), _) => Value::from(value.to_string_lossy().into_owned()),
            (None, Some(default)) => default.clone(),
            (None, None) => Value::from(""),
        });
    }
    Ok(values)
}
