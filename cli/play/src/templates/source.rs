//! Preprocesses the text of templates before it is compiled.
//!
//! The language of the engine differs slightly from that of Ansible. The differences are rewritten here: escapes in
//! strings, access to items by key, and names of filters with their collection.

use std::fmt::Write as _;

use super::tokens::{Token, TokenKind, token, tokens};

/// The meaning of a backslash in a string of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Escapes {
    /// A backslash escapes only a quote. Ansible reads templates in a playbook in this way.
    Kept,
    /// The escapes of Python. Ansible reads conditions and template files in this way.
    Python,
}

/// The delimiters of templates in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Delimiters {
    pub(super) variable: (String, String),
    pub(super) block: (String, String),
    pub(super) comment: (String, String),
    /// The prefix of a line that is a statement as a whole.
    pub(super) line_statement: Option<String>,
}

impl Default for Delimiters {
    fn default() -> Self {
        let pair = |open: &str, close: &str| (open.to_owned(), close.to_owned());
        Self {
            variable: pair("{{", "}}"),
            block: pair("{%", "%}"),
            comment: pair("{#", "#}"),
            line_statement: None,
        }
    }
}

/// The function that looks up an item. Unlike the engine, it returns a value for a missing item that remembers its
/// name.
pub(super) const ITEM: &str = "__item";

/// The function that formats values into a string, as `%` does in Python.
pub(super) const FORMAT: &str = "__format";

/// The words that are not values, so that a bracket after them starts a list.
const KEYWORDS: [&str; 21] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "set",
    "include",
    "extends",
    "import",
    "from",
    "do",
    "with",
    "as",
    "recursive",
    "ignore",
    "missing",
    "print",
];

/// The collections whose filters, tests and lookups can be named without a prefix.
const BUILTIN: [&str; 2] = ["ansible.builtin.", "ansible.legacy."];

/// Rewrites the expressions of a text for the engine. The other lines get the newlines of the rendered output.
pub(super) fn prepared(
    text: &str,
    delimiters: &Delimiters,
    escapes: Escapes,
    newline: &str,
) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for part in parts(text, delimiters) {
        match part {
            Part::Plain(text) if newline == "\n" => out.push_str(text),
            Part::Plain(text) => out.push_str(&text.replace('\n', newline)),
            Part::Code {
                open,
                inside,
                close,
            } => {
                out.push_str(open);
                out.push_str(&prepared_expression(inside, escapes));
                out.push_str(close);
            }
        }
    }
    out
}

/// Returns the expression of which a template consists, if it contains nothing else.
pub(super) fn lone_expression(text: &str) -> Option<&str> {
    let delimiters = &*DELIMITERS;
    if !(text.starts_with("{{") && text.ends_with("}}")) {
        return None;
    }
    let mut all = parts(text, delimiters);
    match (all.next(), all.next()) {
        (
            Some(Part::Code {
                inside,
                close: "}}",
                ..
            }),
            None,
        ) => {
            let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
            Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
        }
        _ => None,
    }
}

/// The default delimiters.
pub(super) static DELIMITERS: std::sync::LazyLock<Delimiters> =
    std::sync::LazyLock::new(Delimiters::default);

/// A filter, test or lookup that an expression names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Filter(&'a str),
    Test(&'a str),
    Lookup(&'a str),
}

/// Returns the filters, tests and lookups that the expressions of a text name.
pub(super) fn names<'a>(text: &'a str, delimiters: &Delimiters) -> Vec<Named<'a>> {
    let mut found = Vec::new();
    for part in parts(text, delimiters) {
        if let Part::Code { inside, .. } = part {
            let inside = inside.trim_start_matches(['-', '+']);
            let statement = inside.trim_start();
            if let Some(filter) = statement.strip_prefix("filter ") {
                let filter = filter.trim_start();
                let end = filter.find(|character: char| !is_of_name(character));
                found.push(Named::Filter(without_builtin(
                    &filter[..end.unwrap_or(filter.len())],
                )));
            }
            found.extend(names_in_expression(inside));
        }
    }
    found
}

/// Returns the filters, tests and lookups that an expression names.
pub(super) fn names_in_expression(expression: &str) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    let mut rest = expression;
    // The filter whose argument names another filter or a test, and the number of arguments before that one.
    let mut before = "";
    while let Some(word) = token(rest) {
        let at = rest;
        rest = &rest[word.text.len()..];
        if word.kind == TokenKind::Space {
            continue;
        }
        if word.text == "|" || (before == "is" && word.text != "not") || (before == "is not") {
            let name = if word.text == "|" {
                rest.trim_start()
            } else {
                at
            };
            let end = name.find(|character: char| !is_of_name(character));
            let (name, behind) = name.split_at(end.unwrap_or(name.len()));
            let name = without_builtin(name);
            if !name.is_empty() {
                if word.text == "|" {
                    found.push(Named::Filter(name));
                    found.extend(inner_name(name, behind));
                } else {
                    found.push(Named::Test(name));
                }
            }
            rest = behind;
            before = "";
            continue;
        }
        if matches!(word.text, "lookup" | "query" | "q") && before != "." {
            let argument = rest.trim_start().strip_prefix('(').map(str::trim_start);
            found.extend(
                argument
                    .and_then(quoted)
                    .map(|name| Named::Lookup(without_builtin(name))),
            );
        }
        before = match (before, word.text) {
            ("is", "not") => "is not",
            (_, text) => text,
        };
        if word.kind != TokenKind::Name && before != "." {
            before = "";
        }
    }
    found
}

/// Returns the filter or test that an argument of a filter names.
fn inner_name<'a>(filter: &str, behind: &'a str) -> Option<Named<'a>> {
    let mut arguments = behind.trim_start().strip_prefix('(')?.trim_start();
    if matches!(filter, "selectattr" | "rejectattr") {
        let first = token(arguments).filter(|first| first.kind == TokenKind::Text)?;
        let second = arguments[first.text.len()..].trim_start();
        arguments = second.strip_prefix(',')?.trim_start();
    }
    let name = without_builtin(quoted(arguments)?);
    match filter {
        "map" => Some(Named::Filter(name)),
        "select" | "reject" | "selectattr" | "rejectattr" => Some(Named::Test(name)),
        _ => None,
    }
}

/// Returns the content of a leading string, if the string is the whole argument.
fn quoted(text: &str) -> Option<&str> {
    let first = token(text).filter(|first| first.kind == TokenKind::Text)?;
    let behind = text[first.text.len()..].trim_start();
    let inside = first.text.get(1..first.text.len().checked_sub(1)?)?;
    (behind.starts_with([',', ')'])).then_some(inside)
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '.'
}

/// Strips the prefix of a builtin collection from a name.
pub(super) fn without_builtin(name: &str) -> &str {
    let short = BUILTIN.iter().find_map(|prefix| name.strip_prefix(prefix));
    short.unwrap_or(name)
}

/// Rewrites a single expression for the engine.
pub(super) fn prepared_expression(expression: &str, escapes: Escapes) -> String {
    let mut out = Rewritten::default();
    let mut rest = expression;
    while let Some(word) = token(rest) {
        rest = &rest[word.text.len()..];
        match word.kind {
            TokenKind::Space | TokenKind::Number => out.push(word),
            TokenKind::Text => {
                let text = with_escapes(word.text, escapes);
                out.begin();
                if let Some((values, behind)) = formatted(rest) {
                    let values = prepared_expression(values, escapes);
                    // Writing to a string cannot fail.
                    let _ = write!(out.text, "{FORMAT}({text}, {values})");
                    rest = behind;
                } else {
                    out.text.push_str(&text);
                }
                out.last = Last::Value;
            }
            TokenKind::Name => rest = out.name(word, rest),
            TokenKind::Symbol => {
                if word.text == "["
                    && out.last == Last::Value
                    && let Some((name, behind)) = quoted_name(rest)
                {
                    out.text.push('.');
                    out.text.push_str(name);
                    rest = behind;
                } else {
                    out.symbol(word, rest);
                }
            }
        }
    }
    out.text
}

/// What the last word means for the next one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A value. A bracket after it takes an item of it.
    Value,
    /// A dot. A name after it is an attribute.
    Point,
    /// `|`. A name after it is a filter.
    Pipe,
    /// `is` or `is not`. A name after it is a test.
    Is,
    #[default]
    Other,
}

/// An open bracket.
#[derive(Debug)]
struct Open {
    /// The offset of the value that ends at the closing bracket.
    start: Option<usize>,
    /// The offset of the bracket in the output, if it may take an item.
    item: Option<usize>,
}

/// The part of an expression that is already rewritten.
#[derive(Debug, Default)]
struct Rewritten {
    text: String,
    last: Last,
    /// The offset of the last value in the output.
    start: Option<usize>,
    open: Vec<Open>,
}

impl Rewritten {
    fn push(&mut self, word: Token<'_>) {
        if word.kind != TokenKind::Space {
            self.begin();
            self.last = Last::Value;
        }
        self.text.push_str(word.text);
    }

    fn begin(&mut self) {
        self.start = Some(self.text.len());
    }

    /// Writes a name, and returns the text after it.
    fn name<'a>(&mut self, word: Token<'a>, rest: &'a str) -> &'a str {
        match self.last {
            Last::Point => {
                self.text.push_str(word.text);
                self.last = Last::Value;
            }
            Last::Is if word.text == "not" => self.text.push_str(word.text),
            Last::Pipe | Last::Is => {
                let mut name = word.text.to_owned();
                let mut rest = rest;
                while let Some(next) = rest.strip_prefix('.').and_then(token)
                    && next.kind == TokenKind::Name
                {
                    name = format!("{name}.{}", next.text);
                    rest = &rest[1 + next.text.len()..];
                }
                self.text.push_str(without_builtin(&name));
                self.last = Last::Other;
                return rest;
            }
            Last::Value | Last::Other => {
                self.begin();
                self.text.push_str(word.text);
                self.last = match word.text {
                    "is" => Last::Is,
                    word if KEYWORDS.contains(&word) => Last::Other,
                    _ => Last::Value,
                };
            }
        }
        rest
    }

    fn symbol(&mut self, word: Token<'_>, rest: &str) {
        match word.text {
            "(" | "[" | "{" => {
                let of_value = self.last == Last::Value && word.text != "{";
                if !of_value && !matches!(self.last, Last::Other) {
                    self.last = Last::Other;
                }
                let start = if of_value {
                    self.start
                } else {
                    Some(self.text.len())
                };
                let item =
                    (of_value && word.text == "[" && is_item(rest)).then_some(self.text.len());
                self.open.push(Open { start, item });
                self.text.push_str(word.text);
                self.last = Last::Other;
            }
            ")" | "]" | "}" => {
                let open = self.open.pop();
                self.text.push_str(word.text);
                self.last = Last::Value;
                self.start = open.as_ref().and_then(|open| open.start);
                if let Some(Open {
                    start: Some(start),
                    item: Some(at),
                }) = open
                {
                    let key = self.text[at + 1..self.text.len() - 1].to_owned();
                    let value = self.text[start..at].to_owned();
                    self.text.truncate(start);
                    // Writing to a string cannot fail.
                    let _ = write!(self.text, "{ITEM}({value}, {key})");
                }
            }
            "." => {
                self.text.push('.');
                self.last = Last::Point;
            }
            "|" => {
                self.text.push('|');
                self.last = Last::Pipe;
            }
            other => {
                self.text.push_str(other);
                self.last = Last::Other;
            }
        }
    }
}

/// Splits the text after a `%` that follows a string into the operand and the rest.
fn formatted(rest: &str) -> Option<(&str, &str)> {
    let values = rest.trim_start().strip_prefix('%')?;
    let mut length = 0;
    let mut depth = 0_usize;
    for word in tokens(values) {
        let is_operator = match word.text {
            "(" | "[" | "{" => {
                depth += 1;
                false
            }
            ")" | "]" | "}" if depth == 0 => true,
            ")" | "]" | "}" => {
                depth -= 1;
                false
            }
            "." | "|" => false,
            text if word.kind == TokenKind::Name => KEYWORDS.contains(&text),
            _ => word.kind == TokenKind::Symbol,
        };
        if is_operator && depth == 0 {
            break;
        }
        length += word.text.len();
    }
    // The blanks before an operator are part of the rest.
    let (inside, behind) = values.split_at(values[..length].trim_end().len());
    (!inside.trim().is_empty()).then_some((inside.trim(), behind))
}

/// Whether the text after an opening bracket is a single key, rather than a slice or several keys.
fn is_item(rest: &str) -> bool {
    let mut depth = 0_usize;
    for word in tokens(rest) {
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "}" if depth > 0 => depth -= 1,
            "]" if depth == 0 => return true,
            "]" => depth -= 1,
            ":" | "," if depth == 0 => return false,
            _ => {}
        }
    }
    false
}

/// Splits a quoted name before a closing bracket from the rest.
fn quoted_name(text: &str) -> Option<(&str, &str)> {
    let quote = text
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))?;
    let (name, behind) = text[1..].split_once(quote)?;
    let behind = behind.strip_prefix(']')?;
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_');
    is_name.then_some((name, behind))
}

/// Rewrites the escapes of a string, including its quotes, for the engine.
fn with_escapes(text: &str, escapes: Escapes) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let quote = text.chars().next();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        let next = characters.next();
        match (escapes, next) {
            // An escaped quote does not end the string, and stays escaped.
            _ if next.is_some() && next == quote => {
                out.push('\\');
                out.extend(next);
            }
            // Two backslashes are literal, and the second one does not escape the next character.
            (Escapes::Kept, Some('\\')) => out.push_str("\\\\\\\\"),
            (Escapes::Python, Some('\n')) => {}
            (Escapes::Python, Some('a')) => out.push_str("\\u0007"),
            (Escapes::Python, Some('v')) => out.push_str("\\u000b"),
            (Escapes::Python, Some('U')) => {
                let digits: String = characters.clone().take(8).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                match code.filter(|_| digits.len() == 8) {
                    Some(code) => {
                        out.push(code);
                        characters.by_ref().take(8).for_each(drop);
                    }
                    None => out.push_str("\\\\U"),
                }
            }
            (Escapes::Python, Some(known)) if "\\'\"bfnrtux01234567".contains(known) => {
                out.push('\\');
                out.push(known);
            }
            (_, next) => {
                out.push_str("\\\\");
                out.extend(next);
            }
        }
    }
    out
}

/// Whether a template has blocks whose output is captured as a text, so that values in it must be printed.
pub(super) fn captures(text: &str) -> bool {
    let words = ["macro", "call", "filter", "set"];
    text.split("{%").skip(1).any(|block| {
        let block = block.trim_start_matches(['-', '+']).trim_start();
        let word = block.split_whitespace().next().unwrap_or_default();
        words.contains(&word)
            && !(word == "set"
                && block
                    .split("%}")
                    .next()
                    .is_some_and(|set| set.contains('=')))
    })
}

/// A part of a template.
enum Part<'a> {
    /// Text, including comments and raw blocks.
    Plain(&'a str),
    /// An expression or a statement.
    Code {
        open: &'a str,
        inside: &'a str,
        close: &'a str,
    },
}

/// Splits a template into its parts.
fn parts<'a>(text: &'a str, delimiters: &Delimiters) -> impl Iterator<Item = Part<'a>> {
    let mut rest = text;
    let mut is_line_start = true;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (at, kind) = next_block(rest, delimiters, is_line_start);
        let plain = &rest[..at];
        if !plain.is_empty() {
            rest = &rest[at..];
            is_line_start = plain.ends_with('\n');
            return Some(Part::Plain(plain));
        }
        is_line_start = false;
        let (open, close) = match kind {
            Begin::Variable => (delimiters.variable.0.len(), delimiters.variable.1.as_str()),
            Begin::Block => (delimiters.block.0.len(), delimiters.block.1.as_str()),
            Begin::Line(length) => (length, "\n"),
            Begin::Nothing => unreachable!("some text was left before it"),
        };
        let (open, behind) = rest.split_at(open);
        let length = inside_length(behind, close);
        let (inside, behind) = behind.split_at(length);
        let (close, behind) = behind.split_at(close.len().min(behind.len()));
        rest = behind;
        is_line_start = close.ends_with('\n');
        Some(Part::Code {
            open,
            inside,
            close,
        })
    })
}

/// What follows a text.
#[derive(Debug, Clone, Copy)]
enum Begin {
    Variable,
    Block,
    /// A line that is a statement, with the length of its prefix.
    Line(usize),
    Nothing,
}

/// Returns the offset of the next expression or statement, skipping comments and raw blocks, and what it is.
fn next_block(text: &str, delimiters: &Delimiters, is_line_start: bool) -> (usize, Begin) {
    let mut from = 0;
    let mut is_line_start = is_line_start;
    while let Some(first) = text[from..].chars().next() {
        let rest = &text[from..];
        if is_line_start && let Some(prefix) = &delimiters.line_statement {
            let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            if rest[blank..].starts_with(prefix.as_str()) {
                return (from, Begin::Line(blank + prefix.len()));
            }
        }
        is_line_start = first == '\n';
        if rest.starts_with(delimiters.comment.0.as_str()) {
            let close = delimiters.comment.1.as_str();
            from += rest.find(close).map_or(rest.len(), |end| end + close.len());
        } else if let Some(inside) = rest.strip_prefix(delimiters.block.0.as_str()) {
            let inside = inside.trim_start_matches(['-', '+']).trim_start();
            let is_raw = inside
                .strip_prefix("raw")
                .is_some_and(|behind| !behind.starts_with(is_of_name));
            if !is_raw {
                return (from, Begin::Block);
            }
            from += rest.find("endraw").map_or(rest.len(), |end| end + 6);
        } else if rest.starts_with(delimiters.variable.0.as_str()) {
            return (from, Begin::Variable);
        } else {
            from += first.len_utf8();
        }
    }
    (text.len(), Begin::Nothing)
}

/// Returns the length of an expression or statement up to its closing delimiter. One within brackets does not count.
fn inside_length(text: &str, close: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(word) = token(&text[at..]) {
        if depth == 0 && word.kind != TokenKind::Text && text[at..].starts_with(close) {
            return at;
        }
        if word.kind == TokenKind::Space
            && let Some(end) = word.text.find(close)
            && depth == 0
        {
            return at + end;
        }
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += word.text.len();
    }
    text.find(close).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        prepared(text, &DELIMITERS, Escapes::Kept, "\n")
    }

    #[test]
    fn backslashes_in_quotes_are_kept_as_they_are_written() {
        for (text, expected) in [
            (r"a\b", r"a\b"),
            (r"{{ 'a\b' }}\c", r"{{ 'a\\b' }}\c"),
            (r"{{ 'a\\b' }}", r"{{ 'a\\\\b' }}"),
            (r"{{ 'a\'b\c' }}", r"{{ 'a\'b\\c' }}"),
            (r#"{% if x == "\d" %}\d"#, r#"{% if x == "\\d" %}\d"#),
            (r"{# '\d' #}{{ '\d' }}", r"{# '\d' #}{{ '\\d' }}"),
            (
                r"{% raw %}{{ '\d' }}{% endraw %}{{ '\d' }}",
                r"{% raw %}{{ '\d' }}{% endraw %}{{ '\\d' }}",
            ),
        ] {
            assert_eq!(kept(text), expected, "{text}");
        }
    }

    #[test]
    fn backslashes_of_files_and_conditions_are_those_of_python() {
        for (text, expected) in [
            (r"'a\nb\d\/'", r"'a\nb\\d\\/'"),
            (r"'\\d\'\a'", r"'\\d\'\u0007'"),
            (r"'\U0001F600'", "'\u{1f600}'"),
        ] {
            assert_eq!(
                prepared_expression(text, Escapes::Python),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn items_with_a_plain_name_are_attributes_and_others_are_looked_up_by_a_function() {
        for (expression, expected) in [
            ("a['b']['c-d'].e", "__item(a.b, 'c-d').e"),
            ("a(x)[\"b\"]", "a(x).b"),
            ("['b'] + a[b]", "['b'] + __item(a, b)"),
            (r#""a['b']\"['c']""#, r#""a['b']\"['c']""#),
            ("{'a': ['b']}", "{'a': ['b']}"),
            (
                "x + a[b[c]][0].d",
                "x + __item(__item(a, __item(b, c)), 0).d",
            ),
            ("(a | first)[n]", "__item((a | first), n)"),
            ("a[1:2] in [b]", "a[1:2] in [b]"),
            (
                "'%s' % a[0] | upper ~ 'x' if b",
                "__format('%s', __item(a, 0) | upper) ~ 'x' if b",
            ),
            ("f('%d %s' % (1, b))", "f(__format('%d %s', (1, b)))"),
            ("5 % a", "5 % a"),
            ("x is subset [1]", "x is subset [1]"),
            (
                "x is not ansible.builtin.match('a') and y | ansible.builtin.b64encode",
                "x is not match('a') and y | b64encode",
            ),
            ("' '.join(a)[0]", "__item(' '.join(a), 0)"),
            (
                "not (a)[0] if [1] else b",
                "not __item((a), 0) if [1] else b",
            ),
        ] {
            assert_eq!(prepared_expression(expression, Escapes::Kept), expected);
        }
    }

    #[test]
    fn blocks_that_keep_their_output_are_known() {
        assert!(captures("{%- macro a() %}x{% endmacro %}"));
        assert!(captures("{% set x %}a{% endset %}"));
        assert!(!captures("{% set x = 1 %}{{ x }}"));
        assert!(!captures("{% if set %}{% endif %}"));
    }

    #[test]
    fn a_lone_expression_is_told_from_several_and_may_have_braces() {
        assert_eq!(
            lone_expression("{{ {'a': {'b': 1}} }}"),
            Some("{'a': {'b': 1}}")
        );
        assert_eq!(lone_expression("{{- '}}' -}}"), Some("'}}'"));
        assert_eq!(lone_expression("{{ a }}{{ b }}"), None);
        assert_eq!(lone_expression("{{ a }} "), None);
        assert_eq!(lone_expression("{% a %}"), None);
    }

    #[test]
    fn the_filters_tests_and_lookups_of_a_template_are_found() {
        let text = "{{ a | first | map('upper') | select('match', '^x') }}{% if b is not c.d.e and lookup('env', q) %}\
                    {% filter indent %}{{ q(\"file\", 'x') is defined }}{# | no #}{{ '| no' }}{{ x.lookup('y') }}";
        assert_eq!(
            names(text, &DELIMITERS),
            [
                Named::Filter("first"),
                Named::Filter("map"),
                Named::Filter("upper"),
                Named::Filter("select"),
                Named::Test("match"),
                Named::Test("c.d.e"),
                Named::Lookup("env"),
                Named::Filter("indent"),
                Named::Lookup("file"),
                Named::Test("defined"),
            ]
        );
    }
}
