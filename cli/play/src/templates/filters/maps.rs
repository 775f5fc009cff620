//! Filters for maps.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes arguments by value"
)]

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::super::function_arguments::{FunctionArguments, kind, members, wrong};
use super::super::maps::map_of;
use super::super::names::NamedFunctions;
use super::super::values::repr;
use super::lists::sorted_by_keys;
use super::sets::without_case;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.filter("combine", combine);
    engine.plain("dict2items", &["key_name", "value_name"], |value, given| {
        if value.kind() != ValueKind::Map {
            return Err(wrong(format!(
                "`dict2items` takes a map, not {}",
                kind(value)
            )));
        }
        let (key_name, value_name) = names(given);
        let mut items = Vec::new();
        for key in value.try_iter()? {
            let of_key = value.get_item(&key)?;
            items.push(map_of([
                (key_name.clone(), key),
                (value_name.clone(), of_key),
            ]));
        }
        Ok(Value::from(items))
    });
    engine.plain("items2dict", &["key_name", "value_name"], |value, given| {
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(wrong(format!(
                "`items2dict` takes a list of maps, not {}",
                kind(value)
            )));
        }
        let (key_name, value_name) = names(given);
        let mut pairs = Vec::new();
        for item in members(value)? {
            let (key, of_key) = (item.get_item(&key_name)?, item.get_item(&value_name)?);
            if key.is_undefined() || of_key.is_undefined() {
                let said = format!(
                    "a map has no {} and {}: {}",
                    repr(&key_name),
                    repr(&value_name),
                    repr(&item)
                );
                return Err(wrong(said));
            }
            pairs.push((key, of_key));
        }
        Ok(map_of(pairs))
    });
    engine.plain("rekey_on_member", &["key", "duplicates"], |value, given| {
        let duplicates = given.text("duplicates");
        let overwrites = match duplicates.as_deref().unwrap_or("error") {
            "error" => false,
            "overwrite" => true,
            other => {
                return Err(wrong(format!(
                    "`duplicates` has to be error or overwrite, not {other}"
                )));
            }
        };
        rekeyed(value, given.needed("key")?, overwrites)
    });
    engine.plain(
        "dictsort",
        &["case_sensitive", "by", "reverse"],
        |value, given| {
            let minds_case = given.flag("case_sensitive") == Some(true);
            let by = given.text("by").unwrap_or_else(|| "key".to_owned());
            let mut keyed = Vec::new();
            for key in members(value)? {
                let of_key = value.get_item(&key)?;
                let sorted_by = match by.as_str() {
                    "key" => key.clone(),
                    "value" => of_key.clone(),
                    other => {
                        return Err(wrong(format!("`by` has to be key or value, not {other}")));
                    }
                };
                let sorted_by = if minds_case {
                    sorted_by
                } else {
                    without_case(sorted_by)
                };
                keyed.push((vec![sorted_by], Value::from(vec![key, of_key])));
            }
            sorted_by_keys(keyed, given.flag("reverse") == Some(true))
        },
    );
    engine.engines("items", minijinja::filters::items);
}

fn names(given: &FunctionArguments) -> (Value, Value) {
    let name = |name, usual: &str| {
        given
            .value(name)
            .cloned()
            .unwrap_or_else(|| Value::from(usual))
    };
    (name("key_name", "key"), name("value_name", "value"))
}

fn combine(value: Value, others: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let options = FunctionArguments::new(
        "combine",
        &["recursive", "list_merge"],
        &Rest(Vec::new()),
        &options,
    )?;
    let is_deep = options.flag("recursive") == Some(true);
    let lists = options
        .text("list_merge")
        .unwrap_or_else(|| "replace".to_owned());
    let mut maps = Vec::new();
    for value in std::iter::once(&value).chain(others.iter()) {
        match value.kind() {
            ValueKind::Map => maps.push(value.clone()),
            ValueKind::Seq | ValueKind::Iterable => maps.extend(members(value)?),
            ValueKind::None => {}
            _ => return Err(wrong(format!("`combine` takes maps, not {}", kind(value)))),
        }
    }
    if let Some(other) = maps.iter().find(|map| map.kind() != ValueKind::Map) {
        return Err(wrong(format!("`combine` takes maps, not {}", kind(other))));
    }
    let mut result = map_of([]);
    for map in maps {
        result = merged(&result, &map, is_deep, &lists)?;
    }
    Ok(result)
}

fn merged(one: &Value, other: &Value, is_deep: bool, lists: &str) -> Result<Value, Error> {
    let mut pairs: IndexMap<Value, Value> = IndexMap::new();
    for key in one.try_iter()? {
        let value = one.get_item(&key)?;
        pairs.insert(key, value);
    }
    for key in other.try_iter()? {
        let value = other.get_item(&key)?;
        let Some(known) = pairs.get_mut(&key) else {
            pairs.insert(key, value);
            continue;
        };
        let are = |kind: ValueKind| known.kind() == kind && value.kind() == kind;
        *known = if is_deep && are(ValueKind::Map) {
            merged(known, &value, is_deep, lists)?
        } else if are(ValueKind::Seq) {
            merged_lists(known, value, lists)?
        } else {
            value
        };
    }
    Ok(map_of(pairs))
}

fn merged_lists(known: &Value, value: Value, lists: &str) -> Result<Value, Error> {
    let (old, new) = (members(known)?, members(&value)?);
    let without = |from: &[Value], those: &[Value]| -> Vec<Value> {
        from.iter()
            .filter(|member| !those.contains(member))
            .cloned()
            .collect()
    };
    Ok(match lists {
        "replace" => value,
        "keep" => known.clone(),
        "append" => Value::from([old, new].concat()),
        "prepend" => Value::from([new, old].concat()),
        "append_rp" => Value::from([without(&old, &new), new].concat()),
        "prepend_rp" => Value::from([new.clone(), without(&old, &new)].concat()),
        other => return Err(wrong(format!("unknown way to merge lists `{other}`"))),
    })
}

fn rekeyed(value: &Value, key: &Value, overwrites: bool) -> Result<Value, Error> {
    let items = match value.kind() {
        ValueKind::Map => members(value)?
            .iter()
            .map(|key| value.get_item(key))
            .collect::<Result<_, _>>()?,
        _ => members(value)?,
    };
    let mut pairs: IndexMap<Value, Value> = IndexMap::new();
    for item in items {
        if item.kind() != ValueKind::Map {
            return Err(wrong(format!(
                "`rekey_on_member` takes maps, not {}",
                kind(&item)
            )));
        }
        let member = item.get_item(key)?;
        if member.is_undefined() {
            return Err(wrong(format!(
                "a map has no {}: {}",
                repr(key),
                repr(&item)
            )));
        }
        if pairs.insert(member.clone(), item).is_some() && !overwrites {
            return Err(wrong(format!("the key {} is not unique", repr(&member))));
        }
    }
    Ok(map_of(pairs))
}
