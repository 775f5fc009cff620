//! The encodings in which `template` writes files.

/// The characters that Windows-1252 has in place of the control characters from 0x80 on; the last ones are unused.
const WINDOWS_1252: [Option<char>; 32] = [
    Some('\u{20ac}'),
    None,
    Some('\u{201a}'),
    Some('\u{192}'),
    Some('\u{201e}'),
    Some('\u{2026}'),
    Some('\u{2020}'),
    Some('\u{2021}'),
    Some('\u{2c6}'),
    Some('\u{2030}'),
    Some('\u{160}'),
    Some('\u{2039}'),
    Some('\u{152}'),
    None,
    Some('\u{17d}'),
    None,
    None,
    Some('\u{2018}'),
    Some('\u{2019}'),
    Some('\u{201c}'),
    Some('\u{201d}'),
    Some('\u{2022}'),
    Some('\u{2013}'),
    Some('\u{2014}'),
    Some('\u{2dc}'),
    Some('\u{2122}'),
    Some('\u{161}'),
    Some('\u{203a}'),
    Some('\u{153}'),
    None,
    Some('\u{17e}'),
    Some('\u{178}'),
];

/// The characters that ISO 8859-15 has in place of others of ISO 8859-1, with their bytes.
const LATIN_9: [(u8, char); 8] = [
    (0xa4, '\u{20ac}'),
    (0xa6, '\u{160}'),
    (0xa8, '\u{161}'),
    (0xb4, '\u{17d}'),
    (0xb8, '\u{17e}'),
    (0xbc, '\u{152}'),
    (0xbd, '\u{153}'),
    (0xbe, '\u{178}'),
];

/// Encodes a text, or returns why it cannot be. The encoding has one of the names that Python gives it.
pub(super) fn encoded(text: &str, encoding: &str) -> Result<Vec<u8>, String> {
    let name = encoding.trim().to_lowercase().replace(['_', ' '], "-");
    let single = |byte: fn(char) -> Option<u8>| {
        let mut bytes = Vec::with_capacity(text.len());
        for character in text.chars() {
            bytes.push(byte(character).ok_or_else(|| {
                format!("`output_encoding: {encoding}` has no character `{character}`")
            })?);
        }
        Ok(bytes)
    };
    match name.as_str() {
        "utf-8" | "utf8" | "u8" => Ok(text.as_bytes().to_vec()),
        "utf-8-sig" => Ok([&b"\xef\xbb\xbf"[..], text.as_bytes()].concat()),
        // As in Python, the byte order is told by a mark unless the name tells it.
        "utf-16" | "utf16" | "u16" => {
            Ok([vec![0xff, 0xfe], utf_16(text, u16::to_le_bytes)].concat())
        }
        "utf-16-le" | "utf-16le" => Ok(utf_16(text, u16::to_le_bytes)),
        "utf-16-be" | "utf-16be" => Ok(utf_16(text, u16::to_be_bytes)),
        "utf-32" | "utf32" | "u32" => {
            Ok([vec![0xff, 0xfe, 0, 0], utf_32(text, u32::to_le_bytes)].concat())
        }
        "utf-32-le" | "utf-32le" => Ok(utf_32(text, u32::to_le_bytes)),
        "utf-32-be" | "utf-32be" => Ok(utf_32(text, u32::to_be_bytes)),
        "ascii" | "us-ascii" | "646" => {
            single(|character| u8::try_from(character).ok().filter(u8::is_ascii))
        }
        "latin-1" | "latin1" | "latin" | "l1" | "iso-8859-1" | "iso8859-1" | "8859" | "cp819" => {
            single(|character| u8::try_from(character).ok())
        }
        "iso-8859-15" | "iso8859-15" | "latin-9" | "latin9" | "l9" => single(latin_9),
        "cp1252" | "windows-1252" | "1252" => single(windows_1252),
        _ => Err(format!(
            "`output_encoding: {encoding}` is not supported: write utf-8, utf-16, utf-32 (each also with -le or -be), \
             ascii, latin-1, iso-8859-15 or cp1252"
        )),
    }
}

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn utf_32(text: &str, bytes: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars().map(u32::from).flat_map(bytes).collect()
}

fn latin_9(character: char) -> Option<u8> {
    if let Some((byte, _)) = LATIN_9.iter().find(|(_, known)| *known == character) {
        return Some(*byte);
    }
    let byte = u8::try_from(character).ok()?;
    LATIN_9
        .iter()
        .all(|(taken, _)| *taken != byte)
        .then_some(byte)
}

fn windows_1252(character: char) -> Option<u8> {
    if let Some(at) = (0x80..)
        .zip(WINDOWS_1252)
        .find(|(_, known)| *known == Some(character))
    {
        return Some(at.0);
    }
    let byte = u8::try_from(character).ok()?;
    (!(0x80..0xa0).contains(&byte)).then_some(byte)
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_text_has_the_bytes_that_python_gives_it() {
        for (encoding, text, expected) in [
            ("utf-8", "\u{e9}", &[0xc3, 0xa9][..]),
            ("UTF_8_sig", "a", &[0xef, 0xbb, 0xbf, b'a']),
            ("utf-16", "\u{e9}", &[0xff, 0xfe, 0xe9, 0]),
            ("utf-16-be", "\u{1f600}", &[0xd8, 0x3d, 0xde, 0]),
            ("utf-32-le", "a", &[b'a', 0, 0, 0]),
            ("latin1", "\u{e9}", &[0xe9]),
            ("iso-8859-15", "\u{20ac}\u{e9}", &[0xa4, 0xe9]),
            ("cp1252", "\u{20ac}\u{e9}\u{178}", &[0x80, 0xe9, 0x9f]),
            ("ascii", "a", b"a"),
        ] {
            assert_eq!(
                encoded(text, encoding).as_deref(),
                Ok(expected),
                "{encoding}"
            );
        }
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        for (encoding, text, said) in [
            ("ascii", "\u{e9}", "has no character `\u{e9}`"),
            ("latin-1", "\u{20ac}", "has no character"),
            ("iso-8859-15", "\u{a4}", "has no character"),
            ("cp1252", "\u{81}", "has no character"),
            ("koi8-r", "a", "is not supported"),
        ] {
            let refused = encoded(text, encoding).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
