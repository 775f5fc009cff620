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

/// How many bytes of text they may stand for: a few lines can repeat a long one.
const MOST_EXPANDED_BYTES: usize = 16 << 20;

type Reading<T> = Result<T, Box<Diagnostic>>;

/// Reads one document; nothing if there is none.
pub(super) fn read(source: &Source) -> Reading<Option<Node>> {
    let mut reader = Reader {
        source,
        open: Vec::new(),
        anchors: HashMap::new(),
        expanded: 0,
        expanded_bytes: 0,
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
    expanded_bytes: usize,
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
                self.expanded_bytes += node.text_bytes();
                if self.expanded_bytes > MOST_EXPANDED_BYTES {
                    let most = crate::value::show_size(MOST_EXPANDED_BYTES as u64);
                    let message = format!("the aliases stand for more than {most} of text");
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
mod tests;
