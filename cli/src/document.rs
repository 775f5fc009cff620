//! Documents in YAML, JSON and TOML as one tree, every value with its place.
//!
//! Job files and settings are read through it. A [`Format`] makes a [`Node`], a [`Shape`] says what
//! may stand where, and [`check()`] compares the two: unknown keys, wrong types and unreadable values
//! are all found here, in every format alike. The JSON Schema is printed from the same shapes.

mod check;
mod format;
mod json;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod toml;
mod tree;
mod yaml;

pub(crate) use check::check;
pub(crate) use format::Format;
pub(crate) use shape::{Key, Section, Shape};
pub(crate) use text::source;
pub(crate) use tree::{Entry, Node, Value};

/// How deep lists and maps may lie in each other: deeper is a mistake or an attack.
const DEEPEST: usize = 128;
