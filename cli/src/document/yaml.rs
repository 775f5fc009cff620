//! YAML 1.2, with the place of every value.
//!
//! Only `true` and `false` are truth values, so that `no` is Norway; numbers with leading zeros,
//! which readers take differently, are refused; aliases are expanded within bounds.

mod number;

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as Marks};

use self::number::{Number, number};
use super::DEEPEST;
use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Source, Span};

/// How many values aliases may stand for in all. A few lines of aliases can stand for billions.
const MOST_EXPANDED: usize = 100_000;

type Reading<T> = Result<T, Box<Diagnostic>>;

/// Reads one document; nothing if there is none.
pub(super) fn read(source: &Source) -> Reading<Option<Node>> {
    let mut reader = Reader {
        source,
        open: Vec::new(),
        anchors: HashMap::new(),
        expanded: 0,
        document: None,
        cursor: Cursor::default(),
    };
    for event in Parser::new_from_str(source.text()) {
        let (event, marks) = event.map_err(|error| reader.syntax(&error))?;
        let span = reader.span(marks);
        reader.event(event, span)?;
    }
    // What is empty is read as null, at no place.
    Ok(reader
        .document
        .filter(|node| node.value != Value::Null || node.span.end > node.span.start))
}

struct Reader<'a> {
    source: &'a Source,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    expanded: usize,
    document: Option<Node>,
    cursor: Cursor,
}

/// The last place that was looked up. Places come in order, so the next one is near, also in a
/// document that is one endless line.
#[derive(Default)]
struct Cursor {
    line: usize,
    column: usize,
    offset: usize,
}

/// A list or a map whose end is not seen yet.
struct Open {
    start: Span,
    anchor: usize,
    value: Value,
    /// The key whose value comes next, in a map.
    key: Option<(String, Span)>,
}

impl Reader<'_> {
    /// The parser counts lines and columns in characters.
    fn span(&mut self, marks: Marks) -> Span {
        let start = self.offset(marks.start);
        Span::new(start, self.offset(marks.end))
    }

    fn offset(&mut self, mark: Marker) -> usize {
        let (line, column) = (mark.line(), mark.col());
        let cursor = &mut self.cursor;
        if line != cursor.line || column < cursor.column {
            *cursor = Cursor {
                line,
                column: 0,
                offset: self.source.offset(line, 0),
            };
        }
        let rest = &self.source.text()[cursor.offset..];
        let step = rest
            .char_indices()
            .nth(column - cursor.column)
            .map_or(rest.len(), |(at, _)| at);
        cursor.column = column;
        cursor.offset += step;
        cursor.offset
    }

    fn syntax(&self, error: &ScanError) -> Box<Diagnostic> {
        let mark = *error.marker();
        let start = self.source.offset(mark.line(), mark.col());
        let rest = &self.source.text()[start..];
        let width = rest.chars().next().map_or(0, char::len_utf8);
        let found = Diagnostic::error(Span::new(start, start + width), error.info());
        let line = self.source.offset(mark.line(), 0);
        let indent = self.source.text()[line..]
            .split(|c: char| !c.is_whitespace() || c == '\n')
            .next()
            .unwrap_or_default();
        if let Some(tab) = indent.find('\t') {
            return Diagnostic::error(
                Span::new(line + tab, line + tab + 1),
                "a tab indents this line",
            )
            .help("YAML wants blanks to indent with")
            .into();
        }
        // The words are the parser's own; as a rule it is the shape of the lines that is wrong.
        found
            .help("look at how far this line and the one before it are indented, and for a quote or bracket left open")
            .into()
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Reading<()> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => match self.document {
                None => Ok(()),
                Some(_) => Err(Diagnostic::error(span, "a second document begins here")
                    .help("one file is one document")
                    .into()),
            },
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.begin(Value::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.begin(Value::Map(Vec::new()), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let end = match open.value {
                    // A block ends where the next begins; its text ends with its last value.
                    Value::List(ref members) if span.start == span.end => {
                        members.last().map(|member| member.span.end)
                    }
                    Value::Map(ref entries) if span.start == span.end => {
                        entries.last().map(|entry| entry.node.span.end)
                    }
                    _ => Some(span.end),
                };
                let end = end.unwrap_or(open.start.end);
                let node = Node::new(open.value, Span::new(open.start.start, end));
                self.put(node, open.anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.map(|tag| (tag.is_yaml_core_schema(), tag.suffix.clone()));
                let value = match tag {
                    None if plain => self.plain(&text, span)?,
                    None => Value::Text(text.into_owned()),
                    Some((true, kind)) if kind == "str" => Value::Text(text.into_owned()),
                    Some(_) => {
                        refuse_tag(true, span)?;
                        Value::Null
                    }
                };
                self.put(Node::new(value, span), anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(
                        Diagnostic::error(span, "an alias of what is not complete yet").into(),
                    );
                };
                self.expanded += node.weight();
                if self.expanded > MOST_EXPANDED {
                    let message = format!("the aliases stand for more than {MOST_EXPANDED} values");
                    return Err(Diagnostic::error(span, message).into());
                }
                let node = node.clone();
                if self.open.len() + depth(&node) > DEEPEST {
                    return Err(too_deep(span));
                }
                self.put(node, 0)
            }
        }
    }

    fn begin(&mut self, value: Value, anchor: usize, start: Span) -> Reading<()> {
        if self.open.len() == DEEPEST {
            return Err(too_deep(start));
        }
        self.refuse_as_key(start, &value)?;
        self.open.push(Open {
            start,
            anchor,
            value,
            key: None,
        });
        Ok(())
    }

    /// A list or a map cannot be a key.
    fn refuse_as_key(&self, span: Span, value: &Value) -> Reading<()> {
        if self.is_key() && matches!(value, Value::List(_) | Value::Map(_)) {
            return Err(Diagnostic::error(span, "a key has to be text").into());
        }
        Ok(())
    }

    /// Takes in a finished value.
    fn put(&mut self, node: Node, anchor: usize) -> Reading<()> {
        self.refuse_as_key(node.span, &node.value)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.document = Some(node);
            return Ok(());
        };
        match &mut open.value {
            Value::List(members) => members.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((name, place)) => entries.push(Entry { name, place, node }),
                None => open.key = Some((key(&node, self.source)?, node.span)),
            },
            _ => {}
        }
        Ok(())
    }

    /// What a word without quotes is, by the core schema of YAML 1.2.
    fn plain(&self, text: &str, span: Span) -> Reading<Value> {
        Ok(match text {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ => match number(text) {
                Number::Is(number) => Value::Number(number),
                Number::Not => Value::Text(text.to_owned()),
                // A key is text whatever it looks like.
                Number::Odd(_) if self.is_key() => Value::Text(text.to_owned()),
                Number::Odd(why) => {
                    return Err(Diagnostic::error(span, why)
                        .help(format!("write \"{text}\" in quotes if it is text"))
                        .into());
                }
            },
        })
    }

    fn is_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.value, Value::Map(_)) && open.key.is_none())
    }
}

/// A key as text: what is no text is taken as it is written.
fn key(node: &Node, source: &Source) -> Reading<String> {
    match &node.value {
        Value::Text(text) if text == "<<" => {
            Err(Diagnostic::error(node.span, "YAML 1.2 has no merge keys")
                .help("what many jobs share belongs into `defaults` or into their worker")
                .into())
        }
        Value::Text(text) => Ok(text.clone()),
        _ => Ok(source.slice(node.span).to_owned()),
    }
}

fn refuse_tag(has_tag: bool, span: Span) -> Reading<()> {
    if has_tag {
        return Err(Diagnostic::error(span, "tags mean nothing here").into());
    }
    Ok(())
}

fn too_deep(span: Span) -> Box<Diagnostic> {
    let message = format!("more than {DEEPEST} lists and maps in each other");
    Diagnostic::error(span, message).into()
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(members) => 1 + members.iter().map(depth).max().unwrap_or_default(),
        Value::Map(entries) => {
            1 + entries
                .iter()
                .map(|entry| depth(&entry.node))
                .max()
                .unwrap_or_default()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn tree(text: &str) -> Reading<Option<Node>> {
        read(&Source::new("f", text.to_owned()))
    }

    fn printed(text: &str) -> String {
        let mut out = String::new();
        tree(text).unwrap().unwrap().write_json(&mut out);
        out
    }

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        let text = "[no, yes, on, NO, true, ~, 12, -3.5, .5, 5., 1e3, 0x1F, 0o17, 1_000, 12:30, 2020-01-01, '1', \"a\\n\", +7]";
        assert_eq!(
            printed(text),
            r#"["no","yes","on","NO",true,null,12,-3.5,0.5,5.0,1e3,31,15,"1_000","12:30","2020-01-01","1","a\n",7]"#
        );
        for (text, said) in [
            ("a: 007", "leading zeros"),
            ("a: .inf", "JSON does not have"),
            ("a: .nan", "JSON does not have"),
            ("a: !!set {x}", "tags"),
            ("a: !mine x", "tags"),
            ("? [a]\n: b", "a key has to be text"),
            ("a: &x 1\n<<: *x", "no merge keys"),
            ("a: 1\n---\nb: 2", "second document"),
            ("a:\n\t- b", "a tab indents this line"),
            ("a: &x [*x]", "not complete"),
        ] {
            let error = tree(text).unwrap_err();
            assert!(error.message.contains(said), "{text}: {error:?}");
        }
        let error = tree("jobs:\n- a: 1\n  b: 2\n c: 3\n").unwrap_err();
        let help = error.help.as_deref().unwrap_or_default();
        assert!(help.contains("how far this line"), "{error:?}");
        assert_eq!(
            printed("{1: a, true: b, ~: c, 007: d}"),
            r#"{"1":"a","true":"b","~":"c","007":"d"}"#
        );
        assert_eq!(printed("a: !!str 7"), r#"{"a":"7"}"#);
    }

    #[test]
    fn places_are_right_behind_wide_characters_and_comments() {
        let text = "# größe: ü\r\nä: {ö: ü, b: [1,\r\n   x y]}\n";
        let tree = tree(text).unwrap().unwrap();
        let slice = |node: &Node| text[node.span.start..node.span.end].to_owned();
        let map = tree.get("ä").unwrap();
        assert_eq!(slice(map.get("ö").unwrap()), "ü");
        assert_eq!(slice(&map.get("b").unwrap().members()[1]), "x y");
        assert_eq!(slice(map.get("b").unwrap()), "[1,\r\n   x y]");
    }

    #[test]
    fn a_document_without_content_is_none() {
        for text in ["", "  \n", "# only this\n", "---\n"] {
            assert_eq!(tree(text), Ok(None), "{text:?}");
        }
        assert_eq!(tree("~").unwrap().unwrap().value, Value::Null);
    }

    #[test]
    fn aliases_are_expanded_within_bounds() {
        assert_eq!(
            printed("a: &x {b: 1}\nc: *x"),
            r#"{"a":{"b":1},"c":{"b":1}}"#
        );
        let mut laughs = "a0: &a0 [lol]\n".to_owned();
        for n in 1..30 {
            let before = n - 1;
            writeln!(
                laughs,
                "a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}]"
            )
            .unwrap();
        }
        let error = tree(&laughs).unwrap_err();
        assert!(
            error.message.contains("more than 100000 values"),
            "{error:?}"
        );
    }

    #[test]
    fn depth_is_bounded() {
        assert!(tree(&"[".repeat(100_000)).is_err());
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(tree(&deep(DEEPEST)).is_ok());
        assert!(tree(&deep(DEEPEST + 1)).is_err());
        let deeper = format!("a: &x {}\nb: [[[*x]]]", deep(DEEPEST - 1));
        assert!(tree(&deeper).unwrap_err().message.contains("in each other"));
    }
}
