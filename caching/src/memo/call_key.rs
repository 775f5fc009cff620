//! The key of a call: the name of a function and its arguments.

use std::time::Duration;

use ciborium::Value;
use serde::Serialize;

use crate::key::Key;

/// The key of a call: the name of a function, and the arguments.
///
/// Two keys are equal if their names are equal and their arguments serialise to the same values. The order of the
/// entries of a map does not matter; but the entries of a `HashSet` have another order each time, so use a `BTreeSet`.
/// Fields that serde skips are not part of the key.
///
/// ```
/// use ratchet_caching::CallKey;
/// use std::time::Duration;
///
/// // A new version in the name makes all stored results of the old one useless.
/// let key = CallKey::new("resize 2", &("a.png", 640, 480))?.time_to_live(Duration::from_secs(3600));
/// assert_eq!(key.key(), CallKey::new("resize 2", &("a.png", 640, 480))?.key());
/// assert_ne!(key.key(), CallKey::new("resize 2", &("a.png", 480, 640))?.key());
/// # Ok::<(), ratchet_caching::KeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKey {
    key: Key,
    name: String,
    /// How long a result may be used after it was stored; `None` for no limit.
    limit: Option<Duration>,
}

/// The error for arguments that cannot be part of a key, because they cannot be serialised.
#[derive(Debug, thiserror::Error)]
#[error("the arguments of {name:?} are no key: {reason}")]
pub struct KeyError {
    /// The name of the call.
    name: String,
    /// Why the arguments cannot be serialised.
    reason: String,
}

impl CallKey {
    /// Makes the key of a call. The arguments can be any serde value, usually a tuple.
    ///
    /// It fails for values that serde cannot serialise, such as a path that is not valid text.
    pub fn new<A: Serialize + ?Sized>(
        name: impl Into<String>,
        arguments: &A,
    ) -> Result<Self, KeyError> {
        let name = name.into();
        let refused = |name: &str, reason: String| KeyError {
            name: name.to_owned(),
            reason,
        };
        let mut arguments = Value::serialized(arguments).map_err(|error| {
            let ciborium::value::Error::Custom(reason) = error;
            refused(&name, reason)
        })?;
        sort_maps(&mut arguments).map_err(|reason| refused(&name, reason))?;
        let bytes = encoded(&Value::Array(vec![Value::Text(name.clone()), arguments]))
            .map_err(|reason| refused(&name, reason))?;
        Ok(Self {
            key: Key::of(&bytes),
            name,
            limit: None,
        })
    }

    /// Uses results under this key for at most this long after they were stored.
    #[must_use]
    pub fn time_to_live(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Returns the key under which the result is stored, for [`Selector::key`](crate::Selector::key).
    pub fn key(&self) -> Key {
        self.key
    }

    /// Returns the name of the call. [`Selector::task`](crate::Selector::task) selects all its results.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how long a result may be used.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.limit
    }
}

/// Sorts the entries of all maps by their encoded keys, so that their own order does not matter.
fn sort_maps(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(values) => values.iter_mut().try_for_each(sort_maps),
        Value::Tag(_, value) => sort_maps(value),
        Value::Map(entries) => {
            let mut sorted = Vec::with_capacity(entries.len());
            for (mut key, mut value) in std::mem::take(entries) {
                sort_maps(&mut key)?;
                sort_maps(&mut value)?;
                sorted.push((encoded(&key)?, (key, value)));
            }
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            *entries = sorted.into_iter().map(|(_, entry)| entry).collect();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Encodes a value in CBOR, in which each value has exactly one form, and no two values have the same form.
fn encoded(value: &Value) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    fn key(arguments: &impl Serialize) -> Key {
        CallKey::new("f", arguments).unwrap().key()
    }

    #[test]
    fn different_arguments_and_names_have_different_keys() {
        let keys = [
            key(&1),
            key(&1.5),
            key(&"1"),
            key(&[1]),
            key(&[1, 0]),
            key(&None::<f64>),
            key(&f64::NAN),
            key(&f64::INFINITY),
            key(&("ab", "c")),
            key(&("a", "bc")),
            CallKey::new("g", &1).unwrap().key(),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(one), "key {index} occurs twice");
        }
    }

    #[test]
    fn the_order_of_the_entries_of_a_map_does_not_matter() {
        let entries: Vec<(String, u32)> = (0..50).map(|n| (format!("key{n}"), n)).collect();
        let sorted: BTreeMap<_, _> = entries.iter().cloned().collect();
        for _ in 0..5 {
            let hashed: HashMap<_, _> = entries.iter().cloned().collect();
            assert_eq!(key(&("a", [hashed])), key(&("a", [sorted.clone()])));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
        let refused = CallKey::new("read", path).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the arguments of \"read\" are no key: path contains invalid UTF-8 characters"
        );
    }
}
