//! Filters that treat lists as sets.

use minijinja::{Error, Value};

use super::super::function_arguments::{at_path, iterated, members};
use super::super::names::NamedFunctions;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("union", &["b"], |value, given| {
        let mut all = members(value)?;
        all.extend(members(given.needed("b")?)?);
        Ok(Value::from(each_once(all)))
    });
    engine.plain("intersect", &["b"], |value, given| {
        let other = members(given.needed("b")?)?;
        let both = members(value)?
            .into_iter()
            .filter(|member| other.contains(member));
        Ok(Value::from(each_once(both)))
    });
    engine.plain("difference", &["b"], |value, given| {
        let other = members(given.needed("b")?)?;
        let rest = members(value)?
            .into_iter()
            .filter(|member| !other.contains(member));
        Ok(Value::from(each_once(rest)))
    });
    engine.plain("symmetric_difference", &["b"], |value, given| {
        let (one, other) = (members(value)?, members(given.needed("b")?)?);
        let left = one.iter().filter(|member| !other.contains(member));
        let right = other.iter().filter(|member| !one.contains(member));
        Ok(Value::from(each_once(left.chain(right).cloned())))
    });
    engine.plain(
        "unique",
        &["case_sensitive", "attribute"],
        |value, given| {
            let minds_case = given.flag("case_sensitive") == Some(true);
            let mut known = Vec::new();
            let mut once = Vec::new();
            for member in iterated(value)? {
                let key = match given.value("attribute") {
                    Some(attribute) => at_path(&member, attribute)?,
                    None => member.clone(),
                };
                let key = if minds_case { key } else { without_case(key) };
                if !known.contains(&key) {
                    known.push(key);
                    once.push(member);
                }
            }
            Ok(Value::from(once))
        },
    );
}

/// Converts a text to lowercase, and returns any other value as it is.
pub(super) fn without_case(value: Value) -> Value {
    match value.as_str() {
        Some(text) => Value::from(text.to_lowercase()),
        None => value,
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

/// Returns the attributes by which members are compared, case-sensitively or not.
pub(super) fn sort_key(
    member: &Value,
    attribute: Option<&Value>,
    minds_case: bool,
) -> Result<Vec<Value>, Error> {
    let paths: Vec<Value> = match attribute {
        None => {
            return Ok(vec![if minds_case {
                member.clone()
            } else {
                without_case(member.clone())
            }]);
        }
        Some(attribute) => match attribute.as_str() {
            Some(text) => text.split(',').map(Value::from).collect(),
            None => vec![attribute.clone()],
        },
    };
    let mut key = Vec::with_capacity(paths.len());
    for path in paths {
        let value = at_path(member, &path)?;
        key.push(if minds_case {
            value
        } else {
            without_case(value)
        });
    }
    Ok(key)
}
