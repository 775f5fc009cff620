//! Values in INI inventories: Python literals where they look like one, and text otherwise.

use serde_json::{Map, Number, Value as Json};

/// The maximum nesting depth of lists and maps.
const DEEPEST: usize = 64;

/// Returns the value of a text.
pub(super) fn value(text: &str) -> Json {
    let mut reader = Reader {
        rest: text.trim_start_matches([' ', '\t']),
        depth: 0,
    };
    match reader.value() {
        Some(value) if reader.is_at_end() => value,
        _ => Json::from(text),
    }
}

/// Reads a literal. `None` means that the text is not a literal.
struct Reader<'a> {
    /// The text that is not read yet.
    rest: &'a str,
    /// How many brackets are open. It is limited, so that no text overflows the stack.
    depth: usize,
}

impl Reader<'_> {
    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty() || self.rest.starts_with('#')
    }

    fn skip_blanks(&mut self) {
        self.rest = self
            .rest
            .trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    }

    /// Takes a character if it is the next one.
    fn take(&mut self, character: char) -> bool {
        self.skip_blanks();
        let Some(rest) = self.rest.strip_prefix(character) else {
            return false;
        };
        self.rest = rest;
        true
    }

    /// Reads a literal of any type.
    fn value(&mut self) -> Option<Json> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        self.skip_blanks();
        let value = match self.rest.chars().next()? {
            '[' => {
                self.take('[');
                Some(Json::Array(self.members(']')?.0))
            }
            '(' => {
                self.take('(');
                let (mut members, ends_with_comma) = self.members(')')?;
                if members.len() == 1 && !ends_with_comma {
                    members.pop()
                } else {
                    Some(Json::Array(members))
                }
            }
            '{' => {
                self.take('{');
                self.map()
            }
            '\'' | '"' => self.texts(),
            '0'..='9' | '.' | '-' | '+' => self.number(),
            _ => self.word(),
        };
        self.depth -= 1;
        value
    }

    /// Reads the members up to the closing bracket. Also returns whether a comma follows the last one.
    fn members(&mut self, end: char) -> Option<(Vec<Json>, bool)> {
        let mut members = Vec::new();
        let mut ends_with_comma = false;
        while !self.take(end) {
            if !members.is_empty() && !ends_with_comma {
                return None;
            }
            members.push(self.value()?);
            ends_with_comma = self.take(',');
        }
        Some((members, ends_with_comma))
    }

    fn map(&mut self) -> Option<Json> {
        let mut map = Map::new();
        let mut needs_comma = false;
        while !self.take('}') {
            if needs_comma {
                return None;
            }
            let key = match self.value()? {
                Json::String(key) => key,
                Json::Array(_) | Json::Object(_) => return None,
                other => other.to_string(),
            };
            if !self.take(':') {
                return None;
            }
            let value = self.value()?;
            map.insert(key, value);
            needs_comma = !self.take(',');
        }
        Some(Json::Object(map))
    }

    /// Reads strings. Adjacent strings are joined, as in Python.
    fn texts(&mut self) -> Option<Json> {
        let mut text = String::new();
        loop {
            self.skip_blanks();
            match self.rest.chars().next() {
                Some(quote @ ('\'' | '"')) => self.text(quote, &mut text)?,
                _ => return Some(Json::String(text)),
            }
        }
    }

    fn text(&mut self, quote: char, text: &mut String) -> Option<()> {
        let mut rest = self.rest[1..].char_indices();
        while let Some((at, character)) = rest.next() {
            match character {
                '\n' => return None,
                found if found == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(());
                }
                '\\' => {
                    let (_, escaped) = rest.next()?;
                    let mut digits = |count: usize| {
                        let digits: String = rest.by_ref().take(count).map(|(_, it)| it).collect();
                        let code = u32::from_str_radix(&digits, 16).ok()?;
                        (digits.len() == count).then(|| char::from_u32(code))?
                    };
                    match escaped {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        'a' => text.push('\x07'),
                        'b' => text.push('\x08'),
                        'f' => text.push('\x0c'),
                        'v' => text.push('\x0b'),
                        '0' => text.push('\0'),
                        '\\' | '\'' | '"' => text.push(escaped),
                        'x' => text.push(digits(2)?),
                        'u' => text.push(digits(4)?),
                        'U' => text.push(digits(8)?),
                        other => {
                            text.push('\\');
                            text.push(other);
                        }
                    }
                }
                other => text.push(other),
            }
        }
        None
    }

    fn word(&mut self) -> Option<Json> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let value = match word {
            "True" => Json::Bool(true),
            "False" => Json::Bool(false),
            "None" => Json::Null,
            _ => return None,
        };
        self.rest = rest;
        Some(value)
    }

    fn number(&mut self) -> Option<Json> {
        let is_part = |at: usize, character: char| {
            character.is_ascii_alphanumeric()
                || matches!(character, '.' | '_')
                || (matches!(character, '-' | '+')
                    && (at == 0 || self.rest[..at].ends_with(['e', 'E'])))
        };
        let mut characters = self.rest.char_indices();
        let end = characters.find(|(at, character)| !is_part(*at, *character));
        let end = end.map_or(self.rest.len(), |(at, _)| at);
        let (text, rest) = self.rest.split_at(end);
        let number = number(text)?;
        self.rest = rest;
        Some(Json::Number(number))
    }
}

/// Reads a number as Python writes it: without leading zeros, and with underscores between digits.
fn number(text: &str) -> Option<Number> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let is_grouped = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    if !is_grouped || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let digits = digits.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let radix = match lower.get(..2) {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let is_integer = radix != 10 || digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_integer {
        let digits = if radix == 10 { &lower } else { &lower[2..] };
        let has_leading_zero = radix == 10 && digits.len() > 1 && digits.starts_with('0');
        if has_leading_zero && digits.bytes().any(|digit| digit != b'0') {
            return None;
        }
        let number = i128::from_str_radix(digits, radix).ok()?;
        return Number::from_i128(if is_negative { -number } else { number });
    }
    let number: f64 = digits.parse().ok()?;
    let is_number = lower
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte));
    Number::from_f64(if is_negative { -number } else { number }).filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_looks_like_a_literal_is_one_and_all_else_is_text() {
        for (text, expected) in [
            ("1", json!(1)),
            ("-7", json!(-7)),
            ("1_000", json!(1000)),
            ("0x1f", json!(31)),
            ("0o17", json!(15)),
            ("1.5", json!(1.5)),
            (".5e2", json!(50.0)),
            ("0644", json!("0644")),
            ("00", json!(0)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1e", json!("1e")),
            ("infinity", json!("infinity")),
            ("_1", json!("_1")),
            ("True", json!(true)),
            ("true", json!("true")),
            ("None", json!(null)),
            ("yes", json!("yes")),
            ("", json!("")),
            ("'a'", json!("a")),
            (r#""a\tb\x41\u00e9\q""#, json!("a\tbA\u{e9}\\q")),
            ("'a' \"b\"", json!("ab")),
            ("'a", json!("'a")),
            ("[1, 'x', [True],]", json!([1, "x", [true]])),
            ("(1, 2)", json!([1, 2])),
            ("(1)", json!(1)),
            ("(1,)", json!([1])),
            ("()", json!([])),
            ("{'a': {1: 2}}", json!({"a": {"1": 2}})),
            ("{}", json!({})),
            ("[1 2]", json!("[1 2]")),
            ("[1,,2]", json!("[1,,2]")),
            ("{'a' 1}", json!("{'a' 1}")),
            ("[1] x", json!("[1] x")),
            ("a b", json!("a b")),
            ("1 # one", json!(1)),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(value(&deep), json!(deep));
    }
}
