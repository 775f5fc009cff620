//! Lists and maps that a template changes in their place, as in `{% set _ = found.append(item) %}`.
//!
//! The engine's own lists and maps never change. A template that calls a method that changes one gets these instead for
//! the lists and maps that it writes. As in Python, all names of such a list mean the same list.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::function_arguments::{members, wrong};
use super::undefined::undefined;

/// The methods that change a list or a map.
pub(super) const METHODS: [&str; 11] = [
    "append",
    "extend",
    "insert",
    "update",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "clear",
];

/// Returns a copy of a list or map that can be changed; other values as they are.
pub(super) fn of(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq => Ok(Value::from_object(MutableList(Mutex::new(members(value)?)))),
        ValueKind::Map => Ok(Value::from_object(MutableMap(Mutex::new(entries(value)?)))),
        _ => Ok(value.clone()),
    }
}

/// A list that can be changed.
#[derive(Debug)]
struct MutableList(Mutex<Vec<Value>>);

/// A map that can be changed. Its entries keep their order.
#[derive(Debug)]
struct MutableMap(Mutex<IndexMap<Value, Value>>);

impl MutableList {
    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        // No method leaves the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MutableMap {
    fn lock(&self) -> MutexGuard<'_, IndexMap<Value, Value>> {
        // No method leaves the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Object for MutableList {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.lock().get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        // What changes during a loop over the list is seen by the next loop.
        Enumerator::Values(self.lock().clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.lock().len())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let given = |at: usize| needed(method, arguments, at);
        let nothing = Ok(Value::from(()));
        match method {
            "append" => {
                let value = given(0)?.clone();
                refuse_within_itself(&value, Arc::as_ptr(self).addr())?;
                self.lock().push(value);
                nothing
            }
            "extend" => {
                let more = members(given(0)?)?;
                for value in &more {
                    refuse_within_itself(value, Arc::as_ptr(self).addr())?;
                }
                self.lock().extend(more);
                nothing
            }
            "insert" => {
                let value = given(1)?.clone();
                refuse_within_itself(&value, Arc::as_ptr(self).addr())?;
                let mut list = self.lock();
                let length = list.len();
                let at = place(given(0)?, length, method)?.min(length);
                list.insert(at, value);
                nothing
            }
            "pop" => {
                let mut list = self.lock();
                let length = list.len();
                let at = match arguments.first() {
                    Some(at) => place(at, length, method)?,
                    None => length.wrapping_sub(1),
                };
                if at >= length {
                    return Err(wrong("`pop`: the list has no such member"));
                }
                Ok(list.remove(at))
            }
            "remove" => {
                let wanted = given(0)?;
                // The list is not locked while members are compared, because that may read this list.
                let before = self.lock().clone();
                let at = before.iter().position(|member| member == wanted);
                let at = at.ok_or_else(|| wrong("`remove`: the list has no such member"))?;
                self.lock().remove(at);
                nothing
            }
            "reverse" => {
                self.lock().reverse();
                nothing
            }
            "sort" => {
                let is_reversed = sorts_in_reverse(arguments)?;
                let mut list = self.lock();
                list.sort();
                if is_reversed {
                    list.reverse();
                }
                nothing
            }
            "clear" => {
                self.lock().clear();
                nothing
            }
            "copy" => Ok(Value::from_object(Self(Mutex::new(self.lock().clone())))),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

impl Object for MutableMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.lock().get(plain_key(key).ok()?).cloned()
    }

    /// Returns an undefined value for a missing attribute, as other maps do.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.lock().get(&Value::from(key)).cloned();
        found.or_else(|| Some(undefined(format!("..{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.lock().keys().cloned().collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.lock().len())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let given = |at: usize| needed(method, arguments, at);
        let nothing = Ok(Value::from(()));
        match method {
            "update" => {
                let mut more = IndexMap::new();
                for argument in arguments {
                    more.extend(entries(argument)?);
                }
                for value in more.values() {
                    refuse_within_itself(value, Arc::as_ptr(self).addr())?;
                }
                self.lock().extend(more);
                nothing
            }
            "setdefault" => {
                let default = arguments.get(1).cloned().unwrap_or_else(|| Value::from(()));
                refuse_within_itself(&default, Arc::as_ptr(self).addr())?;
                let key = plain_key(given(0)?)?.clone();
                let mut map = self.lock();
                Ok(map.entry(key).or_insert(default).clone())
            }
            "pop" => match (
                self.lock().shift_remove(plain_key(given(0)?)?),
                arguments.get(1),
            ) {
                (Some(value), _) => Ok(value),
                (None, Some(default)) => Ok(default.clone()),
                (None, None) => Err(wrong("`pop`: the map has no such key")),
            },
            "popitem" => {
                let last = self.lock().pop();
                let (key, value) = last.ok_or_else(|| wrong("`popitem`: the map is empty"))?;
                Ok(Value::from(vec![key, value]))
            }
            "clear" => {
                self.lock().clear();
                nothing
            }
            "copy" => Ok(Value::from_object(Self(Mutex::new(self.lock().clone())))),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Returns an argument that a method cannot do without.
fn needed<'a>(method: &str, arguments: &'a [Value], at: usize) -> Result<&'a Value, Error> {
    let argument = arguments.get(at);
    argument.ok_or_else(|| wrong(format!("`{method}` needs another argument")))
}

/// Reads the arguments of `sort`. Returns whether the largest member comes first.
fn sorts_in_reverse(arguments: &[Value]) -> Result<bool, Error> {
    let Some(last) = arguments.last() else {
        return Ok(false);
    };
    let named = Kwargs::try_from(last.clone());
    let (1, Ok(named)) = (arguments.len(), named) else {
        return Err(wrong("`sort` takes only named arguments"));
    };
    if named.has("key") {
        return Err(wrong(
            "the method `sort` takes no `key` here: use the filter `sort(attribute=..)`",
        ));
    }
    let is_reversed: Option<Value> = named.get("reverse")?;
    named.assert_all_used()?;
    Ok(is_reversed.is_some_and(|value| value.is_true()))
}

/// Returns the place that an index means. A negative one counts from the end.
fn place(index: &Value, length: usize, method: &str) -> Result<usize, Error> {
    let index = index.as_i64();
    let index = index.ok_or_else(|| wrong(format!("`{method}` takes a whole number")))?;
    let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(if index < 0 {
        length.saturating_sub(from_end)
    } else {
        from_end
    })
}

/// Returns the entries of a map, or the pairs of a list as entries, as Python's `dict` takes them.
pub(super) fn entries(value: &Value) -> Result<IndexMap<Value, Value>, Error> {
    let mut entries = IndexMap::new();
    if value.kind() == ValueKind::Map {
        for key in value.try_iter()? {
            let found = value.get_item(&key)?;
            entries.insert(plain_key(&key)?.clone(), found);
        }
        return Ok(entries);
    }
    for pair in members(value)? {
        let [key, found] = <[Value; 2]>::try_from(members(&pair)?)
            .map_err(|_| wrong("a map is made of pairs of a key and a value"))?;
        entries.insert(plain_key(&key)?.clone(), found);
    }
    Ok(entries)
}

/// Refuses a list or a map as a key, as Python does. It could also be the very map that is locked to look it up.
fn plain_key(key: &Value) -> Result<&Value, Error> {
    match key.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            Err(wrong("a list or a map cannot be a key"))
        }
        _ => Ok(key),
    }
}

/// Refuses to put a list or a map into itself: nobody could print it.
fn refuse_within_itself(value: &Value, container: usize) -> Result<(), Error> {
    let is_it = |at: Option<usize>| at == Some(container);
    let list = value.downcast_object::<MutableList>();
    let map = value.downcast_object::<MutableMap>();
    if is_it(list.map(|list| Arc::as_ptr(&list).addr()))
        || is_it(map.map(|map| Arc::as_ptr(&map).addr()))
    {
        return Err(wrong("a list or a map cannot be put into itself"));
    }
    match value.kind() {
        ValueKind::Seq => {
            let mut members = value.try_iter()?;
            members.try_for_each(|member| refuse_within_itself(&member, container))
        }
        ValueKind::Map => {
            let mut keys = value.try_iter()?;
            keys.try_for_each(|key| refuse_within_itself(&value.get_item(&key)?, container))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::templates::{Layer, TemplateError, Variables, render, to_json};
    use serde_json::json;

    fn rendered(text: &str) -> Result<serde_json::Value, TemplateError> {
        let variables = Variables::new(Layer::from(Vec::new()));
        render(text, &variables).map(|value| to_json(&value))
    }

    #[test]
    fn lists_and_maps_of_a_template_are_changed_by_their_methods() {
        for (text, expected) in [
            (
                "{% set r = [] %}{% for i in [1, 2] %}{% set _ = r.append({'n': i}) %}{% endfor %}{{ r }}",
                json!([{"n": 1}, {"n": 2}]),
            ),
            (
                "{% set d = {} %}{% for i in ['a', 'b'] %}{% set _ = d.update({i: loop.index}) %}{% endfor %}{{ d }}",
                json!({"a": 1, "b": 2}),
            ),
            (
                "{% set r = [3, 1] %}{% set _ = r.extend([2]) %}{% set _ = r.sort() %}{{ r.pop() }}{{ r | join('-') }}",
                json!("31-2"),
            ),
            (
                "{% set r = [1] %}{% set same = r %}{% set _ = same.insert(0, 0) %}{{ r | length }}{{ r.index(1) }}",
                json!("21"),
            ),
            (
                "{% set d = {'a': []} %}{% set _ = d.a.append(1) %}{% set _ = d.setdefault('b', 2) %}{{ d.pop('a') | length }}{{ d }}",
                json!("1{'b': 2}"),
            ),
        ] {
            assert_eq!(rendered(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_list_cannot_be_put_into_itself() {
        for text in [
            "{% set r = [] %}{% set _ = r.append(r) %}{{ r }}",
            "{% set r = [] %}{% set d = {'r': r} %}{% set _ = r.append([d]) %}{{ r }}",
        ] {
            let error = rendered(text).unwrap_err().to_string();
            assert!(error.contains("into itself"), "{error}");
        }
    }

    #[test]
    fn a_list_is_sorted_in_reverse_and_by_no_key() {
        for (arguments, expected) in [
            ("", json!([1, 2, 3])),
            ("reverse=true", json!([3, 2, 1])),
            ("reverse=false", json!([1, 2, 3])),
        ] {
            let text =
                format!("{{% set r = [2, 3, 1] %}}{{% set _ = r.sort({arguments}) %}}{{{{ r }}}}");
            assert_eq!(rendered(&text).unwrap(), expected, "{arguments}");
        }
        for (arguments, said) in [
            ("key='x'", "takes no `key`"),
            ("true", "only named arguments"),
            ("by=1", "by"),
        ] {
            let text =
                format!("{{% set r = [2, 1] %}}{{% set _ = r.sort({arguments}) %}}{{{{ r }}}}");
            let error = rendered(&text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn an_inline_if_without_else_writes_nothing() {
        for (text, expected) in [
            ("A {{ 'x' if false }} B", "A  B"),
            (
                "{% for i in ['a', 'b'] %}{{ i }}{{ ', ' if not loop.last }}{% endfor %}",
                "a, b",
            ),
        ] {
            assert_eq!(rendered(text).unwrap(), json!(expected), "{text}");
        }
        // As the whole value it is undefined.
        assert!(rendered("{{ 'x' if false }}").is_err());
        assert!(rendered("A {{ nothing }}").is_err());
    }

    #[test]
    fn a_map_is_made_of_pairs() {
        for (text, expected) in [
            ("{{ dict([['a', 1]]) }}", json!({"a": 1})),
            (
                "{{ dict(['a', 'b'] | zip([1, 2])) }}",
                json!({"a": 1, "b": 2}),
            ),
            ("{{ dict({'a': 1}, b=2) }}", json!({"a": 1, "b": 2})),
            ("{{ {'a': 1}.copy() }}", json!({"a": 1})),
        ] {
            assert_eq!(rendered(text).unwrap(), expected, "{text}");
        }
    }
}
