//! The formats, by the ends of files' names.

use std::path::Path;

use super::{Node, json, toml, yaml};
use crate::diagnostic::{Diagnostic, Source};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Json,
    Toml,
    /// A JSON document a line.
    JsonLines,
}

impl Format {
    /// By the end of the name, whatever its case.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }

    /// Reads a document; nothing if there is nothing in it but blanks and comments.
    pub(crate) fn read(self, source: &Source) -> Result<Option<Node>, Vec<Diagnostic>> {
        match self {
            Self::Yaml => yaml::read(source).map_err(|error| vec![*error]),
            Self::Json | Self::JsonLines => json::read(source.text()).map_err(|error| vec![*error]),
            Self::Toml => toml::read(source.text()),
        }
    }
}
