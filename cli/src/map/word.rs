//! The words of a command, which consist of pieces, and what they become for an item.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use ratchet_runtime::SlotNumber;

use super::columns::UseOfColumns;
use super::item::Item;
use super::line_length::LineLength;
use super::placeholder::{Piece, Placeholder};

/// The values that are filled in for placeholders.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceholderValues<'a> {
    /// The item.
    pub(crate) item: &'a Item,
    /// The number of the item, from 1 on.
    pub(crate) number: u64,
    /// The slot in which the command runs. As long as it is not known, `{%}` stays as it is.
    pub(crate) slot: Option<SlotNumber>,
}

/// A word of a command, as the pieces that it consists of.
pub(super) type TemplateWord = Vec<Piece>;

/// Returns the most bytes that an item adds to a piece.
pub(super) fn bytes_of_item(piece: &Piece, item: &Item) -> usize {
    let columns = item.columns();
    match piece {
        Piece::Placeholder(Placeholder::All(part)) => columns.map(|it| part.of(it).len()).sum(),
        Piece::Placeholder(Placeholder::Column(..)) => columns.map(<[u8]>::len).sum(),
        Piece::Placeholder(Placeholder::Replaced(_, substitution)) => {
            columns.map(|column| substitution.apply(column).len()).sum()
        }
        Piece::Placeholder(Placeholder::Number | Placeholder::Slot) | Piece::Literal(_) => 0,
    }
}

/// Whether a word is repeated for each item of a group.
pub(super) fn has_all(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Placeholder(Placeholder::All(_))))
}

/// Returns how often a word has a placeholder for all items of a group.
pub(super) fn count_all(pieces: &[Piece]) -> usize {
    let is_all = |piece: &&Piece| matches!(piece, Piece::Placeholder(Placeholder::All(_)));
    pieces.iter().filter(is_all).count()
}

/// Returns the most that a word has of length without its items.
pub(super) fn length_without_items(pieces: &[Piece]) -> LineLength {
    /// The number of digits of the greatest `u64`.
    const DIGITS: usize = 20;
    let pieces = pieces.iter().map(|piece| match piece {
        Piece::Literal(literal) => literal.len(),
        Piece::Placeholder(Placeholder::Number | Placeholder::Slot) => DIGITS,
        Piece::Placeholder(_) => 0,
    });
    LineLength {
        // The zero byte at the end counts, too.
        bytes: pieces.sum::<usize>() + 1,
        words: 1,
    }
}

/// Whether a word depends on the item.
pub(super) fn uses_item(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Placeholder(Placeholder::Number | Placeholder::Slot) | Piece::Literal(_) => false,
        Piece::Placeholder(_) => true,
    })
}

/// Whether a word depends on the slot.
pub(super) fn uses_slot(pieces: &[Piece]) -> bool {
    pieces.contains(&Piece::Placeholder(Placeholder::Slot))
}

/// Whether a word depends on the item, its number or the slot.
pub(super) fn has_placeholder(pieces: &[Piece]) -> bool {
    pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Placeholder(_)))
}

/// Returns the arguments that a word becomes: one, none, or one for each item of a group.
pub(super) fn expand_word<'a>(
    pieces: &'a [Piece],
    use_of_columns: UseOfColumns,
    values: PlaceholderValues<'a>,
) -> Box<dyn Iterator<Item = OsString> + 'a> {
    let item = values.item;
    match use_of_columns {
        UseOfColumns::SeveralItems | UseOfColumns::SeveralParameters if has_all(pieces) => {
            Box::new(
                item.columns()
                    .map(move |one| fill_in(pieces, values, &[one])),
            )
        }
        UseOfColumns::ItemsInPlace if has_all(pieces) => {
            Box::new(fill_in_place(pieces, values).into_iter())
        }
        UseOfColumns::SeveralItems | UseOfColumns::ItemsInPlace
            if pieces.iter().all(|piece| is_missing(piece, item)) =>
        {
            Box::new(std::iter::empty())
        }
        _ => {
            let all: Vec<&[u8]> = item.columns().collect();
            Box::new(std::iter::once(fill_in(pieces, values, &all)))
        }
    }
}

/// Fills in the placeholders of a word. All items of the group stand where `{}` is, and between two of them the word ends.
fn fill_in_place(pieces: &[Piece], values: PlaceholderValues<'_>) -> Vec<OsString> {
    let mut words = vec![Vec::new()];
    let mut add = |text: &[u8], begins_word: bool| match words.last_mut() {
        Some(word) if !begins_word => word.extend_from_slice(text),
        _ => words.push(text.to_vec()),
    };
    for piece in pieces {
        if let Piece::Placeholder(Placeholder::All(part)) = piece {
            for (index, item) in values.item.columns().enumerate() {
                add(part.of(item), index > 0);
            }
        } else {
            let filled = fill_in(std::slice::from_ref(piece), values, &[]);
            add(filled.as_encoded_bytes(), false);
        }
    }
    words.into_iter().map(OsString::from_vec).collect()
}

/// Whether a piece is a placeholder for an item that the group does not have.
fn is_missing(piece: &Piece, item: &Item) -> bool {
    match piece {
        Piece::Placeholder(Placeholder::Column(column, _) | Placeholder::Replaced(column, _)) => {
            item.column(*column).is_none()
        }
        _ => false,
    }
}

/// Fills in the placeholders of a word. `{}` stands for `all`. An item that a group does not have is empty. Items that
/// are not groups have every column that a template can name.
fn fill_in(pieces: &[Piece], values: PlaceholderValues<'_>, all: &[&[u8]]) -> OsString {
    let PlaceholderValues { item, number, slot } = values;
    let mut text = Vec::with_capacity(pieces.len() * 24);
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.extend_from_slice(literal),
            Piece::Placeholder(Placeholder::Number) => {
                text.extend_from_slice(number.to_string().as_bytes());
            }
            Piece::Placeholder(Placeholder::Slot) => match slot {
                Some(slot) => text.extend_from_slice(slot.to_string().as_bytes()),
                None => text.extend_from_slice(b"{%}"),
            },
            Piece::Placeholder(Placeholder::Column(column, part)) => {
                text.extend_from_slice(item.column(*column).map_or(b"", |column| part.of(column)));
            }
            Piece::Placeholder(Placeholder::Replaced(column, substitution)) => {
                if let Some(column) = item.column(*column) {
                    text.extend_from_slice(&substitution.apply(column));
                }
            }
            Piece::Placeholder(Placeholder::All(part)) => {
                for (index, column) in all.iter().enumerate() {
                    if index > 0 {
                        text.push(b' ');
                    }
                    text.extend_from_slice(part.of(column));
                }
            }
        }
    }
    OsString::from_vec(text)
}
