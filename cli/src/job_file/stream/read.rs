//! Reading lines in bounded memory.

use std::io::{self, BufRead};

/// A longer line is refused and passed over. It is twice the largest message there may be, so that
/// no job that could be sent is.
pub(crate) const LONGEST: usize = 32 << 20;

/// What was read.
pub(crate) enum LineRead {
    Line,
    /// Only its beginning was kept.
    TooLong,
    End,
}

/// Reads up to a delimiter, which is left out, in bounded memory.
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
        // One byte more than is allowed shows that it is too long; the rest is passed over.
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
