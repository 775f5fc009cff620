/// The reason why a part of this crate could not be set up.
///
/// Nothing that fails later is a `ResilienceError`: a retry that gives up returns a `RetryError`, and a breaker that refuses a
/// call returns a `Rejection`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResilienceError {
    /// A builder refused a setting. Nothing has run yet.
    #[error("{field} is {value}, but must be {allowed}")]
    Setting {
        /// The name of the builder's method, or of the field, that received the value.
        field: &'static str,
        /// The value that was refused.
        value: String,
        /// The values that the setting accepts.
        allowed: String,
    },
    /// The system refused to deliver a signal to this process.
    #[cfg(all(feature = "shutdown", unix))]
    #[error("cannot listen for {signal}")]
    Signal {
        /// The name of the signal.
        signal: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}
