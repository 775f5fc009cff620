//! Reads what it can off the beginning of a message whose end is lost.

use super::MessageKind;
use crate::messages::MessageId;

/// What the beginning of a message told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sniffed {
    pub(crate) kind: Option<MessageKind>,
    pub(crate) id: Option<MessageId>,
}

/// Finds type and id in the beginning of a message.
///
/// Only what the message says of itself counts, not what stands in a payload.
pub(crate) fn sniff(head: &[u8]) -> Sniffed {
    let mut sniffed = Sniffed::default();
    let mut depth = 0_u32;
    let mut at = 0;
    while at < head.len() {
        match head[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let Some(end) = string_end(head, at) else {
                    break;
                };
                if depth == 1
                    && let Some(value) = head[end..].trim_ascii_start().strip_prefix(b":")
                {
                    sniffed.learn(&head[at..end], scalar(value.trim_ascii_start()));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    sniffed
}

impl Sniffed {
    fn learn(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(value) = value else { return };
        match key {
            br#""type""# => {
                let text: Option<String> = serde_json::from_slice(value).ok();
                self.kind = text.as_deref().and_then(MessageKind::from_wire);
            }
            br#""id""# => self.id = serde_json::from_slice(value).ok(),
            _ => {}
        }
    }
}

/// Where the string that begins at `start` ends, behind its closing quote.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Cuts a string or number off the front of a text; one that may be cut itself does not count.
fn scalar(text: &[u8]) -> Option<&[u8]> {
    let end = match text.first()? {
        b'"' => string_end(text, 0)?,
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t'))?,
    };
    text.get(..end)
}
