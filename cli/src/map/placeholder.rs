//! The parts of a command: literal text, and placeholders for an item.

use super::path_part::PathPart;
use super::substitution::Substitution;

/// A piece of a word of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that is the same for each item.
    Literal(Vec<u8>),
    /// A part that is filled in for each item.
    Placeholder(Placeholder),
}

/// A place in a command that is filled in for each item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// All columns, with blanks between them.
    All(PathPart),
    /// One column, counted from 0.
    Column(usize, PathPart),
    /// One column, counted from 0, in which matches of an expression are replaced.
    Replaced(usize, Box<Substitution>),
    /// The number of the item.
    Number,
    /// The number of the slot in which the command runs.
    Slot,
}
