//! The columns that a command can name, and how its words follow from them.

use super::path_part::PathPart;
use super::placeholder::Placeholder;

/// The number and the names of the columns, as they are known before the first item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// How many columns each item has.
    pub(crate) count: usize,
    /// The names of the columns, if they have any.
    pub(crate) names: &'a [Vec<u8>],
    /// Whether each column is an item of its own. There may be fewer than `count`, or any number if that is 0.
    pub(crate) are_items: bool,
}

impl Columns<'_> {
    /// How words follow from these columns, if nothing else is said.
    pub(super) fn usual_use(&self) -> UseOfColumns {
        if self.are_items {
            UseOfColumns::SeveralItems
        } else {
            UseOfColumns::OneItem
        }
    }

    /// What is added to a command without a placeholder: all columns.
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

/// How the words of a command follow from the columns of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UseOfColumns {
    /// Each word is one argument. All items have the same number of columns.
    OneItem,
    /// The columns are items of their own. A word with `{}` is repeated for each of them, and one that is nothing but an item
    /// that is not there is left out.
    SeveralItems,
    /// The same, for parameters of a shell: none is left out, since they have numbers.
    SeveralParameters,
}
