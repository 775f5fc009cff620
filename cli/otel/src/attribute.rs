//! Attributes of spans, events, metrics and resources.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// A name with a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attribute {
    /// The name, as in `ratchet.job.id`.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: Value,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Any other number, such as a time in seconds.
    Decimal(f64),
    /// A yes or no.
    Flag(bool),
}

/// Makes an attribute.
pub(crate) fn attribute(name: impl Into<String>, value: impl Into<Value>) -> Attribute {
    Attribute {
        name: name.into(),
        value: value.into(),
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Decimal(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl Serialize for Attribute {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("key", &self.name)?;
        map.serialize_entry("value", &self.value)?;
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1))?;
        match self {
            Self::Text(text) => map.serialize_entry("stringValue", text)?,
            // OTLP writes 64-bit numbers as texts in JSON, because JavaScript would round them.
            Self::Number(number) => map.serialize_entry("intValue", &number.to_string())?,
            Self::Decimal(number) => map.serialize_entry("doubleValue", number)?,
            Self::Flag(flag) => map.serialize_entry("boolValue", flag)?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_json_of_otlp_has_them() {
        let all = [
            attribute("a", "x"),
            attribute("b", 7_u64),
            attribute("c", 0.5),
            attribute("d", true),
            attribute("e", u64::MAX),
        ];
        assert_eq!(
            serde_json::to_string(&all).unwrap(),
            r#"[{"key":"a","value":{"stringValue":"x"}},{"key":"b","value":{"intValue":"7"}},{"key":"c","value":{"doubleValue":0.5}},{"key":"d","value":{"boolValue":true}},{"key":"e","value":{"intValue":"9223372036854775807"}}]"#
        );
    }
}
