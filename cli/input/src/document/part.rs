//! The parts in which the readers of all formats deliver a document.

use super::node::{Entry, Node};
use crate::diagnostic::Problems;

/// The maximum nesting depth of lists and maps in YAML and TOML. Deeper nesting is a mistake or an attack.
pub(super) const DEEPEST: usize = 128;

/// A part of a document. Parts are delivered in the order of the file.
#[derive(Debug)]
pub enum Part<'a> {
    /// A key of the document and its value.
    Entry(Entry<'a>),
    /// A member of the list that is delivered one member at a time.
    Member(Node<'a>),
    /// The whole document, if it is not a map.
    Whole(Node<'a>),
}

impl Part<'_> {
    /// Moves the places of the part by this many bytes, for a document that is part of a longer text.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        match self {
            Self::Entry(entry) => Self::Entry(entry.shifted(by)),
            Self::Member(node) => Self::Member(node.shifted(by)),
            Self::Whole(node) => Self::Whole(node.shifted(by)),
        }
    }
}

/// How much of a document was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The whole document, which contains only blanks and comments.
    Nothing,
    /// The whole document.
    Whole,
    /// The parts before a syntax error, which is the last of the problems.
    BrokenOff,
}

/// Receives the parts of a document as they are read, and may add to the problems.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Part<'_>, &mut Problems);
