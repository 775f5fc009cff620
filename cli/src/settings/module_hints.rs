//! The value of the setting `modules`: how parallel modules of playbooks may be.

use std::borrow::Cow;

use ratchet_runtime::ParallelizationHint;
use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{FromNode, Named, Node, Schemas};
use crate::job_file::{AnyHint, typed_hint};

/// Modules of playbooks, each with its hint: a map, or `NAME=HINT,NAME=HINT`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModuleHints(pub(crate) Vec<(String, ParallelizationHint)>);

impl FromNode for ModuleHints {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let span = node.span;
        let Some(text) = node.text() else {
            let hints = Vec::<Named<AnyHint>>::from_node(node, problems)?;
            let hints = hints
                .into_iter()
                .filter_map(|hint| Some((hint.name, hint.value?.0)));
            return Some(Self(hints.collect()));
        };
        let mut hints = Vec::new();
        for pair in text.split(',').map(str::trim) {
            let Some((name, hint)) = pair.split_once('=').filter(|(name, _)| !name.is_empty())
            else {
                let message = format!("`{pair}` is no module with its hint");
                let help = "write NAME=HINT, as in my_module=host_exclusive";
                problems.push(Diagnostic::error(span, message).help(help));
                return None;
            };
            match typed_hint(hint) {
                Ok(hint) => hints.push((name.to_owned(), hint)),
                Err(error) => {
                    let refused = Diagnostic::error(span, format!("module `{name}`: {error}"));
                    problems.push(refused);
                    return None;
                }
            }
        }
        Some(Self(hints))
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_map() || node.text().is_some()
    }

    fn expected() -> Cow<'static, str> {
        "a map of modules with their hints".into()
    }

    fn schema(schemas: &mut Schemas) -> Json {
        json!({"anyOf": [Vec::<Named<AnyHint>>::schema(schemas), {"type": "string", "pattern": "="}]})
    }
}
