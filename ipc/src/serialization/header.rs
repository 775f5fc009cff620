//! Reads the type and the id from the ends of a message that cannot be read as a whole.

use serde::Deserialize;
use serde_json::Value;

use crate::messages::{MessageId, MessageKind};

/// The type and the id of a message, if they could be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the message.
    pub(super) kind: Option<MessageKind>,
    /// The id of the message.
    pub(super) id: Option<MessageId>,
}

/// The fields of a header in an object. Values of other types than expected are read as well, because they are no reason to
/// look for an object that begins later.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "type")]
    kind: Option<Value>,
    id: Option<Value>,
}

impl Header {
    /// Finds the type and the id in the beginning of a message. Fields inside of a payload do not count.
    pub(super) fn read(head: &[u8]) -> Self {
        let mut header = Self::default();
        let mut depth = 0_u32;
        let mut at = 0;
        while at < head.len() {
            match head[at] {
                b'{' | b'[' => depth += 1,
                // The text may not be JSON, and may have more closing than opening brackets.
                b'}' | b']' => depth = depth.saturating_sub(1),
                b'"' => {
                    let Some(end) = string_end(head, at) else {
                        break;
                    };
                    if depth == 1
                        && let Some(value) = head[end..].trim_ascii_start().strip_prefix(b":")
                    {
                        header.set(&head[at..end], scalar(value.trim_ascii_start()));
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        header
    }

    /// Finds the type and the id in the end of a message. Fields inside of a payload do not count.
    pub(super) fn read_end(tail: &[u8]) -> Self {
        // Only the rest of a whole object can be read as one. A rest that begins inside of a payload ends with too many
        // brackets, and one that begins inside of a string has its quotes escaped, or one too many.
        let fields = memchr::memchr_iter(b',', tail).find_map(|comma| {
            let object = [b"{", &tail[comma + 1..]].concat();
            serde_json::from_slice::<Fields>(&object).ok()
        });
        let Fields { kind, id } = fields.unwrap_or_default();
        Self {
            kind: kind.and_then(|kind| MessageKind::from_wire(kind.as_str()?)),
            id: id.and_then(|id| serde_json::from_value(id).ok()),
        }
    }

    /// Takes what is missing from another header.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            kind: self.kind.or(other.kind),
            id: self.id.or(other.id),
        }
    }

    fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
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

/// Returns the position after the closing quote of the string that begins at `start`.
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

/// Takes a string or a number from the beginning of a text. One that reaches the end of the text may be incomplete, so
/// it is not returned.
fn scalar(text: &[u8]) -> Option<&[u8]> {
    let end = match text.first()? {
        b'"' => string_end(text, 0)?,
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t'))?,
    };
    text.get(..end)
}
