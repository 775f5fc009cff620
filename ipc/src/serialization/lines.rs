//! The dialect of filters: a line for a line, in order.

use std::collections::VecDeque;

use super::{Dialect, Found, MessageKind};
use crate::error::IpcError;
use crate::messages::{IpcMessage, MessageId, Payload, Response};

/// All that a filter ever says.
const RESPONSE: MessageKind = MessageKind::Response;

/// How an item or an answer stands on its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// As it is: a JSON string goes out without quotes, and the answer is a string.
    Text,
    /// As compact JSON, either way.
    Json,
}

/// Any program that answers each line with a line, flushed, in order.
///
/// `jq -c --unbuffered .name`, `sed -u s/a/b/` and a ten-line script are such programs. They have no
/// ids, so an answer belongs to the oldest request without one.
#[derive(Debug)]
pub struct Lines {
    input: LineFormat,
    output: LineFormat,
    unanswered: VecDeque<MessageId>,
    /// How many of the next lines are passed over.
    skip: u64,
}

impl Default for Lines {
    /// Compact JSON in, text out.
    fn default() -> Self {
        Self::new(LineFormat::Json, LineFormat::Text)
    }
}

impl Lines {
    /// A filter that takes and gives lines of these formats.
    pub fn new(input: LineFormat, output: LineFormat) -> Self {
        Self {
            input,
            output,
            unanswered: VecDeque::new(),
            skip: 0,
        }
    }

    /// Passes over the first lines that the filter prints: its banner, which answers nothing.
    #[must_use]
    pub fn skip(mut self, lines: u64) -> Self {
        self.skip = lines;
        self
    }

    /// Whether a line is part of the banner.
    fn is_skipped(&mut self) -> bool {
        let skipped = self.skip > 0;
        self.skip -= u64::from(skipped);
        skipped
    }

    fn answer(&mut self, id: MessageId, line: &[u8], found: &mut Found<'_>) {
        let Ok(text) = std::str::from_utf8(line) else {
            return found.malformed(RESPONSE, Some(id), "the answer is not UTF-8", line);
        };
        let result = match self.output {
            LineFormat::Text => Ok(Payload::from_text(text)),
            LineFormat::Json => Payload::from_json(text),
        };
        match result {
            Ok(result) => found.message(Response {
                id,
                outcome: Ok(result),
            }),
            Err(error) => {
                let reason = format!("the answer is not JSON: {error}");
                found.malformed(RESPONSE, Some(id), reason, line);
            }
        }
    }
}

impl Dialect for Lines {
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

    fn decode(&mut self, line: &[u8], found: &mut Found<'_>) {
        if self.is_skipped() {
            return;
        }
        match self.unanswered.pop_front() {
            Some(id) => self.answer(id, line, found),
            None => found.stray(line),
        }
    }

    fn decode_unfinished(&mut self, line: &[u8], found: &mut Found<'_>) {
        if self.is_skipped() {
            return;
        }
        // Half an answer looks like a whole one: only its newline says that it is.
        match self.unanswered.pop_front() {
            Some(id) => {
                let reason = "the filter ended in the middle of its answer";
                found.malformed(RESPONSE, Some(id), reason, line);
            }
            None => found.stray(line),
        }
    }

    fn decode_overlong(&mut self, head: &[u8], bytes: u64, found: &mut Found<'_>) {
        if self.is_skipped() {
            return;
        }
        match self.unanswered.pop_front() {
            Some(id) => found.too_large(Some(RESPONSE), Some(id), bytes),
            None => found.stray(head),
        }
    }
}
