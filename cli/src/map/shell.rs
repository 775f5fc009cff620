//! Scripts for a shell into which nothing can be injected.
//!
//! If an item was quoted and pasted into a script, it could be run as a part of the script where the script has quotes
//! of its own, a command substitution or a here-document. So an item is never pasted. It becomes a parameter of the
//! shell, and its placeholder becomes `"${1}"`. If the quotes around a placeholder are not recognised, the shell may
//! split the item at blanks, but nothing worse can happen.

use super::placeholder::{Piece, Placeholder};

/// The kind of quotes around a place in a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// No quotes: the shell would split a value here into words.
    None,
    /// Single quotes, in which the shell replaces nothing.
    Single,
    /// Double quotes, in which a value stays one word.
    Double,
}

/// Makes a script, and returns it with the placeholders whose values are its parameters.
///
/// With `all_are_parameters`, `{}` becomes `$@`. The caller makes sure that there is no other placeholder then.
pub(super) fn script(pieces: Vec<Piece>, all_are_parameters: bool) -> (Vec<u8>, Vec<Placeholder>) {
    let (mut script, mut parameters) = (Vec::new(), Vec::new());
    let mut open = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => {
                follow(&mut open, &text);
                script.extend(text);
            }
            Piece::Placeholder(placeholder) => {
                let is_all = all_are_parameters && matches!(placeholder, Placeholder::All(_));
                let number = parameters
                    .iter()
                    .position(|known| *known == placeholder)
                    .unwrap_or_else(|| {
                        parameters.push(placeholder);
                        parameters.len() - 1
                    });
                let parameter = if is_all {
                    "$@".to_owned()
                } else {
                    format!("${{{}}}", number + 1)
                };
                script.extend_from_slice(
                    match open.last().copied().unwrap_or(Quotes::None) {
                        Quotes::None => format!("\"{parameter}\""),
                        Quotes::Double => parameter,
                        Quotes::Single => format!("'\"{parameter}\"'"),
                    }
                    .as_bytes(),
                );
            }
        }
    }
    (script, parameters)
}

/// Updates `open`, the quotes that are open at the end of a piece of script, innermost last. A parenthesis begins a new
/// level without quotes.
fn follow(open: &mut Vec<Quotes>, text: &[u8]) {
    let mut bytes = text.iter().peekable();
    while let Some(byte) = bytes.next() {
        let innermost = open.last().copied().unwrap_or(Quotes::None);
        match (innermost, byte) {
            (Quotes::None | Quotes::Double, b'\\') => drop(bytes.next()),
            (Quotes::None, b'\'') => open.push(Quotes::Single),
            (Quotes::None, b'"') => open.push(Quotes::Double),
            (Quotes::None, b'(') => open.push(Quotes::None),
            (Quotes::Double, b'$') if bytes.next_if(|next| **next == b'(').is_some() => {
                open.push(Quotes::None);
            }
            (Quotes::Single, b'\'') | (Quotes::Double, b'"') | (Quotes::None, b')') => {
                open.pop();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::process::Command;

    use crate::map::columns::Columns;
    use crate::map::item::Item;
    use crate::map::template::Template;
    use crate::map::word::PlaceholderValues;

    fn printed(script: &str, item: &str) -> String {
        let template = Template::shell(
            "sh".as_ref(),
            &[OsString::from(script)],
            Columns::ONE,
            false,
        )
        .unwrap();
        let item = Item::from(item);
        let values = PlaceholderValues {
            item: &item,
            number: 1,
            slot: None,
        };
        let words = template.expand(values);
        let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn an_item_is_one_word_wherever_it_stands() {
        let nasty = "a  b'c\"d`echo x`$(echo y)\\;echo z\n$HOME*";
        for script in [
            "printf %s {}",
            "printf %s '{}'",
            "printf %s \"{}\"",
            "printf %s",
            "x={}; printf %s \"$x\"",
            "printf %s \"$(printf %s \"{}\")\"",
            "echo it\\'s > /dev/null; printf %s {}",
        ] {
            assert_eq!(printed(script, nasty), nasty, "{script}");
        }
        assert_eq!(printed("printf '<%s>' x{}y", "1 2"), "<x1 2y>");
        assert_eq!(printed("printf 'a {} b'", "1"), "a 1 b");
    }

    #[test]
    fn nothing_in_an_item_is_ever_run() {
        let nasty = "';echo RUN;'$(echo RUN)`echo RUN`\";echo RUN;\"";
        for script in [
            "cat <<E\n{}\nE",
            "echo \"$(echo {})\"",
            "echo `echo {}`",
            "echo hi # don't {}",
        ] {
            let printed = printed(script, nasty);
            assert!(
                printed.lines().all(|line| line != "RUN"),
                "{script}: {printed}"
            );
        }
    }

    #[test]
    fn a_shell_does_what_only_a_shell_can() {
        assert_eq!(
            printed("echo {} | tr a-z A-Z && echo {#}", "abc"),
            "ABC\n1\n"
        );
    }
}
