//! The inside of strings.

use std::io::Write;

/// How many bytes stand for themselves before a quote, a backslash or a control character.
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    // A number, so that no part of it is skipped: the compiler makes one operation on many bytes of that.
    let ends = |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    let mut start = 0;
    // Texts are most of what is long. Without an early end, the compiler looks at a whole chunk in a few instructions.
    for chunk in bytes.chunks_exact(32) {
        if chunk.iter().fold(0, |found, &byte| found | ends(byte)) != 0 {
            break;
        }
        start += 32;
    }
    // Then eight at a time, up to the very byte.
    for chunk in bytes[start..].chunks_exact(8) {
        let word = chunk
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        let found = lanes_below(word, 0x20)
            | lanes_below(word ^ (LANES * u64::from(b'"')), 1)
            | lanes_below(word ^ (LANES * u64::from(b'\\')), 1);
        if found != 0 {
            return start + found.trailing_zeros() as usize / 8;
        }
        start += 8;
    }
    let rest = &bytes[start..];
    start
        + rest
            .iter()
            .position(|&byte| ends(byte) != 0)
            .unwrap_or(rest.len())
}

/// A one in each of the eight bytes of a word.
const LANES: u64 = 0x0101_0101_0101_0101;

/// Marks the bytes of a word that are below a limit of at most 128. A borrow may mark bytes above the first one that is,
/// but never one below it.
fn lanes_below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(LANES * limit) & !word & (LANES << 7)
}

/// Writes a character as it stands in a canonical string.
pub(super) fn push_escaped(output: &mut Vec<u8>, character: char) {
    match character {
        '"' => output.extend_from_slice(b"\\\""),
        '\\' => output.extend_from_slice(b"\\\\"),
        '\0'..='\u{1f}' => {
            // Writing to memory does not fail.
            let _ = write!(output, "\\u{:04x}", u32::from(character));
        }
        _ => output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}
