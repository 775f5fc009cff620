//! The replacement in `{1/REGEX/TEXT/}`: a column in which the matches of an expression are replaced.

use regex::bytes::{Captures, Regex};

use crate::error::CliError;

/// A replacement in a column. Two are equal if their texts are.
#[derive(Debug, Clone)]
pub(super) struct Substitution {
    /// The expression, the text and the flag as they are written.
    written: Vec<u8>,
    expression: Regex,
    text: Vec<TextPart>,
    /// Whether every match is replaced, and not only the first one.
    every: bool,
}

/// A part of the text that takes the place of a match.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TextPart {
    /// Bytes that are always the same.
    Literal(Vec<u8>),
    /// What a group of the expression has matched; group 0 is the whole match.
    Group(usize),
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Substitution {}

impl Substitution {
    /// Parses what follows the column in a placeholder, up to its brace: `/REGEX/TEXT/` or `/REGEX/TEXT/g`. Returns the
    /// replacement with the length of its text, or nothing if the text has another form.
    pub(super) fn parse(text: &[u8]) -> Result<Option<(Self, usize)>, CliError> {
        let Some((expression, rest)) = text.strip_prefix(b"/").and_then(until_slash) else {
            return Ok(None);
        };
        let Some((replacement, rest)) = until_slash(rest) else {
            return Ok(None);
        };
        let (every, rest) = match rest.strip_prefix(b"g") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if expression.is_empty() || !rest.starts_with(b"}") {
            return Ok(None);
        }
        let length = text.len() - rest.len();
        let written = text[..length].to_vec();
        let shown = String::from_utf8_lossy(&written).into_owned();
        let refuse = |reason: &str| CliError::usage(format!("`{{..{shown}}}`: {reason}"));
        let expression =
            std::str::from_utf8(expression).map_err(|_| refuse("the expression is not UTF-8"))?;
        let expression = Regex::new(expression)
            .map_err(|error| refuse("this is not a regular expression").because(error))?;
        let replacement = text_parts(replacement);
        for part in &replacement {
            if let TextPart::Group(number) = part
                && *number >= expression.captures_len()
            {
                return Err(refuse(&format!("the expression has no group {number}"))
                    .with_help("a group is written in parentheses; write `\\\\` for a backslash"));
            }
        }
        let parsed = Self {
            written,
            expression,
            text: replacement,
            every,
        };
        Ok(Some((parsed, length)))
    }

    /// Returns the column with its replacements.
    pub(super) fn apply(&self, column: &[u8]) -> Vec<u8> {
        let most = usize::from(!self.every);
        let replace = |found: &Captures<'_>| self.expand(found);
        self.expression.replacen(column, most, replace).into_owned()
    }

    fn expand(&self, found: &Captures<'_>) -> Vec<u8> {
        let mut text = Vec::new();
        for part in &self.text {
            match part {
                TextPart::Literal(literal) => text.extend_from_slice(literal),
                // A group that took no part in the match is empty.
                TextPart::Group(number) => {
                    let group = found.get(*number);
                    text.extend_from_slice(group.map_or(b"", |group| group.as_bytes()));
                }
            }
        }
        text
    }
}

/// Splits at the first slash without a backslash before it. Returns nothing if there is none.
fn until_slash(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut is_escaped = false;
    let slash = text.iter().position(|byte| {
        let found = *byte == b'/' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        found
    })?;
    Some((&text[..slash], &text[slash + 1..]))
}

/// Parses a text into its parts. `\1` is a group, and a backslash before another character stands for that character.
fn text_parts(text: &[u8]) -> Vec<TextPart> {
    let (mut parts, mut literal) = (Vec::new(), Vec::new());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            literal.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(digit @ b'0'..=b'9') => {
                if !literal.is_empty() {
                    parts.push(TextPart::Literal(std::mem::take(&mut literal)));
                }
                parts.push(TextPart::Group(usize::from(digit - b'0')));
            }
            Some(other) => literal.push(*other),
            None => literal.push(b'\\'),
        }
    }
    if !literal.is_empty() {
        parts.push(TextPart::Literal(literal));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(written: &str, column: &str) -> String {
        let text = format!("{written}}}");
        let (parsed, length) = Substitution::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, written.len(), "{written}");
        String::from_utf8(parsed.apply(column.as_bytes())).unwrap()
    }

    #[test]
    fn a_match_is_replaced_by_text_and_groups() {
        for (written, column, expected) in [
            (r"/\.jpg$/.png/", "a.jpg", "a.png"),
            (r"/\.jpg$/.png/", "ajpg", "ajpg"),
            ("/a/b/", "aaa", "baa"),
            ("/a/b/g", "aaa", "bbb"),
            ("/-.*//", "name-1", "name"),
            (r"/(\d+)-(\d+)/\2-\1/", "x 12-34", "x 34-12"),
            (r"/b/<\0>/", "abc", "a<b>c"),
            (r"/\//\/\\/", "a/b", r"a/\b"),
            ("/x{2}/y/", "xxx", "yx"),
            ("/(a)|b/[\\1]/g", "ab", "[a][]"),
        ] {
            assert_eq!(applied(written, column), expected, "{written}");
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_replaced_within() {
        let (parsed, _) = Substitution::parse(b"/a/b/}").unwrap().unwrap();
        assert_eq!(parsed.apply(b"\xffa\xfe"), b"\xffb\xfe");
    }

    #[test]
    fn other_forms_are_none_and_wrong_expressions_are_refused() {
        for other in [
            "}", "/}", "/.}", "//}", "/a/}", "/a/b}", "/a/b/x}", "//b/}", "/a/b/",
        ] {
            assert!(
                Substitution::parse(other.as_bytes()).unwrap().is_none(),
                "{other}"
            );
        }
        for (wrong, said) in [
            ("/(/b/}", "not a regular expression"),
            (r"/a/\1/}", "no group 1"),
        ] {
            let error = Substitution::parse(wrong.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
