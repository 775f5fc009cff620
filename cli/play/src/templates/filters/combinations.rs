//! Filters that combine the members of lists.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::super::function_arguments::{FunctionArguments, iterated, kind, members, wrong};
use super::super::names::NamedFunctions;
use super::super::values::repr;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.filter(
        "product",
        |value: Value, others: Rest<Value>, named: Kwargs| {
            let given = FunctionArguments::new("product", &["repeat"], &Rest(Vec::new()), &named)?;
            let once = columns(&value, &others)?;
            let mut lists = Vec::new();
            for _ in 0..given.count("repeat")?.unwrap_or(1) {
                lists.extend(once.iter().cloned());
            }
            Ok::<_, Error>(rows(product(&lists)))
        },
    );
    engine.plain("permutations", &["r"], |value, given| {
        let list = iterated(value)?;
        let length = given.count("r")?.unwrap_or(list.len());
        let mut all = Vec::new();
        permute(&list, length, &mut Vec::new(), &mut all);
        Ok(rows(all))
    });
    engine.plain("combinations", &["r"], |value, given| {
        let list = iterated(value)?;
        let length = given
            .count("r")?
            .ok_or_else(|| wrong("`combinations` needs a length"))?;
        let mut all = Vec::new();
        choose(&list, length, 0, &mut Vec::new(), &mut all);
        Ok(rows(all))
    });
    engine.filter("zip", |value: Value, others: Rest<Value>, named: Kwargs| {
        let given = FunctionArguments::new("zip", &["strict"], &Rest(Vec::new()), &named)?;
        let lists = columns(&value, &others)?;
        let length = lists.iter().map(Vec::len).min().unwrap_or_default();
        if given.flag("strict") == Some(true) && lists.iter().any(|list| list.len() > length) {
            return Err(wrong("the lists have different lengths"));
        }
        Ok(rows(zipped(&lists, length, &Value::from(()))))
    });
    engine.filter(
        "zip_longest",
        |value: Value, others: Rest<Value>, named: Kwargs| {
            let given =
                FunctionArguments::new("zip_longest", &["fillvalue"], &Rest(Vec::new()), &named)?;
            let fill = given
                .value("fillvalue")
                .cloned()
                .unwrap_or_else(|| Value::from(()));
            let lists = columns(&value, &others)?;
            let length = lists.iter().map(Vec::len).max().unwrap_or_default();
            Ok::<_, Error>(rows(zipped(&lists, length, &fill)))
        },
    );
    engine.plain(
        "subelements",
        &["subelements", "skip_missing"],
        |value, given| {
            let skips = given.flag("skip_missing") == Some(true);
            subelements(value, given.needed("subelements")?, skips)
        },
    );
    engine.engines("batch", minijinja::filters::batch);
    engine.engines("slice", minijinja::filters::slice);
}

/// Converts rows to lists, since Ansible treats Python's tuples as lists.
fn rows(rows: Vec<Vec<Value>>) -> Value {
    rows.into_iter().map(Value::from).collect()
}

fn columns(value: &Value, others: &Rest<Value>) -> Result<Vec<Vec<Value>>, Error> {
    std::iter::once(value)
        .chain(others.iter())
        .map(iterated)
        .collect()
}

/// Returns all rows with one member of each list.
pub(in crate::templates) fn product(lists: &[Vec<Value>]) -> Vec<Vec<Value>> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for list in lists {
        let longer = |row: &Vec<Value>| -> Vec<Vec<Value>> {
            let with = |member: &Value| [row.as_slice(), std::slice::from_ref(member)].concat();
            list.iter().map(with).collect()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    rows
}

/// Combines the members of lists at the same index to rows. Shorter lists are filled up to a length.
pub(in crate::templates) fn zipped(
    lists: &[Vec<Value>],
    length: usize,
    fill: &Value,
) -> Vec<Vec<Value>> {
    let row = |at: usize| -> Vec<Value> {
        let cells = lists
            .iter()
            .map(|list| list.get(at).unwrap_or(fill).clone());
        cells.collect()
    };
    (0..length).map(row).collect()
}

fn permute(list: &[Value], length: usize, row: &mut Vec<usize>, all: &mut Vec<Vec<Value>>) {
    if row.len() == length {
        all.push(row.iter().map(|at| list[*at].clone()).collect());
        return;
    }
    for at in 0..list.len() {
        if !row.contains(&at) {
            row.push(at);
            permute(list, length, row, all);
            row.pop();
        }
    }
}

fn choose(
    list: &[Value],
    length: usize,
    from: usize,
    row: &mut Vec<Value>,
    all: &mut Vec<Vec<Value>>,
) {
    if row.len() == length {
        all.push(row.clone());
        return;
    }
    for at in from..list.len() {
        row.push(list[at].clone());
        choose(list, length, at + 1, row, all);
        row.pop();
    }
}

/// Returns each element with each member of a list in it.
pub(in crate::templates) fn subelements(
    value: &Value,
    keys: &Value,
    skips: bool,
) -> Result<Value, Error> {
    let elements = match value.kind() {
        ValueKind::Map => members(value)?
            .iter()
            .map(|key| value.get_item(key))
            .collect::<Result<_, _>>()?,
        ValueKind::Seq | ValueKind::Iterable => members(value)?,
        _ => {
            return Err(wrong(format!(
                "`subelements` takes a list of maps, not {}",
                kind(value)
            )));
        }
    };
    let keys: Vec<Value> = match keys.as_str() {
        Some(text) => text.split('.').map(Value::from).collect(),
        None => members(keys)?,
    };
    let mut pairs = Vec::new();
    'elements: for element in elements {
        let mut below = element.clone();
        for key in &keys {
            if below.kind() != ValueKind::Map {
                return Err(wrong(format!(
                    "{} is looked for in {}",
                    repr(key),
                    kind(&below)
                )));
            }
            let next = below.get_item(key)?;
            if next.is_undefined() {
                if skips {
                    continue 'elements;
                }
                return Err(wrong(format!(
                    "an element has no {}: {}",
                    repr(key),
                    repr(&below)
                )));
            }
            below = next;
        }
        if !matches!(below.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(wrong(format!(
                "{} has to be a list, not {}",
                repr(&Value::from(keys.clone())),
                kind(&below)
            )));
        }
        for member in members(&below)? {
            pairs.push(Value::from(vec![element.clone(), member]));
        }
    }
    Ok(Value::from(pairs))
}
