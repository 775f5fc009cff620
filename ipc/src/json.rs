//! Writes numbers and strings as JSON, without a serializer.
//!
//! It is for code that writes a million lines. There the serializer takes longer than the content of the fields.
//!
//! ```
//! use ratchet_ipc::json::{write_decimal, write_string};
//!
//! let mut line = Vec::new();
//! line.extend_from_slice(b"{\"name\":");
//! write_string("a \"b\"", &mut line);
//! line.extend_from_slice(b",\"n\":");
//! write_decimal(12, &mut line);
//! line.push(b'}');
//! assert_eq!(line, br#"{"name":"a \"b\"","n":12}"#);
//! ```

/// Appends a number in decimal.
pub fn write_decimal(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a string with its quotes and escapes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    // The fold has no early exit, so the compiler can check several bytes at once. Nearly no string needs an escape.
    let is_plain = text
        .bytes()
        .fold(true, |plain, byte| plain & !needs_escape(byte));
    if is_plain {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_escaped(text, out);
    }
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_escaped(mut rest: &str, out: &mut Vec<u8>) {
    while let Some(at) = rest.bytes().position(needs_escape) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_decimal_of_any_length_is_written_like_by_format() {
        for number in [0, 9, 10, 99, 100, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_string_is_written_like_by_serde_json(text in "(?s)[\\x00-\\x7f\u{e9}\u{2028}]{0,20}") {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
