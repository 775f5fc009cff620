//! The id that ties a reply to its request.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use smol_str::SmolStr;

use super::Payload;
use crate::json::{write_decimal, write_string};

/// Names one attempt; a worker echoes it as it came, text or number.
///
/// The host counts its attempts, so an id is nearly always a short decimal in quotes. That form is held without an
/// allocation. Everything else a host may choose is kept to the letter, numbers beyond 64 bits included.
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

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    /// Text that is the canonical decimal of this counter.
    Counter(u64),
    /// Any other text.
    Text(SmolStr),
    /// A number, as it was spelled.
    Number(Payload),
}

impl MessageId {
    /// An id that is a number on the wire; `from` makes one that is text.
    pub fn number(number: u64) -> Self {
        Self(Repr::Number(Payload::from_checked(&number.to_string())))
    }

    /// The counter that this id spells, whether as text or as a number.
    ///
    /// A worker in a shell may well drop the quotes of the id it echoes; a host that counts its attempts loses nothing
    /// by reading both as the same attempt.
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

/// Reads a decimal that prints again as it was read: no sign, no leading zero, 64 bits.
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
    fn comes_back_as_it_came() {
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
    fn refuses_what_is_neither_text_nor_number() {
        for raw in ["null", "true", "[1]", "{}"] {
            assert!(serde_json::from_str::<MessageId>(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_number_and_its_text_differ_but_name_one_counter() {
        let text: MessageId = serde_json::from_str("\"7\"").unwrap();
        let number: MessageId = serde_json::from_str("7").unwrap();
        assert_ne!(text, number);
        assert_eq!(number, MessageId::number(7));
        assert_eq!(text.as_counter(), number.as_counter());
        assert_eq!(MessageId::from("07").as_counter(), None);
    }
}
