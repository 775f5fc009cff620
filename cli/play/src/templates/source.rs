//! The text of templates before it is compiled.

/// Prepares the expressions of a text for the engine.
pub(super) fn prepared(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = next_block(rest) {
        let (before, block) = rest.split_at(at);
        out.push_str(before);
        let end = block_end(block);
        out.push_str(&prepared_expression(&block[..end]));
        rest = &block[end..];
    }
    out.push_str(rest);
    out
}

/// Prepares a lone expression for the engine.
pub(super) fn prepared_expression(expression: &str) -> String {
    as_attributes(&with_doubled(expression))
}

/// Writes `a['b']` as `a.b`, which means the same. The engine asks for an attribute otherwise than for an item, and only of
/// attributes that are nowhere is it known what becomes of them.
fn as_attributes(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    let mut quote = None;
    while let Some(character) = rest.chars().next() {
        let next = &rest[character.len_utf8()..];
        match quote {
            None if character == '['
                && out.ends_with(|before: char| {
                    before.is_alphanumeric() || "_)]".contains(before)
                }) =>
            {
                if let Some((name, behind)) = quoted_name(next) {
                    out.push('.');
                    out.push_str(name);
                    rest = behind;
                    continue;
                }
            }
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(_) if character == '\\' => {
                let width = 1 + next.chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..width]);
                rest = &rest[width..];
                continue;
            }
            Some(open) if open == character => quote = None,
            _ => {}
        }
        out.push(character);
        rest = next;
    }
    out
}

/// The name in quotes before a bracket, and what follows that.
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

/// Doubles the backslashes within the quotes of an expression. Ansible takes them as they are written, and the engine reads
/// them as escapes.
fn with_doubled(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len() + 8);
    let mut quote = None;
    let mut characters = expression.chars().peekable();
    while let Some(character) = characters.next() {
        out.push(character);
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            // A quote that is escaped ends nothing, and stays escaped.
            (Some(open), '\\') if characters.peek() == Some(&open) => out.extend(characters.next()),
            (Some(_), '\\') => {
                out.push('\\');
                // Two backslashes are two, and the second one escapes nothing.
                if characters.peek() == Some(&'\\') {
                    out.extend(characters.next());
                    out.push('\\');
                }
            }
            _ => {}
        }
    }
    out
}

/// Whether a template has blocks whose output is kept as a text, in which no value may be anything else.
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

/// The offset of the next expression or statement, behind comments and raw text.
fn next_block(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('{')?;
        let rest = &text[at..];
        if rest.starts_with("{#") {
            from = at + rest.find("#}").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            let inside = rest[2..].trim_start_matches(['-', '+']).trim_start();
            if rest.starts_with("{%") && inside.starts_with("raw") {
                from = at + rest.find("endraw").map_or(rest.len(), |end| end + 6);
                continue;
            }
            return Some(at);
        } else {
            from = at + 1;
        }
    }
}

/// The length of a block that begins here, with its end.
fn block_end(block: &str) -> usize {
    let close = if block.starts_with("{{") { "}}" } else { "%}" };
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in block.char_indices().skip(2) {
        if escaped {
            escaped = false;
            continue;
        }
        match quote {
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if block[at..].starts_with(close) => return at + close.len(),
            Some(_) | None => {}
        }
    }
    block.len()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(prepared(text), expected, "{text}");
        }
    }

    #[test]
    fn items_with_a_plain_name_are_attributes() {
        for (expression, expected) in [
            ("a['b']['c-d'].e", "a.b['c-d'].e"),
            ("a(x)[\"b\"]", "a(x).b"),
            ("['b'] + a[b]", "['b'] + a[b]"),
            (r#""a['b']\"['c']""#, r#""a['b']\"['c']""#),
            ("{'a': ['b']}", "{'a': ['b']}"),
        ] {
            assert_eq!(as_attributes(expression), expected);
        }
    }

    #[test]
    fn blocks_that_keep_their_output_are_known() {
        assert!(captures("{%- macro a() %}x{% endmacro %}"));
        assert!(captures("{% set x %}a{% endset %}"));
        assert!(!captures("{% set x = 1 %}{{ x }}"));
        assert!(!captures("{% if set %}{% endif %}"));
    }
}
