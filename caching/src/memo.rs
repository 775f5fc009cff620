//! Stores the results of functions by their names and arguments.

mod call_key;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entry::Labels;
use crate::task_cache::{Begin, ComputePermit, MissCause, Policy, TaskCache, WaitResult};

pub use call_key::{CallKey, KeyError};

/// A value and the name of its type, as they are stored.
///
/// Types are compared by their names, so that a result is never read as a value of another type. A type that moved to
/// another module counts as another type: its results are computed again.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored<N, T> {
    /// The name of the type.
    kind: N,
    value: T,
}

impl TaskCache {
    /// Returns the result of a call, and makes the call only if its result is not stored.
    ///
    /// Of all callers that request one key at the same time, one computes, and the others wait for its result. If it
    /// fails, nothing is stored, the error goes to the caller whose computation returned it, and the waiting callers
    /// compute for themselves. A cache that fails, a result that cannot be stored, and a stored result that is not a
    /// `T` each cost one more computation, and never cause an error.
    ///
    /// The key has to cover everything that the result depends on: the function, its version and its arguments.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use ratchet_caching::{CallKey, TaskCache};
    ///
    /// /// A call that takes long.
    /// async fn count_words(text: &str) -> Result<usize, std::io::Error> {
    ///     Ok(text.split_whitespace().count())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let cache = TaskCache::in_memory(64 << 20);
    /// let text = "to be or not to be";
    /// let key = CallKey::new("count_words 1", &text)?;
    /// assert_eq!(cache.memo(&key, || count_words(text)).await?, 6);
    ///
    /// let again = cache.memo(&key, async || Err::<usize, _>(std::io::Error::other("it is stored, so not called"))).await?;
    /// assert_eq!(again, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn memo<T, E, F, Fut>(&self, key: &CallKey, compute: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let labels = Labels {
            task: key.name().to_owned(),
            ..Labels::default()
        };
        let policy = match key.limit() {
            Some(limit) => Policy::cacheable(labels).time_to_live(limit),
            None => Policy::cacheable(labels),
        };
        let permit = match self.find(key, &policy).await {
            Found::Value(value) => return Ok(value),
            Found::Nothing(permit) => permit,
            // The stored value has another type. It is replaced, as if the caller had requested a fresh result.
            Found::Unreadable => {
                self.count_miss(MissCause::Unreadable);
                match self.find(key, &policy.refresh()).await {
                    Found::Value(value) => return Ok(value),
                    Found::Nothing(permit) => permit,
                    // Another caller computes a value of another type under this key, which cannot be used here.
                    Found::Unreadable => return compute().await,
                }
            }
        };
        let result = compute().await;
        match result.as_ref().map(encode) {
            Ok(Some(bytes)) => {
                // If this fails, the commit has counted and logged the cause, and the result is available in any case.
                let _committed = self.commit(permit, Ok(bytes.into())).await;
            }
            Ok(None) | Err(_) => self.abandon(permit),
        }
        result
    }

    /// Looks up a call, or waits for another caller that makes it.
    async fn find<T: DeserializeOwned>(&self, key: &CallKey, policy: &Policy) -> Found<T> {
        let bytes = match self.begin(&key.key(), policy).await {
            Begin::Hit(hit) => hit.entry.shared_value(),
            Begin::Lead(permit) => return Found::Nothing(permit),
            Begin::Wait(waiter) => match waiter.wait().await {
                WaitResult::Hit(hit) => hit.entry.shared_value(),
                WaitResult::Done(Ok(bytes)) => bytes,
                WaitResult::Done(Err(_)) => return Found::Unreadable,
                WaitResult::Lead(permit) => return Found::Nothing(permit),
            },
        };
        decode(&bytes).map_or(Found::Unreadable, Found::Value)
    }
}

/// The stored result of a call.
enum Found<T> {
    /// The result, stored or computed by another caller.
    Value(T),
    /// Nothing, so this caller computes.
    Nothing(ComputePermit),
    /// Bytes that are no `T`.
    Unreadable,
}

/// Encodes a value with the name of its type, in CBOR: unlike JSON, it can represent every float and every key of a
/// map.
fn encode<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    let stored = Stored {
        kind: std::any::type_name::<T>(),
        value,
    };
    let mut bytes = Vec::new();
    match ciborium::into_writer(&stored, &mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) => {
            tracing::debug!(%error, kind = stored.kind, "a result cannot be serialised, so it is not cached");
            None
        }
    }
}

/// Decodes a value of this type. Returns `None` if the bytes are something else.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let stored: Stored<String, T> = ciborium::from_reader(bytes).ok()?;
    (stored.kind == std::any::type_name::<T>()).then_some(stored.value)
}

#[cfg(test)]
mod tests;
