//! Values of a JSON document whose members are read on demand.
//!
//! A [`RawValue`] borrows from the document, so its place follows from its address. Its syntax was checked when the
//! document was read.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error};

use super::{Entry, Node, Value, refuse_duplicates};
use crate::diagnostic::{Diagnostic, Problems, Span};

/// Returns the offset of a value in the text that it was read from.
pub(in crate::document) fn offset(text: &str, raw: &RawValue) -> usize {
    raw.get().as_ptr().addr() - text.as_ptr().addr()
}

/// Makes the node of a value whose text begins at the offset `start` of the document.
pub(in crate::document) fn value(raw: &RawValue, start: usize) -> Node<'_> {
    let text = raw.get();
    let value = match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'[') => Value::UnreadList,
        Some(b'{') => Value::UnreadMap,
        Some(b'"') => string(text).map_or(Value::HalfText, Value::Text),
        _ => Value::Number(text.into()),
    };
    Node {
        value,
        span: Span::new(start, start + text.len()),
        json: Some(raw),
    }
}

/// Returns the text of a JSON string; `None` if it contains an unpaired surrogate.
fn string(json: &str) -> Option<Cow<'_, str>> {
    // Nearly all keys and values are so short that a search optimized for long texts costs more than it saves.
    if !json.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(&json[1..json.len() - 1]));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// Returns the members of an unread list.
pub(in crate::document) fn members<'a>(node: &Node<'a>) -> Vec<Node<'a>> {
    let Some(raw) = node.json else {
        return Vec::new();
    };
    let raws: Vec<&RawValue> = checked(serde_json::from_str(raw.get()));
    let place = |member| node.span.start() + offset(raw.get(), member);
    raws.into_iter()
        .map(|member| value(member, place(member)))
        .collect()
}

/// Returns the entries of an unread map.
pub(in crate::document) fn entries<'a>(node: &Node<'a>, problems: &mut Problems) -> Vec<Entry<'a>> {
    let Some(raw) = node.json else {
        return Vec::new();
    };
    let read = checked(Deserializer::from_str(raw.get()).deserialize_map(Entries {
        text: raw.get(),
        start: node.span.start(),
        problems,
    }));
    let entries = read.entries;
    refuse_duplicates(&entries, problems);
    entries
}

#[expect(
    clippy::expect_used,
    reason = "the same reader took the same text for JSON before"
)]
fn checked<T>(read: Result<T, Error>) -> T {
    read.expect("a raw value is JSON")
}

/// Returns the place of a key that begins at `start`.
pub(in crate::document) fn key_span(key: &RawValue, start: usize) -> Span {
    Span::new(start, start + key.get().len())
}

/// Returns the text of a key. A key with an unpaired surrogate is refused.
pub(in crate::document) fn name<'a>(
    key: &'a RawValue,
    start: usize,
    problems: &mut Problems,
) -> Option<Cow<'a, str>> {
    let name = string(key.get());
    if name.is_none() {
        let message = "half of a character (a lone surrogate) in a key";
        problems.push(Diagnostic::error(key_span(key, start), message));
    }
    name
}

/// Reads the entries of a map.
pub(in crate::document) struct Entries<'a, 'p> {
    /// The text that is read.
    pub(in crate::document) text: &'a str,
    /// The offset of the text in the document.
    pub(in crate::document) start: usize,
    /// Collects the problems of the keys.
    pub(in crate::document) problems: &'p mut Problems,
}

/// The entries of a map that was read.
pub(in crate::document) struct ReadEntries<'a> {
    /// The entries whose keys are text.
    pub(in crate::document) entries: Vec<Entry<'a>>,
    /// The offset after the last value, if the map is not empty.
    pub(in crate::document) end: Option<usize>,
}

impl<'a> Visitor<'a> for Entries<'a, '_> {
    type Value = ReadEntries<'a>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        /// Few jobs have more keys.
        const USUAL: usize = 8;
        let place = |part| self.start + offset(self.text, part);
        let mut entries = Vec::with_capacity(USUAL);
        let mut end = None;
        while let Some((key, raw)) = map.next_entry::<&RawValue, &RawValue>()? {
            end = Some(place(raw) + raw.get().len());
            if let Some(name) = name(key, place(key), self.problems) {
                entries.push(Entry {
                    name,
                    place: key_span(key, place(key)),
                    node: value(raw, place(raw)),
                });
            }
        }
        Ok(ReadEntries { entries, end })
    }
}
