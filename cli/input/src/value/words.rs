//! Splits a command line in one string into words as a shell does, without a shell.

use super::ValueError;

/// The words of a command, and any syntax in it that only a shell would understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// The first unquoted word that only a shell would understand, such as `|` or `$HOME`.
    pub shell_syntax: Option<String>,
}

/// Splits at blanks. Quotes and backslashes protect blanks as in a shell; nothing else has a meaning.
pub fn split_words(text: &str) -> Result<CommandLine, ValueError> {
    let mut words = Vec::new();
    let mut shell_syntax = None;
    let mut word = WordReader::default();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => word.end(&mut words, &mut shell_syntax),
            '\'' => {
                word.quote();
                loop {
                    match characters.next() {
                        Some('\'') => break,
                        Some(character) => word.text.push(character),
                        None => return Err(unclosed('\'')),
                    }
                }
            }
            '"' => {
                word.quote();
                loop {
                    match characters.next() {
                        Some('"') => break,
                        Some('\\') => match characters.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.text.push(escaped),
                            Some('\n') => {}
                            Some(other) => word.text.extend(['\\', other]),
                            None => return Err(unclosed('"')),
                        },
                        Some(character) => word.text.push(character),
                        None => return Err(unclosed('"')),
                    }
                }
            }
            '\\' => match characters.next() {
                Some('\n') => {}
                Some(escaped) => {
                    word.quote();
                    word.text.push(escaped);
                }
                None => {
                    return Err(ValueError::new("the command ends with a backslash")
                        .hint("write `\\\\` for a backslash"));
                }
            },
            character => {
                word.begun = true;
                word.text.push(character);
            }
        }
    }
    word.end(&mut words, &mut shell_syntax);
    Ok(CommandLine {
        words,
        shell_syntax,
    })
}

/// The word that is being read.
#[derive(Default)]
struct WordReader {
    text: String,
    /// Whether a word has begun. `''` is an empty word.
    begun: bool,
    /// Whether any part of the word was quoted.
    quoted: bool,
}

impl WordReader {
    fn quote(&mut self) {
        self.begun = true;
        self.quoted = true;
    }

    fn end(&mut self, words: &mut Vec<String>, shell_syntax: &mut Option<String>) {
        let Self {
            text,
            begun,
            quoted,
        } = std::mem::take(self);
        if !begun {
            return;
        }
        if shell_syntax.is_none() && !quoted && is_shell_syntax(&text) {
            *shell_syntax = Some(text.clone());
        }
        words.push(text);
    }
}

/// Whether a word is shell syntax: an operator, a redirection, a word that ends with `;`, or a variable.
fn is_shell_syntax(word: &str) -> bool {
    const OPERATORS: [&str; 6] = ["|", "||", "&&", "&", ";", "|&"];
    let redirection = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&');
    let variable = word.strip_prefix('$').and_then(|name| name.chars().next());
    OPERATORS.contains(&word)
        || redirection.starts_with(['<', '>'])
        || word.len() > 1 && word.ends_with(';')
        || variable.is_some_and(|c| c.is_ascii_alphabetic() || "_{(".contains(c))
}

fn unclosed(quote: char) -> ValueError {
    ValueError::new(format!("a quote ({quote}) is opened and never closed"))
        .hint("close it, or write the command as a list of words")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        split_words(text).unwrap().words
    }

    #[test]
    fn splits_as_a_shell_does() {
        assert_eq!(split("convert a.png  b.png"), ["convert", "a.png", "b.png"]);
        assert_eq!(
            split(r#"a 'b c' "d \"e\" \n" f\ g """#),
            ["a", "b c", r#"d "e" \n"#, "f g", ""]
        );
        assert_eq!(split("a'b'\"c\"d"), ["abcd"]);
        assert_eq!(split("a\\\nb 'c\nd'"), ["ab", "c\nd"]);
        assert_eq!(split("  "), Vec::<String>::new());
        assert_eq!(
            split("echo $HOME *.png ~ #x"),
            ["echo", "$HOME", "*.png", "~", "#x"]
        );
    }

    #[test]
    fn what_is_never_closed_is_refused() {
        for text in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(split_words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn says_what_only_a_shell_would_understand() {
        for (text, shell) in [
            ("a | b", Some("|")),
            ("a && b", Some("&&")),
            ("a >out", Some(">out")),
            ("a 2>&1", Some("2>&1")),
            ("a; b", Some("a;")),
            ("echo $HOME", Some("$HOME")),
            ("a '|' b", None),
            ("a \\| b", None),
            ("a x|y", None),
            ("price 5$", None),
        ] {
            assert_eq!(
                split_words(text).unwrap().shell_syntax.as_deref(),
                shell,
                "{text}"
            );
        }
    }
}
