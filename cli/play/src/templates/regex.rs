//! Regular expressions in the syntax of Python.

use minijinja::Error;

use super::function_arguments::wrong;

/// Compiles an expression.
pub(super) fn compiled(
    pattern: &str,
    ignores_case: bool,
    has_lines: bool,
) -> Result<fancy_regex::Regex, Error> {
    let mut flags = String::new();
    if ignores_case {
        flags.push_str("(?i)");
    }
    if has_lines {
        flags.push_str("(?m)");
    }
    fancy_regex::Regex::new(&format!("{flags}{pattern}"))
        .map_err(|error| wrong(format!("`{pattern}` is not a regular expression: {error}")))
}

/// Makes the error of an expression that failed while it was matched.
#[expect(
    clippy::needless_pass_by_value,
    reason = "`map_err` passes the error by value"
)]
pub(super) fn failed(error: fancy_regex::Error) -> Error {
    wrong(format!("the regular expression failed: {error}"))
}

/// Expands the text that replaces a match: `\1` and `\g<name>` are its groups.
pub(super) fn expand(replacement: &str, found: &fancy_regex::Captures<'_>) -> String {
    let mut out = String::new();
    let mut rest = replacement;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let digits = behind
            .bytes()
            .take(2)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits > 0 {
            let group = behind[..digits]
                .parse()
                .ok()
                .and_then(|at: usize| found.get(at));
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = &behind[digits..];
        } else if let Some((name, after)) = behind
            .strip_prefix("g<")
            .and_then(|name| name.split_once('>'))
        {
            let group = match name.parse() {
                Ok(at) => found.get(at),
                Err(_) => found.name(name),
            };
            out.push_str(group.map_or("", |group| group.as_str()));
            rest = after;
        } else {
            let mut characters = behind.chars();
            match characters.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('\\') | None => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
            }
            rest = characters.as_str();
        }
    }
    out.push_str(rest);
    out
}

/// Escapes the characters of a text that have a meaning in a regular expression.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}
