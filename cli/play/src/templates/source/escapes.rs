//! The backslashes in strings of expressions.

/// The meaning of a backslash in a string of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::templates) enum Escapes {
    /// A backslash escapes only a quote. Ansible reads templates in a playbook in this way.
    Kept,
    /// The escapes of Python. Ansible reads conditions and template files in this way.
    Python,
}

/// Rewrites the escapes of a string, including its quotes, for the engine.
pub(super) fn with_escapes(text: &str, escapes: Escapes) -> String {
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
            // It does not end the string. Ansible keeps its backslash where it keeps all of them.
            (Escapes::Kept, Some(next)) if Some(next) == quote => {
                out.push_str("\\\\\\");
                out.push(next);
            }
            (Escapes::Python, Some(next)) if Some(next) == quote => {
                out.push('\\');
                out.push(next);
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
