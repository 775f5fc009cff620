//! The worker's side of the conversation: a worker in ten lines.
//!
//! A worker has to read lines, return ids, flush, notice cancels while it works, and never print: one `println!` in a
//! library, or one child process that inherits stdout, would corrupt the stream. [`Worker`] takes care of all that. It
//! moves the conversation to new descriptors, which no child inherits, and redirects stdout to stderr and stdin to
//! `/dev/null`.
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
//! When a request is cancelled, the future of an async task is dropped at its next await, and a blocking task can check
//! [`Call::is_cancelled`]. A panic fails only that request. After `drain`, or when stdin ends, the requests that were
//! received are still answered, and then [`Worker::run`] returns.

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

/// Any error that a preparation may return.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The future that runs before the first request.
type Preparation = Pin<Box<dyn Future<Output = Result<(), AnyError>> + Send>>;

/// A worker: its tasks and its hello.
pub struct Worker {
    hello: Hello,
    tasks: HashMap<TaskName, Handler>,
    /// Runs between the hello and the first request, for example to load a model.
    preparation: Option<Preparation>,
    limits: Limits,
}

impl Worker {
    /// Makes a worker with this name and without tasks.
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

    /// Sets the worker's own version, which is part of the key of cached results.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.hello.version = Some(version.into());
        self
    }

    /// Sets how many requests the worker works on at the same time. The default is one.
    #[must_use]
    pub fn concurrency(mut self, requests: NonZeroU32) -> Self {
        self.hello.concurrency = requests;
        self
    }

    /// Adds a task, and replaces one of the same name.
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

    /// Sets work that is done before the first request, such as loading a model.
    ///
    /// The host is notified at once that the worker is alive, and sends requests when the work is done. A failure ends
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

    /// Sets the maximum size of a message in either direction, for [`run`](Self::run) and [`serve`](Self::serve). The
    /// transport of [`serve_on`](Self::serve_on) has its own limits.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_message_bytes = bytes;
        self
    }

    /// Takes over stdin and stdout, and serves until the host has no more work.
    ///
    /// It starts an async runtime on this thread. Inside of a runtime, await [`serve`](Self::serve) instead.
    pub fn run(self) -> Result<(), IpcError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(IpcError::Start)?;
        let served = runtime.block_on(self.serve());
        // A cancelled blocking task may still be running, and must not keep the worker alive.
        runtime.shutdown_background();
        served
    }

    /// Takes over stdin and stdout, and serves until the host has no more work.
    pub async fn serve(self) -> Result<(), IpcError> {
        let (reader, writer) = stdio::take_over().map_err(IpcError::Start)?;
        let limits = self.limits;
        self.serve_on(StdioTransport::with(reader, writer, Native, limits))
            .await
    }

    /// Serves on an existing transport, which is useful in tests.
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
