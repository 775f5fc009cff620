//! Commands as lines that can be pasted into a shell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::escape::is_unsafe;

/// How the newlines of a word are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newlines {
    /// As `\n` in `$'..'`, so that the command is one line.
    Escaped,
    /// As they are, in quotes that every shell reads.
    Kept,
}

/// Returns the words of a command as one line that a shell splits into the same words.
pub(crate) fn shell_line(words: &[OsString]) -> Vec<u8> {
    quoted(words, Newlines::Escaped)
}

/// Returns the words of a command as a text that any shell splits into the same words. It has several lines if a word has.
pub(crate) fn shell_text(words: &[OsString]) -> Vec<u8> {
    quoted(words, Newlines::Kept)
}

fn quoted(words: &[OsString], newlines: Newlines) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        quote(word.as_bytes(), newlines, &mut line);
    }
    line
}

fn quote(word: &[u8], newlines: Newlines, line: &mut Vec<u8>) {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(byte);
    // In front of the command, a word with `=` would be an assignment.
    if !word.is_empty() && word.iter().all(harmless) && !(line.is_empty() && word.contains(&b'=')) {
        line.extend_from_slice(word);
        return;
    }
    let is_escaped = |character: char| match character {
        '\n' => newlines == Newlines::Escaped,
        character => is_unsafe(character),
    };
    if let Ok(text) = std::str::from_utf8(word)
        && text.contains(is_escaped)
    {
        return spell_out(text, line);
    }
    line.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\'');
}

/// Quotes a word with `$'..'`, in which bash, zsh, ksh and POSIX since 2024 read escapes. Characters that act on a
/// terminal are written as escapes, so the line stays one line.
fn spell_out(word: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(b"$'");
    for character in word.chars() {
        let mut bytes = [0; 4];
        let bytes = character.encode_utf8(&mut bytes).as_bytes();
        match character {
            '\'' | '\\' => line.extend_from_slice(&[b'\\', bytes[0]]),
            '\n' => line.extend_from_slice(b"\\n"),
            '\t' => line.extend_from_slice(b"\\t"),
            '\r' => line.extend_from_slice(b"\\r"),
            // Always three octal digits: a digit that follows would otherwise belong to the number.
            character if is_unsafe(character) => {
                for byte in bytes {
                    line.extend_from_slice(format!("\\{byte:03o}").as_bytes());
                }
            }
            _ => line.extend_from_slice(bytes),
        }
    }
    line.push(b'\'');
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_pasted_is_what_was_meant() {
        let words: Vec<OsString> = [
            &b"printf"[..],
            b"%s|",
            b"",
            b"a b",
            b"it's",
            b"$HOME",
            b"*",
            b"~",
            b"\xff\n!",
            b"-x=1",
        ]
        .iter()
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
        let line = OsString::from_vec(shell_line(&words));
        let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
        assert_eq!(output.stdout, b"|a b|it's|$HOME|*|~|\xff\n!|-x=1|");
    }

    #[test]
    fn what_would_act_on_a_terminal_is_spelt_out_and_means_the_same() {
        let words =
            ["printf", "%s|", "a\n\x1b[2J1\u{202e}it's\\", "\t\r\u{9b}2"].map(OsString::from);
        let line = String::from_utf8(shell_line(&words)).unwrap();
        assert!(!line.contains(is_unsafe), "{line}");
        let output = Command::new("bash").arg("-c").arg(line).output();
        // Not every machine has bash, and other shells may not know these quotes.
        if let Ok(output) = output {
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                printed,
                format!("{}|{}|", "a\n\x1b[2J1\u{202e}it's\\", "\t\r\u{9b}2")
            );
        }
    }

    #[test]
    fn a_newline_stays_in_a_text_for_any_shell() {
        let words = ["printf", "%s|", "a\n it's", "\n"].map(OsString::from);
        let text = shell_text(&words);
        assert_eq!(text, b"printf '%s|' 'a\n it'\\''s' '\n'");
        let text = OsString::from_vec(text);
        let output = Command::new("sh").arg("-c").arg(text).output().unwrap();
        assert_eq!(output.stdout, b"a\n it's|\n|");
        let escape = shell_text(&["a\n\x1b".into()]);
        assert_eq!(escape, b"$'a\\n\\033'");
    }

    #[test]
    fn plain_words_stay_plain() {
        let words = ["convert", "a.png", "x=1"].map(OsString::from);
        assert_eq!(shell_line(&words), b"convert a.png x=1");
        assert_eq!(shell_line(&["A=1".into()]), b"'A=1'");
    }
}
