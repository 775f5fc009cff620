//! Rewrites expressions for the engine.

use std::fmt::Write as _;

use super::escapes::{Escapes, with_escapes};
use super::named::without_builtin;
use super::operands::{
    KEYWORDS, comparand, formatted, goes_on_comparing, is_item, operand, order_operator,
    quoted_name,
};
use crate::templates::mutable;
use crate::templates::tokens::{Token, TokenKind, token};

/// The function that looks up an item. Unlike the engine, it returns a value for a missing item that remembers its
/// name.
pub(in crate::templates) const ITEM: &str = "__item";

/// The function that looks up an attribute from which another one is read. Unlike the engine, it returns a value for a
/// missing attribute that remembers its name, whatever it is looked up in.
pub(in crate::templates) const ATTRIBUTE: &str = "__attribute";

/// The function that says whether a value is a date.
pub(in crate::templates) const IS_DATE: &str = "__is_date";

/// The function that formats values into a string, as `%` does in Python.
pub(in crate::templates) const FORMAT: &str = "__format";

/// The function that subtracts dates, which the engine does not do.
pub(in crate::templates) const MINUS: &str = "__minus";

/// The function that compares values in order, and refuses those of unlike kinds, which the engine orders somehow.
pub(in crate::templates) const COMPARE: &str = "__compare";

/// The function that makes a list or a map that the template can change.
pub(in crate::templates) const MUTABLE: &str = "__mutable";

/// Whether a text calls a method that changes a list or a map in its place.
pub(super) fn changes_in_place(text: &str) -> bool {
    mutable::METHODS.iter().any(|method| {
        text.match_indices(method).any(|(at, _)| {
            text[..at].ends_with('.') && text[at + method.len()..].trim_start().starts_with('(')
        })
    })
}

/// Rewrites a single expression for the engine.
pub(in crate::templates) fn prepared_expression(expression: &str, escapes: Escapes) -> String {
    rewritten(expression, escapes, changes_in_place(expression))
}

/// Rewrites an expression for the engine. With `is_changed`, the lists and maps that are written in it can be changed.
pub(super) fn rewritten(expression: &str, escapes: Escapes, is_changed: bool) -> String {
    let mut out = Rewritten {
        is_changed,
        ..Rewritten::default()
    };
    let mut rest = expression;
    while let Some(word) = token(rest) {
        rest = &rest[word.text.len()..];
        match word.kind {
            TokenKind::Space | TokenKind::Number => out.push(word),
            TokenKind::Text => {
                let text = with_escapes(word.text, escapes);
                out.begin();
                if let Some((values, behind)) = formatted(rest) {
                    let values = rewritten(values, escapes, is_changed);
                    // Writing to a string cannot fail.
                    let _ = write!(out.text, "{FORMAT}({text}, {values})");
                    rest = behind;
                } else {
                    out.text.push_str(&text);
                }
                out.last = Last::Value;
            }
            TokenKind::Name => rest = out.name(word, rest),
            TokenKind::Symbol => {
                if word.text == "-"
                    && let Some(start) = out.start_of_date()
                    && let Some((right, behind)) = operand(rest)
                {
                    let right = rewritten(right, escapes, is_changed);
                    let left = out.text.split_off(start);
                    // Writing to a string cannot fail.
                    let _ = write!(out.text, "{MINUS}({}, {right})", left.trim_end());
                    out.last = Last::Value;
                    rest = behind;
                } else if word.text == "-"
                    && let Some(start) = out.start_of_variable()
                    && let Some((right, behind)) = operand(rest)
                    && !behind.trim_start().starts_with(['*', '/', '%'])
                {
                    let right = rewritten(right, escapes, is_changed);
                    let left = out.text.split_off(start);
                    let left = left.trim_end();
                    // Only dates need the function, and everything else is subtracted by the engine.
                    let _ = write!(
                        out.text,
                        "({MINUS}({left}, {right}) if {IS_DATE}({left}) else {left} - {right})"
                    );
                    out.last = Last::Value;
                    rest = behind;
                } else if let Some(operator) = order_operator(word.text, rest)
                    && let Some(start) = out.start_of_comparison()
                    && let Some((right, behind)) = comparand(&rest[operator.len() - 1..])
                    && !goes_on_comparing(behind)
                {
                    let right = rewritten(right, escapes, is_changed);
                    let left = out.text.split_off(start);
                    let left = left.trim_end();
                    // Writing to a string cannot fail.
                    let _ = write!(out.text, "{COMPARE}('{operator}', {left}, {right})");
                    out.last = Last::Value;
                    out.start = Some(start);
                    out.is_compared = true;
                    rest = behind;
                } else if word.text == "["
                    && out.last == Last::Value
                    && let Some((name, behind)) = quoted_name(rest)
                {
                    out.point = out.text.len();
                    out.text.push('.');
                    out.attribute(name, behind);
                    rest = behind;
                } else {
                    out.symbol(word, rest);
                }
            }
        }
    }
    out.text
}

/// What the last word means for the next one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A value. A bracket after it takes an item of it.
    Value,
    /// A dot. A name after it is an attribute.
    Point,
    /// `|`. A name after it is a filter.
    Pipe,
    /// The name of a filter. A bracket after it holds the arguments of the filter, and ends the same value.
    Filter,
    /// `is` or `is not`. A name after it is a test.
    Is,
    #[default]
    Other,
}

/// An open bracket.
#[derive(Debug)]
struct Open {
    /// The offset of the value that ends at the closing bracket.
    start: Option<usize>,
    /// The offset of the bracket in the output, if it may take an item.
    item: Option<usize>,
    /// Whether the bracket begins a list or a map that the template can change.
    is_mutable: bool,
    /// What the fields of the same names were before the bracket.
    comparand: usize,
    is_compared: bool,
}

/// The part of an expression that is already rewritten.
#[derive(Debug, Default)]
struct Rewritten {
    text: String,
    last: Last,
    /// The offset of the last value in the output.
    start: Option<usize>,
    /// The offset of the last point in the output.
    point: usize,
    /// The offset at which an operand of a comparison begins, if one is being written.
    comparand: usize,
    /// Whether this operand is compared with what stands before it.
    is_compared: bool,
    open: Vec<Open>,
    /// Whether lists and maps that are written here can be changed.
    is_changed: bool,
}

impl Rewritten {
    fn push(&mut self, word: Token<'_>) {
        if word.kind != TokenKind::Space {
            self.begin();
            self.last = Last::Value;
        }
        self.text.push_str(word.text);
    }

    /// Returns the offset of the last value if it is a date as it is written: made by `to_datetime` or by `now()`.
    fn start_of_date(&self) -> Option<usize> {
        let start = self.start?;
        let value = self.text[start..].trim_end();
        let is_complete =
            value.ends_with(|last: char| last.is_alphanumeric() || "_)]".contains(last));
        let is_date = value.contains("to_datetime") || value.contains("now(");
        (is_complete && is_date).then_some(start)
    }

    /// Returns the offset of the last value if it is a variable or an attribute of one, from which the next operand is
    /// subtracted before anything else.
    fn start_of_variable(&self) -> Option<usize> {
        let start = self.start?;
        let (before, value) = self.text.split_at(start);
        let value = value.trim_end();
        let is_variable = self.last == Last::Value
            && value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && value
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "_.".contains(character));
        let binds_first = before
            .trim_end()
            .ends_with(['*', '/', '%', '+', '-', '~', '|']);
        (is_variable && !binds_first).then_some(start)
    }

    /// Returns the offset of the left operand of a comparison that comes next. A chain of comparisons has none, because
    /// each of its operands but the first and the last belongs to two of them.
    fn start_of_comparison(&self) -> Option<usize> {
        let value = &self.text[self.comparand..];
        let blanks = value.len() - value.trim_start().len();
        let is_empty = value.trim().is_empty();
        (!is_empty && !self.is_compared).then_some(self.comparand + blanks)
    }

    /// Begins an operand of a comparison. `is_compared` says whether it is compared with what stands before it.
    fn begin_comparand(&mut self, is_compared: bool) {
        self.comparand = self.text.len();
        self.is_compared = is_compared;
    }

    fn begin(&mut self) {
        self.start = Some(self.text.len());
    }

    /// Writes a name, and returns the text after it.
    fn name<'a>(&mut self, word: Token<'a>, rest: &'a str) -> &'a str {
        match self.last {
            Last::Point => self.attribute(word.text, rest),
            Last::Is if word.text == "not" => self.text.push_str(word.text),
            Last::Pipe | Last::Is => {
                let mut name = word.text.to_owned();
                let mut rest = rest;
                while let Some(next) = rest.strip_prefix('.').and_then(token)
                    && next.kind == TokenKind::Name
                {
                    name = format!("{name}.{}", next.text);
                    rest = &rest[1 + next.text.len()..];
                }
                self.text.push_str(without_builtin(&name));
                self.last = match self.last {
                    Last::Pipe => Last::Filter,
                    _ => Last::Other,
                };
                return rest;
            }
            Last::Value | Last::Filter | Last::Other => {
                self.begin();
                self.text.push_str(word.text);
                self.last = match word.text {
                    "is" => Last::Is,
                    word if KEYWORDS.contains(&word) => {
                        self.begin_comparand(word == "in");
                        Last::Other
                    }
                    _ => Last::Value,
                };
            }
        }
        rest
    }

    /// Writes the name of an attribute after its point. If something is read from the attribute, it is looked up by a
    /// function.
    fn attribute(&mut self, name: &str, rest: &str) {
        self.last = Last::Value;
        let is_read = rest.starts_with('[')
            || rest
                .strip_prefix('.')
                .and_then(token)
                .is_some_and(|next| next.kind == TokenKind::Name);
        match self.start {
            Some(start) if is_read => {
                let value = self.text.split_off(start);
                let value = &value[..self.point - start];
                // Writing to a string cannot fail.
                let _ = write!(self.text, "{ATTRIBUTE}({value}, '{name}')");
            }
            _ => self.text.push_str(name),
        }
    }

    fn symbol(&mut self, word: Token<'_>, rest: &str) {
        match word.text {
            "(" | "[" | "{" => {
                let of_value = self.last == Last::Value && word.text != "{";
                let of_filter = self.last == Last::Filter && word.text == "(";
                if !of_value && !matches!(self.last, Last::Other) {
                    self.last = Last::Other;
                }
                let start = if of_value || of_filter {
                    self.start
                } else {
                    Some(self.text.len())
                };
                let item =
                    (of_value && word.text == "[" && is_item(rest)).then_some(self.text.len());
                let is_mutable = self.is_changed && !of_value && word.text != "(";
                self.open.push(Open {
                    start,
                    item,
                    is_mutable,
                    comparand: self.comparand,
                    is_compared: self.is_compared,
                });
                self.text.push_str(word.text);
                self.last = Last::Other;
                self.begin_comparand(false);
            }
            ")" | "]" | "}" => {
                let open = self.open.pop();
                self.text.push_str(word.text);
                self.last = Last::Value;
                self.start = open.as_ref().and_then(|open| open.start);
                if let Some(open) = &open {
                    (self.comparand, self.is_compared) = (open.comparand, open.is_compared);
                }
                if let Some(Open {
                    start: Some(start),
                    is_mutable: true,
                    ..
                }) = open
                {
                    let literal = self.text.split_off(start);
                    // Writing to a string cannot fail.
                    let _ = write!(self.text, "{MUTABLE}({literal})");
                } else if let Some(Open {
                    start: Some(start),
                    item: Some(at),
                    ..
                }) = open
                {
                    let key = self.text[at + 1..self.text.len() - 1].to_owned();
                    let value = self.text[start..at].to_owned();
                    self.text.truncate(start);
                    // Writing to a string cannot fail.
                    let _ = write!(self.text, "{ITEM}({value}, {key})");
                }
            }
            "." => {
                self.point = self.text.len();
                self.text.push('.');
                self.last = Last::Point;
            }
            "|" => {
                self.text.push('|');
                self.last = Last::Pipe;
            }
            other => {
                self.text.push_str(other);
                self.last = Last::Other;
                match other {
                    "<" | ">" | "!" => self.begin_comparand(true),
                    // It may be the end of an operator, or its beginning.
                    "=" => {
                        let before =
                            self.text[..self.text.len() - 1].ends_with(['<', '>', '!', '=']);
                        self.begin_comparand(before || rest.starts_with('='));
                    }
                    "," | ":" => self.begin_comparand(false),
                    _ => {}
                }
            }
        }
    }
}
