//! The formats, by the ends of files' names.

use std::path::Path;

use super::node::{Entry, Node};
use super::{json, toml, yaml};
use crate::diagnostic::{Problems, Source};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Json,
    Toml,
    /// A JSON document a line.
    JsonLines,
}

/// A part of a document, in the order of the file.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// A key of the document and its value.
    Entry(Entry<'a>),
    /// One member of the list that is taken member by member.
    Member(Node<'a>),
    /// All of a document that is no map.
    Whole(Node<'a>),
}

/// How much of a document was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All, and there is nothing in it but blanks and comments.
    Nothing,
    /// All of it.
    Whole,
    /// The parts before an error of syntax, which is the last of the problems.
    BrokenOff,
}

/// What takes the parts of a document as they are read. It may find further problems.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Part<'_>, &mut Problems);

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

    /// Reads a document part by part.
    ///
    /// The list under the key `streamed` comes one member at a time, so that a file of many jobs is never in
    /// memory as a tree.
    pub(crate) fn parts(
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

/// Reads a short JSON document, such as a line of a stream; nothing if there is none, or none that is JSON.
pub(crate) fn json_node<'a>(text: &'a str, problems: &mut Problems) -> Option<Node<'a>> {
    json::node(text, problems)
}

/// Reads a short YAML document, such as a value that was typed; nothing if there is none, or none that is YAML.
pub(crate) fn yaml_node<'a>(source: &'a Source, problems: &mut Problems) -> Option<Node<'a>> {
    yaml::node(source, problems)
}
