//! Finds the filters, tests and lookups that templates name.

use super::Delimiters;
use super::parts::{Part, is_of_name, parts};
use crate::templates::tokens::{TokenKind, token};

/// The collections whose filters, tests and lookups can be named without a prefix.
const BUILTIN: [&str; 2] = ["ansible.builtin.", "ansible.legacy."];

/// A filter, test or lookup that an expression names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::templates) enum Named<'a> {
    Filter(&'a str),
    Test(&'a str),
    Lookup(&'a str),
}

/// Returns the filters, tests and lookups that the expressions of a text name.
pub(in crate::templates) fn names<'a>(text: &'a str, delimiters: &Delimiters) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    for part in parts(text, delimiters) {
        if let Part::Code { inside, .. } = part {
            let inside = inside.trim_start_matches(['-', '+']);
            let statement = inside.trim_start();
            if let Some(filter) = statement.strip_prefix("filter ") {
                let filter = filter.trim_start();
                let end = filter.find(|character: char| !is_of_name(character));
                found.push(Named::Filter(without_builtin(
                    &filter[..end.unwrap_or(filter.len())],
                )));
            }
            found.extend(names_in_expression(inside));
        }
    }
    found
}

/// Returns the filters, tests and lookups that an expression names.
pub(in crate::templates) fn names_in_expression(expression: &str) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    let mut rest = expression;
    // The filter whose argument names another filter or a test, and the number of arguments before that one.
    let mut before = "";
    while let Some(word) = token(rest) {
        let at = rest;
        rest = &rest[word.text.len()..];
        if word.kind == TokenKind::Space {
            continue;
        }
        if word.text == "|" || (before == "is" && word.text != "not") || (before == "is not") {
            let name = if word.text == "|" {
                rest.trim_start()
            } else {
                at
            };
            let end = name.find(|character: char| !is_of_name(character));
            let (name, behind) = name.split_at(end.unwrap_or(name.len()));
            let name = without_builtin(name);
            if !name.is_empty() {
                if word.text == "|" {
                    found.push(Named::Filter(name));
                    found.extend(inner_name(name, behind));
                } else {
                    found.push(Named::Test(name));
                }
            }
            rest = behind;
            before = "";
            continue;
        }
        if matches!(word.text, "lookup" | "query" | "q") && before != "." {
            let argument = rest.trim_start().strip_prefix('(').map(str::trim_start);
            found.extend(
                argument
                    .and_then(quoted)
                    .map(|name| Named::Lookup(without_builtin(name))),
            );
        }
        before = match (before, word.text) {
            ("is", "not") => "is not",
            (_, text) => text,
        };
        if word.kind != TokenKind::Name && before != "." {
            before = "";
        }
    }
    found
}

/// Returns the filter or test that an argument of a filter names.
fn inner_name<'a>(filter: &str, behind: &'a str) -> Option<Named<'a>> {
    let mut arguments = behind.trim_start().strip_prefix('(')?.trim_start();
    if matches!(filter, "selectattr" | "rejectattr") {
        let first = token(arguments).filter(|first| first.kind == TokenKind::Text)?;
        let second = arguments[first.text.len()..].trim_start();
        arguments = second.strip_prefix(',')?.trim_start();
    }
    let name = without_builtin(quoted(arguments)?);
    match filter {
        "map" => Some(Named::Filter(name)),
        "select" | "reject" | "selectattr" | "rejectattr" => Some(Named::Test(name)),
        _ => None,
    }
}

/// Returns the content of a leading string, if the string is the whole argument.
fn quoted(text: &str) -> Option<&str> {
    let first = token(text).filter(|first| first.kind == TokenKind::Text)?;
    let behind = text[first.text.len()..].trim_start();
    let inside = first.text.get(1..first.text.len().checked_sub(1)?)?;
    (behind.starts_with([',', ')'])).then_some(inside)
}

/// Strips the prefix of a builtin collection from a name.
pub(in crate::templates) fn without_builtin(name: &str) -> &str {
    let short = BUILTIN.iter().find_map(|prefix| name.strip_prefix(prefix));
    short.unwrap_or(name)
}
