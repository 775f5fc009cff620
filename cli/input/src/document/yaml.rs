//! Reads YAML 1.2 with the place of every value, from the events of saphyr-parser. No maintained crate that reads YAML
//! into types reports places, and none delivers a document of many jobs one member at a time.
//!
//! Only `true` and `false` are truth values, so that `no` can be Norway. Numbers with leading zeros are refused,
//! because readers interpret them differently. Aliases are expanded up to a limit.

mod input;
mod number;
mod version_1_1;

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as Marks};

use self::input::Text;
use self::number::{Number, number};
use super::node::{Entry, Node, Value, refuse_duplicates};
use super::part::{DEEPEST, Extent, Part, Sink};
use crate::diagnostic::{Diagnostic, Problems, Source, Span};

/// The maximum number of values to which all aliases together expand. A few lines of aliases can expand to billions.
const MAX_EXPANDED: usize = 100_000;

/// The maximum number of bytes to which all aliases together expand. A few lines can repeat a long text.
const MAX_EXPANDED_BYTES: usize = 16 << 20;

/// The initial capacity of a map. Few jobs have more keys.
const USUAL: usize = 8;

/// The result of a reading step. The error ends the document.
type Reading<T> = Result<T, Box<Diagnostic>>;

/// The variant of YAML: which words without quotes are text, and what else a document may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The core schema of YAML 1.2.
    Core,
    /// The YAML of Ansible: the words of YAML 1.1, merge keys, and the tags `!unsafe` and `!vault`.
    Ansible,
}

/// Reads a document as a tree. Returns `None` if it is empty, or if it is refused.
pub(super) fn node<'a>(
    source: &'a Source,
    dialect: Dialect,
    problems: &mut Problems,
) -> Option<Node<'a>> {
    let mut whole = None;
    let mut take = |part: Part<'a>, _: &mut Problems| {
        if let Part::Whole(node) = part {
            whole = Some(node);
        }
    };
    let extent = YamlReader::new(source, dialect, None, &mut take).read(problems);
    whole.filter(|_| extent == Extent::Whole)
}

/// Reads a document part by part.
pub(super) fn parts(
    source: &Source,
    streamed: &str,
    sink: Sink<'_>,
    problems: &mut Problems,
) -> Extent {
    YamlReader::new(source, Dialect::Core, Some(streamed), sink).read(problems)
}

/// Builds values from the events of the parser.
struct YamlReader<'a, 's> {
    source: &'a Source,
    dialect: Dialect,
    /// The key of the list that is delivered one member at a time; `None` to read the whole document as one tree.
    streamed: Option<&'s str>,
    sink: &'s mut dyn FnMut(Part<'a>, &mut Problems),
    open: Vec<Open<'a>>,
    /// Whether the members of the streamed list are being read.
    is_in_list: bool,
    anchors: HashMap<usize, Node<'a>>,
    expanded: usize,
    expanded_bytes: usize,
    document: Document,
    /// Whether each character of the document is one byte.
    is_ascii: bool,
    cursor: Cursor,
}

/// How far the document was read.
#[derive(PartialEq, Eq)]
enum Document {
    /// Nothing was read yet.
    NotBegun,
    /// The start was read, but no content yet.
    Begun,
    /// The document has content.
    Found,
}

/// The place that was looked up last. Places are looked up almost in order, so the next one is near.
#[derive(Default)]
struct Cursor {
    /// The number of characters before the place.
    characters: usize,
    /// The number of bytes before the place.
    offset: usize,
}

/// A list or a map whose end has not been read.
struct Open<'a> {
    start: Span,
    anchor: usize,
    value: Value<'a>,
    /// The key whose value comes next, if this is a map.
    key: Option<(Cow<'a, str>, Span)>,
}

impl<'a, 's> YamlReader<'a, 's> {
    fn new(
        source: &'a Source,
        dialect: Dialect,
        streamed: Option<&'s str>,
        sink: &'s mut dyn FnMut(Part<'a>, &mut Problems),
    ) -> Self {
        Self {
            source,
            dialect,
            streamed,
            sink,
            open: Vec::new(),
            is_in_list: false,
            anchors: HashMap::new(),
            expanded: 0,
            expanded_bytes: 0,
            document: Document::NotBegun,
            is_ascii: source.text().is_ascii(),
            cursor: Cursor::default(),
        }
    }

    /// Reads to the end, or to the first error.
    fn read(mut self, problems: &mut Problems) -> Extent {
        for event in Parser::new(Text::new(self.source.text())) {
            let read = match event {
                Ok((event, marks)) => {
                    let span = self.span(marks);
                    self.event(event, span, problems)
                }
                Err(error) => Err(self.syntax(&error).into()),
            };
            if let Err(problem) = read {
                problems.push(*problem);
                return Extent::BrokenOff;
            }
        }
        match self.document {
            Document::Found => Extent::Whole,
            Document::NotBegun | Document::Begun => Extent::Nothing,
        }
    }

    /// Returns the span of an event. The parser counts characters, but spans count bytes.
    fn span(&mut self, marks: Marks) -> Span {
        let start = self.offset(marks.start);
        Span::new(start, self.offset(marks.end))
    }

    /// Returns the offset in bytes of a position that the parser reports in characters.
    fn offset(&mut self, mark: Marker) -> usize {
        let text = self.source.text();
        let at = mark.index();
        if self.is_ascii {
            return at.min(text.len());
        }
        let Cursor { characters, offset } = self.cursor;
        let offset = if let Some(more) = at.checked_sub(characters) {
            let mut rest = text[offset..].char_indices();
            rest.nth(more).map_or(text.len(), |(step, _)| offset + step)
        } else {
            let mut before = text[..offset].char_indices();
            before.nth_back(characters - at - 1).map_or(0, |(at, _)| at)
        };
        self.cursor = Cursor {
            characters: at,
            offset,
        };
        offset
    }

    /// Converts a syntax error of the parser to a diagnostic.
    fn syntax(&mut self, error: &ScanError) -> Diagnostic {
        let mark = *error.marker();
        let start = self.offset(mark);
        let text = self.source.text();
        let width = text[start..].chars().next().map_or(0, char::len_utf8);
        let found = Diagnostic::error(Span::new(start, start + width), error.info());
        // An error at the end of the text has column 0, and belongs to an empty line after the text.
        let line = match mark.col() {
            0 => start,
            _ => text[..start].rfind('\n').map_or(0, |end| end + 1),
        };
        let indent = text[line..]
            .split(|c: char| !c.is_whitespace() || c == '\n')
            .next()
            .unwrap_or_default();
        if let Some(tab) = indent.find('\t') {
            return Diagnostic::error(
                Span::new(line + tab, line + tab + 1),
                "a tab indents this line",
            )
            .help("YAML is indented with blanks only");
        }
        // The messages of the parser are of little help. Most errors are in the indentation.
        found
            .help("look at how far this line and the one before it are indented, and for a quote or bracket left open")
    }

    /// Handles one event of the parser.
    fn event(&mut self, event: Event<'a>, span: Span, problems: &mut Problems) -> Reading<()> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                if self.document != Document::NotBegun {
                    return Err(Diagnostic::error(span, "a second document begins here")
                        .help("one file is one document")
                        .into());
                }
                self.document = Document::Begun;
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                if self.is_streamed() && anchor == 0 {
                    self.is_in_list = true;
                    return Ok(());
                }
                self.begin(Value::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                self.begin(Value::Map(Vec::with_capacity(USUAL)), anchor, span)
            }
            Event::SequenceEnd if self.is_in_list && self.open.len() == 1 => {
                self.is_in_list = false;
                let Some(root) = self.open.last_mut() else {
                    return Ok(());
                };
                if let (Value::Map(entries), Some((name, place))) =
                    (&mut root.value, root.key.take())
                {
                    entries.push(delivered_key(name, place));
                }
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut open) = self.open.pop() else {
                    return Ok(());
                };
                let end = match &open.value {
                    // The parser reports the end of a block where the next block begins, but the text of the block ends
                    // with its last value.
                    Value::List(members) if span.is_empty() => {
                        members.last().map(|member| member.span.end())
                    }
                    Value::Map(entries) if span.is_empty() => {
                        entries.last().map(|entry| entry.node.span.end())
                    }
                    _ => Some(span.end()),
                };
                if let Value::Map(entries) = &mut open.value {
                    refuse_duplicates(entries, problems);
                    if self.dialect == Dialect::Ansible {
                        version_1_1::merge(entries)?;
                    }
                }
                if self.open.is_empty()
                    && self.streamed.is_some()
                    && matches!(open.value, Value::Map(_))
                {
                    // The parts of the document were already delivered.
                    return Ok(());
                }
                let end = end.unwrap_or(open.start.end());
                let node = Node::new(open.value, Span::new(open.start.start(), end));
                self.put(node, open.anchor, problems)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = tag.map(|tag| (tag.is_yaml_core_schema(), tag.suffix.clone()));
                let value = match tag {
                    None if plain => self.plain(text, span)?,
                    None => Value::Text(text),
                    Some((true, kind)) if kind == "str" => Value::Text(text),
                    Some((false, kind)) if self.dialect == Dialect::Ansible => {
                        match version_1_1::tagged(&kind, text, span) {
                            Some(value) => value,
                            None => return refuse_tag(true, span),
                        }
                    }
                    Some(_) => return refuse_tag(true, span),
                };
                self.put(Node::new(value, span), anchor, problems)
            }
            Event::Alias(anchor) => self.alias(anchor, span, problems),
        }
    }

    /// Inserts a copy of the node that an anchor names.
    fn alias(&mut self, anchor: usize, span: Span, problems: &mut Problems) -> Reading<()> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error(
                span,
                "this alias refers to a value that it is a part of",
            )
            .into());
        };
        self.expanded += node.weight();
        if self.expanded > MAX_EXPANDED {
            let message = format!("the aliases stand for more than {MAX_EXPANDED} values");
            return Err(Diagnostic::error(span, message).into());
        }
        self.expanded_bytes += node.text_bytes();
        if self.expanded_bytes > MAX_EXPANDED_BYTES {
            let most = crate::value::show_size(MAX_EXPANDED_BYTES as u64);
            let message = format!("the aliases stand for more than {most} of text");
            return Err(Diagnostic::error(span, message).into());
        }
        let node = node.clone();
        if self.open.len() + node.depth() > DEEPEST {
            return Err(too_deep(span).into());
        }
        self.put(node, 0, problems)
    }

    fn begin(&mut self, value: Value<'a>, anchor: usize, start: Span) -> Reading<()> {
        if self.open.len() == DEEPEST {
            return Err(too_deep(start).into());
        }
        self.refuse_as_key(start, &value)?;
        self.document = Document::Found;
        self.open.push(Open {
            start,
            anchor,
            value,
            key: None,
        });
        Ok(())
    }

    /// Refuses a list or a map as a key.
    fn refuse_as_key(&self, span: Span, value: &Value<'_>) -> Reading<()> {
        if matches!(value, Value::List(_) | Value::Map(_)) && self.is_key() {
            return Err(Diagnostic::error(span, "a key has to be text").into());
        }
        Ok(())
    }

    /// Adds a finished value to the list or map that contains it, or delivers it.
    fn put(&mut self, node: Node<'a>, anchor: usize, problems: &mut Problems) -> Reading<()> {
        if !self.is_in_list || self.open.len() > 1 {
            self.refuse_as_key(node.span, &node.value)?;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let is_root = self.open.len() == 1 && self.streamed.is_some();
        let node_span = node.span;
        let Some(open) = self.open.last_mut() else {
            // An empty document is read as null with an empty span.
            if !matches!(node.value, Value::Null) || !node.span.is_empty() {
                self.document = Document::Found;
                (self.sink)(Part::Whole(node), problems);
            }
            return Ok(());
        };
        if is_root && self.is_in_list {
            (self.sink)(Part::Member(node), problems);
            return Ok(());
        }
        match &mut open.value {
            Value::List(members) => members.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((name, place)) if is_root => {
                    entries.push(delivered_key(name.clone(), place));
                    (self.sink)(Part::Entry(Entry { name, place, node }), problems);
                }
                Some((name, place)) => entries.push(Entry { name, place, node }),
                None => open.key = Some((key(node, self.source, self.dialect)?, node_span)),
            },
            _ => {}
        }
        Ok(())
    }

    /// Whether the next value is the list that is delivered one member at a time.
    fn is_streamed(&self) -> bool {
        let [root] = &self.open[..] else {
            return false;
        };
        let key = root.key.as_ref().map(|(name, _)| name.as_ref());
        !self.is_in_list && key.is_some() && key == self.streamed
    }

    /// Returns the value of a word without quotes, in the dialect of the document.
    fn plain(&self, text: Cow<'a, str>, span: Span) -> Reading<Value<'a>> {
        if self.dialect == Dialect::Ansible {
            return version_1_1::plain(text, span);
        }
        Ok(match text.as_ref() {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            written => match number(written) {
                Number::Is(Cow::Borrowed(_)) => Value::Number(text),
                Number::Is(Cow::Owned(number)) => Value::Number(number.into()),
                Number::Not => Value::Text(text),
                // A key is always text, even if it looks like a number.
                Number::Odd(_) if self.is_key() => Value::Text(text),
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

/// Returns the value of a word without quotes by the rules of YAML 1.1.
pub(super) fn plain_of_1_1(word: &str, place: Span) -> Result<Value<'_>, Box<Diagnostic>> {
    version_1_1::plain(word.into(), place)
}

/// Converts a key to text. A key of another type is taken as it is written.
fn key<'a>(node: Node<'a>, source: &'a Source, dialect: Dialect) -> Reading<Cow<'a, str>> {
    match node.value {
        Value::Text(text) if text == "<<" && dialect == Dialect::Core => {
            Err(Diagnostic::error(node.span, "YAML 1.2 has no merge keys")
                .help("write what many jobs share into `defaults` or into their worker")
                .into())
        }
        Value::Text(text) => Ok(text),
        _ => Ok(source.slice(node.span).into()),
    }
}

/// Makes an entry for a delivered key of the document, kept to detect keys that occur twice.
fn delivered_key(name: Cow<'_, str>, place: Span) -> Entry<'_> {
    let node = Node::new(Value::Null, place);
    Entry { name, place, node }
}

fn refuse_tag(has_tag: bool, span: Span) -> Reading<()> {
    if has_tag {
        return Err(Diagnostic::error(span, "tags are not supported here").into());
    }
    Ok(())
}

fn too_deep(span: Span) -> Diagnostic {
    let message = format!("more than {DEEPEST} lists and maps in each other");
    Diagnostic::error(span, message)
}

#[cfg(test)]
mod tests;
