//! What can go wrong in a conversation.

use std::io;

use thiserror::Error;

/// Why a message could not be sent or received.
///
/// What a worker says wrongly is no error of the conversation: it comes as an
/// [`Incoming`](crate::Incoming), and the conversation goes on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IpcError {
    /// The message is larger than either side has to accept; nothing of it was sent.
    #[error("the message has {bytes} bytes, and no more than {limit} may be sent")]
    TooLarge {
        /// What it would take on the wire.
        bytes: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A text for a filter contains a line break, so that it would arrive as two.
    #[error("the text has a line break in it, and this worker takes one line for one item")]
    LineBreakInText,
    /// A value of one's own could not be written as JSON.
    #[error("the message could not be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// Reading from the peer failed.
    #[error("reading from the peer failed")]
    Read(#[source] io::Error),
    /// Writing to the peer failed: it is gone, or it has closed its end.
    #[error("writing to the peer failed")]
    Write(#[source] io::Error),
    /// The sending side was closed before.
    #[error("the sending side is closed")]
    Closed,
    /// A worker could not take over its stdin and stdout.
    #[cfg(feature = "serve")]
    #[error("the worker could not take over its stdin and stdout")]
    Start(#[source] io::Error),
    /// What a worker does before its first request failed.
    #[cfg(feature = "serve")]
    #[error("the worker could not get ready")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
}
