//! The columns that a command can name, and how its words follow from them.

use super::path_part::PathPart;
use super::placeholder::Placeholder;

/// The number and the names of the columns, which are known before the first item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// How many columns each item has.
    pub(crate) count: usize,
    /// The names of the columns, if they have any. A column without a name has an empty one.
    pub(crate) names: &'a [Vec<u8>],
    /// Whether each column is an item of its own. Then `count` is the most that there can be, and 0 means any number.
    pub(crate) are_items: bool,
}

impl Columns<'_> {
    /// Returns the columns that have names. A group of `--match` may have none.
    pub(super) fn named(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let names = self.names.iter().map(Vec::as_slice).enumerate();
        names.filter(|(_, name)| !name.is_empty())
    }

    /// Returns how words use these columns outside of a script for a shell.
    pub(super) fn usual_use(&self) -> UseOfColumns {
        if self.are_items {
            UseOfColumns::SeveralItems
        } else {
            UseOfColumns::OneItem
        }
    }

    /// Returns the placeholders that are added to a command without any: all columns.
    pub(super) fn added(&self) -> Vec<Placeholder> {
        if self.are_items {
            return vec![Placeholder::All(PathPart::Whole)];
        }
        let columns = 0..self.count;
        columns
            .map(|column| Placeholder::Column(column, PathPart::Whole))
            .collect()
    }
}

#[cfg(test)]
impl Columns<'static> {
    /// The columns of items that are not split.
    pub(crate) const ONE: Self = Self {
        count: 1,
        names: &[],
        are_items: false,
    };
}

/// How the words of a command use the columns of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UseOfColumns {
    /// Each word is one argument. All items have the same number of columns.
    OneItem,
    /// The columns are items of their own. A word with `{}` is repeated for each of them. A word that consists only of
    /// an item that is missing is left out.
    SeveralItems,
    /// As `SeveralItems`, but a word with `{}` is not repeated: the items stand where `{}` is, and between two of them the word
    /// ends.
    ItemsInPlace,
    /// As `SeveralItems`, but the words are the parameters of a shell. None is left out, because the script names them
    /// by number.
    SeveralParameters,
}
