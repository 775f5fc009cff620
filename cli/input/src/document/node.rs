//! Values of any format with their places, before they are converted to types.

pub(super) mod raw;

use std::borrow::Cow;
use std::collections::HashMap;

use ratchet_runtime::Payload;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::diagnostic::{Diagnostic, Problems, Span};

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// The value in the document.
    pub value: Value<'a>,
    /// The place of the value.
    pub span: Span,
    /// The text of the value, if the document is JSON.
    json: Option<&'a RawValue>,
}

/// A value of a document of any format.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`, or a missing value in YAML.
    Null,
    /// True or false.
    Bool(bool),
    /// A number as JSON writes it, with all its digits.
    Number(Cow<'a, str>),
    /// A text, without its quotes.
    Text(Cow<'a, str>),
    /// The value of a variable. It has no type: it is text, and also a number if it looks like one.
    Variable(&'a str),
    /// A JSON string with an unpaired surrogate, which cannot be converted to text.
    HalfText,
    /// A list of values.
    List(Vec<Node<'a>>),
    /// The entries in the order of the file.
    Map(Vec<Entry<'a>>),
    /// A JSON list whose members are read on demand.
    UnreadList,
    /// A JSON map whose entries are read on demand.
    UnreadMap,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The text of the key.
    pub name: Cow<'a, str>,
    /// The place of the key.
    pub place: Span,
    /// The value under the key.
    pub node: Node<'a>,
}

impl Entry<'_> {
    /// Moves the places of the entry by this many bytes, for a document that is part of a longer text.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        Self {
            name: self.name,
            place: self.place.shifted(by),
            node: self.node.shifted(by),
        }
    }
}

impl<'a> Node<'a> {
    /// Makes a node of a value that was read.
    pub fn new(value: Value<'a>, span: Span) -> Self {
        let json = None;
        Self { value, span, json }
    }

    /// Moves the places of the node by this many bytes, for a document that is part of a longer text.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        let value = match self.value {
            Value::List(members) => {
                let members = members.into_iter();
                Value::List(members.map(|member| member.shifted(by)).collect())
            }
            Value::Map(entries) => {
                let entries = entries.into_iter();
                Value::Map(entries.map(|entry| entry.shifted(by)).collect())
            }
            value => value,
        };
        Self {
            value,
            span: self.span.shifted(by),
            json: self.json,
        }
    }

    /// Returns the text, if the value is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Variable(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number as it is written, if the value is one.
    pub fn number(&self) -> Option<&str> {
        match &self.value {
            Value::Number(text) => Some(text),
            Value::Variable(text) if text.parse::<f64>().is_ok() => Some(text),
            _ => None,
        }
    }

    /// Returns the text, or a number as it is written.
    pub fn text_or_number(&self) -> Option<&str> {
        self.text().or_else(|| self.number())
    }

    /// Whether the value is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_) | Value::UnreadList)
    }

    /// Whether the value is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_) | Value::UnreadMap)
    }

    /// Returns the members of a list, or the node itself if it is not a list.
    pub fn into_list(self) -> Result<Vec<Node<'a>>, Self> {
        match self.value {
            Value::List(members) => Ok(members),
            Value::UnreadList => Ok(raw::members(&self)),
            _ => Err(self),
        }
    }

    /// Returns the entries of a map, or the node itself if it is not a map.
    pub fn into_map(self, problems: &mut Problems) -> Result<Vec<Entry<'a>>, Self> {
        match self.value {
            Value::Map(entries) => Ok(entries),
            Value::UnreadMap => Ok(raw::entries(&self, problems)),
            _ => Err(self),
        }
    }

    /// Returns the kind of the value, as messages name it.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing (null)",
            Value::Bool(true) => "`true`",
            Value::Bool(false) => "`false`",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Variable(_) => "text",
            Value::HalfText => "text with half of a character (a lone surrogate)",
            Value::List(_) | Value::UnreadList => "a list",
            Value::Map(_) | Value::UnreadMap => "a map",
        }
    }

    /// Converts the value to JSON. A value of a JSON document keeps its exact text.
    pub fn payload(&self) -> Result<Payload, serde_json::Error> {
        match self.json {
            Some(json) => Ok(Payload::from(json)),
            None => Payload::from_value(self),
        }
    }

    /// Returns the number of values in the node, including itself.
    pub(super) fn weight(&self) -> usize {
        1 + match &self.value {
            Value::List(members) => members.iter().map(Self::weight).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.weight()).sum(),
            _ => 0,
        }
    }

    /// Returns the number of bytes of text and keys in the node.
    pub(super) fn text_bytes(&self) -> usize {
        let entry = |entry: &Entry<'_>| entry.name.len() + entry.node.text_bytes();
        match &self.value {
            Value::Number(text) | Value::Text(text) => text.len(),
            Value::List(members) => members.iter().map(Self::text_bytes).sum(),
            Value::Map(entries) => entries.iter().map(entry).sum(),
            _ => 0,
        }
    }

    /// Returns the nesting depth of lists and maps in the node.
    pub(super) fn depth(&self) -> usize {
        let deepest = |nodes: &mut dyn Iterator<Item = &Self>| nodes.map(Self::depth).max();
        match &self.value {
            Value::List(members) => 1 + deepest(&mut members.iter()).unwrap_or_default(),
            Value::Map(entries) => {
                1 + deepest(&mut entries.iter().map(|entry| &entry.node)).unwrap_or_default()
            }
            _ => 0,
        }
    }
}

/// Refuses keys that occur twice.
pub(super) fn refuse_duplicates(entries: &[Entry<'_>], problems: &mut Problems) {
    /// Most maps have few keys, and comparing these with each other is faster than hashing them.
    const FEW: usize = 16;
    if entries.len() <= FEW {
        for (at, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..at].iter().find(|first| first.name == entry.name) {
                problems.push(duplicate_key(entry, first.place));
            }
        }
        return;
    }
    let mut seen: HashMap<&str, Span> = HashMap::with_capacity(entries.len());
    for entry in entries {
        match seen.get(entry.name.as_ref()) {
            Some(first) => problems.push(duplicate_key(entry, *first)),
            None => {
                seen.insert(&entry.name, entry.place);
            }
        }
    }
}

fn duplicate_key(entry: &Entry<'_>, first: Span) -> Diagnostic {
    let message = format!("`{}` is set twice", entry.name);
    Diagnostic::error(entry.place, message).other(first, "first set here")
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(json) = self.json {
            return json.serialize(serializer);
        }
        match &self.value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            // An integer or a float could lose digits, so the text is kept.
            Value::Number(text) => RawValue::from_string(text.clone().into_owned())
                .map_err(S::Error::custom)?
                .serialize(serializer),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Variable(text) => serializer.serialize_str(text),
            Value::List(members) => {
                let mut list = serializer.serialize_seq(Some(members.len()))?;
                for member in members {
                    list.serialize_element(member)?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.name, &entry.node)?;
                }
                map.end()
            }
            // The other kinds occur only in JSON documents, which are handled above.
            Value::Null | Value::HalfText | Value::UnreadList | Value::UnreadMap => {
                serializer.serialize_unit()
            }
        }
    }
}
