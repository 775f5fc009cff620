//! The operands of expressions, found in the text of tokens.

use crate::templates::tokens::{Token, TokenKind, tokens};

/// The words that are not values, so that a bracket after them starts a list.
pub(super) const KEYWORDS: [&str; 21] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "set",
    "include",
    "extends",
    "import",
    "from",
    "do",
    "with",
    "as",
    "recursive",
    "ignore",
    "missing",
    "print",
];

/// Splits the text after a `%` that follows a string into the operand and the rest.
pub(super) fn formatted(rest: &str) -> Option<(&str, &str)> {
    operand(rest.trim_start().strip_prefix('%')?)
}

/// Splits the text after an operator into its operand and the rest.
pub(super) fn operand(text: &str) -> Option<(&str, &str)> {
    split_at_end(text, |word| match word.text {
        "." | "|" => false,
        _ => word.kind == TokenKind::Symbol,
    })
}

/// Returns the operator of order that a symbol begins.
pub(super) fn order_operator(symbol: &str, rest: &str) -> Option<&'static str> {
    match (symbol, rest.starts_with('=')) {
        ("<", false) => Some("<"),
        ("<", true) => Some("<="),
        (">", false) => Some(">"),
        (">", true) => Some(">="),
        _ => None,
    }
}

/// Splits the text after a comparison into its right operand and the rest.
pub(super) fn comparand(text: &str) -> Option<(&str, &str)> {
    split_at_end(text, |word| {
        matches!(word.text, "," | ":" | "<" | ">" | "=" | "!")
    })
}

/// Splits a text where an operand ends: before a closing bracket that it does not open, before a keyword, and before a
/// token outside of brackets that is an end.
fn split_at_end(text: &str, is_end: impl Fn(Token<'_>) -> bool) -> Option<(&str, &str)> {
    let mut length = 0;
    let mut depth = 0_usize;
    for word in tokens(text) {
        let ends = match word.text {
            "(" | "[" | "{" => {
                depth += 1;
                false
            }
            ")" | "]" | "}" if depth == 0 => true,
            ")" | "]" | "}" => {
                depth -= 1;
                false
            }
            name if word.kind == TokenKind::Name => KEYWORDS.contains(&name),
            _ => is_end(word),
        };
        if ends && depth == 0 {
            break;
        }
        length += word.text.len();
    }
    // The blanks before the end are part of the rest.
    let (inside, behind) = text.split_at(text[..length].trim_end().len());
    (!inside.trim().is_empty()).then_some((inside.trim(), behind))
}

/// Whether the text after the right operand of a comparison takes this operand into another comparison or a test.
pub(super) fn goes_on_comparing(behind: &str) -> bool {
    let next = tokens(behind).find(|word| word.kind != TokenKind::Space);
    next.is_some_and(|word| matches!(word.text, "<" | ">" | "=" | "!" | "in" | "not" | "is"))
}

/// Whether the text after an opening bracket is a single key, rather than a slice or several keys.
pub(super) fn is_item(rest: &str) -> bool {
    let mut depth = 0_usize;
    for word in tokens(rest) {
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "}" if depth > 0 => depth -= 1,
            "]" if depth == 0 => return true,
            "]" => depth -= 1,
            ":" | "," if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

/// Splits a quoted name before a closing bracket from the rest.
pub(super) fn quoted_name(text: &str) -> Option<(&str, &str)> {
    let quote = text
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))?;
    let (name, behind) = text[1..].split_once(quote)?;
    let behind = behind.strip_prefix(']')?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    is_name.then_some((name, behind))
}
