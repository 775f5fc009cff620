//! Reads documents in YAML, JSON and TOML from text into typed values, in one pass.
//!
//! A [`DocumentFormat`] parses text into [`Node`]s, each with its place. A type that can occur in a document implements
//! [`FromNode`]: it reads itself from a node, adds its problems to a list, and describes itself for messages and for
//! the JSON Schema. The macro `section!` defines a map of known keys, from which all three follow. So unknown keys,
//! wrong types and unreadable values are found in the same way in every format.

mod engine_words;
mod format;
mod from_node;
mod json;
mod node;
mod part;
mod scalar;
mod schema;
mod section;
#[cfg(test)]
mod tests;
mod text;
mod toml;
mod words;
mod yaml;

pub use format::{DocumentFormat, ansible_key, ansible_node, json_node, yaml_node};
pub use from_node::{
    AnyValue, Either, Field, FromNode, Named, ScalarText, Spanned, document_schema,
};
pub use node::{Entry, Node, Value};
pub use part::{Extent, Part};
pub use scalar::{
    AnyByteSize, ByteSize, Count, Factor, False, PositiveDuration, PositiveNumber, Share, Version,
};
pub use schema::{DRAFT, Schemas};
pub use section::{
    Section, SectionPlace, expected as expected_section, property, read as read_section,
    schema as schema_of_section, section, unknown_key,
};
pub use text::source;
pub use words::{
    ClapWord, Words, expected as expected_words, read as read_word, schema as schema_of_words,
    words,
};
