//! Reads lines in bounded memory.

use std::io::{self, BufRead};

/// The most bytes of a line. Longer lines are refused and skipped. The limit is twice the default of the largest
/// message, so that a job which fits into a message is not refused.
pub(crate) const LONGEST: usize = 32 << 20;

/// The result of reading a line.
pub(crate) enum LineRead {
    /// A whole line.
    Line,
    /// The line is too long, and only its beginning was kept.
    TooLong,
    /// There is no line left.
    End,
}

/// Reads a line without its delimiter.
pub(crate) fn read_until(
    reader: &mut impl BufRead,
    delimiter: u8,
    line: &mut Vec<u8>,
) -> io::Result<LineRead> {
    let mut any = false;
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            break;
        }
        any = true;
        let end = memchr::memchr(delimiter, bytes);
        let taken = end.unwrap_or(bytes.len());
        // One byte more than allowed is kept, by which the caller sees that the line is too long.
        let room = (LONGEST + 1).saturating_sub(line.len());
        line.extend_from_slice(&bytes[..taken.min(room)]);
        reader.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            break;
        }
    }
    Ok(match any {
        false => LineRead::End,
        true if line.len() > LONGEST => LineRead::TooLong,
        true => LineRead::Line,
    })
}
