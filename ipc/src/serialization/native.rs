//! The dialect of `PROTOCOL.md`.

use super::decode::Broken;
use super::sniff::{self, Sniffed};
use super::{Dialect, Found, decode, encode};
use crate::error::IpcError;
use crate::messages::IpcMessage;

/// One JSON object a line, as `PROTOCOL.md` has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Native;

impl Dialect for Native {
    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        encode::write_message(message, line)?;
        line.push(b'\n');
        Ok(())
    }

    fn decode(&mut self, line: &[u8], found: &mut Found<'_>) {
        read(line, Broken::FailsItsAttempt, found);
    }

    fn decode_unfinished(&mut self, line: &[u8], found: &mut Found<'_>) {
        // Half a response is no answer: a worker that dies in the middle of one has crashed.
        read(line, Broken::IsStray, found);
    }

    fn decode_overlong(&mut self, head: &[u8], bytes: u64, found: &mut Found<'_>) {
        let message = if head.trim_ascii_start().starts_with(b"{") {
            Some(head.trim_ascii_start())
        } else {
            memchr::memmem::find(head, decode::OPENING.as_bytes()).map(|at| &head[at..])
        };
        match message.map(sniff::sniff) {
            Some(Sniffed { kind, id }) if kind.is_some() || id.is_some() => {
                found.too_large(kind, id, bytes);
            }
            _ => found.stray(head),
        }
    }
}

fn read(line: &[u8], broken: Broken, found: &mut Found<'_>) {
    match std::str::from_utf8(line) {
        Ok(text) => decode::read_line(text, broken, found),
        Err(_) => decode::salvage_bytes(line, broken, found),
    }
}
