//! Writes lists, maps and values that are no text as YAML.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use crate::templates::function_arguments::{kind, wrong};
use crate::templates::values::{float_text, text_of};

/// Writes YAML.
pub(super) struct Writer {
    pub(super) out: String,
    /// Whether lists and maps are written in flow style, in brackets. `None` uses flow style for those without nested
    /// ones.
    pub(super) flow: Option<bool>,
    pub(super) indent: usize,
    pub(super) width: usize,
    pub(super) sorted: bool,
    /// Whether non-ASCII characters are written as they are, rather than escaped.
    pub(super) unicode: bool,
    /// The quotes of all texts.
    pub(super) style: Option<char>,
    pub(super) column: usize,
    pub(super) is_blank: bool,
}

/// The position of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// The indentation of the enclosing list or map; `None` at the root.
    pub(super) indent: Option<usize>,
    pub(super) in_flow: bool,
    pub(super) is_key: bool,
    /// Whether it is a value of a map in block style.
    pub(super) in_map: bool,
}

fn is_collection(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable
    )
}

/// Whether a value is written in block style, in lines of its own.
fn is_block(value: &Value, flow: Option<bool>) -> bool {
    if !is_collection(value) || value.len() == Some(0) {
        return false;
    }
    if let Some(flow) = flow {
        return !flow;
    }
    let mut members = value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::Map => {
            members.any(|key| is_collection(&value.get_item(&key).unwrap_or_default()))
        }
        _ => members.any(|member| is_collection(&member)),
    }
}

impl Writer {
    pub(super) fn write(&mut self, text: &str) {
        self.out.push_str(text);
        match text.rfind('\n') {
            Some(at) => self.column = text[at + 1..].chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    /// Writes an indicator, after a blank if something precedes it in the line.
    pub(super) fn indicator(&mut self, text: &str, needs_blank: bool) {
        if needs_blank && !self.is_blank {
            self.write(" ");
        }
        self.write(text);
        self.is_blank = false;
    }

    pub(super) fn line(&mut self, indent: usize) {
        self.write("\n");
        self.write(&" ".repeat(indent));
        self.is_blank = true;
    }

    pub(super) fn node(&mut self, value: &Value, position: Position) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Map if position.in_flow || !is_block(value, self.flow) => {
                self.flow_map(value, position)?;
            }
            ValueKind::Map => self.block_map(value, position)?,
            ValueKind::Seq | ValueKind::Iterable
                if position.in_flow || !is_block(value, self.flow) =>
            {
                self.flow_list(value, position)?;
            }
            ValueKind::Seq | ValueKind::Iterable => self.block_list(value, position)?,
            _ => self.scalar(value, position)?,
        }
        Ok(())
    }

    fn keys(&self, value: &Value) -> Result<Vec<Value>, Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sorted {
            keys.sort();
        }
        Ok(keys)
    }

    fn block_map(&mut self, value: &Value, position: Position) -> Result<(), Error> {
        let indent = position.indent.map_or(0, |indent| indent + self.indent);
        for (at, key) in self.keys(value)?.iter().enumerate() {
            if at > 0 || !self.out.is_empty() && !self.is_line_start(indent) {
                self.line(indent);
            }
            let inside = Position {
                indent: Some(indent),
                in_flow: false,
                is_key: true,
                in_map: true,
            };
            self.entry(value, key, inside, Some(indent))?;
        }
        Ok(())
    }

    /// Writes a key of a map and its value. After a complex key, a block value starts a new line with this indentation.
    fn entry(
        &mut self,
        map: &Value,
        key: &Value,
        position: Position,
        new_line: Option<usize>,
    ) -> Result<(), Error> {
        let other = Position {
            is_key: false,
            ..position
        };
        if is_simple(key) {
            self.node(key, position)?;
            self.indicator(":", false);
        } else {
            self.indicator("?", true);
            self.node(key, other)?;
            if let Some(indent) = new_line {
                self.line(indent);
            }
            self.indicator(":", true);
        }
        self.node(&map.get_item(key)?, other)
    }

    /// Whether the line is at this indentation, with only blanks and the indicators of enclosing lists and maps before
    /// it.
    fn is_line_start(&self, indent: usize) -> bool {
        self.column == indent && self.is_blank
    }

    fn block_list(&mut self, value: &Value, position: Position) -> Result<(), Error> {
        // A list in a map is not indented, as in Python.
        let indent = match position.indent {
            None => 0,
            Some(indent) if position.in_map => indent,
            Some(indent) => indent + self.indent,
        };
        for (at, member) in value.try_iter()?.enumerate() {
            if at > 0 || !self.out.is_empty() && !self.is_line_start(indent) {
                self.line(indent);
            }
            self.indicator("-", true);
            // A nested list or map starts in the line of the dash, after blanks up to its own indentation.
            if is_block(&member, self.flow) {
                let blanks = (indent + self.indent).saturating_sub(self.column);
                self.write(&" ".repeat(blanks));
                self.is_blank = true;
            }
            self.node(
                &member,
                Position {
                    indent: Some(indent),
                    in_flow: false,
                    is_key: false,
                    in_map: false,
                },
            )?;
        }
        Ok(())
    }

    fn flow_list(&mut self, value: &Value, position: Position) -> Result<(), Error> {
        self.indicator("[", true);
        self.is_blank = true;
        let indent = position
            .indent
            .map_or(self.indent, |indent| indent + self.indent);
        for (at, member) in value.try_iter()?.enumerate() {
            if at > 0 {
                self.indicator(",", false);
            }
            if self.column > self.width {
                self.line(indent);
            }
            self.node(
                &member,
                Position {
                    indent: Some(indent),
                    in_flow: true,
                    is_key: false,
                    in_map: false,
                },
            )?;
        }
        self.indicator("]", false);
        Ok(())
    }

    fn flow_map(&mut self, value: &Value, position: Position) -> Result<(), Error> {
        self.indicator("{", true);
        self.is_blank = true;
        let indent = position
            .indent
            .map_or(self.indent, |indent| indent + self.indent);
        for (at, key) in self.keys(value)?.iter().enumerate() {
            if at > 0 {
                self.indicator(",", false);
            }
            if self.column > self.width {
                self.line(indent);
            }
            let inside = Position {
                indent: Some(indent),
                in_flow: true,
                is_key: true,
                in_map: false,
            };
            self.entry(value, key, inside, None)?;
        }
        self.indicator("}", false);
        Ok(())
    }

    fn scalar(&mut self, value: &Value, position: Position) -> Result<(), Error> {
        let indent = position
            .indent
            .map_or(self.indent, |indent| indent + self.indent);
        let text = match value.kind() {
            ValueKind::String => {
                self.text(value.as_str().unwrap_or_default(), position, indent);
                return Ok(());
            }
            ValueKind::None => "null".to_owned(),
            ValueKind::Bool => if value.is_true() { "true" } else { "false" }.to_owned(),
            ValueKind::Number if value.is_integer() => value.to_string(),
            ValueKind::Number => yaml_float(f64::try_from(value.clone()).unwrap_or(f64::NAN)),
            ValueKind::Plain => {
                self.text(&text_of(value), position, indent);
                return Ok(());
            }
            _ => return Err(wrong(format!("{} cannot be YAML", kind(value)))),
        };
        match self.style {
            Some(quote) => {
                // The tag is needed, because a quoted value without one would be a text.
                let tag = match value.kind() {
                    ValueKind::None => "!!null",
                    ValueKind::Bool => "!!bool",
                    _ if value.is_integer() => "!!int",
                    _ => "!!float",
                };
                self.indicator(tag, true);
                self.indicator(&format!("{quote}{text}{quote}"), true);
            }
            None => self.plain(&text, indent, !position.is_key),
        }
        Ok(())
    }
}

fn yaml_float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = float_text(number);
    // A float needs a decimal point, so that it is read as a float.
    match text.split_once('e') {
        Some((digits, power)) if !digits.contains('.') => format!("{digits}.0e{power}"),
        _ => text,
    }
}

/// Whether a key fits in one line before its colon.
fn is_simple(key: &Value) -> bool {
    match key.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => key.len() == Some(0),
        ValueKind::String => {
            let text = key.as_str().unwrap_or_default();
            text.chars().count() < 128 && !text.contains(['\n', '\u{85}', '\u{2028}', '\u{2029}'])
        }
        _ => true,
    }
}
