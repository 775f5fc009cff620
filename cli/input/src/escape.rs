//! Escapes text from other sources so that it is safe to show.
//!
//! Ids, hosts, items, messages and logs come from job files, file names and workers. On a terminal, a control character
//! in them could move the cursor, rename the window or hide text; a bidirectional control could show text in another
//! order; a newline could fake a line of ratchet. All text for display goes through [`plain`] or [`plain_lines`], and
//! JSON goes through [`plain_json`].

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character affects a terminal, the order of the text around it, or the end of a line.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns a text in one line without side effects: control characters, newlines and tabs are escaped.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut spelt = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unsafe(character) {
            spelt.extend(character.escape_default());
        } else {
            spelt.push(character);
        }
    }
    Cow::Owned(spelt)
}

/// Returns the lines of a text, each escaped like [`plain`], but with its tabs. The caller puts a margin before each
/// line, so that none can look like a line of ratchet.
pub fn plain_lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.lines().map(|line| {
        if !line.contains('\t') {
            return plain(line);
        }
        let cells: Vec<Cow<'_, str>> = line.split('\t').map(plain).collect();
        Cow::Owned(cells.join("\t"))
    })
}

/// Converts bytes to text. Bytes that are not UTF-8 are written as in `\xff`.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    Cow::Owned(text)
}

/// Returns JSON with the same meaning, in which characters that affect a terminal are escaped.
pub fn plain_json(json: &[u8]) -> Cow<'_, [u8]> {
    // JSON always escapes control characters below U+0020, so nearly all lines return here. If the greatest byte is
    // below 0x7f, all bytes are ASCII and none is DEL.
    if json.iter().copied().fold(0, u8::max) < 0x7f {
        return Cow::Borrowed(json);
    }
    let Ok(text) = std::str::from_utf8(json) else {
        return Cow::Borrowed(json);
    };
    // A line break between values is not part of a text, so it is kept.
    let is_unsafe = |character: char| character >= '\u{7f}' && is_unsafe(character);
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_steer_the_terminal_nor_make_a_line() {
        assert_eq!(plain("a b"), "a b");
        assert_eq!(
            plain("\x1b[31mred\r\nok\tx\u{9b}2J\u{202e}\u{2066}\u{7f}"),
            r"\u{1b}[31mred\r\nok\tx\u{9b}2J\u{202e}\u{2066}\u{7f}"
        );
    }

    #[test]
    fn lines_stay_lines_and_keep_their_tabs() {
        let lines: Vec<_> = plain_lines("a\tb\r\n10%\r20%\n\x1b[2J\tx\n").collect();
        assert_eq!(lines, ["a\tb", r"10%\r20%", "\\u{1b}[2J\tx"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_spelt_out() {
        assert_eq!(text_of(b"a\xffb\xc3\xa9"), "a\\xffb\u{e9}");
        assert_eq!(text_of("\u{e9}".as_bytes()), "\u{e9}");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value =
            serde_json::json!({"\u{202e}a": "\u{9b}2J\u{7f}\u{e0041}\n", "b": "\u{e9}\u{1f600}"});
        let json = serde_json::to_string_pretty(&value).unwrap();
        let escaped = plain_json(json.as_bytes());
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&escaped).unwrap(),
            value
        );
        let text = String::from_utf8(escaped.into_owned()).unwrap();
        assert!(
            !text.contains(|c: char| c != '\n' && is_unsafe(c)),
            "{text}"
        );
        assert!(text.contains("\u{e9}\u{1f600}"), "{text}");
    }
}
