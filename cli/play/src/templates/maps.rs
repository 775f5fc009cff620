//! The maps of filters, modules and documents, and the conversion of values from and to JSON.

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectExt as _, ValueKind};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::undefined::undefined;
use super::values::text_of;

/// Makes a map with these entries in their order. If a key occurs twice, the later value wins.
pub(super) fn map_of(pairs: impl IntoIterator<Item = (Value, Value)>) -> Value {
    let entries = pairs.into_iter().collect();
    let is_plain = false;
    Value::from_object(Map { entries, is_plain })
}

/// Makes a map whose values are known to contain nothing that has to be rendered.
pub(super) fn plain_map_of(pairs: impl IntoIterator<Item = (Value, Value)>) -> Value {
    let entries = pairs.into_iter().collect();
    let is_plain = true;
    Value::from_object(Map { entries, is_plain })
}

/// Makes a map of names. A missing name is an undefined value.
pub(crate) fn map_of_names(pairs: Vec<(String, Value)>) -> Value {
    map_of(
        pairs
            .into_iter()
            .map(|(name, value)| (Value::from(name), value)),
    )
}

/// A map whose entries keep their order, and whose missing attributes are undefined values.
#[derive(Debug)]
pub(super) struct Map {
    entries: IndexMap<Value, Value>,
    /// Whether it contains no lazy, undefined or omitted value, so that it does not have to be rendered again.
    pub(super) is_plain: bool,
}

impl Object for Map {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.entries.get(key).cloned()
    }

    /// Returns an undefined value for a missing attribute, so that a template can read attributes of it in turn. The
    /// engine calls the other function to look up items, and to test whether the map has a key.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.get_value(&Value::from(key));
        found.or_else(|| Some(undefined(format!("..{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_key_value_enumerator(|this| {
            let entries = this.entries.iter();
            Box::new(entries.map(|(key, value)| (key.clone(), value.clone())))
        })
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// Reads JSON, such as the result of a module. No text in it is a template, whatever it looks like. Unlike in a
/// [`serde_json::Value`], maps keep the order of their entries, and whole numbers may have up to 128 bits.
pub(crate) fn from_json_text(text: &str) -> Result<Value, serde_json::Error> {
    if may_have_long_numbers(text) {
        return from_raw(serde_json::from_str(text)?);
    }
    let Ordered(value) = serde_json::from_str(text)?;
    Ok(value)
}

/// The least number of digits of a whole number that has more than 64 bits.
const LONG: usize = 19;

/// Whether a text may contain whole numbers of more than 64 bits, which `serde_json` would round.
fn may_have_long_numbers(text: &str) -> bool {
    let mut digits = 0;
    text.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits >= LONG
    })
}

/// Reads JSON member by member, and each number by its digits. This takes several passes over nested members.
fn from_raw(raw: &RawValue) -> Result<Value, serde_json::Error> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'[') => {
            let members: Vec<&RawValue> = serde_json::from_str(text)?;
            members.into_iter().map(from_raw).collect()
        }
        Some(b'{') => {
            let RawEntries(entries) = serde_json::from_str(text)?;
            let entries = entries.into_iter();
            let entries: Result<Vec<_>, _> = entries
                .map(|(key, raw)| Ok((Value::from(key), from_raw(raw)?)))
                .collect();
            Ok(plain_map_of(entries?))
        }
        Some(b'-' | b'0'..=b'9') if text.len() >= LONG => match whole_of_digits(text) {
            Some(whole) => Ok(whole),
            None if text.contains(['.', 'e', 'E']) => {
                let Ordered(value) = serde_json::from_str(text)?;
                Ok(value)
            }
            None => Err(serde::de::Error::custom(format!(
                "the number {text} has more than 128 bits"
            ))),
        },
        _ => {
            let Ordered(value) = serde_json::from_str(text)?;
            Ok(value)
        }
    }
}

/// The entries of an object in their order, whose values are not read yet.
struct RawEntries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawEntries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = RawEntries<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut read = Vec::with_capacity(entries.size_hint().unwrap_or_default());
                while let Some(entry) = entries.next_entry()? {
                    read.push(entry);
                }
                Ok(RawEntries(read))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Returns the whole number that these digits are, if it has no more than 128 bits.
pub(super) fn whole_of_digits(digits: &str) -> Option<Value> {
    let whole: i128 = digits.parse().ok()?;
    // The engine knows by its type whether a number is small.
    Some(i64::try_from(whole).map_or_else(|_| Value::from(whole), Value::from))
}

/// A value that is deserialized from a document.
struct Ordered(Value);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor).map(Self)
    }
}

/// Builds a value from the events of a deserializer, with maps in their order.
struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::from(()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Vec::with_capacity(members.size_hint().unwrap_or_default());
        while let Some(Ordered(member)) = members.next_element()? {
            read.push(member);
        }
        Ok(Value::from(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut read = Vec::with_capacity(entries.size_hint().unwrap_or_default());
        while let Some((key, Ordered(value))) = entries.next_entry::<String, Ordered>()? {
            read.push((Value::from(key), value));
        }
        Ok(plain_map_of(read))
    }
}

/// Converts a value of JSON. No text in it is a template, whatever it looks like.
pub(crate) fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(value),
        serde_json::Value::Number(number) => number_value(&number),
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(members) => members.into_iter().map(from_json).collect(),
        serde_json::Value::Object(entries) => {
            let entries = entries.into_iter();
            plain_map_of(entries.map(|(key, value)| (Value::from(key), from_json(value))))
        }
    }
}

/// Converts a number of a document.
pub(super) fn number_value(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => Value::from(whole),
        (None, Some(whole)) => Value::from(whole),
        (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Returns the value as if it had been read from a document: with texts for what JSON has no type for. Numbers keep all
/// their digits.
pub(crate) fn as_document(value: &Value) -> Value {
    let members = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::String => value.clone(),
        ValueKind::Undefined => Value::from(()),
        ValueKind::Map => plain_map_of(members().map(|key| {
            let of_key = value.get_item(&key).unwrap_or_default();
            (Value::from(key_text(&key)), as_document(&of_key))
        })),
        ValueKind::Seq | ValueKind::Iterable => {
            members().map(|member| as_document(&member)).collect()
        }
        _ => Value::from(text_of(value)),
    }
}

/// Formats a value as JSON. The entries of maps keep their order.
#[cfg(test)]
pub(crate) fn to_json_text(value: &Value) -> String {
    let mut out = String::new();
    write_json_text(value, &mut out);
    out
}

#[cfg(test)]
fn write_json_text(value: &Value, out: &mut String) {
    match value.kind() {
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(&serde_json::Value::from(key_text(&key)).to_string());
                out.push(':');
                write_json_text(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (at, member) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_json_text(&member, out);
            }
            out.push(']');
        }
        _ => out.push_str(&to_json(value).to_string()),
    }
}

/// Converts a value to JSON. Values that JSON has no type for become text: also whole numbers of more than 64 bits, which
/// would be rounded, infinite numbers, and NaN.
pub(crate) fn to_json(value: &Value) -> serde_json::Value {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => serde_json::Value::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => match (value.as_i64(), u64::try_from(value.clone())) {
            (Some(whole), _) if value.is_integer() => whole.into(),
            (_, Ok(whole)) if value.is_integer() => whole.into(),
            _ if value.is_integer() => text_of(value).into(),
            _ => match f64::try_from(value.clone()) {
                Ok(number) if number.is_finite() => number.into(),
                _ => text_of(value).into(),
            },
        },
        ValueKind::Map => {
            let keys = value.try_iter().into_iter().flatten();
            let entries = keys.map(|key| {
                let of_key = value.get_item(&key).unwrap_or_default();
                (key_text(&key), to_json(&of_key))
            });
            serde_json::Value::Object(entries.collect())
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let members = value.try_iter().into_iter().flatten();
            members.map(|member| to_json(&member)).collect()
        }
        _ => text_of(value).into(),
    }
}

/// Returns a key as JSON writes it.
pub(super) fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::Bool => text_of(key).to_lowercase(),
        ValueKind::None => "null".to_owned(),
        _ => text_of(key),
    }
}
