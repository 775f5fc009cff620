//! Filters for lists.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the engine passes arguments by value"
)]

use std::cmp::Ordering;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, State, Value};

use super::super::function_arguments::{
    FunctionArguments, at_path, iterated, kind, members, wrong,
};
use super::super::names::NamedFunctions;
use super::super::source::without_builtin;
use super::super::undefined::{is_undefined, undefined};
use super::super::values::text_of;
use super::sets::sort_key;

/// Adds the filters.
#[expect(
    clippy::too_many_lines,
    reason = "the function is a table with a line for each filter"
)]
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("join", &["d", "attribute"], |value, given| {
        let mut texts = Vec::new();
        for member in iterated(value)? {
            let member = match given.value("attribute") {
                Some(attribute) => at_path(&member, attribute)?,
                None => member,
            };
            texts.push(if member.is_none() {
                "None".to_owned()
            } else {
                text_of(&member)
            });
        }
        Ok(Value::from(
            texts.join(&given.text("d").unwrap_or_default()),
        ))
    });
    engine.filter("map", map);
    engine.plain("flatten", &["levels", "skip_nulls"], |value, given| {
        let keeps_nulls = given.flag("skip_nulls") == Some(false);
        let mut flat = Vec::new();
        add_flat(value, given.count("levels")?, keeps_nulls, &mut flat)?;
        Ok(Value::from(flat))
    });
    engine.plain("extract", &["container", "morekeys"], |value, given| {
        let mut found = super::super::errors::item(given.needed("container")?, value)?;
        let more = match given.value("morekeys") {
            None => Vec::new(),
            Some(more) if more.kind() == ValueKind::Seq => members(more)?,
            Some(more) if more.is_none() => Vec::new(),
            Some(more) => vec![more.clone()],
        };
        for key in more {
            found = super::super::errors::item(&found, &key)?;
        }
        Ok(found)
    });
    engine.plain(
        "sort",
        &["reverse", "case_sensitive", "attribute"],
        |value, given| {
            let minds_case = given.flag("case_sensitive") == Some(true);
            let mut keyed = Vec::new();
            for member in iterated(value)? {
                keyed.push((
                    sort_key(&member, given.value("attribute"), minds_case)?,
                    member,
                ));
            }
            sorted_by_keys(keyed, given.flag("reverse") == Some(true))
        },
    );
    engine.plain("min", &["case_sensitive", "attribute"], |value, given| {
        extreme(value, given, Ordering::Less)
    });
    engine.plain("max", &["case_sensitive", "attribute"], |value, given| {
        extreme(value, given, Ordering::Greater)
    });
    engine.plain("sum", &["attribute", "start"], |value, given| {
        let mut sum = given
            .value("start")
            .cloned()
            .unwrap_or_else(|| Value::from(0));
        for member in members(value)? {
            let member = match given.value("attribute") {
                Some(attribute) => at_path(&member, attribute)?,
                None => member,
            };
            sum = added(&sum, &member)?;
        }
        Ok(sum)
    });
    engine.plain("list", &[], |value, _| iterated(value).map(Value::from));
    engine.plain("reverse", &[], |value, _| match value.as_str() {
        Some(text) => Ok(Value::from(text.chars().rev().collect::<String>())),
        None => Ok(members(value)?.into_iter().rev().collect()),
    });
    engine.plain("first", &[], |value, _| {
        let first = iterated(value)?.into_iter().next();
        Ok(first.unwrap_or_else(|| undefined("`first` of an empty list".to_owned())))
    });
    engine.plain("last", &[], |value, _| {
        let last = iterated(value)?.into_iter().next_back();
        Ok(last.unwrap_or_else(|| undefined("`last` of an empty list".to_owned())))
    });
    for name in ["length", "count"] {
        engine.plain(name, &[], |value, _| match value.len() {
            Some(length) => Ok(Value::from(length)),
            None => Ok(Value::from(members(value)?.len())),
        });
    }
    engine.plain(
        "groupby",
        &["attribute", "default", "case_sensitive"],
        groups,
    );
    // `attr` reads attributes and never items. Maps have only items, so the result is always undefined.
    engine.plain("attr", &["name"], |_, given| {
        Ok(undefined(format!("..{}", text_of(given.needed("name")?))))
    });
    engine.filter(
        "select",
        |state: &mut State<'_, '_>, value: &Value, arguments: Rest<Value>| {
            chosen(state, value, None, &arguments, true)
        },
    );
    engine.filter(
        "reject",
        |state: &mut State<'_, '_>, value: &Value, arguments: Rest<Value>| {
            chosen(state, value, None, &arguments, false)
        },
    );
    for (name, is_kept) in [("selectattr", true), ("rejectattr", false)] {
        engine.filter(
            name,
            move |state: &mut State<'_, '_>,
                  value: &Value,
                  attribute: &Value,
                  arguments: Rest<Value>| {
                chosen(state, value, Some(attribute), &arguments, is_kept)
            },
        );
    }
}

/// Returns the members for which a test holds, or does not hold. Without a test, the members themselves have to be
/// true.
fn chosen(
    state: &mut State<'_, '_>,
    value: &Value,
    attribute: Option<&Value>,
    arguments: &Rest<Value>,
    is_kept: bool,
) -> Result<Vec<Value>, Error> {
    let mut kept = Vec::new();
    for member in iterated(value)? {
        let tested = match attribute {
            Some(attribute) => at_path(&member, attribute)?,
            None => member.clone(),
        };
        let holds = match arguments.split_first() {
            None => tested.is_true(),
            Some((name, rest)) => {
                let name = text_of(name);
                let given = [std::slice::from_ref(&tested), rest].concat();
                state.perform_test(without_builtin(&name), &given)?
            }
        };
        if holds == is_kept {
            kept.push(member);
        }
    }
    Ok(kept)
}

/// Applies a filter to each member, or takes an attribute of each.
fn map(
    state: &mut State<'_, '_>,
    value: &Value,
    arguments: Rest<Value>,
    options: Kwargs,
) -> Result<Vec<Value>, Error> {
    if arguments.is_empty() {
        let given = FunctionArguments::new("map", &["attribute", "default"], &arguments, &options)?;
        let attribute = given
            .value("attribute")
            .ok_or_else(|| wrong("`map` takes the name of a filter, or `attribute`"))?;
        let mut all = Vec::new();
        for member in iterated(value)? {
            let found = at_path(&member, attribute)?;
            all.push(match given.value("default") {
                Some(default) if is_undefined(&found) => default.clone(),
                _ => found,
            });
        }
        return Ok(all);
    }
    let name = text_of(&arguments[0]);
    let mut all = Vec::new();
    for member in iterated(value)? {
        let mut given = vec![member];
        given.extend(arguments[1..].iter().cloned());
        if options.args().next().is_some() {
            given.push(Value::from(options.clone()));
        }
        all.push(state.apply_filter(without_builtin(&name), &given)?);
    }
    Ok(all)
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

/// Sorts values by their keys, as far as Python can compare the keys. A reversed sort keeps the order of equal ones.
pub(super) fn sorted_by_keys(
    mut keyed: Vec<(Vec<Value>, Value)>,
    is_reversed: bool,
) -> Result<Value, Error> {
    comparable(&keyed)?;
    keyed.sort_by(|(one, _), (other, _)| {
        if is_reversed {
            other.cmp(one)
        } else {
            one.cmp(other)
        }
    });
    Ok(keyed.into_iter().map(|(_, value)| value).collect())
}

/// Refuses to sort values that Python refuses to compare.
fn comparable(keyed: &[(Vec<Value>, Value)]) -> Result<(), Error> {
    for pair in keyed.windows(2) {
        for (one, other) in pair[0].0.iter().zip(&pair[1].0) {
            if class(one).is_none() || class(one) != class(other) {
                return Err(no_order(one, other));
            }
        }
    }
    Ok(())
}

/// The kinds of values that have an order among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Text,
    List,
}

fn class(value: &Value) -> Option<Class> {
    match value.kind() {
        ValueKind::Bool | ValueKind::Number => Some(Class::Number),
        ValueKind::String => Some(Class::Text),
        ValueKind::Seq | ValueKind::Iterable => Some(Class::List),
        _ => None,
    }
}

fn no_order(one: &Value, other: &Value) -> Error {
    let message = format!("{} and {} have no order", kind(one), kind(other));
    wrong(message)
}

/// Whether two values are in the order of an operator: `<`, `>`, `<=` or `>=`.
pub(in crate::templates) fn is_in_order(
    operator: &str,
    left: &Value,
    right: &Value,
) -> Result<bool, Error> {
    let is_plain = |value: &Value| value.kind() == ValueKind::Plain;
    // Dates and the times between them have an order of their own.
    let are_comparable = match (class(left), class(right)) {
        (None, None) => is_plain(left) && is_plain(right),
        (left, right) => left == right,
    };
    if !are_comparable {
        return Err(no_order(left, right));
    }
    Ok(match operator {
        "<" => left < right,
        ">" => left > right,
        "<=" => left <= right,
        _ => left >= right,
    })
}

fn extreme(value: &Value, given: &FunctionArguments, wanted: Ordering) -> Result<Value, Error> {
    let minds_case = given.flag("case_sensitive") == Some(true);
    let mut best: Option<(Vec<Value>, Value)> = None;
    for member in iterated(value)? {
        let key = sort_key(&member, given.value("attribute"), minds_case)?;
        let pair = (key, member);
        best = Some(match best {
            None => pair,
            Some(best) => {
                let both = [best, pair];
                comparable(&both)?;
                let [best, pair] = both;
                if pair.0.cmp(&best.0) == wanted {
                    pair
                } else {
                    best
                }
            }
        });
    }
    Ok(best.map_or_else(
        || undefined("`min` or `max` of an empty list".to_owned()),
        |(_, member)| member,
    ))
}

fn added(one: &Value, other: &Value) -> Result<Value, Error> {
    match (one.kind(), other.kind()) {
        (ValueKind::Number | ValueKind::Bool, ValueKind::Number | ValueKind::Bool) => {
            if let (Some(one), Some(other)) = (whole(one), whole(other)) {
                let sum = one.checked_add(other);
                return sum
                    .map(Value::from)
                    .ok_or_else(|| wrong("the sum is too large"));
            }

            let number = super::super::function_arguments::number;
            Ok(Value::from(number(one)? + number(other)?))
        }
        (ValueKind::Seq | ValueKind::Iterable, ValueKind::Seq | ValueKind::Iterable) => {
            let mut all = members(one)?;
            all.extend(members(other)?);
            Ok(Value::from(all))
        }
        _ => Err(wrong(format!(
            "{} and {} have no sum",
            kind(one),
            kind(other)
        ))),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn groups(value: &Value, given: &FunctionArguments) -> Result<Value, Error> {
    let attribute = given.needed("attribute")?;
    let minds_case = given.flag("case_sensitive") == Some(true);
    let mut keyed = Vec::new();
    for member in iterated(value)? {
        let mut found = at_path(&member, attribute)?;
        if let Some(default) = given.value("default")
            && is_undefined(&found)
        {
            found = default.clone();
        }
        let key = if minds_case {
            found.clone()
        } else {
            super::sets::without_case(found.clone())
        };
        keyed.push((vec![key], Value::from(vec![found, member])));
    }
    comparable(&keyed)?;
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut groups: Vec<(Vec<Value>, Value, Vec<Value>)> = Vec::new();
    for (key, pair) in keyed {
        let (found, member) = (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?);
        match groups.last_mut() {
            Some((known, _, members)) if *known == key => members.push(member),
            _ => groups.push((key, found, vec![member])),
        }
    }
    let groups = groups.into_iter();
    Ok(groups
        .map(|(_, grouper, members)| Value::from_object(Group { grouper, members }))
        .collect())
}

/// A group of `groupby`: a pair whose parts also have names.
#[derive(Debug)]
struct Group {
    grouper: Value,
    members: Vec<Value>,
}

impl minijinja::value::Object for Group {
    fn repr(self: &std::sync::Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Seq
    }

    fn get_value(self: &std::sync::Arc<Self>, key: &Value) -> Option<Value> {
        match (key.as_usize(), key.as_str()) {
            (Some(0), _) | (_, Some("grouper")) => Some(self.grouper.clone()),
            (Some(1), _) | (_, Some("list")) => Some(Value::from(self.members.clone())),
            _ => None,
        }
    }

    fn enumerate(self: &std::sync::Arc<Self>) -> minijinja::value::Enumerator {
        minijinja::value::Enumerator::Seq(2)
    }
}
