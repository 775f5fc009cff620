//! The worker's side of the conversation: a worker in ten lines.
//!
//! Without it, a Rust worker has to read lines, echo ids, flush, watch for cancels while it works, and
//! never print: one `println!` in a library, or one child process that inherits stdout, spoils the
//! stream. [`Worker`] does all of that. It moves the conversation to descriptors of its own, which no
//! child inherits, and points stdout at stderr and stdin at `/dev/null`.
//!
//! ```no_run
//! use ratchet_ipc::serve::{Call, Json, Task, Worker};
//!
//! #[derive(serde::Deserialize)]
//! struct Image {
//!     path: String,
//! }
//!
//! fn main() -> Result<(), ratchet_ipc::IpcError> {
//!     let size = Task::blocking("size", |call: &Call| {
//!         let image: Image = call.read()?;
//!         Ok(Json(std::fs::metadata(image.path)?.len()))
//!     });
//!     Worker::new("sizer").version("1.0").task(size.cacheable()).run()
//! }
//! ```
//!
//! A request that is cancelled drops the future of an async task at its next await; a blocking task
//! sees [`Call::is_cancelled`]. A panic is the failure of that one request. After `drain`, or when
//! stdin ends, what was asked for is still answered, and then [`Worker::run`] returns.

mod call;
mod conversation;
mod outbox;
mod queue;
mod stdio;
mod task;

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;

pub use call::Call;
pub use task::{IntoReply, Json, Task};

use crate::error::IpcError;
use crate::messages::{Capabilities, Capability, Hello, ProtocolVersion, TaskName};
use crate::serialization::{Limits, Native};
use crate::transport::{IpcTransport, StdioTransport};
use conversation::Conversation;
use task::Handler;

/// Any error of the worker's own.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What has to happen before the first request.
type Preparation = Pin<Box<dyn Future<Output = Result<(), AnyError>> + Send>>;

/// A worker: its tasks, and what it says of itself.
pub struct Worker {
    hello: Hello,
    tasks: HashMap<TaskName, Handler>,
    preparation: Option<Preparation>,
    limits: Limits,
}

impl Worker {
    /// A worker of this name, without tasks yet.
    pub fn new(name: impl Into<String>) -> Self {
        use Capability::{Cancel, Drain, Ping, Progress};
        let capabilities = [Cancel, Progress, Ping, Drain];
        Self {
            hello: Hello {
                name: Some(name.into()),
                capabilities: Capabilities::from_iter(capabilities),
                tasks: Some([].into()),
                ..Hello::new(ProtocolVersion::SUPPORTED.iter().copied())
            },
            tasks: HashMap::new(),
            preparation: None,
            limits: Limits::default(),
        }
    }

    /// The worker's own version; results that are kept for later are told apart by it.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.hello.version = Some(version.into());
        self
    }

    /// How many requests may be worked on at the same time; one, unless said otherwise.
    #[must_use]
    pub fn concurrency(mut self, requests: NonZeroU32) -> Self {
        self.hello.concurrency = requests;
        self
    }

    /// Adds a task; one of the same name is replaced.
    #[must_use]
    pub fn task(mut self, task: Task) -> Self {
        let Task {
            name,
            declaration,
            handler,
        } = task;
        self.hello
            .tasks
            .get_or_insert_default()
            .insert(name.clone(), declaration);
        self.tasks.insert(name, handler);
        self
    }

    /// Does something slow, such as loading a model, before the first request comes.
    ///
    /// The host learns at once that the worker lives, and sends work when this is done. A failure ends
    /// the worker with [`IpcError::Prepare`].
    #[must_use]
    pub fn prepare<F>(mut self, preparation: F) -> Self
    where
        F: Future<Output = Result<(), AnyError>> + Send + 'static,
    {
        self.hello.capabilities.add(Capability::Ready);
        self.preparation = Some(Box::pin(preparation));
        self
    }

    /// The most bytes that one message may have, either way, for [`run`](Self::run) and
    /// [`serve`](Self::serve); a transport of one's own has its own limits.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_message_bytes = bytes;
        self
    }

    /// Takes over stdin and stdout and serves until the host has no more work.
    ///
    /// Starts an async runtime on this thread; within one, await [`serve`](Self::serve).
    pub fn run(self) -> Result<(), IpcError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(IpcError::Start)?;
        let served = runtime.block_on(self.serve());
        // A blocking task that nobody waits for any more must not keep the worker alive.
        runtime.shutdown_background();
        served
    }

    /// Takes over stdin and stdout and serves until the host has no more work.
    pub async fn serve(self) -> Result<(), IpcError> {
        let (reader, writer) = stdio::take().map_err(IpcError::Start)?;
        let limits = self.limits;
        self.serve_on(StdioTransport::with(reader, writer, Native, limits))
            .await
    }

    /// Serves a conversation that is already there, in a test as a rule.
    pub async fn serve_on(self, transport: impl IpcTransport) -> Result<(), IpcError> {
        let Self {
            hello,
            tasks,
            preparation,
            ..
        } = self;
        Conversation::new(transport, tasks, hello.concurrency)
            .run(hello, preparation)
            .await
    }
}

#[cfg(test)]
mod tests;
