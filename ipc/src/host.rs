//! The host's side: starts a worker, calls its tasks, and cancels calls.
//!
//! This is for programs that need a single worker. To run many jobs on many workers, with restarts, retries and limits,
//! use `ratchet-runtime`.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use ratchet_ipc::host::WorkerClient;
//! use tokio::process::Command;
//!
//! # let echo = r#"while read -r line; do
//! #     id=${line#*'"id":"'}; echo "{\"type\":\"response\",\"id\":\"${id%%'"'*}\",\"result\":3}"
//! # done"#;
//! # let mut command = Command::new("sh");
//! # command.args(["-c", echo]);
//! // let command = Command::new("./worker.py");
//! let worker = WorkerClient::start(command)?;
//!
//! let words: u32 = worker.call("count", &"to be or").await?;
//! assert_eq!(words, 3);
//!
//! let long = worker.begin("count", &"a long text")?;
//! long.cancel();
//! let _answer = long.answer().await;
//!
//! worker.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! A worker of another protocol is started [with its dialect](WorkerClient::start_with): [`Mcp`](crate::Mcp),
//! [`BazelJson`](crate::BazelJson), [`Lines`](crate::Lines), or your own.

mod conversation;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::IpcError;
use crate::messages::{Payload, TaskError, TaskName};
use crate::protocol::HandshakeError;
use crate::serialization::{Dialect, Limits, Native};
use crate::transport::StdioTransport;
use conversation::{Conversation, Order, WaitingCall};

/// How long a worker may take to say hello before it counts as one without a hello.
const HANDSHAKE_WAIT: Duration = Duration::from_millis(250);

/// A worker that this program has started, or is connected to.
///
/// Any number of tasks may call it at the same time. A worker gets at most as many calls at once as the concurrency
/// that it declares; the others wait. Dropping the client kills a worker that it has started.
#[derive(Debug)]
pub struct WorkerClient {
    orders: mpsc::UnboundedSender<Order>,
    talking: JoinHandle<()>,
    /// How many calls were started, for their numbers. Relaxed: it orders no other memory.
    calls: AtomicU64,
    /// The process, if the client has started it.
    child: Option<Child>,
}

/// The reason why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The task failed, with this error of the worker.
    #[error("{0}")]
    Task(TaskError),
    /// The worker and the host cannot work together.
    #[error("the worker cannot be used")]
    Refused(#[source] HandshakeError),
    /// The worker or the connection to it has ended.
    #[error("the worker has ended without an answer")]
    Ended,
    /// The worker's response breaks the protocol.
    #[error("the worker's answer is malformed: {0}")]
    Malformed(String),
    /// The request could not be sent, for example because it is too large.
    #[error("the request could not be sent")]
    Unsent(#[source] Arc<IpcError>),
    /// The input could not be serialised to JSON, or the result could not be deserialised to the type of the caller.
    #[error("the input or the result is not what it should be")]
    Value(#[source] Arc<serde_json::Error>),
}

impl From<serde_json::Error> for WorkerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Value(Arc::new(error))
    }
}

impl WorkerClient {
    /// Starts a worker of the native protocol, with its stdin and stdout as the connection. Its stderr is that of this
    /// program, unless the command sets another one.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with its I/O and time drivers enabled.
    pub fn start(command: Command) -> Result<Self, IpcError> {
        Self::start_with(command, Native)
    }

    /// Starts a worker that speaks this dialect.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with its I/O and time drivers enabled.
    pub fn start_with(
        mut command: Command,
        dialect: impl Dialect + 'static,
    ) -> Result<Self, IpcError> {
        let offered = crate::protocol::offer_versions(crate::messages::ProtocolVersion::SUPPORTED);
        let mut child = command
            .env(crate::protocol::PROTOCOLS_ENV, offered)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(IpcError::Spawn)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(IpcError::Closed);
        };
        let mut client = Self::connect(stdout, stdin, dialect);
        client.child = Some(child);
        Ok(client)
    }

    /// Connects to a worker over any reader and writer.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with its time driver enabled.
    pub fn connect<R, W>(reader: R, writer: W, dialect: impl Dialect + 'static) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (orders, received) = mpsc::unbounded_channel();
        let conversation = Conversation::new(&dialect, HANDSHAKE_WAIT);
        let transport = StdioTransport::with(reader, writer, dialect, Limits::default());
        let talking = tokio::spawn(conversation.run(transport, received));
        Self {
            orders,
            talking,
            calls: AtomicU64::new(1),
            child: None,
        }
    }

    /// Calls a task, and returns its result as a value of this type.
    ///
    /// Dropping the future cancels the call.
    pub async fn call<T: DeserializeOwned>(
        &self,
        task: impl Into<TaskName>,
        input: &(impl Serialize + ?Sized),
    ) -> Result<T, WorkerError> {
        let answer = self.begin(task, input)?.answer().await?;
        Ok(answer.read()?)
    }

    /// Starts a call, which can be cancelled while it runs.
    pub fn begin(
        &self,
        task: impl Into<TaskName>,
        input: &(impl Serialize + ?Sized),
    ) -> Result<RunningCall, WorkerError> {
        let (reply, answer) = oneshot::channel();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let order = Order::Call(WaitingCall {
            number,
            task: task.into(),
            input: Payload::from_value(input)?,
            reply,
        });
        self.orders.send(order).map_err(|_| WorkerError::Ended)?;
        Ok(RunningCall {
            number,
            answer,
            orders: self.orders.clone(),
        })
    }

    /// Closes the worker's input after all calls are answered, and waits until the worker has ended.
    pub async fn close(mut self) -> Result<(), IpcError> {
        // A conversation that has already ended accepts no orders, and has nothing left to close.
        let _ended = self.orders.send(Order::Close);
        let _ended = (&mut self.talking).await;
        match &mut self.child {
            Some(child) => child.wait().await.map(drop).map_err(IpcError::Read),
            None => Ok(()),
        }
    }
}

/// A call that a worker works on, or that waits for a free worker. Dropping it cancels the call.
#[derive(Debug)]
pub struct RunningCall {
    number: u64,
    answer: oneshot::Receiver<Result<Payload, WorkerError>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl RunningCall {
    /// Asks the worker to stop. The answer is then the error with the code `cancelled`, unless the task ended before,
    /// or the worker cannot cancel.
    pub fn cancel(&self) {
        let number = self.number;
        // A conversation that has ended has no calls to cancel.
        let _ended = self.orders.send(Order::Cancel { number });
    }

    /// Waits for the answer. It is cancel safe, but dropping the future drops the call.
    pub async fn answer(mut self) -> Result<Payload, WorkerError> {
        (&mut self.answer).await.unwrap_or(Err(WorkerError::Ended))
    }
}

impl Drop for RunningCall {
    /// Cancels the call. A call that was already answered is unknown to the conversation, which sends nothing for it.
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests;
