//! The id that connects a response with its request.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use smol_str::SmolStr;

use super::Payload;
use crate::json::{write_decimal, write_string};

/// The id of one attempt. The worker returns it unchanged, as a text or as a number.
///
/// The host counts its attempts, so an id is nearly always a short decimal in quotes. That form is stored without an
/// allocation. Any other id is stored as it is spelled, including numbers beyond 64 bits.
///
/// ```
/// use ratchet_ipc::MessageId;
///
/// let id = MessageId::from(7);
/// assert_eq!(id.to_string(), "7");
/// assert_eq!(id.as_counter(), Some(7));
/// assert_eq!(id, MessageId::from("7"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Repr);

/// The representation of an id, which is written exactly as it was read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    /// A text that is the canonical decimal of this counter.
    Counter(u64),
    /// Any other text.
    Text(SmolStr),
    /// A number, as it was spelled.
    Number(Payload),
}

impl MessageId {
    /// Makes an id that is a number on the wire. `from` makes one that is a text.
    pub fn number(number: u64) -> Self {
        Self(Repr::Number(Payload::from_checked(&number.to_string())))
    }

    /// Returns the counter that this id represents, as a text or as a number.
    ///
    /// A worker in a shell may drop the quotes of an id. A host that counts its attempts can treat both forms as equal.
    pub fn as_counter(&self) -> Option<u64> {
        match &self.0 {
            Repr::Counter(counter) => Some(*counter),
            Repr::Text(_) => None,
            Repr::Number(number) => canonical_counter(number.as_str()),
        }
    }

    /// Appends the id as JSON.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Counter(counter) => {
                out.push(b'"');
                write_decimal(*counter, out);
                out.push(b'"');
            }
            Repr::Text(text) => write_string(text, out),
            Repr::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
        }
    }
}

/// Parses a decimal that would be printed in the same form: no sign, no leading zero, at most 64 bits.
fn canonical_counter(text: &str) -> Option<u64> {
    let canonical = match text.as_bytes() {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { text.parse().ok() } else { None }
}

impl From<u64> for MessageId {
    fn from(counter: u64) -> Self {
        Self(Repr::Counter(counter))
    }
}

impl From<&str> for MessageId {
    fn from(text: &str) -> Self {
        Self(match canonical_counter(text) {
            Some(counter) => Repr::Counter(counter),
            None => Repr::Text(text.into()),
        })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Counter(counter) => counter.fmt(f),
            Repr::Text(text) => f.write_str(text),
            Repr::Number(number) => f.write_str(number.as_str()),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Counter(counter) => write!(f, "\"{counter}\""),
            Repr::Text(text) => write!(f, "{text:?}"),
            Repr::Number(number) => f.write_str(number.as_str()),
        }
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Repr::Counter(counter) => serializer.collect_str(counter),
            Repr::Text(text) => serializer.serialize_str(text),
            Repr::Number(number) => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let raw = raw.get();
        if let Some(quoted) = raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            if !quoted.contains('\\') {
                return Ok(Self::from(quoted));
            }
            let text: String = serde_json::from_str(raw).map_err(de::Error::custom)?;
            return Ok(Self::from(text.as_str()));
        }
        if raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Ok(Self(Repr::Number(Payload::from_checked(raw))));
        }
        Err(de::Error::custom("an id is a string or a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(id: &MessageId) -> String {
        let mut out = Vec::new();
        id.write_json(&mut out);
        let written = String::from_utf8(out).unwrap();
        assert_eq!(
            written,
            serde_json::to_string(id).unwrap(),
            "both ways of writing agree"
        );
        written
    }

    #[test]
    fn an_id_is_written_as_it_was_read() {
        for raw in [
            "\"7\"",
            "\"0\"",
            "\"007\"",
            "\"18446744073709551615\"",
            "\"18446744073709551616\"",
            "\"a \\\"quoted\\\" one\"",
            "\"\"",
            "7",
            "-1",
            "1.50",
            "1e400",
            "123456789012345678901234567890",
        ] {
            let id: MessageId = serde_json::from_str(raw).unwrap();
            assert_eq!(json(&id), raw);
        }
    }

    #[test]
    fn an_id_that_is_neither_text_nor_number_is_refused() {
        for raw in ["null", "true", "[1]", "{}"] {
            assert!(serde_json::from_str::<MessageId>(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_number_and_its_text_are_different_ids_of_one_counter() {
        let text: MessageId = serde_json::from_str("\"7\"").unwrap();
        let number: MessageId = serde_json::from_str("7").unwrap();
        assert_ne!(text, number);
        assert_eq!(number, MessageId::number(7));
        assert_eq!(text.as_counter(), number.as_counter());
        assert_eq!(MessageId::from("07").as_counter(), None);
    }
}
