//! The dialect of `PROTOCOL.md`.

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
        match std::str::from_utf8(line) {
            Ok(text) => decode::read_line(text, found),
            Err(_) => found.stray(line),
        }
    }

    fn overlong(&mut self, head: &[u8], bytes: u64, found: &mut Found<'_>) {
        let message = head.trim_ascii_start();
        let message = message.starts_with(b"{").then_some(message).or_else(|| {
            memchr::memmem::find(head, decode::OPENING.as_bytes()).map(|at| &head[at..])
        });
        match message {
            Some(message) => found.too_large(decode::sniff_id(message), bytes),
            None => found.stray(head),
        }
    }
}
