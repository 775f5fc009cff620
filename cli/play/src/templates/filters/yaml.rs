//! Filters for YAML. The output is exactly that of Python's library, down to the blanks.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use ratchet_input::diagnostic::{Problems, Source};
use ratchet_input::document::{self, Node};

use super::super::function_arguments::{FunctionArguments, kind, wrong};
use super::super::maps::plain_map_of;
use super::super::names::NamedFunctions;
use super::super::values::{float_text, text_of};

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    const OPTIONS: &[&str] = &[
        "default_flow_style",
        "indent",
        "width",
        "sort_keys",
        "allow_unicode",
        "explicit_start",
        "explicit_end",
        "default_style",
    ];
    engine.plain("to_yaml", OPTIONS, |value, given| {
        written(value, given, None, 2)
    });
    engine.plain("to_nice_yaml", OPTIONS, |value, given| {
        written(value, given, Some(false), 4)
    });
    engine.plain("from_yaml", &[], |value, _| match value.as_str() {
        Some(text) => from_yaml(text),
        None => Ok(value.clone()),
    });
    engine.plain("from_yaml_all", &[], |value, _| match value.as_str() {
        Some(text) => documents(text).into_iter().map(from_yaml).collect(),
        None if value.is_none() => Ok(Value::from(Vec::<Value>::new())),
        None => Ok(value.clone()),
    });
}

/// Reads YAML.
pub(in crate::templates) fn from_yaml(text: &str) -> Result<Value, Error> {
    let source = Source::new("", text.to_owned());
    let mut problems = Vec::new();
    let node = document::ansible_node(&source, &mut problems);
    if node.is_none() && problems.is_empty() {
        return Ok(Value::from(()));
    }
    let value = node.map(|node| of_node(node, &mut problems));
    match (value, problems.into_iter().next()) {
        (Some(value), None) => Ok(value),
        (_, Some(problem)) => Err(wrong(format!("this is no YAML: {}", problem.message))),
        (None, None) => Err(wrong("this is no YAML: there is nothing")),
    }
}

/// Splits a text into its documents at the lines with `---`.
fn documents(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_mark = line.trim_end() == "---" || line.starts_with("--- ");
        if is_mark && at > start && !text[start..at].trim().is_empty() {
            found.push(&text[start..at]);
        }
        if is_mark {
            start = at;
        }
        at += line.len();
    }
    if !text[start..].trim().is_empty() {
        found.push(&text[start..]);
    }
    found
}

fn of_node(node: Node<'_>, problems: &mut Problems) -> Value {
    match node.value {
        document::Value::Null | document::Value::HalfText => Value::from(()),
        document::Value::Bool(value) => Value::from(value),
        document::Value::Number(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Value::from(whole),
            (_, Ok(number)) => Value::from(number),
            _ => Value::from(text.as_ref()),
        },
        document::Value::Text(text) => Value::from(text.as_ref()),
        document::Value::Variable(text) => Value::from(text),
        document::Value::List(_) | document::Value::UnreadList => {
            let members = node.into_list().unwrap_or_default().into_iter();
            members.map(|member| of_node(member, problems)).collect()
        }
        document::Value::Map(_) | document::Value::UnreadMap => {
            let entries = node.into_map(problems).unwrap_or_default();
            let mut pairs = Vec::with_capacity(entries.len());
            for entry in entries {
                pairs.push((
                    Value::from(entry.name.as_ref()),
                    of_node(entry.node, problems),
                ));
            }
            plain_map_of(pairs)
        }
    }
}

/// Writes YAML.
struct Writer {
    out: String,
    /// Whether lists and maps are written in flow style, in brackets. `None` uses flow style for those without nested
    /// ones.
    flow: Option<bool>,
    indent: usize,
    width: usize,
    sorted: bool,
    /// Whether non-ASCII characters are written as they are, rather than escaped.
    unicode: bool,
    /// The quotes of all texts.
    style: Option<char>,
    column: usize,
    is_blank: bool,
}

/// The position of a value.
#[derive(Debug, Clone, Copy)]
struct Position {
    /// The indentation of the enclosing list or map; `None` at the root.
    indent: Option<usize>,
    in_flow: bool,
    is_key: bool,
    /// Whether it is a value of a map in block style.
    in_map: bool,
}

fn written(
    value: &Value,
    given: &FunctionArguments,
    flow: Option<bool>,
    indent: usize,
) -> Result<Value, Error> {
    let flow = match given.value("default_flow_style") {
        None => flow,
        Some(flow) if flow.is_none() => None,
        Some(flow) => Some(flow.is_true()),
    };
    let style = given.text("default_style");
    let style = match style.as_deref() {
        None | Some("") => None,
        Some("'") => Some('\''),
        Some("\"") => Some('"'),
        Some(other) => return Err(wrong(format!("`default_style` is a quote, not `{other}`"))),
    };
    let indent = given.count("indent")?.unwrap_or(indent);
    let indent = if (2..10).contains(&indent) { indent } else { 2 };
    let width = given.count("width")?.unwrap_or(80);
    let mut writer = Writer {
        out: String::new(),
        flow,
        indent,
        width: if width > indent * 2 { width } else { 80 },
        sorted: given.flag("sort_keys") != Some(false),
        unicode: given.flag("allow_unicode") != Some(false),
        style,
        column: 0,
        is_blank: true,
    };
    if given.flag("explicit_start") == Some(true) {
        writer.write("---");
        writer.is_blank = false;
    }
    let position = Position {
        indent: None,
        in_flow: false,
        is_key: false,
        in_map: false,
    };
    writer.node(value, position)?;
    writer.write("\n");
    if given.flag("explicit_end") == Some(true) {
        writer.write("...\n");
    }
    Ok(Value::from(writer.out))
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
    fn write(&mut self, text: &str) {
        self.out.push_str(text);
        match text.rfind('\n') {
            Some(at) => self.column = text[at + 1..].chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    /// Writes an indicator, after a blank if something precedes it in the line.
    fn indicator(&mut self, text: &str, needs_blank: bool) {
        if needs_blank && !self.is_blank {
            self.write(" ");
        }
        self.write(text);
        self.is_blank = false;
    }

    fn line(&mut self, indent: usize) {
        self.write("\n");
        self.write(&" ".repeat(indent));
        self.is_blank = true;
    }

    fn node(&mut self, value: &Value, position: Position) -> Result<(), Error> {
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

    fn text(&mut self, text: &str, position: Position, indent: usize) {
        let analysis = Analysis::of(text, self.unicode);
        let in_flow = position.in_flow;
        let may_plain = if in_flow {
            analysis.flow_plain
        } else {
            analysis.block_plain
        };
        let is_empty_key = text.is_empty() && (in_flow || position.is_key);
        let is_plain = self.style.is_none()
            && may_plain
            && !is_empty_key
            && !(position.is_key && analysis.has_lines)
            && !resolves_to_other(text);
        let splits = !position.is_key;
        if is_plain {
            self.plain(text, indent, splits);
            return;
        }
        let is_single =
            self.style != Some('"') && analysis.single && !(position.is_key && analysis.has_lines);
        if is_single {
            self.single(text, indent, splits);
        } else {
            self.double(text, indent, splits);
        }
    }

    fn plain(&mut self, text: &str, indent: usize, splits: bool) {
        if text.is_empty() {
            return;
        }
        if !self.is_blank {
            self.write(" ");
        }
        self.is_blank = false;
        self.folded(text, indent, splits, ToOwned::to_owned);
    }

    fn single(&mut self, text: &str, indent: usize, splits: bool) {
        self.indicator("'", true);
        self.folded(text, indent, splits, |text| text.replace('\'', "''"));
        self.indicator("'", false);
    }

    /// Writes a text that is broken at single blanks where a line becomes too long, and whose newlines are doubled.
    fn folded(
        &mut self,
        text: &str,
        indent: usize,
        splits: bool,
        escaped: impl Fn(&str) -> String,
    ) {
        let characters: Vec<char> = text.chars().collect();
        let kind = |at: usize| match characters.get(at) {
            Some(' ') => 1,
            Some('\n' | '\u{85}' | '\u{2028}' | '\u{2029}') => 2,
            _ => 0,
        };
        let mut at = 0;
        while at < characters.len() {
            let start = at;
            let run = kind(at);
            while at < characters.len() && kind(at) == run {
                at += 1;
            }
            let part: String = characters[start..at].iter().collect();
            match run {
                1 => {
                    let is_inner = start > 0 && at < characters.len();
                    if at - start == 1 && self.column > self.width && splits && is_inner {
                        self.line(indent);
                        self.is_blank = false;
                    } else {
                        self.write(&part);
                    }
                }
                2 => {
                    // A newline that is not a fold is doubled.
                    if part.starts_with('\n') {
                        self.out.push('\n');
                    }
                    self.out.push_str(&part);
                    self.column = 0;
                    self.write(&" ".repeat(indent));
                }
                _ => {
                    let shown = escaped(&part);
                    self.write(&shown);
                }
            }
        }
    }

    fn double(&mut self, text: &str, indent: usize, splits: bool) {
        self.indicator("\"", true);
        let characters: Vec<char> = text.chars().collect();
        let is_plain = |character: char| match character {
            '"' | '\\' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
            ' '..='~' => true,
            '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => self.unicode,
            _ => false,
        };
        let kinds: Vec<bool> = characters
            .iter()
            .map(|character| is_plain(*character))
            .collect();
        let mut was_space = false;
        for (at, character) in characters.iter().enumerate() {
            let is_inner = at > 0 && at + 1 < characters.len();
            if !kinds[at] {
                self.write(&escape(*character));
                was_space = false;
            } else if *character == ' ' {
                if splits && !was_space && self.column > self.width && is_inner {
                    self.line(indent);
                    // Blanks at the beginning of a line would be lost.
                    if characters[at + 1] == ' ' {
                        self.write("\\");
                    }
                } else {
                    self.write(" ");
                }
                was_space = true;
            } else {
                self.write(character.encode_utf8(&mut [0; 4]));
                was_space = false;
            }
        }
        self.indicator("\"", false);
    }
}

fn escape(character: char) -> String {
    let short = match character {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        other => {
            let code = other as u32;
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
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

/// The styles in which a text can be written.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each form is possible or not, whatever the others are"
)]
struct Analysis {
    has_lines: bool,
    flow_plain: bool,
    block_plain: bool,
    single: bool,
}

impl Analysis {
    fn of(text: &str, unicode: bool) -> Self {
        if text.is_empty() {
            return Self {
                has_lines: false,
                flow_plain: false,
                block_plain: true,
                single: true,
            };
        }
        let characters: Vec<char> = text.chars().collect();
        let is_newline =
            |character: char| matches!(character, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let is_gap = |character: Option<&char>| {
            character.is_none_or(|character| {
                matches!(character, ' ' | '\t' | '\r' | '\0') || is_newline(*character)
            })
        };
        let mut block_indicators = text.starts_with("---") || text.starts_with("...");
        let mut flow_indicators = block_indicators;
        let (mut has_lines, mut has_special) = (false, false);
        let (mut leading_space, mut leading_break, mut trailing_space, mut trailing_break) =
            (false, false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let (mut was_space, mut was_break) = (false, false);
        let mut follows_gap = true;
        for (at, character) in characters.iter().enumerate() {
            let character = *character;
            let precedes_gap = is_gap(characters.get(at + 1));
            let is_last = at + 1 == characters.len();
            if at == 0 {
                if "#,[]{}&*!|>'\"%@`".contains(character) {
                    flow_indicators = true;
                    block_indicators = true;
                }
                if "?:".contains(character) {
                    flow_indicators = true;
                    block_indicators |= precedes_gap;
                }
                if character == '-' && precedes_gap {
                    flow_indicators = true;
                    block_indicators = true;
                }
            } else {
                if ",?[]{}".contains(character) {
                    flow_indicators = true;
                }
                if character == ':' {
                    flow_indicators = true;
                    block_indicators |= precedes_gap;
                }
                if character == '#' && follows_gap {
                    flow_indicators = true;
                    block_indicators = true;
                }
            }
            has_lines |= is_newline(character);
            let is_printable = character == '\n' || (' '..='~').contains(&character);
            if !is_printable {
                let is_far = character == '\u{85}'
                    || ('\u{a0}'..='\u{d7ff}').contains(&character)
                    || ('\u{e000}'..='\u{fffd}').contains(&character)
                    || character >= '\u{10000}';
                has_special |= !(is_far && character != '\u{feff}' && unicode);
            }
            if character == ' ' {
                leading_space |= at == 0;
                trailing_space |= is_last;
                break_space |= was_break;
                (was_space, was_break) = (true, false);
            } else if is_newline(character) {
                leading_break |= at == 0;
                trailing_break |= is_last;
                space_break |= was_space;
                (was_space, was_break) = (false, true);
            } else {
                (was_space, was_break) = (false, false);
            }
            follows_gap = is_gap(Some(&character));
        }
        let may_plain = !(leading_space
            || leading_break
            || trailing_space
            || trailing_break
            || break_space
            || space_break
            || has_special
            || has_lines);
        Self {
            has_lines,
            flow_plain: may_plain && !flow_indicators,
            block_plain: may_plain && !block_indicators,
            single: !(break_space || space_break || has_special),
        }
    }
}

/// Whether a text without quotes would be read as another type.
fn resolves_to_other(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "yes", "no", "true", "false", "on", "off", "null", "~", "", "<<", "=",
    ];
    let is_word = WORDS.contains(&text) || {
        let lower = text.to_lowercase();
        let capital = lower
            .chars()
            .next()
            .map(|first| first.to_uppercase().collect::<String>() + &lower[first.len_utf8()..]);
        WORDS.contains(&lower.as_str())
            && (text == lower.to_uppercase() || Some(text) == capital.as_deref())
    };
    is_word || NUMBERS.is_match(text).unwrap_or(false)
}

/// Numbers and dates in YAML 1.1.
static NUMBERS: std::sync::LazyLock<fancy_regex::Regex> = std::sync::LazyLock::new(|| {
    let forms = [
        r"[-+]?0b[0-1_]+",
        r"[-+]?0[0-7_]+",
        r"[-+]?(?:0|[1-9][0-9_]*)",
        r"[-+]?0x[0-9a-fA-F_]+",
        r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
        r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?",
        r"\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
        r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
        r"[-+]?\.(?:inf|Inf|INF)",
        r"\.(?:nan|NaN|NAN)",
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
    ];
    let all = format!(r"\A(?:{})\z", forms.join("|"));
    #[expect(clippy::expect_used, reason = "the expression is always the same")]
    fancy_regex::Regex::new(&all).expect("the expression is sound")
});
