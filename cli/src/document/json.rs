//! JSON, with the place of every value.

use super::DEEPEST;
use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Span};

type Reading<T> = Result<T, Box<Diagnostic>>;

/// Reads one document; nothing if there are only blanks.
pub(super) fn read(text: &str) -> Reading<Option<Node>> {
    let mut reader = Reader { text, at: 0 };
    reader.blanks();
    if reader.peek().is_none() {
        return Ok(None);
    }
    let node = reader.value(0)?;
    reader.blanks();
    match reader.peek() {
        None => Ok(Some(node)),
        Some(_) => Err(reader
            .refuse("something follows the end of the document")
            .into()),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The character here, whole, is what is wrong.
    fn refuse(&self, message: impl Into<String>) -> Diagnostic {
        let width = self.text[self.at..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        Diagnostic::error(Span::new(self.at, self.at + width), message)
    }

    fn expected(&self, what: &str) -> Box<Diagnostic> {
        let error = match self.text[self.at..].chars().next() {
            None => self.refuse(format!("the text ends where {what} should be")),
            Some(found) => self.refuse(format!("expected {what}, found `{found}`")),
        };
        match self.peek() {
            Some(b'\'') => error.help("JSON writes text in double quotes"),
            Some(b'/' | b'#') => error.help("JSON has no comments"),
            _ => error,
        }
        .into()
    }

    fn value(&mut self, depth: usize) -> Reading<Node> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{' | b'[') if depth == DEEPEST => {
                return Err(self
                    .refuse(format!("more than {DEEPEST} lists and maps in each other"))
                    .into());
            }
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b'a'..=b'z' | b'A'..=b'Z') => self.word()?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Node::new(value, Span::new(start, self.at)))
    }

    fn word(&mut self) -> Reading<Value> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let value = match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => {
                let span = Span::new(self.at, self.at + end);
                let error = Diagnostic::error(span, format!("expected a value, found `{word}`"));
                return Err(error.help("JSON writes text in double quotes").into());
            }
        };
        self.at += end;
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Reading<Value> {
        self.at += 1;
        let mut members = Vec::new();
        self.blanks();
        if self.skip(b']') {
            return Ok(Value::List(members));
        }
        loop {
            self.blanks();
            members.push(self.value(depth + 1)?);
            if !self.goes_on(b']', "`,` or `]`")? {
                return Ok(Value::List(members));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Reading<Value> {
        self.at += 1;
        let mut entries = Vec::new();
        self.blanks();
        if self.skip(b'}') {
            return Ok(Value::Map(entries));
        }
        loop {
            self.blanks();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let name = self.string()?;
            let place = Span::new(start, self.at);
            self.blanks();
            if !self.skip(b':') {
                return Err(self.expected("`:`"));
            }
            self.blanks();
            let node = self.value(depth + 1)?;
            entries.push(Entry { name, place, node });
            if !self.goes_on(b'}', "`,` or `}`")? {
                return Ok(Value::Map(entries));
            }
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Whether a comma follows, rather than the end.
    fn goes_on(&mut self, end: u8, either: &str) -> Reading<bool> {
        self.blanks();
        if self.skip(end) {
            return Ok(false);
        }
        let comma = self.at;
        if !self.skip(b',') {
            return Err(self.expected(either));
        }
        self.blanks();
        if self.peek() == Some(end) {
            let span = Span::new(comma, comma + 1);
            let error = Diagnostic::error(span, "a comma after the last one");
            return Err(error.help("JSON wants none here").into());
        }
        Ok(true)
    }

    fn number(&mut self) -> Reading<String> {
        let start = self.at;
        self.skip(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.expected("a digit")),
        }
        if self.skip(b'.') {
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.expected("a digit"));
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.expected("a digit"));
            }
            self.digits();
        }
        if matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_')
        ) {
            let rest = &self.text[self.at..];
            let end = rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len());
            let span = Span::new(start, self.at + end.max(1));
            let found = &self.text[span.start..span.end];
            let error = Diagnostic::error(span, format!("`{found}` is no number"));
            return Err(error.help("write text in double quotes").into());
        }
        Ok(self.text[start..self.at].to_owned())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Reading<String> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(b'\n' | b'\r') | None => {
                    let span = Span::new(start, self.at);
                    return Err(Diagnostic::error(span, "a text is not closed")
                        .help("close it with `\"`; a line break in it is `\\n`")
                        .into());
                }
                Some(control) => {
                    let error = self.refuse("a control character stands in a text");
                    let help = match control {
                        b'\t' => "write a tab as `\\t`".to_owned(),
                        other => format!("write it as `\\u{other:04x}`"),
                    };
                    return Err(error.help(help).into());
                }
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Reading<()> {
        let start = self.at;
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                out.push(self.unicode(start)?);
                return Ok(());
            }
            _ => {
                self.at = start;
                let error = self.refuse("an escape that JSON does not have");
                return Err(error.help("write `\\\\` for a backslash").into());
            }
        };
        self.at += 1;
        out.push(character);
        Ok(())
    }

    fn unicode(&mut self, start: usize) -> Reading<char> {
        let lone = |end| {
            let span = Span::new(start, end);
            Box::new(Diagnostic::error(
                span,
                "half of a character (a lone surrogate)",
            ))
        };
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(lone(self.at));
                }
                self.at += 2;
                let second = self.hex()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone(self.at));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| lone(self.at))
    }

    fn hex(&mut self) -> Reading<u32> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(code) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return Err(self.refuse("`\\u` needs four hexadecimal digits").into());
        };
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        let mut out = String::new();
        read(text).unwrap().unwrap().write_json(&mut out);
        out
    }

    #[test]
    fn reads_what_serde_json_reads() {
        for text in [
            "null",
            " true ",
            "-0.5e+3",
            r#"{"a":[1,{"b":"c"}],"":{}}"#,
            r#""\u00e9\ud83d\ude00\n\"\\\/""#,
            "[]",
            "[ [ ] , { } ]",
            "123456789012345678901234567890",
        ] {
            let expected: serde_json::Value = serde_json::from_str(text).unwrap();
            let found: serde_json::Value = serde_json::from_str(&printed(text)).unwrap();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(read(" \n"), Ok(None));
    }

    #[test]
    fn refuses_what_serde_json_refuses_and_says_why() {
        for (text, said, at) in [
            ("{", "the text ends where a key", 1),
            ("{'a':1}", "expected a key in double quotes, found `'`", 1),
            ("[1,]", "a comma after the last one", 2),
            ("[1 2]", "expected `,` or `]`, found `2`", 3),
            ("nul", "expected a value, found `nul`", 0),
            ("1 2", "something follows", 2),
            ("01", "`01` is no number", 0),
            ("1.", "where a digit should be", 2),
            ("\"a\nb\"", "a text is not closed", 0),
            ("\"\u{1}\"", "a control character", 1),
            (r#""\x""#, "an escape that JSON does not have", 1),
            (r#""\ud800""#, "lone surrogate", 1),
            (r#""\u12""#, "four hexadecimal digits", 3),
            ("{\"a\" 1}", "expected `:`", 5),
            ("// no", "expected a value, found `/`", 0),
            ("\u{e4}", "expected a value", 0),
        ] {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err());
            let error = read(text).unwrap_err();
            assert!(error.message.contains(said), "{text}: {}", error.message);
            assert_eq!(error.span.unwrap().start, at, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(DEEPEST)).is_ok());
        assert!(read(&deep(DEEPEST + 1)).is_err());
        assert!(read(&"[".repeat(1_000_000)).is_err());
    }
}
