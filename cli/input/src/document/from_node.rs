//! Types that can be read from a document.

use std::borrow::Cow;

use ratchet_runtime::Payload;
use serde_json::{Value as Json, json};

use super::node::{Entry, Node, Value};
use super::schema::{DRAFT, Schemas};
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::value::ValueError;

/// A type that can be read from a document.
pub trait FromNode: Sized {
    /// Reads a value. If it returns `None`, it has added to the problems what is wrong with the node.
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self>;

    /// Whether a node has the right type, even if its value is refused.
    fn accepts(node: &Node<'_>) -> bool;

    /// Returns what is expected, for messages.
    fn expected() -> Cow<'static, str>;

    /// Returns what to write instead of a value of another type, for messages.
    fn hint(_node: &Node<'_>) -> Option<String> {
        None
    }

    /// Returns the JSON Schema of the values that this type accepts.
    fn schema(schemas: &mut Schemas) -> Json;
}

/// Returns the schema of a document of this type.
pub fn document_schema<T: FromNode>(title: &str) -> Json {
    let mut schemas = Schemas::default();
    let mut schema = T::schema(&mut schemas);
    if let Json::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), DRAFT.into());
        schema.insert("title".to_owned(), title.into());
        schema.insert("$defs".to_owned(), Json::Object(schemas.all));
    }
    schema
}

/// Makes the error for a value of another type.
pub(super) fn mismatch<T: FromNode>(node: &Node<'_>) -> Diagnostic {
    let message = format!("expected {}, found {}", T::expected(), node.kind());
    let error = Diagnostic::error(node.span, message);
    match T::hint(node) {
        Some(hint) => error.help(hint),
        None => error,
    }
}

/// Makes the error for a value that has the right type but cannot be read.
pub(super) fn refuse(span: Span, error: ValueError) -> Diagnostic {
    let found = Diagnostic::error(span, error.reason);
    match error.hint {
        Some(hint) => found.help(hint),
        None => found,
    }
}

/// The value of a key in a section, if the key is present.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<T>(Option<PresentField<T>>);

/// The value and the places of a key that is present.
#[derive(Debug, Clone, PartialEq)]
struct PresentField<T> {
    key: Span,
    span: Span,
    /// `None` if the value was refused.
    value: Option<T>,
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Field<T> {
    /// Whether the key is present, even if its value was refused.
    pub fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the value, unless the key is absent or its value was refused.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()?.value.as_ref()
    }

    /// Takes the value, unless the key is absent or its value was refused.
    pub fn into_value(self) -> Option<T> {
        self.0?.value
    }

    /// Returns the place of the key.
    pub fn key(&self) -> Option<Span> {
        self.0.as_ref().map(|said| said.key)
    }

    /// Returns the place of the value.
    pub fn span(&self) -> Option<Span> {
        self.0.as_ref().map(|said| said.span)
    }

    /// Converts the value, and keeps its places.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Field<U> {
        Field(self.0.map(|present| PresentField {
            key: present.key,
            span: present.span,
            value: present.value.map(map),
        }))
    }

    /// Takes the other field if this one has no value.
    pub fn or(&mut self, other: Self) {
        if self.get().is_none() {
            *self = other;
        }
    }
}

impl<T: FromNode> Field<T> {
    /// Reads the value of a key.
    pub fn read(&mut self, entry: Entry<'_>, problems: &mut Problems) {
        let span = entry.node.span;
        let is_map = entry.node.is_map();
        let before = problems.len();
        let value = T::from_node(entry.node, problems);
        if !is_map {
            // The message of a problem with a single value has to name its key.
            for problem in &mut problems[before..] {
                if problem.span == Some(span) {
                    problem.message = format!("`{}`: {}", entry.name, problem.message);
                }
            }
        }
        self.0 = Some(PresentField {
            key: entry.place,
            span,
            value,
        });
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value that was read.
    pub value: T,
    /// The place of the value.
    pub span: Span,
}

impl<T: FromNode> FromNode for Vec<Spanned<T>> {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let members = match node.into_list() {
            Ok(members) => members,
            Err(node) => {
                problems.push(mismatch::<Self>(&node));
                return None;
            }
        };
        let is_empty = members.is_empty();
        let mut read = Self::with_capacity(members.len());
        for member in members {
            let span = member.span;
            read.extend(T::from_node(member, problems).map(|value| Spanned { value, span }));
        }
        // If all members of a list were refused, it is not read as an empty list, which would cause more errors.
        (is_empty || !read.is_empty()).then_some(read)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_list()
    }

    fn expected() -> Cow<'static, str> {
        "a list".into()
    }

    fn hint(node: &Node<'_>) -> Option<String> {
        if let Some(text) = node.text() {
            return Some(format!("write `[{text}]`"));
        }
        let entries = node.clone().into_map(&mut Vec::new()).ok()?;
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_ref()).collect();
        (!names.is_empty()).then(|| format!("write `[{}]`", names.join(", ")))
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"type": "array", "items": T::schema(schemas)})
    }
}

/// An entry of a map with arbitrary keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    /// The name, which is the key of the entry.
    pub name: String,
    /// The place of the key.
    pub place: Span,
    /// The place of the value.
    pub span: Span,
    /// The value; `None` if it was refused. The name is known in any case.
    pub value: Option<T>,
}

impl<T: FromNode> FromNode for Vec<Named<T>> {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let entries = match node.into_map(problems) {
            Ok(entries) => entries,
            Err(node) => {
                problems.push(mismatch::<Self>(&node));
                return None;
            }
        };
        let read = |entry: Entry<'_>| {
            if entry.name.is_empty() {
                problems.push(Diagnostic::error(entry.place, "a name is empty"));
            }
            Named {
                name: entry.name.into_owned(),
                place: entry.place,
                span: entry.node.span,
                value: T::from_node(entry.node, problems),
            }
        };
        Some(entries.into_iter().map(read).collect())
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_map()
    }

    fn expected() -> Cow<'static, str> {
        "a map".into()
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({
            "type": "object",
            "propertyNames": {"minLength": 1},
            "additionalProperties": T::schema(schemas),
        })
    }
}

/// A value of one of two types that a reader can distinguish, such as a text and a map.
#[derive(Debug, Clone, PartialEq)]
pub enum Either<A, B> {
    /// A value of the first type.
    First(A),
    /// A value of the second type.
    Second(B),
}

impl<A: FromNode, B: FromNode> FromNode for Either<A, B> {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        if A::accepts(&node) {
            A::from_node(node, problems).map(Self::First)
        } else if B::accepts(&node) {
            B::from_node(node, problems).map(Self::Second)
        } else {
            problems.push(mismatch::<Self>(&node));
            None
        }
    }

    fn accepts(node: &Node<'_>) -> bool {
        A::accepts(node) || B::accepts(node)
    }

    fn expected() -> Cow<'static, str> {
        format!("{} or {}", A::expected(), B::expected()).into()
    }

    fn hint(node: &Node<'_>) -> Option<String> {
        A::hint(node).or_else(|| B::hint(node))
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [A::schema(schemas), B::schema(schemas)]})
    }
}

/// Any value, kept as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyValue(pub Payload);

impl FromNode for AnyValue {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        match node.payload() {
            Ok(payload) => Some(Self(payload)),
            Err(error) => {
                let message = format!("this cannot be written as JSON: {error}");
                problems.push(Diagnostic::error(node.span, message));
                None
            }
        }
    }

    fn accepts(_: &Node<'_>) -> bool {
        true
    }

    fn expected() -> Cow<'static, str> {
        "a value".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({})
    }
}

/// Text, a number, `true` or `false`, kept as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalarText(pub String);

impl FromNode for ScalarText {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let text = match &node.value {
            Value::Bool(value) => Some(if *value { "true" } else { "false" }),
            _ => node.text_or_number(),
        };
        if text.is_none() {
            problems.push(mismatch::<Self>(&node));
        }
        text.map(|text| Self(text.to_owned()))
    }

    fn accepts(node: &Node<'_>) -> bool {
        matches!(node.value, Value::Bool(_)) || node.text_or_number().is_some()
    }

    fn expected() -> Cow<'static, str> {
        "text".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}
