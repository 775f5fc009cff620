//! The keys by which one section makes several jobs. They are taken out of a section before it is read, in `expand.rs`; here
//! they are described, and noticed where they cannot be used.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use crate::diagnostic::Problems;
use crate::document::{FromNode, Node, Schemas};

/// The lists of values of which each is combined with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixSpec;

/// The items for each of which there is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForEachSpec;

impl FromNode for MatrixSpec {
    fn from_node(_: Node<'_>, _: &mut Problems) -> Option<Self> {
        Some(Self)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_map()
    }

    fn expected() -> Cow<'static, str> {
        "a map of lists like {os: [linux, mac]}".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        let plain = json!({"type": ["string", "number", "boolean"]});
        let combinations = json!({
            "type": "array",
            "items": {"type": "object", "minProperties": 1, "additionalProperties": plain},
        });
        json!({
            "type": "object",
            "minProperties": 1,
            "properties": {"include": combinations, "exclude": combinations},
            "additionalProperties": {"type": "array", "minItems": 1, "items": plain},
        })
    }
}

impl FromNode for ForEachSpec {
    fn from_node(_: Node<'_>, _: &mut Problems) -> Option<Self> {
        Some(Self)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_list() || node.text().is_some()
    }

    fn expected() -> Cow<'static, str> {
        "a list of items, or the name of a file".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean", "object"]}},
        ]})
    }
}
