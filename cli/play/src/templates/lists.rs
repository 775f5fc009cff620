//! The filters of Ansible and of Python's Jinja for lists and maps.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands arguments over by value"
)]

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::filters::wrong;
use super::maps::map_of;
use super::undefined::is_undefined;
use super::values::text_of;

/// Adds the filters to an engine.
pub(super) fn add(engine: &mut Environment<'static>) {
    engine.add_filter("join", join);
    engine.add_filter("map", map);
    engine.add_filter("combine", combine);
    engine.add_filter("union", |one: &Value, other: &Value| {
        let mut all = members(one)?;
        all.extend(members(other)?);
        Ok::<_, Error>(each_once(all))
    });
    engine.add_filter("intersect", |one: &Value, other: &Value| {
        let other = members(other)?;
        let both = members(one)?
            .into_iter()
            .filter(|member| other.contains(member));
        Ok::<_, Error>(each_once(both))
    });
    engine.add_filter("difference", |one: &Value, other: &Value| {
        let other = members(other)?;
        let rest = members(one)?
            .into_iter()
            .filter(|member| !other.contains(member));
        Ok::<_, Error>(each_once(rest))
    });
    engine.add_filter("symmetric_difference", |one: &Value, other: &Value| {
        let (one, other) = (members(one)?, members(other)?);
        let left = one.iter().filter(|member| !other.contains(member));
        let right = other.iter().filter(|member| !one.contains(member));
        Ok::<_, Error>(each_once(left.chain(right).cloned()))
    });
    engine.add_filter("flatten", flatten);
    engine.add_filter("dict2items", dict2items);
    engine.add_filter("items2dict", items2dict);
    engine.add_filter("product", product);
    engine.add_filter("zip", zip);
    engine.add_filter("zip_longest", zip_longest);
    engine.add_filter("subelements", subelements);
    engine.add_filter("extract", extract);
}

fn members(value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect()),
        _ => Err(wrong(format!("expected a list, found {}", value.kind()))),
    }
}

fn each_once(members: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut once: Vec<Value> = Vec::new();
    for member in members {
        if !once.contains(&member) {
            once.push(member);
        }
    }
    once
}

fn join(
    value: &Value,
    separator: Option<&str>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let named: Option<&str> = options.get("attribute")?;
    let attribute = attribute.or(named);
    options.assert_all_used()?;
    if let Some(text) = value.as_str() {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        return Ok(letters.join(separator.unwrap_or_default()));
    }
    let mut texts = Vec::new();
    for member in members(value)? {
        let member = match attribute {
            Some(attribute) => path(&member, attribute)?,
            None => member,
        };
        texts.push(text_of(&member));
    }
    Ok(texts.join(separator.unwrap_or_default()))
}

/// What a path such as `a.b.0` leads to.
fn path(value: &Value, path: &str) -> Result<Value, Error> {
    let mut value = value.clone();
    for step in path.split('.') {
        value = match step.parse::<usize>() {
            Ok(at) if value.kind() != ValueKind::Map => value.get_item(&Value::from(at))?,
            _ => value.get_attr(step)?,
        };
    }
    Ok(value)
}

/// Applies a filter to each member, or takes an attribute of each.
fn map(
    state: &mut State<'_, '_>,
    value: &Value,
    arguments: Rest<Value>,
    options: Kwargs,
) -> Result<Vec<Value>, Error> {
    let attribute: Option<String> = options.get("attribute")?;
    let mut all = Vec::new();
    if let Some(attribute) = attribute {
        let default: Option<Value> = options.get("default")?;
        options.assert_all_used()?;
        for member in members(value)? {
            let mut found = path(&member, &attribute)?;
            if let Some(default) = &default
                && is_undefined(&found)
            {
                found = default.clone();
            }
            all.push(found);
        }
        return Ok(all);
    }
    let Some((name, rest)) = arguments.split_first() else {
        return Err(wrong("`map` takes the name of a filter, or `attribute`"));
    };
    let name = text_of(name);
    for member in members(value)? {
        let mut given = vec![member];
        given.extend(rest.iter().cloned());
        if options.args().next().is_some() {
            given.push(Value::from(options.clone()));
        }
        all.push(state.apply_filter(&name, &given)?);
    }
    Ok(all)
}

fn combine(value: Value, others: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let is_deep: Option<bool> = options.get("recursive")?;
    let lists: Option<String> = options.get("list_merge")?;
    options.assert_all_used()?;
    let lists = lists.unwrap_or_else(|| "replace".to_owned());
    let mut maps = Vec::new();
    for value in std::iter::once(&value).chain(others.iter()) {
        match value.kind() {
            ValueKind::Map => maps.push(value.clone()),
            ValueKind::Seq | ValueKind::Iterable => maps.extend(members(value)?),
            other => return Err(wrong(format!("`combine` takes maps, not {other}"))),
        }
    }
    let mut result = map_of(Vec::new());
    for map in maps {
        result = merged(&result, &map, is_deep == Some(true), &lists)?;
    }
    Ok(result)
}

fn merged(one: &Value, other: &Value, is_deep: bool, lists: &str) -> Result<Value, Error> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    for key in one.try_iter()? {
        let value = one.get_item(&key)?;
        pairs.push((key, value));
    }
    for key in other.try_iter()? {
        let value = other.get_item(&key)?;
        let Some((_, known)) = pairs.iter_mut().find(|(known, _)| *known == key) else {
            pairs.push((key, value));
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
        other => return Err(wrong(format!("`{other}` is no way to merge lists"))),
    })
}

fn flatten(value: &Value, levels: Option<usize>, options: Kwargs) -> Result<Vec<Value>, Error> {
    let named: Option<usize> = options.get("levels")?;
    let keeps_nulls = options.get::<Option<bool>>("skip_nulls")? == Some(false);
    options.assert_all_used()?;
    let mut flat = Vec::new();
    add_flat(value, levels.or(named), keeps_nulls, &mut flat)?;
    Ok(flat)
}

fn add_flat(
    value: &Value,
    levels: Option<usize>,
    keeps_nulls: bool,
    flat: &mut Vec<Value>,
) -> Result<(), Error> {
    for member in members(value)? {
        let is_null = member.is_none() || matches!(member.as_str(), Some("None" | "null"));
        if is_null && !keeps_nulls {
            continue;
        }
        if member.kind() == ValueKind::Seq && levels != Some(0) {
            add_flat(&member, levels.map(|levels| levels - 1), keeps_nulls, flat)?;
        } else {
            flat.push(member);
        }
    }
    Ok(())
}

fn dict2items(value: &Value, options: Kwargs) -> Result<Vec<Value>, Error> {
    let key_name: Option<String> = options.get("key_name")?;
    let value_name: Option<String> = options.get("value_name")?;
    options.assert_all_used()?;
    if value.kind() != ValueKind::Map {
        return Err(wrong(format!(
            "`dict2items` takes a map, not {}",
            value.kind()
        )));
    }
    let (key_name, value_name) = (
        key_name.unwrap_or("key".to_owned()),
        value_name.unwrap_or("value".to_owned()),
    );
    let mut items = Vec::new();
    for key in value.try_iter()? {
        let value = value.get_item(&key)?;
        items.push(map_of(vec![
            (Value::from(&*key_name), key),
            (Value::from(&*value_name), value),
        ]));
    }
    Ok(items)
}

fn items2dict(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let key_name: Option<String> = options.get("key_name")?;
    let value_name: Option<String> = options.get("value_name")?;
    options.assert_all_used()?;
    let (key_name, value_name) = (
        key_name.unwrap_or("key".to_owned()),
        value_name.unwrap_or("value".to_owned()),
    );
    let mut pairs = Vec::new();
    for item in members(value)? {
        pairs.push((item.get_attr(&key_name)?, item.get_attr(&value_name)?));
    }
    Ok(map_of(pairs))
}

fn product(value: &Value, others: Rest<Value>) -> Result<Vec<Value>, Error> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in std::iter::once(value).chain(others.iter()) {
        let list = members(list)?;
        let longer = |row: &Vec<Value>| -> Vec<Vec<Value>> {
            let with = |member: &Value| [row.as_slice(), std::slice::from_ref(member)].concat();
            list.iter().map(with).collect()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    Ok(rows.into_iter().map(Value::from).collect())
}

fn zip(value: &Value, others: Rest<Value>) -> Result<Vec<Value>, Error> {
    let lists = columns(value, &others)?;
    let length = lists.iter().map(Vec::len).min().unwrap_or_default();
    let row = |at: usize| {
        lists
            .iter()
            .map(|list| list[at].clone())
            .collect::<Vec<_>>()
    };
    Ok((0..length).map(|at| Value::from(row(at))).collect())
}

fn zip_longest(value: &Value, others: Rest<Value>, options: Kwargs) -> Result<Vec<Value>, Error> {
    let fill: Option<Value> = options.get("fillvalue")?;
    options.assert_all_used()?;
    let fill = fill.unwrap_or_else(|| Value::from(()));
    let lists = columns(value, &others)?;
    let length = lists.iter().map(Vec::len).max().unwrap_or_default();
    let row = |at: usize| -> Vec<Value> {
        let cells = lists
            .iter()
            .map(|list| list.get(at).unwrap_or(&fill).clone());
        cells.collect()
    };
    Ok((0..length).map(|at| Value::from(row(at))).collect())
}

fn columns(value: &Value, others: &Rest<Value>) -> Result<Vec<Vec<Value>>, Error> {
    std::iter::once(value)
        .chain(others.iter())
        .map(members)
        .collect()
}

fn subelements(
    value: &Value,
    keys: &str,
    skip_missing: Option<bool>,
    options: Kwargs,
) -> Result<Vec<Value>, Error> {
    let named: Option<bool> = options.get("skip_missing")?;
    options.assert_all_used()?;
    let skips = skip_missing.or(named) == Some(true);
    let elements = if value.kind() == ValueKind::Map {
        let keys = members(value)?;
        keys.iter()
            .map(|key| value.get_item(key))
            .collect::<Result<_, _>>()?
    } else {
        members(value)?
    };
    let mut pairs = Vec::new();
    for element in elements {
        let below = path(&element, keys)?;
        if is_undefined(&below) {
            if skips {
                continue;
            }
            return Err(wrong(format!("an element has no `{keys}`")));
        }
        for member in members(&below)? {
            pairs.push(Value::from(vec![element.clone(), member]));
        }
    }
    Ok(pairs)
}

fn extract(key: Value, container: &Value, more: Option<Value>) -> Result<Value, Error> {
    let mut value = container.get_item(&key)?;
    if let Some(more) = more {
        let steps = if more.kind() == ValueKind::Seq {
            members(&more)?
        } else {
            vec![more]
        };
        for step in steps {
            value = value.get_item(&step)?;
        }
    }
    Ok(value)
}
