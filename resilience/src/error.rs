/// Why something of this crate could not be set up.
///
/// What fails while it runs is never one of these: a retry that gives up, a refused call and a hook that failed
/// are results of their own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A builder refused a setting, before anything ran.
    #[error("{field} is {value}, but must be {allowed}")]
    Setting {
        /// The builder's method, or the field, that was given the value.
        field: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        allowed: String,
    },
    /// The system refused to deliver a signal to this process.
    #[cfg(all(feature = "shutdown", unix))]
    #[error("cannot listen for {signal}")]
    Signal {
        /// The signal asked for.
        signal: crate::shutdown::Signal,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
