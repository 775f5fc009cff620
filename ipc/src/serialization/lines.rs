//! The dialect of filters, which answer each line with one line, in order.

use std::collections::VecDeque;

use super::dialect::{Decoded, Dialect, OverlongLine};
use crate::error::IpcError;
use crate::messages::{IpcMessage, MessageId, MessageKind, Payload, Response};
use crate::protocol::HandshakeKind;

/// The only type of message that a filter can send.
const RESPONSE: MessageKind = MessageKind::Response;

/// How an item or an answer is written as a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// A JSON string is sent without quotes, and the answer becomes a JSON string.
    Text,
    /// Compact JSON is sent, and the answer is read as JSON.
    Json,
}

/// The dialect of any program that answers each line with one line, flushed, in order.
///
/// Examples are `jq -c --unbuffered .name`, `sed -u s/a/b/` and a script of ten lines. Their lines have no ids, so an
/// answer belongs to the oldest unanswered request.
#[derive(Debug)]
pub struct Lines {
    /// How a request becomes a line.
    input: LineFormat,
    /// How a line becomes a result.
    output: LineFormat,
    /// The unanswered requests, the oldest first.
    unanswered: VecDeque<MessageId>,
    /// How many more lines belong to the banner.
    banner_left: u64,
}

impl Default for Lines {
    /// Sends compact JSON and reads text.
    fn default() -> Self {
        Self::new(LineFormat::Json, LineFormat::Text)
    }
}

impl Lines {
    /// Makes the dialect of a filter that reads and prints lines of these formats.
    pub fn new(input: LineFormat, output: LineFormat) -> Self {
        Self {
            input,
            output,
            unanswered: VecDeque::new(),
            banner_left: 0,
        }
    }

    /// Skips the first lines that the filter prints: its banner, which is not an answer.
    #[must_use]
    pub fn skip(mut self, lines: u64) -> Self {
        self.banner_left = lines;
        self
    }

    /// Whether this line belongs to the banner.
    fn skip_banner_line(&mut self) -> bool {
        let is_banner = self.banner_left > 0;
        self.banner_left -= u64::from(is_banner);
        is_banner
    }

    /// Converts a line to the response of a request.
    fn answer(&self, id: MessageId, line: &[u8], decoded: &mut Decoded<'_>) {
        let Ok(text) = std::str::from_utf8(line) else {
            return decoded.malformed(RESPONSE, Some(id), "the answer is not UTF-8", line);
        };
        let result = match self.output {
            LineFormat::Text => Ok(Payload::from_text(text)),
            LineFormat::Json => Payload::from_json(text),
        };
        match result {
            Ok(result) => decoded.message(Response {
                id,
                outcome: Ok(result),
            }),
            Err(error) => {
                let reason = format!("the answer is not JSON: {error}");
                decoded.malformed(RESPONSE, Some(id), reason, line);
            }
        }
    }
}

impl Dialect for Lines {
    fn handshake_kind(&self) -> HandshakeKind {
        HandshakeKind::None
    }

    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        let IpcMessage::Request(request) = message else {
            return Ok(());
        };
        let input = &request.input;
        match self.input {
            LineFormat::Text if input.as_str().starts_with('"') => {
                let text: String = input.read()?;
                if text.contains('\n') {
                    return Err(IpcError::LineBreakInText);
                }
                line.extend_from_slice(text.as_bytes());
            }
            LineFormat::Text | LineFormat::Json => input.write_compact(line),
        }
        line.push(b'\n');
        Ok(())
    }

    fn sent(&mut self, message: &IpcMessage) {
        if let IpcMessage::Request(request) = message {
            self.unanswered.push_back(request.id.clone());
        }
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        if self.skip_banner_line() {
            return;
        }
        match self.unanswered.pop_front() {
            Some(id) => self.answer(id, line, decoded),
            None => decoded.stray(line),
        }
    }

    fn decode_unfinished(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        if self.skip_banner_line() {
            return;
        }
        // Half an answer looks like a complete one. Only its newline shows that it is complete.
        match self.unanswered.pop_front() {
            Some(id) => {
                let reason = "the filter ended in the middle of its answer";
                decoded.malformed(RESPONSE, Some(id), reason, line);
            }
            None => decoded.stray(line),
        }
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        let OverlongLine { head, bytes, .. } = *line;
        if self.skip_banner_line() {
            return;
        }
        match self.unanswered.pop_front() {
            Some(id) => decoded.too_large(Some(RESPONSE), Some(id), bytes),
            None => decoded.stray(head),
        }
    }
}
