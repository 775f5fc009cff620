//! The errors of a conversation.

use std::fmt;
use std::io;

use thiserror::Error;

/// The reason why a message could not be sent or received.
///
/// A message that breaks the protocol is not an error: it is returned as an [`Incoming`](crate::Incoming), and the
/// conversation continues.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IpcError {
    /// The message is larger than the limit. No part of it was sent.
    #[error("the message has {bytes} bytes, and no more than {limit} may be sent")]
    TooLarge {
        /// The size of the message on the wire.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A text for a filter contains a line break, so it would arrive as two lines.
    #[error("the text contains a line break, and this worker takes one line for one item")]
    LineBreakInText,
    /// The input for a tool is neither an object of arguments nor the value of the tool's only argument.
    #[error("the tool `{task}` takes its arguments as an object{}", Keys(known))]
    NoArguments {
        /// The name of the tool.
        task: String,
        /// The names of its arguments, if they are known.
        known: Vec<String>,
    },
    /// The input for a Bazel worker is not a work request.
    #[error(
        "the input of such a worker is a list of arguments, one argument, or an object with `arguments` and `inputs`"
    )]
    NoWorkRequest,
    /// The program of a worker could not be started.
    #[error("the worker could not be started")]
    Spawn(#[source] io::Error),
    /// A value could not be serialised to JSON.
    #[error("the message could not be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// Reading from the peer failed.
    #[error("reading from the peer failed")]
    Read(#[source] io::Error),
    /// Writing to the peer failed. The peer has ended, or has closed its stdin.
    #[error("writing to the peer failed")]
    Write(#[source] io::Error),
    /// The sending side was already closed.
    #[error("the sending side is closed")]
    Closed,
    /// A worker could not start: it could not take over its stdin and stdout, or create a runtime.
    #[cfg(feature = "serve")]
    #[error("the worker could not take over its stdin and stdout")]
    Start(#[source] io::Error),
    /// The preparation of a worker failed.
    #[cfg(feature = "serve")]
    #[error("the worker could not get ready")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Prints the names of arguments as the end of a sentence; prints nothing if there are none.
struct Keys<'a>(&'a [String]);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ", with the keys {}", self.0.join(", "))
    }
}

/// Joins the message of an error and those of its causes, from the outermost to the innermost, with colons between
/// them.
///
/// The message of an error does not repeat that of its cause: "the file cannot be written" is one message, "the disk is
/// full" another. Use this function where only one line can be shown.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
