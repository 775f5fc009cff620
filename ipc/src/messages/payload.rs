//! JSON that is passed on without being parsed.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;
use smol_str::SmolStr;

/// A JSON value that is passed on as it was written: `input`, `result` and `data` of the protocol.
///
/// The host neither parses nor prints it, so numbers of any size, the order of keys and their spelling are preserved. A
/// payload is always one valid JSON value without line breaks, and cloning it copies no text.
///
/// ```
/// use ratchet_ipc::Payload;
///
/// let payload = Payload::from_json(r#"{"big": 123456789012345678901234567890}"#)?;
/// assert_eq!(payload.as_str(), r#"{"big": 123456789012345678901234567890}"#);
///
/// let numbers = Payload::from_value(&[1, 2, 3])?;
/// assert_eq!(numbers.read::<Vec<u8>>()?, [1, 2, 3]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Payload(SmolStr);

impl Payload {
    /// Makes a payload from JSON text, after a check that it is one valid value.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(json)?;
        Ok(Self::from_checked(raw.get()))
    }

    /// Makes a payload by serialising a value.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|json| Self::from_checked(&json))
    }

    /// Makes the JSON `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Makes a JSON string from a text.
    pub fn from_text(text: &str) -> Self {
        let mut json = Vec::with_capacity(text.len() + 2);
        crate::json::write_string(text, &mut json);
        // The text is UTF-8 and only ASCII was added, so this never replaces a character.
        Self(String::from_utf8_lossy(&json).into())
    }

    /// Makes a payload from text that is known to be one JSON value.
    ///
    /// In JSON, line breaks can occur only between tokens. A blank there has the same meaning and does not end the
    /// line.
    pub(crate) fn from_checked(json: &str) -> Self {
        // The fold has no early exit, so the compiler can check several bytes at once. Nearly no payload has a line
        // break.
        let is_line_break = |byte| matches!(byte, b'\n' | b'\r');
        if (json.bytes()).fold(false, |found, byte| found | is_line_break(byte)) {
            return Self(json.replace(['\n', '\r'], " ").into());
        }
        Self(json.into())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Deserialises the payload.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// Appends the JSON without the white space between its tokens.
    pub(crate) fn write_compact(&self, out: &mut Vec<u8>) {
        let mut in_string = false;
        let mut escaped = false;
        for &byte in self.0.as_bytes() {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
            } else if matches!(byte, b' ' | b'\t') {
                continue;
            } else {
                in_string = byte == b'"';
            }
            out.push(byte);
        }
    }
}

impl From<&RawValue> for Payload {
    /// Copies text that a JSON parser has checked, without parsing it again.
    fn from(raw: &RawValue) -> Self {
        Self::from_checked(raw.get())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self::from_checked(raw.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(json: &str) -> String {
        let mut out = Vec::new();
        Payload::from_json(json).unwrap().write_compact(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_payload_keeps_its_spelling() {
        for json in [
            "-0",
            "1E+2",
            "123456789012345678901234567890.10",
            "{\"b\":1, \"a\":2}",
            "\"\\u00e9\"",
        ] {
            assert_eq!(Payload::from_json(json).unwrap().as_str(), json);
        }
    }

    #[test]
    fn a_payload_never_contains_a_line_break() {
        let payload = Payload::from_json("{\r\n  \"a\": \"x\\ny\"\n}").unwrap();
        assert_eq!(payload.as_str(), "{    \"a\": \"x\\ny\" }");
    }

    #[test]
    fn a_text_that_is_not_one_value_is_refused() {
        for json in ["", "{", "1 2", "nul", "'a'", "[1,]"] {
            assert!(Payload::from_json(json).is_err(), "{json:?}");
        }
    }

    #[test]
    fn white_space_inside_of_strings_is_kept() {
        assert_eq!(
            compact(" { \"a b\" : [ 1 ,\t2 ], \"q\\\" \\\\\" : \" \" }\n"),
            r#"{"a b":[1,2],"q\" \\":" "}"#
        );
    }

    #[test]
    fn a_text_is_escaped() {
        let text = "a\"b\\c\nd\u{1}é\u{2028}";
        assert_eq!(Payload::from_text(text).read::<String>().unwrap(), text);
    }

    #[test]
    fn a_payload_is_deserialised_from_text_bytes_readers_and_values() {
        let json = "{\"a\":[1,2.50]}";
        let expected = Payload::from_json(json).unwrap();
        assert_eq!(
            serde_json::from_slice::<Payload>(json.as_bytes()).unwrap(),
            expected
        );
        assert_eq!(
            serde_json::from_reader::<_, Payload>(json.as_bytes()).unwrap(),
            expected
        );
        let value: serde_json::Value = serde_json::from_str("{\"a\":[1]}").unwrap();
        assert_eq!(
            serde_json::from_value::<Payload>(value).unwrap().as_str(),
            "{\"a\":[1]}"
        );
    }

    #[test]
    fn a_payload_may_be_nested_at_any_depth() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(Payload::from_json(&deep).unwrap().as_str(), deep);
    }
}
