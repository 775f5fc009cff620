//! Reads the type and the id from the ends of a message that cannot be read as a whole.

use serde_json::{Map, Value};

use crate::messages::{MessageId, MessageKind};

/// The type and the id of a message, if they could be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the message.
    pub(super) kind: Option<MessageKind>,
    /// The id of the message.
    pub(super) id: Option<MessageId>,
}

impl Header {
    /// Finds the type and the id in the beginning of a message.
    pub(super) fn read(head: &[u8]) -> Self {
        Self::of(|name| field_at_beginning(head, name))
    }

    /// Finds the type and the id in the end of a message.
    pub(super) fn read_end(tail: &[u8]) -> Self {
        Self::of(|name| field_at_end(tail, name))
    }

    fn of(field: impl Fn(&str) -> Option<Value>) -> Self {
        let kind = field("type");
        let id = field("id");
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
}

/// Finds a field in the beginning of an object that cannot be read as a whole, if its value is a text or a number. Fields
/// inside of a payload do not count.
pub(super) fn field_at_beginning(head: &[u8], name: &str) -> Option<Value> {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < head.len() {
        match head[at] {
            b'{' | b'[' => depth += 1,
            // The text may not be JSON, and may have more closing than opening brackets.
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(head, at)?;
                if depth == 1
                    && head[at + 1..end - 1] == *name.as_bytes()
                    && let Some(value) = head[end..].trim_ascii_start().strip_prefix(b":")
                    && let Some(value) = scalar(value.trim_ascii_start())
                    && let Ok(value) = serde_json::from_slice(value)
                {
                    return Some(value);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Finds a field in the end of an object whose middle is lost. Fields inside of a payload do not count.
pub(super) fn field_at_end(tail: &[u8], name: &str) -> Option<Value> {
    // Only the rest of a whole object can be read as one. A rest that begins inside of a payload ends with too many
    // brackets, and one that begins inside of a string has its quotes escaped, or one too many.
    let mut rests = memchr::memchr_iter(b',', tail)
        .map(|comma| [b"{", &tail[comma + 1..]].concat())
        .filter_map(|object| serde_json::from_slice::<Map<String, Value>>(&object).ok());
    rests.next()?.remove(name)
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
