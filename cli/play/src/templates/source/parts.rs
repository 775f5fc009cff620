//! Splits the text of a template into plain text and code.

use super::Delimiters;
use crate::templates::tokens::{TokenKind, token};

/// A part of a template.
pub(super) enum Part<'a> {
    /// Text, including comments and raw blocks.
    Plain(&'a str),
    /// An expression or a statement.
    Code {
        open: &'a str,
        inside: &'a str,
        close: &'a str,
    },
}

/// Splits a template into its parts.
pub(super) fn parts<'a>(text: &'a str, delimiters: &Delimiters) -> impl Iterator<Item = Part<'a>> {
    let mut rest = text;
    let mut is_line_start = true;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (at, kind) = next_block(rest, delimiters, is_line_start);
        let plain = &rest[..at];
        if !plain.is_empty() {
            rest = &rest[at..];
            is_line_start = plain.ends_with('\n');
            return Some(Part::Plain(plain));
        }
        is_line_start = false;
        let (open, close) = match kind {
            Begin::Variable => (delimiters.variable.0.len(), delimiters.variable.1.as_str()),
            Begin::Block => (delimiters.block.0.len(), delimiters.block.1.as_str()),
            Begin::Line(length) => (length, "\n"),
            Begin::Nothing => unreachable!("some text was left before it"),
        };
        let (open, behind) = rest.split_at(open);
        let length = inside_length(behind, close);
        let (inside, behind) = behind.split_at(length);
        let (close, behind) = behind.split_at(close.len().min(behind.len()));
        rest = behind;
        is_line_start = close.ends_with('\n');
        Some(Part::Code {
            open,
            inside,
            close,
        })
    })
}

/// What follows a text.
#[derive(Debug, Clone, Copy)]
enum Begin {
    Variable,
    Block,
    /// A line that is a statement, with the length of its prefix.
    Line(usize),
    Nothing,
}

/// Returns the offset of the next expression or statement, skipping comments and raw blocks, and what it is.
fn next_block(text: &str, delimiters: &Delimiters, is_line_start: bool) -> (usize, Begin) {
    let mut from = 0;
    let mut is_line_start = is_line_start;
    while let Some(first) = text[from..].chars().next() {
        let rest = &text[from..];
        if is_line_start && let Some(prefix) = &delimiters.line_statement {
            let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            if rest[blank..].starts_with(prefix.as_str()) {
                return (from, Begin::Line(blank + prefix.len()));
            }
        }
        is_line_start = first == '\n';
        if rest.starts_with(delimiters.comment.0.as_str()) {
            let close = delimiters.comment.1.as_str();
            from += rest.find(close).map_or(rest.len(), |end| end + close.len());
        } else if let Some(inside) = rest.strip_prefix(delimiters.block.0.as_str()) {
            let inside = inside.trim_start_matches(['-', '+']).trim_start();
            let is_raw = inside
                .strip_prefix("raw")
                .is_some_and(|behind| !behind.starts_with(is_of_name));
            if !is_raw {
                return (from, Begin::Block);
            }
            from += rest.find("endraw").map_or(rest.len(), |end| end + 6);
        } else if rest.starts_with(delimiters.variable.0.as_str()) {
            return (from, Begin::Variable);
        } else {
            from += first.len_utf8();
        }
    }
    (text.len(), Begin::Nothing)
}

/// Returns the length of an expression or statement up to its closing delimiter. One within brackets does not count.
fn inside_length(text: &str, close: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(word) = token(&text[at..]) {
        if depth == 0 && word.kind != TokenKind::Text && text[at..].starts_with(close) {
            return at;
        }
        if word.kind == TokenKind::Space
            && let Some(end) = word.text.find(close)
            && depth == 0
        {
            return at + end;
        }
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += word.text.len();
    }
    text.find(close).unwrap_or(text.len())
}

/// Whether a character can be part of the name of a filter, a test or a statement.
pub(super) fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '.'
}
