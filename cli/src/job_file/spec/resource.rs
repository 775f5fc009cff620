//! The values of resources: how much there is, and how much a job takes.

use std::borrow::Cow;

use ratchet_runtime::Resource;
use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{ByteSize, FromNode, Node, ScalarText, Schemas, Spanned};
use crate::value::{self, ValueError};

/// How much there is of a resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceSpec(pub(crate) Resource);

/// How much of a resource a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Amount {
    /// This many identities, or things that are counted.
    Count(u64),
    /// This many bytes.
    Bytes(u64),
}

impl Amount {
    /// Returns the number of units.
    pub(crate) fn units(self) -> u64 {
        match self {
            Self::Count(units) | Self::Bytes(units) => units,
        }
    }

    /// Parses an amount: a number, or a size with its unit.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        let amount = match value::count(text) {
            Ok(count) => Self::Count(count),
            Err(_) => Self::Bytes(value::size(text)?),
        };
        if amount.units() == 0 {
            return Err(
                ValueError::new("the amount of a resource cannot be 0").hint("leave it out")
            );
        }
        Ok(amount)
    }
}

/// The forms of a resource, for messages.
const RESOURCE: &str =
    "identities like [0, 1], a range like 8000-8010, a number or a size like 16GiB";

/// The forms of an amount, for messages.
const AMOUNT: &str = "a number like 1, or a size like 4GiB";

impl ResourceSpec {
    /// Parses a resource that was typed: `0,1`, `[0]`, `8000-8010`, `2` or `16GiB`.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if inner.is_some() || text.contains(',') {
            let identities = inner.unwrap_or(text).split(',').map(str::trim);
            return made(Resource::identities(identities));
        }
        if value::count(text).is_ok() {
            return Self::parse_number(text);
        }
        Self::parse_text(text)
    }

    /// Parses a range or a size.
    fn parse_text(text: &str) -> Result<Self, ValueError> {
        if let Some((first, last)) = text.split_once('-')
            && let (Ok(first), Ok(last)) = (value::count(first), value::count(last))
        {
            return range(text, first, last);
        }
        let bytes = value::size(text).map_err(|error| {
            let starts_with_digit = text
                .trim_start()
                .starts_with(|first: char| first.is_ascii_digit());
            if starts_with_digit {
                error
            } else {
                ValueError::new(format!("`{text}` is not a resource"))
                    .hint(format!("write {RESOURCE}; write [{text}] for one identity"))
            }
        })?;
        made(Resource::bytes(bytes))
    }

    fn parse_number(text: &str) -> Result<Self, ValueError> {
        let count = value::count(text).map_err(|error| error.hint("write a whole number"))?;
        made(Resource::count(count))
    }
}

fn made(resource: Result<Resource, ratchet_runtime::Error>) -> Result<ResourceSpec, ValueError> {
    let error = |error: ratchet_runtime::Error| ValueError::new(error.to_string());
    resource.map(ResourceSpec).map_err(error)
}

/// Returns the identities from the first number to the last one.
fn range(text: &str, first: u64, last: u64) -> Result<ResourceSpec, ValueError> {
    if last < first {
        return Err(ValueError::new(format!("`{text}` ends before it begins"))
            .hint(format!("write {last}-{first}")));
    }
    // `Resource` refuses a longer range anyway. The range is cut first, because making all its texts would take long.
    let last = last.min(first.saturating_add(u64::from(u32::MAX >> 8)));
    made(Resource::identities(
        (first..=last).map(|number| number.to_string()),
    ))
}

fn refuse(span: Span, error: ValueError) -> Diagnostic {
    let found = Diagnostic::error(span, error.reason);
    match error.hint {
        Some(hint) => found.help(hint),
        None => found,
    }
}

/// Returns the value, or reports why it was refused.
fn accepted<T>(read: Result<T, ValueError>, span: Span, problems: &mut Problems) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(refuse(span, error));
            None
        }
    }
}

impl FromNode for ResourceSpec {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let span = node.span;
        let read = if node.is_list() {
            let identities = Vec::<Spanned<ScalarText>>::from_node(node, problems)?;
            let identities = identities.into_iter().map(|identity| identity.value.0);
            made(Resource::identities(identities))
        } else if let Some(text) = node.text() {
            Self::parse_text(text)
        } else if let Some(number) = node.number() {
            Self::parse_number(number)
        } else {
            let message = format!("expected {RESOURCE}, found {}", node.kind());
            Err(ValueError::new(message))
        };
        accepted(read, span, problems)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_list() || node.text_or_number().is_some()
    }

    fn expected() -> Cow<'static, str> {
        RESOURCE.into()
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [
            {"type": "array", "minItems": 1, "items": ScalarText::schema(schemas)},
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
            ByteSize::schema(schemas),
        ]})
    }
}

impl FromNode for Amount {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let read = match node.text_or_number() {
            Some(text) => Self::parse(text),
            None => Err(ValueError::new(format!(
                "expected {AMOUNT}, found {}",
                node.kind()
            ))),
        };
        accepted(read, node.span, problems)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.text_or_number().is_some()
    }

    fn expected() -> Cow<'static, str> {
        AMOUNT.into()
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [{"type": "integer", "minimum": 1}, ByteSize::schema(schemas)]})
    }
}
