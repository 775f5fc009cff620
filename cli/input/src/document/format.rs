//! The formats of documents.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::node::{Entry, Node, Value};
use super::part::{Extent, Sink};
use super::{json, toml, yaml};
use crate::diagnostic::{Problems, Source};

/// The format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentFormat {
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
    /// TOML.
    Toml,
    /// A JSON document on each line.
    JsonLines,
}

impl DocumentFormat {
    /// Returns the format of a file, from the extension of its name, in lower or upper case.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// Reads a document and passes its parts to a sink: each entry, and each member of the list under the key
    /// `streamed`.
    ///
    /// So a file of many jobs is never in memory as a whole tree.
    pub fn parts(
        self,
        source: &Source,
        streamed: &str,
        sink: Sink<'_>,
        problems: &mut Problems,
    ) -> Extent {
        match self {
            Self::Yaml => yaml::parts(source, streamed, sink, problems),
            Self::Json | Self::JsonLines => json::parts(source.text(), streamed, sink, problems),
            Self::Toml => toml::parts(source.text(), streamed, sink, problems),
        }
    }
}

/// Reads a short JSON document, such as a line of a stream. Returns `None` if the text is blank or refused.
pub fn json_node<'a>(text: &'a str, problems: &mut Problems) -> Option<Node<'a>> {
    json::node(text, problems)
}

/// Reads a short YAML document, such as a value from the command line. Returns `None` if the text is blank or refused.
pub fn yaml_node<'a>(source: &'a Source, problems: &mut Problems) -> Option<Node<'a>> {
    yaml::node(source, yaml::Dialect::Core, problems)
}

/// Returns the value of a key of such a document as Ansible reads it. A number, a truth value or null without quotes is no
/// text there.
pub fn ansible_key<'e>(entry: &'e Entry<'_>) -> Value<'e> {
    let text = || Value::Text(entry.name.as_ref().into());
    // The place of a key includes its quotes.
    if entry.place.range().len() != entry.name.len() {
        return text();
    }
    yaml::plain_of_1_1(&entry.name, entry.place).unwrap_or_else(|_| text())
}

/// Reads a YAML document as Ansible does. Returns `None` if the text is blank or refused.
pub fn ansible_node<'a>(source: &'a Source, problems: &mut Problems) -> Option<Node<'a>> {
    yaml::node(source, yaml::Dialect::Ansible, problems)
}
