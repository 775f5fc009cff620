//! Sanitizes text from another host.

/// Converts bytes that another host has sent to text without control characters and of a bounded length.
///
/// A terminal obeys control characters, so a host could change what the user sees.
pub(super) fn printable(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let mut printable: String = text
        .chars()
        .take(most)
        .map(|character| match character {
            '\n' | '\t' => ' ',
            control if control.is_control() => '\u{fffd}',
            other => other,
        })
        .collect();
    if text.chars().nth(most).is_some() {
        printable.push_str(" ..");
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_host_is_bounded_and_has_no_control_characters() {
        assert_eq!(
            printable(b" a\x1b[31mb\n\xffc ", 100),
            "a\u{fffd}[31mb \u{fffd}c"
        );
        assert_eq!(printable(b"abcdef", 3), "abc ..");
    }
}
