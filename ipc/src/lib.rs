//! The conversation between ratchet and its workers: one JSON object per line over stdio.
//!
//! A program that is started ten thousand times spends most of its time on starting. A worker starts once and then only
//! works, but the conversation with it needs care: messages have to be framed, responses matched to requests, and
//! cancels noticed during work. Stray prints, half lines and lines of 100 MB must do no harm, and two full pipes must
//! not deadlock. This crate does that for both ends:
//!
//! - **A worker in Rust:** use the module `serve` (a default feature).
//! - **A worker in Python or Node:** use `sdk/python/ratchet_worker.py` or `sdk/node/ratchet-worker.mjs` in the folder
//!   of this crate.
//! - **A worker in any other language:** read [the protocol](self#the-protocol) below. A whole worker has five lines.
//! - **A host of one worker:** use the module `host` (a default feature): connect, call, cancel, close.
//! - **A host of your own:** [`StdioTransport`] communicates with a child process, [`Handshake`] decides when the child
//!   may be given work, and the mock of [`IpcTransport`] (feature `mock`) replaces the child in tests.
//!
//! # When not to use it
//!
//! - To run many jobs on many workers, with restarts, retries and limits, use `ratchet-runtime` or the `ratchet`
//!   command. This crate handles one conversation.
//! - To move bulk data, send a path. A message is a line of JSON of at most 16 MiB.
//! - To communicate over a network, use something else. This crate has no encryption, and never reconnects.
//!
//! # A worker
//!
//! ```
//! # #[cfg(not(feature = "serve"))]
//! # fn main() {}
//! # #[cfg(feature = "serve")]
//! use ratchet_ipc::serve::{Call, Json, Task, Worker};
//! use ratchet_ipc::{IpcError, TaskError};
//!
//! # #[cfg(feature = "serve")]
//! async fn count(call: Call) -> Result<Json<usize>, TaskError> {
//!     let text: String = call.read()?;
//!     call.progress(0.0, Some(1.0), Some("counting"));
//!     Ok(Json(text.split_whitespace().count()))
//! }
//!
//! # #[cfg(feature = "serve")]
//! fn worker() -> Worker {
//!     Worker::new("words")
//!         .version("1.0")
//!         .task(Task::new("count", count).cacheable())
//!         .task(Task::blocking("double", |call: &Call| Ok(Json(call.read::<i64>()? * 2))))
//! }
//!
//! # #[cfg(feature = "serve")]
//! # fn main() -> Result<(), IpcError> {
//! #   use ratchet_ipc::{Incoming, IpcTransport, Payload, Request, memory_pair};
//! #   tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! #       let (mut host, end) = memory_pair();
//! #       let served = tokio::spawn(worker().serve_on(end));
//! #       host.send(Request::new(1, "count", Payload::from_text("to be or not")).into()).await?;
//! #       host.send(Request::new(2, "double", Payload::from_value(&21)?).into()).await?;
//! #       host.close().await?;
//! #       let mut said = Vec::new();
//! #       while let Incoming::Message(message) = host.receive().await? {
//! #           said.push(message.to_string());
//! #       }
//! #       assert!(said.contains(&r#"{"type":"response","id":"1","result":4}"#.to_owned()), "{said:?}");
//! #       assert!(said.contains(&r#"{"type":"response","id":"2","result":42}"#.to_owned()), "{said:?}");
//! #       served.await.unwrap()
//! #   })
//! # }
//! // And in the worker's main: worker().run()
//! ```
//!
//! # A host
//!
//! ```
//! # #[cfg(not(feature = "host"))]
//! # fn main() {}
//! # #[cfg(feature = "host")]
//! # fn main() {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let echo = r#"while read -r line; do
//! #     id=${line#*'"id":"'}; echo "{\"type\":\"response\",\"id\":\"${id%%'"'*}\",\"result\":3}"
//! # done"#;
//! # let mut command = tokio::process::Command::new("sh");
//! # command.args(["-c", echo]);
//! use ratchet_ipc::host::WorkerClient;
//!
//! // let command = tokio::process::Command::new("./worker.py");
//! let worker = WorkerClient::start(command)?;
//! let words: u32 = worker.call("count", &"to be or").await?;
//! assert_eq!(words, 3);
//! worker.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! # }
//! ```
//!
//! # A conversation
//!
//! A host that schedules requests itself exchanges messages:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::process::Stdio;
//! use ratchet_ipc::{Incoming, IpcMessage, IpcTransport, Payload, Request, StdioTransport};
//!
//! let echo = r#"while read -r line; do
//!     id=${line#*'"id":"'}; echo "{\"type\":\"response\",\"id\":\"${id%%'"'*}\",\"result\":1}"
//! done"#;
//! let mut child = tokio::process::Command::new("sh")
//!     .args(["-c", echo])
//!     .stdin(Stdio::piped())
//!     .stdout(Stdio::piped())
//!     .spawn()?;
//! let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
//!
//! let mut worker = StdioTransport::new(stdout, stdin);
//! for id in 1..=3 {
//!     worker.queue(&Request::new(id, "count", Payload::null()).into())?;
//! }
//! for id in 1..=3 {
//!     let Incoming::Message(IpcMessage::Response(answer)) = worker.receive().await? else {
//!         panic!("not an answer");
//!     };
//!     assert_eq!(answer.id.as_counter(), Some(id));
//!     assert_eq!(answer.outcome.unwrap().read::<u32>()?, 1);
//! }
//! worker.close().await?;
//! child.wait().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # The layers
//!
//! The lowest layer comes first, and each module imports only from those before it:
//!
//! ```text
//! error, json     errors, and how strings and numbers are written as JSON
//! messages        IpcMessage: Request, Response, Event
//! protocol        Handshake: when a worker may be given work, and with which profile
//! serialization   Codec: bytes to messages and back, within limits
//!                 Dialect: one session with a peer that writes messages in its own way
//! transport       IpcTransport, StdioTransport: reads and writes in both directions
//! serve           the worker's side: runs tasks and answers requests
//! host            the host's side: starts a worker, calls its tasks, cancels calls
//! ```
//!
//! # The protocol
//!
#![doc = include_str!("../PROTOCOL.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The README, whose example is checked.
#[cfg(all(doctest, feature = "host"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(any(doc, doctest), feature = "host", feature = "serve"))]
pub mod guides {
    //! Guides for authors of workers and of hosts.

    #[doc = include_str!("../guides/WORKER.md")]
    pub mod worker {}

    #[doc = include_str!("../guides/HOST.md")]
    pub mod host {}
}

mod error;
#[cfg(feature = "host")]
pub mod host;
pub mod json;
mod messages;
mod protocol;
mod serialization;
#[cfg(feature = "serve")]
pub mod serve;
mod transport;

/// The protocol of workers, as a document in markdown: `PROTOCOL.md`.
pub const PROTOCOL: &str = include_str!("../PROTOCOL.md");

pub use error::{IpcError, error_chain};
pub use messages::{
    Cancel, Capabilities, Capability, Event, Hello, HostName, IpcMessage, JobKey, Log, LogLevel,
    MessageId, MessageKind, Nonce, Payload, Progress, ProtocolVersion, Request, Response, Started,
    TaskDeclaration, TaskError, TaskName, UnknownEvent,
};
pub use protocol::{
    Handshake, HandshakeError, HandshakeKind, HandshakeMode, HandshakeState, PROTOCOLS_ENV,
    Profile, Readiness, WORKER_ID_ENV, offer_versions,
};
pub use serialization::{
    BazelJson, Codec, Decoded, Dialect, Incoming, Limits, LineFormat, Lines, Malformed, Mcp,
    Native, OverlongLine, StrayLine, StrayMode, TooLarge,
};
pub use transport::{IpcTransport, MemoryTransport, StdioTransport, memory_pair, memory_pair_with};

/// Mocks of the traits of this crate, for tests of code that uses it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ratchet_ipc::mock::MockIpcTransport;
/// use ratchet_ipc::{Event, Incoming, IpcTransport, Nonce};
///
/// /// The code under test, which needs no process here.
/// async fn is_alive(worker: &mut dyn IpcTransport) -> bool {
///     let ping = Event::Ping(Nonce { nonce: 1 });
///     worker.send(ping.into()).await.is_ok()
///         && matches!(worker.receive().await, Ok(Incoming::Message(_)))
/// }
///
/// let mut worker = MockIpcTransport::new();
/// worker.expect_send().times(1).returning(|_| Ok(()));
/// worker.expect_receive().returning(|| Ok(Incoming::End));
/// assert!(!is_alive(&mut worker).await);
/// # });
/// ```
#[cfg(any(test, feature = "mock"))]
pub mod mock {
    pub use crate::transport::MockIpcTransport;
}
