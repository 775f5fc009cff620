//! The keys by which one section makes several jobs. `expand.rs` takes them out of a section before it is read. Here
//! they are described for the schema, and recognised where they cannot be used.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{FromNode, Node, Schemas};

/// The lists of values of a `matrix`, all combinations of which are jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixSpec;

/// The items of `for_each`, each of which is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ForEachSpec;

/// Checks only the type of a `matrix` or `for_each` that was not expanded, since the key is refused there anyway.
fn read<T: FromNode>(node: &Node<'_>, value: T, problems: &mut Problems) -> Option<T> {
    if T::accepts(node) {
        return Some(value);
    }
    let message = format!("expected {}, found {}", T::expected(), node.kind());
    problems.push(Diagnostic::error(node.span, message));
    None
}

impl FromNode for MatrixSpec {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        read(&node, Self, problems)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_map()
    }

    fn expected() -> Cow<'static, str> {
        "a map of lists like {os: [linux, mac]}".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": "object"})
    }
}

impl FromNode for ForEachSpec {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        read(&node, Self, problems)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_list() || node.text().is_some()
    }

    fn expected() -> Cow<'static, str> {
        "a list of items, or the name of a file".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"type": ["string", "array"]})
    }
}
