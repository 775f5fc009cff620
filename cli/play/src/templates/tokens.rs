//! The tokens of expressions.

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Space,
    /// A name or a keyword.
    Name,
    Number,
    /// A string with its quotes.
    Text,
    /// One character of an operator, or a bracket.
    Symbol,
}

/// A token of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
}

/// Returns the first token of an expression.
pub(super) fn token(expression: &str) -> Option<Token<'_>> {
    let first = expression.chars().next()?;
    let until = |ends: fn(char) -> bool| expression.find(ends).unwrap_or(expression.len());
    let (kind, length) = match first {
        _ if first.is_whitespace() => (TokenKind::Space, until(|other| !other.is_whitespace())),
        '"' | '\'' => (TokenKind::Text, text_length(expression, first)),
        _ if first.is_ascii_digit() => (TokenKind::Number, number_length(expression)),
        _ if first.is_alphanumeric() || first == '_' => (
            TokenKind::Name,
            until(|other| !other.is_alphanumeric() && other != '_'),
        ),
        _ => (TokenKind::Symbol, first.len_utf8()),
    };
    let text = &expression[..length];
    Some(Token { kind, text })
}

/// Iterates over the tokens of an expression.
pub(super) fn tokens(expression: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = expression;
    std::iter::from_fn(move || {
        let token = token(rest)?;
        rest = &rest[token.text.len()..];
        Some(token)
    })
}

/// Returns the length of a string with its quotes; all of the rest if it is not closed.
fn text_length(expression: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in expression.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    expression.len()
}

/// Returns the length of a number. A dot after it is part of it only before a digit.
fn number_length(expression: &str) -> usize {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let whole = expression
        .find(|character| !is_part(character))
        .unwrap_or(expression.len());
    let behind = expression[whole..].strip_prefix('.').unwrap_or_default();
    if behind.starts_with(|digit: char| digit.is_ascii_digit()) {
        let part = behind.find(|character| !is_part(character));
        return whole + 1 + part.unwrap_or(behind.len());
    }
    whole
}
