//! The usual line, as little read as possible.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A line whose values are left as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) task: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    pub(super) host: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    hint: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    limits: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    slots: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    priority: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    timeout: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    retry: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "written")]
    cache: Option<&'a RawValue>,
}

/// A null is something written, too: an `Option` alone would take it for nothing.
fn written<'de, D: Deserializer<'de>>(input: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

/// The text of a JSON string without escapes.
pub(super) fn plain(raw: &RawValue) -> Option<&str> {
    let text = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    (!text.is_empty() && !text.contains('\\')).then_some(text)
}

impl Line<'_> {
    /// What it says of its terms.
    pub(super) fn terms(&self) -> [Option<&RawValue>; 7] {
        [
            self.hint,
            self.limits,
            self.slots,
            self.priority,
            self.timeout,
            self.retry,
            self.cache,
        ]
    }
}

/// A task and its terms as they are written.
pub(super) fn written_key(key: &mut String, task: &str, terms: &[Option<&RawValue>; 7]) {
    key.clear();
    key.push_str(task);
    for term in terms {
        key.push('\n');
        key.push_str(term.map(RawValue::get).unwrap_or_default());
    }
}
