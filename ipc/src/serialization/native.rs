//! The dialect of `PROTOCOL.md`.

use super::decode::{self, BrokenResponse};
use super::dialect::{Decoded, Dialect, OverlongLine};
use super::header::Header;
use crate::error::IpcError;
use crate::messages::{IpcMessage, write_message};

/// The dialect of `PROTOCOL.md`: one JSON object per line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

impl Dialect for Native {
    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        write_message(message, line)?;
        line.push(b'\n');
        Ok(())
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        read(line, BrokenResponse::FailsAttempt, decoded);
    }

    fn decode_unfinished(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        // A worker that dies in the middle of a response has crashed, which is why its attempt fails.
        read(line, BrokenResponse::IsStray, decoded);
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        let OverlongLine { head, tail, bytes } = *line;
        let message = if head.trim_ascii_start().starts_with(b"{") {
            Some(head.trim_ascii_start())
        } else {
            memchr::memmem::find(head, decode::OPENING.as_bytes()).map(|at| &head[at..])
        };
        match message.map(|head| Header::read(head).or(Header::read_end(tail))) {
            Some(Header { kind, id }) if kind.is_some() || id.is_some() => {
                decoded.too_large(kind, id, bytes);
            }
            _ => decoded.stray(head),
        }
    }
}

/// Reads a line. It is UTF-8, unless the worker has a bug.
fn read(line: &[u8], broken: BrokenResponse, decoded: &mut Decoded<'_>) {
    match std::str::from_utf8(line) {
        Ok(text) => decode::read_line(text, broken, decoded),
        Err(_) => decode::read_invalid_utf8(line, broken, decoded),
    }
}
