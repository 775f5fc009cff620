//! Reads JSON with `serde_json`, which is fast even for lines of megabytes, and keeps the text of each value.
//!
//! A [`RawValue`] borrows from the document, so its place follows from its address. A value that is not read further,
//! such as an input, keeps its bytes and may be nested to any depth; only its syntax is checked.

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error};

use super::node::raw::{Entries, ReadEntries, key_span, name, offset, value};
use super::node::{Entry, Node, Value, refuse_duplicates};
use super::part::{Extent, Part, Sink};
use crate::diagnostic::{Diagnostic, Problems, Span};

/// Parses a whole JSON document. Returns `None` if it is blank, or if it has a syntax error, which is added to the
/// problems.
pub(super) fn node<'a>(text: &'a str, problems: &mut Problems) -> Option<Node<'a>> {
    let start = text.len() - text.trim_start_matches(BLANKS).len();
    let read = match text.as_bytes().get(start)? {
        // Most documents are maps whose keys are needed, so the keys are read in the same pass.
        b'{' => {
            let mut reader = Deserializer::from_str(text);
            let entries = reader.deserialize_map(Entries {
                text,
                start: 0,
                problems,
            });
            entries.and_then(|ReadEntries { entries, .. }| {
                reader.end()?;
                refuse_duplicates(&entries, problems);
                let end = text.trim_end_matches(BLANKS).len();
                Ok(Node::new(Value::Map(entries), Span::new(start, end)))
            })
        }
        _ => serde_json::from_str(text).map(|raw| value(raw, offset(text, raw))),
    };
    read.map_err(|error| problems.push(refuse(text, &error)))
        .ok()
}

/// Reads a document part by part.
pub(super) fn parts(text: &str, streamed: &str, sink: Sink<'_>, problems: &mut Problems) -> Extent {
    let content = text.trim_start_matches(BLANKS);
    if content.is_empty() {
        return Extent::Nothing;
    }
    if !content.starts_with('{') {
        let Some(node) = node(text, problems) else {
            return Extent::BrokenOff;
        };
        sink(Part::Whole(node), problems);
        return Extent::Whole;
    }
    let receiver = RefCell::new((sink, problems));
    let mut reader = Deserializer::from_str(text);
    let root = Root {
        text,
        streamed,
        receiver: &receiver,
    };
    let read = reader.deserialize_map(root).and_then(|()| reader.end());
    match read {
        Ok(()) => Extent::Whole,
        Err(error) => {
            receiver.borrow_mut().1.push(refuse(text, &error));
            Extent::BrokenOff
        }
    }
}

/// The characters that are allowed between the tokens of JSON.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The sink of the parts, and the list of the problems.
type Receiver<'r, 's> = RefCell<(Sink<'s>, &'r mut Problems)>;

/// Visits the map at the top of a document, and passes each of its values to the receiver.
struct Root<'r, 's, 't> {
    text: &'r str,
    streamed: &'r str,
    receiver: &'t Receiver<'r, 's>,
}

impl<'a> Visitor<'a> for Root<'a, '_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys: Vec<Entry<'a>> = Vec::new();
        while let Some(key) = map.next_key::<&RawValue>()? {
            let start = offset(self.text, key);
            let mut receiver = self.receiver.borrow_mut();
            let (sink, problems) = &mut *receiver;
            let name = name(key, start, problems);
            let place = key_span(key, start);
            let list = behind(self.text, place.end(), b':').filter(|(_, first)| *first == b'[');
            if let Some((list, _)) = list
                && name.as_deref() == Some(self.streamed)
            {
                drop(receiver);
                let (root, start) = (&self, list + 1);
                map.next_value_seed(Members { root, start })?;
            } else {
                let raw: &RawValue = map.next_value()?;
                let node = value(raw, offset(self.text, raw));
                if let Some(name) = name.clone() {
                    sink(Part::Entry(Entry { name, place, node }), problems);
                }
            }
            keys.extend(name.map(|name| Entry {
                name,
                place,
                node: Node::new(Value::Null, place),
            }));
        }
        refuse_duplicates(&keys, self.receiver.borrow_mut().1);
        Ok(())
    }
}

/// Returns the first byte after an offset that is not blank, and its offset.
fn token(text: &str, at: usize) -> Option<(usize, u8)> {
    let mut rest = text.as_bytes().iter().enumerate().skip(at);
    let (at, byte) = rest.find(|(_, byte)| !BLANKS.contains(&char::from(**byte)))?;
    Some((at, *byte))
}

/// Returns the token after a separator, if the separator is the next token.
fn behind(text: &str, at: usize, separator: u8) -> Option<(usize, u8)> {
    let (at, found) = token(text, at)?;
    (found == separator).then(|| token(text, at + 1))?
}

/// Reads the list whose members are delivered one by one.
struct Members<'q, 'r, 's, 't> {
    root: &'q Root<'r, 's, 't>,
    /// The offset after the bracket that opens the list.
    start: usize,
}

impl<'a> DeserializeSeed<'a> for Members<'_, 'a, '_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, 'a, '_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        let text = self.root.text;
        // `serde_json` does not report where a member begins, but only blanks and a comma can be between two members.
        let mut next = token(text, self.start);
        loop {
            let mut receiver = self.root.receiver.borrow_mut();
            let (sink, problems) = &mut *receiver;
            let known = problems.len();
            let member = Member {
                text,
                map: next.filter(|(_, first)| *first == b'{').map(|(at, _)| at),
                problems,
            };
            let member = match list.next_element_seed(member) {
                Ok(Some(member)) => member,
                Ok(None) => return Ok(()),
                Err(error) => {
                    // The syntax error replaces all other problems of its member.
                    problems.truncate(known);
                    return Err(error);
                }
            };
            next = behind(text, member.span.end(), b',');
            sink(Part::Member(member), problems);
        }
    }
}

/// Reads a member of the list. The entries of a map are read in the same pass, because they are needed.
struct Member<'a, 'p> {
    text: &'a str,
    /// The offset of the member, if it is a map.
    map: Option<usize>,
    problems: &'p mut Problems,
}

impl<'a> DeserializeSeed<'a> for Member<'a, '_> {
    type Value = Node<'a>;

    fn deserialize<D: serde::Deserializer<'a>>(self, reader: D) -> Result<Node<'a>, D::Error> {
        let Some(start) = self.map else {
            let raw = <&RawValue>::deserialize(reader)?;
            return Ok(value(raw, offset(self.text, raw)));
        };
        let read = reader.deserialize_map(Entries {
            text: self.text,
            start: 0,
            problems: self.problems,
        })?;
        refuse_duplicates(&read.entries, self.problems);
        let last = read.end.unwrap_or(start + 1);
        let end = token(self.text, last).map_or(last, |(brace, _)| brace + 1);
        Ok(Node::new(Value::Map(read.entries), Span::new(start, end)))
    }
}

/// Converts an error of `serde_json` to a diagnostic that points to the refused character.
fn refuse(text: &str, error: &Error) -> Diagnostic {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', text.as_bytes())
            .nth(line - 2)
            .map_or(text.len(), |at| at + 1),
    };
    // A refused line break was already counted, so it is before the first column of the next line.
    let at = (line_start + error.column()).saturating_sub(1);
    let at = text.floor_char_boundary(if error.is_eof() { text.len() } else { at });
    let said = error.to_string();
    let said = match said.rfind(" at line ") {
        Some(end) => &said[..end],
        None => &said,
    };
    let at = if said.starts_with("control character") {
        // `serde_json` reports this error at the character itself or at the one before it.
        let found = text[at..].find(|character| character < ' ');
        found.map_or(at, |more| at + more)
    } else {
        at
    };
    if matches!(said, "expected value" | "expected ident") {
        return no_value(text, at);
    }
    let found = text[at..].chars().next();
    let span = Span::new(at, at + found.map_or(0, char::len_utf8));
    let message = match (said, found) {
        (_, Some('\n')) if said.starts_with("control character") => {
            "a text is not closed on its line".to_owned()
        }
        (_, Some(found)) if said.starts_with("expected") => format!("{said}, found `{found}`"),
        ("key must be a string", Some(found)) => {
            format!("expected a key in double quotes, found `{found}`")
        }
        ("trailing characters", _) => "something follows the end of the document".to_owned(),
        (said, _) => said
            .replace("EOF while parsing", "the text ends within")
            .replace("an object", "a map"),
    };
    let help = match (said, found) {
        ("invalid escape", _) => "write `\\\\` for a backslash",
        (_, Some('/' | '#')) => "JSON has no comments",
        (_, Some('\n' | '\t')) => "a line break is written `\\n`, a tab `\\t`",
        (_, Some('\'' | 'a'..='z' | 'A'..='Z' | '_')) => "JSON writes text in double quotes",
        _ => return Diagnostic::error(span, message),
    };
    Diagnostic::error(span, message).help(help)
}

/// Makes the error for a missing value. It points to a whole word, or to the comma before the end of a list or map.
fn no_value(text: &str, at: usize) -> Diagnostic {
    let before = text[..at].trim_end_matches(BLANKS);
    if before.ends_with(',') && text[at..].starts_with([']', '}']) {
        let comma = Span::new(before.len() - 1, before.len());
        return Diagnostic::error(comma, "a comma after the last value")
            .help("JSON allows no comma here");
    }
    let is_of_word = |character: char| character.is_alphanumeric() || character == '_';
    let start = text[..at].trim_end_matches(is_of_word).len();
    let rest = &text[start..];
    let end = match rest.find(|character| !is_of_word(character)) {
        // Anything other than a word is a single character.
        Some(0) => rest.chars().next().map_or(0, char::len_utf8),
        Some(end) => end,
        None => rest.len(),
    };
    let (word, span) = (&rest[..end], Span::new(start, start + end));
    let error = Diagnostic::error(span, format!("expected a value, found `{word}`"));
    match word.chars().next() {
        Some('/' | '#') => error.help("JSON has no comments"),
        Some(first) if first == '\'' || first.is_alphabetic() => {
            error.help("JSON writes text in double quotes")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        let mut problems = Vec::new();
        let map = format!("{{\"input\": {text}}}");
        let entries = node(&map, &mut problems).unwrap().into_map(&mut problems);
        entries.unwrap()[0].node.payload().unwrap().to_string()
    }

    fn refused(text: &str) -> Diagnostic {
        let mut problems = Vec::new();
        assert!(node(text, &mut problems).is_none(), "{text}");
        let mut of_parts = Vec::new();
        parts(text, "jobs", &mut |_, _| (), &mut of_parts);
        assert_eq!(problems, of_parts, "{text}");
        problems.remove(0)
    }

    #[test]
    fn a_value_keeps_its_bytes() {
        for text in [
            "null",
            "-0.5e+3",
            r#"{"a":[1,{"b":"c"}],"":{}}"#,
            r#""\u00e9\ud83d\ude00\n\"\\\/""#,
            r#"{"half": "\ud800"}"#,
            "[ [ ] , { } ]",
            "123456789012345678901234567890",
        ] {
            assert_eq!(printed(text), text);
        }
        assert!(node(" \n", &mut Vec::new()).is_none());
    }

    #[test]
    fn what_is_no_json_is_refused_where_it_goes_wrong() {
        for (text, said, at) in [
            ("{", "the text ends within a map", 1),
            ("{'a':1}", "expected a key in double quotes, found `'`", 1),
            ("{\"a\":[1,]}", "a comma after the last value", 7),
            ("{\"a\":[1 2]}", "expected `,` or `]`, found `2`", 8),
            ("{\"a\":1 \"b\":2}", "expected `,` or `}`, found `\"`", 7),
            ("{\"a\":x}", "expected a value, found `x`", 5),
            ("{\"a\":nul}", "expected a value, found `nul`", 5),
            ("nonsense", "expected a value, found `nonsense`", 0),
            ("{\"a\":1} 2", "something follows", 8),
            ("{\"a\":\n01}", "invalid number", 7),
            ("{\"a\":\"a\nb\"}", "a text is not closed", 7),
            ("{\"a\":\"\u{1}\"}", "control character", 6),
            (r#"{"a":"\x"}"#, "invalid escape", 7),
            ("{\"a\" 1}", "expected `:`", 5),
            ("{\"\u{e4}\":// no\n1}", "expected a value, found `/`", 6),
        ] {
            let error = refused(text);
            assert!(error.message.contains(said), "{text}: {}", error.message);
            assert_eq!(error.span.unwrap().start(), at, "{text}");
        }
    }

    #[test]
    fn a_broken_member_is_refused_like_a_broken_document() {
        for text in [
            "{",
            "{'a':1}",
            "{\"a\":[1,]}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":x}",
            "{\"a\":\n01}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{,}",
            "{\"\\ud800\":1,\"a\":1,\"a\":2,\"b\":\"a\nb\"}",
            "{\"a\":1}}",
        ] {
            let before = "{\"jobs\": [{}, ";
            let listed = format!("{before}{text}");
            let mut problems = Vec::new();
            parts(&listed, "jobs", &mut |_, _| (), &mut problems);
            let found = problems.remove(0);
            assert_eq!(problems, [], "{text}");
            if text == "{\"a\":1}}" {
                assert!(
                    found.message.contains("expected `,` or `]`, found `}`"),
                    "{found:?}"
                );
                continue;
            }
            let mut alone = Vec::new();
            assert!(node(text, &mut alone).is_none(), "{text}");
            let alone = alone.pop().unwrap();
            let start = |found: &Diagnostic| found.span.unwrap().start();
            assert_eq!(
                (&found.message, &found.help),
                (&alone.message, &alone.help),
                "{text}"
            );
            assert_eq!(start(&found), before.len() + start(&alone), "{text}");
        }
    }

    #[test]
    fn members_and_their_values_have_their_places() {
        let text = "{ \"jobs\" :[ {\"a\" : 1 , \"b\":[2] } ,7,\n{ }, {\"\\ud800\":\"ä\" },[{\"c\":1}]\t, {\"d\":{}}]}";
        let mut found = Vec::new();
        let mut sink = |part: Part<'_>, problems: &mut Problems| {
            let Part::Member(node) = part else {
                panic!("the list is the only entry")
            };
            found.push(text[node.span.range()].to_owned());
            for entry in node.into_map(problems).into_iter().flatten() {
                let (key, value) = (entry.place.range(), entry.node.span.range());
                found.push(format!("{}={}", &text[key], &text[value]));
            }
        };
        let mut problems = Vec::new();
        assert_eq!(parts(text, "jobs", &mut sink, &mut problems), Extent::Whole);
        assert_eq!(
            found,
            [
                "{\"a\" : 1 , \"b\":[2] }",
                "\"a\"=1",
                "\"b\"=[2]",
                "7",
                "{ }",
                "{\"\\ud800\":\"ä\" }",
                "[{\"c\":1}]",
                "{\"d\":{}}",
                "\"d\"={}",
            ]
        );
        assert_eq!(problems.len(), 1, "a key with half of a character");
    }

    #[test]
    fn any_depth_and_half_characters_are_kept_where_nobody_asks() {
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(printed(&deep(200_000)), deep(200_000));
        assert!(node(&"[".repeat(1_000_000), &mut Vec::new()).is_none());
        let mut problems = Vec::new();
        let half = node(r#"{"a": "\ud800", "\ud800": 1}"#, &mut problems).unwrap();
        let entries = half.into_map(&mut problems).unwrap();
        assert!(entries[0].node.text().is_none());
        assert_eq!(entries.len(), 1);
        assert!(problems[0].message.contains("lone surrogate"));
    }
}
