//! Parses the words of a command into literal text and placeholders.

use super::columns::Columns;
use super::path_part::PathPart;
use super::placeholder::{Piece, Placeholder};
use super::substitution::Substitution;
use crate::error::CliError;
use crate::value::closest;

/// Parses a word into its pieces, of which there is at least one.
pub(super) fn parse_word(word: &[u8], columns: Columns<'_>) -> Result<Vec<Piece>, CliError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = word;
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        literal.extend_from_slice(&rest[..open]);
        rest = &rest[open..];
        // `{{x}}` stands for `{x}` if `{x}` would be a placeholder, or would be refused.
        if rest.starts_with(b"{{")
            && let Some(close) = end_of_placeholder(&rest[1..], columns)?
            && rest[1..][close..].starts_with(b"}}")
        {
            literal.extend_from_slice(&rest[1..close + 2]);
            rest = &rest[close + 3..];
            continue;
        }
        refuse_perl(rest)?;
        let Some((placeholder, close)) = braced(rest, columns)? else {
            if let Some(close) = closing_brace(rest) {
                refuse_misspelt(&rest[1..close], columns)?;
                // `${x}` is a variable of a shell.
                if literal.last() != Some(&b'$') {
                    refuse_unknown_name(&rest[1..close], columns)?;
                }
            }
            literal.push(b'{');
            rest = &rest[1..];
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Placeholder(placeholder));
        rest = &rest[close + 1..];
    }
    literal.extend_from_slice(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// Parses the placeholder with which a text begins. The first byte is a brace. Returns the placeholder with the
/// position of its closing brace.
fn braced(text: &[u8], columns: Columns<'_>) -> Result<Option<(Placeholder, usize)>, CliError> {
    let Some(close) = closing_brace(text) else {
        return Ok(None);
    };
    match placeholder(&text[1..close], columns)? {
        Some(found) => Ok(Some((found, close))),
        None => replaced(text, columns),
    }
}

fn closing_brace(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| *byte == b'}')
}

/// Parses a placeholder with a replacement, as in `{1/.jpg$/.png/}`. Its expression may contain braces.
fn replaced(text: &[u8], columns: Columns<'_>) -> Result<Option<(Placeholder, usize)>, CliError> {
    let inner = &text[1..];
    let named =
        (columns.named()).filter_map(|(column, name)| Some((column, inner.strip_prefix(name)?)));
    let numbered = number(inner).and_then(|(number, rest)| Some((number.checked_sub(1)?, rest)));
    for (column, rest) in named.chain(numbered) {
        if let Some((substitution, length)) = Substitution::parse(rest)? {
            if column >= columns.count.max(columns.names.len()) {
                return Err(no_column(column + 1, columns));
            }
            let close = text.len() - rest.len() + length;
            let found = Placeholder::Replaced(column, Box::new(substitution));
            return Ok(Some((found, close)));
        }
    }
    Ok(None)
}

/// Returns the number at the beginning of a text, and what follows it.
fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let (number, rest) = text.split_at(digits.count());
    if number.is_empty() {
        return None;
    }
    // No item has so many columns that the number of one does not fit, so `usize::MAX` is as good as any.
    let number = std::str::from_utf8(number).ok()?.parse();
    Some((number.unwrap_or(usize::MAX), rest))
}

/// Refuses `{= .. =}`, in which GNU parallel runs Perl.
fn refuse_perl(text: &[u8]) -> Result<(), CliError> {
    let Some(inner) = text.strip_prefix(b"{=") else {
        return Ok(());
    };
    if !inner.windows(2).any(|two| two == b"=}") {
        return Ok(());
    }
    Err(CliError::usage("{= =} contains Perl, which ratchet does not run")
        .with_help("{1/REGEX/TEXT/} replaces what an expression matches, as in {1/\\.jpg$/.png/}; for more, use --shell"))
}

/// Parses the text between braces. Returns nothing if it is not a placeholder.
fn placeholder(inner: &[u8], columns: Columns<'_>) -> Result<Option<Placeholder>, CliError> {
    if inner == b"#" {
        return Ok(Some(Placeholder::Number));
    }
    if inner == b"%" {
        return Ok(Some(Placeholder::Slot));
    }
    if let Some(part) = PathPart::from_suffix(inner) {
        return Ok(Some(Placeholder::All(part)));
    }
    let named = columns.named().find_map(|(column, name)| {
        let suffix = inner.strip_prefix(name)?;
        Some(Placeholder::Column(column, PathPart::from_suffix(suffix)?))
    });
    if named.is_some() {
        return Ok(named);
    }
    // In a script of several lines, blanks may stand before the closing brace, as in GNU parallel.
    if let Some((number, suffix)) = number(inner)
        && let Some(part) = PathPart::from_suffix(suffix.trim_ascii_end())
    {
        return match number
            .checked_sub(1)
            .filter(|column| *column < columns.count)
        {
            Some(column) => Ok(Some(Placeholder::Column(column, part))),
            None => Err(no_column(number, columns)),
        };
    }
    counted_from_end(inner, columns)
}

/// Parses the text of a placeholder that counts columns from the last one, as in `{-1}`.
fn counted_from_end(inner: &[u8], columns: Columns<'_>) -> Result<Option<Placeholder>, CliError> {
    let Some((number, suffix)) = inner.strip_prefix(b"-").and_then(number) else {
        return Ok(None);
    };
    let Some(part) = PathPart::from_suffix(suffix) else {
        return Ok(None);
    };
    match columns.count.checked_sub(number).filter(|_| number > 0) {
        Some(column) => Ok(Some(Placeholder::Column(column, part))),
        None if columns.count == 0 => Err(no_column(number, columns)),
        None => Err(CliError::usage(format!(
            "there is no {{-{number}}}: the first of {} columns is {{-{0}}}",
            columns.count
        ))
        .with_help(format!(
            "write {{{{-{number}}}}} to pass the text {{-{number}}}"
        ))),
    }
}

fn no_column(number: usize, columns: Columns<'_>) -> CliError {
    let there_are = match columns.count {
        0 if columns.are_items => {
            return CliError::usage(format!(
                "there is no {{{number}}}: commands get as many items as fit"
            ))
            .with_help("set a number with -n, or write {} for all items");
        }
        count if columns.are_items => format!("a command gets {count} items at most"),
        0 => {
            return CliError::usage(format!(
                "there is no {{{number}}}: commands get no items here"
            ))
            .with_help("with --each-host, {host} is the name of the host; with --pipe, the command reads its block from stdin");
        }
        1 => "items have one column".to_owned(),
        count => format!("items have {count} columns"),
    };
    CliError::usage(format!(
        "there is no {{{number}}}: {there_are}, and the first is {{1}}"
    ))
    .with_help(format!(
        "write {{{{{number}}}}} to pass the text {{{number}}}"
    ))
}

/// Returns the position of the brace that closes the placeholder, or the unknown name of a column, with which a text
/// begins.
fn end_of_placeholder(text: &[u8], columns: Columns<'_>) -> Result<Option<usize>, CliError> {
    if let Some((_, close)) = braced(text, columns)? {
        return Ok(Some(close));
    }
    let close = closing_brace(text);
    Ok(close.filter(|close| could_be_name(&text[1..*close], columns)))
}

/// Whether a text in braces looks like the name of a column, where columns have names.
fn could_be_name(inner: &[u8], columns: Columns<'_>) -> bool {
    let begins = inner
        .first()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    columns.count > 0 && !columns.names.is_empty() && begins && inner.iter().all(goes_on)
}

/// Refuses the name of a column that does not exist.
fn refuse_unknown_name(inner: &[u8], columns: Columns<'_>) -> Result<(), CliError> {
    if !could_be_name(inner, columns) {
        return Ok(());
    }
    let typed = String::from_utf8_lossy(inner);
    let names = columns
        .named()
        .map(|(_, name)| String::from_utf8_lossy(name));
    let names: Vec<_> = names.collect();
    Err(
        CliError::usage(format!("there is no column `{typed}`")).with_help(format!(
            "the columns are {}; write {{{{{typed}}}}} to pass the text {{{typed}}}",
            names.join(", ")
        )),
    )
}

/// Refuses a text in braces that is almost the name of a column.
fn refuse_misspelt(inner: &[u8], columns: Columns<'_>) -> Result<(), CliError> {
    let names = columns
        .named()
        .filter_map(|(_, name)| std::str::from_utf8(name).ok());
    let Some((typed, meant)) = std::str::from_utf8(inner)
        .ok()
        .and_then(|typed| Some((typed, closest(typed, names)?)))
    else {
        return Ok(());
    };
    Err(CliError::usage(format!("there is no column `{typed}`"))
        .with_help(format!("did you mean {{{meant}}}?")))
}
