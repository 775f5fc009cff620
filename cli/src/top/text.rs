//! Fits texts into columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What stands at the end of a text that was cut.
const CUT: &str = "..";

/// Makes a text fill exactly this many columns: cuts it, or adds blanks at its end.
pub(super) fn fit(text: &str, width: usize) -> String {
    let mut fitted = cut(text, width);
    let used = fitted.width();
    fitted.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    fitted
}

/// Cuts a text that fills more than this many columns.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mark = &CUT[..CUT.len().min(width)];
    let room = width - mark.len();
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or_default();
        if used + wide > room {
            break;
        }
        used += wide;
        kept.push(character);
    }
    kept.push_str(mark);
    kept
}

/// Breaks a text into lines of at most this many columns, at blanks where there are some.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let wide = word.trim_end().width();
        if used > 0 && used + wide > width {
            lines.push(String::new());
            used = 0;
        }
        for character in word.chars() {
            let wide = character.width().unwrap_or_default();
            if used + wide > width.max(1) {
                if character == ' ' {
                    continue;
                }
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
            used += wide;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fills_its_columns_whatever_its_characters() {
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("abcdef", 4), "ab..");
        assert_eq!(fit("abc", 1), ".");
        assert_eq!(fit("", 0), "");
        // A wide character does not fit into one column.
        assert_eq!(fit("日本語", 5), "日.. ".to_owned());
        assert_eq!(cut("日本", 4), "日本");
    }

    #[test]
    fn a_text_is_wrapped_at_blanks_and_long_words_within() {
        assert_eq!(wrap("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
        assert!(wrap("a b", 0).len() >= 2);
    }
}
