//! A text with placeholders, such as a path, a tag or the name of a host.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::columns::{Columns, UseOfColumns};
use super::item::Item;
use super::word::{PlaceholderValues, TemplateWord, expand_word, uses_slot};
use super::word_parser::parse_word;
use crate::error::CliError;
use crate::escape::{plain, text_of};

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextTemplate {
    pieces: TemplateWord,
    use_of_columns: UseOfColumns,
}

impl TextTemplate {
    /// Parses a text.
    pub(crate) fn parse(text: &OsStr, columns: Columns<'_>) -> Result<Self, CliError> {
        let pieces = parse_word(text.as_bytes(), columns)?;
        if uses_slot(&pieces) {
            let text = plain(&text_of(text.as_bytes())).into_owned();
            return Err(CliError::usage(format!("{{%}} cannot be part of `{text}`"))
                .with_help("the slot is known only when the job starts: use {#}, or the item"));
        }
        Ok(Self {
            pieces,
            use_of_columns: columns.usual_use(),
        })
    }

    /// Returns the text for an item. For a group of items, it is the texts of all of them with blanks between them.
    pub(crate) fn text(&self, item: &Item, number: u64) -> OsString {
        self.expand(item, number).join(OsStr::new(" "))
    }

    /// Returns the texts for an item: one, or one for each item of a group.
    pub(crate) fn expand(&self, item: &Item, number: u64) -> Vec<OsString> {
        let slot = None;
        let values = PlaceholderValues { item, number, slot };
        expand_word(&self.pieces, self.use_of_columns, values).collect()
    }
}
