//! The tasks of a worker.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;

use super::Call;
use crate::messages::{Payload, TaskDeclaration, TaskError, TaskName};

/// The result or the error of a request.
pub(super) type Reply = Result<Payload, TaskError>;

/// The future that works on one request. It turns a panic into an error.
pub(super) struct TaskFuture(Pin<Box<dyn Future<Output = Reply> + Send>>);

/// The function that works on the requests of one task.
#[derive(Clone)]
pub(super) struct Handler {
    /// Starts a call. A blocking task works on a separate thread.
    start: Arc<dyn Fn(Call) -> TaskFuture + Send + Sync>,
    /// Whether dropping the future ends the work. A thread would continue.
    pub(super) stops_when_dropped: bool,
}

impl Handler {
    /// Starts the work. The user's function may panic before it returns a future, so that panic is caught, too.
    pub(super) fn start(&self, call: Call) -> TaskFuture {
        catch_unwind(AssertUnwindSafe(|| (self.start)(call))).unwrap_or_else(|panic| {
            TaskFuture(Box::pin(std::future::ready(Err(panicked(&*panic)))))
        })
    }
}

impl Future for TaskFuture {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
    }
}

/// Makes an error from a panic.
fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    TaskError::new(TaskError::PANIC, format!("the task panicked: {message}"))
}

/// Something that a worker can do on request.
///
/// ```
/// use ratchet_ipc::serve::{Call, Json, Task};
///
/// let double = Task::new("double", |call: Call| async move {
///     let number: i64 = call.read()?;
///     Ok(Json(number * 2))
/// });
/// let shout = Task::blocking("shout", |call: &Call| Ok(Json(call.read::<String>()?.to_uppercase())))
///     .hint("host_exclusive")
///     .cacheable()
///     .description("turns the text to upper case");
/// ```
pub struct Task {
    /// The name of the task in requests.
    pub(super) name: TaskName,
    /// The declaration of the task in the hello of the worker.
    pub(super) declaration: TaskDeclaration,
    /// The function that works on a request.
    pub(super) handler: Handler,
}

impl Task {
    /// Makes a task that waits more than it computes. It runs on the thread of the conversation.
    pub fn new<F, Fut, R>(name: impl Into<TaskName>, handler: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
        R: IntoReply,
    {
        let start = move |call| {
            let work = handler(call);
            TaskFuture(Box::pin(async move { work.await?.into_reply() }))
        };
        Self::with(
            name,
            Handler {
                start: Arc::new(start),
                stops_when_dropped: true,
            },
        )
    }

    /// Makes a task that computes or blocks. It runs on another thread, so that the worker can answer pings and receive
    /// cancels in the meantime.
    pub fn blocking<F, R>(name: impl Into<TaskName>, handler: F) -> Self
    where
        F: Fn(&Call) -> Result<R, TaskError> + Send + Sync + 'static,
        R: IntoReply,
    {
        let handler = Arc::new(handler);
        let start = move |call: Call| {
            let handler = Arc::clone(&handler);
            let thread = tokio::task::spawn_blocking(move || handler(&call)?.into_reply());
            TaskFuture(Box::pin(async move {
                thread
                    .await
                    .unwrap_or_else(|error| match error.try_into_panic() {
                        Ok(panic) => Err(panicked(&*panic)),
                        Err(stopped) => Err(stopped.into()),
                    })
            }))
        };
        Self::with(
            name,
            Handler {
                start: Arc::new(start),
                stops_when_dropped: false,
            },
        )
    }

    /// Makes a task without a declaration.
    fn with(name: impl Into<TaskName>, handler: Handler) -> Self {
        Self {
            name: name.into(),
            declaration: TaskDeclaration::default(),
            handler,
        }
    }

    /// Makes an async task answer a cancel itself, so that it can clean up first.
    ///
    /// By default the future of a task is dropped when it is cancelled. With this setting, the task has to watch
    /// [`Call::cancelled`], or the host kills the worker after the grace period.
    ///
    /// ```
    /// use ratchet_ipc::serve::{Call, Task};
    ///
    /// let upload = Task::new("upload", |call: Call| async move {
    ///     tokio::select! {
    ///         () = call.cancelled() => {
    ///             // Remove what was uploaded so far, and then answer.
    ///             Err(call.cancelled_error())
    ///         }
    ///         () = async { /* upload */ } => Ok(()),
    ///     }
    /// });
    /// let upload = upload.stops_itself();
    /// ```
    #[must_use]
    pub fn stops_itself(mut self) -> Self {
        self.handler.stops_when_dropped = false;
        self
    }

    /// Sets the parallelization hint of the task by name: `fully_parallel`, `host_exclusive`, `global_exclusive`.
    #[must_use]
    pub fn hint(self, name: &str) -> Self {
        self.hint_json(Payload::from_text(name))
    }

    /// Sets the parallelization hint of the task as in a job file: `{"rate_limited": {"requests_per_second": 5}}`.
    #[must_use]
    pub fn hint_json(mut self, hint: Payload) -> Self {
        self.declaration.hint = Some(hint);
        self
    }

    /// Declares that the same input always gives the same result, so that results may be cached.
    #[must_use]
    pub fn cacheable(mut self) -> Self {
        self.declaration.cacheable = true;
        self
    }

    /// Sets the description of the task, for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.declaration.description = Some(description.into());
        self
    }
}

/// A type that a task may return.
pub trait IntoReply: Send + 'static {
    /// Converts the value to JSON.
    fn into_reply(self) -> Result<Payload, TaskError>;
}

/// Any serialisable value, as the result of a task.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: Serialize + Send + 'static> IntoReply for Json<T> {
    fn into_reply(self) -> Result<Payload, TaskError> {
        Ok(Payload::from_value(&self.0)?)
    }
}

impl IntoReply for Payload {
    fn into_reply(self) -> Result<Payload, TaskError> {
        Ok(self)
    }
}

/// `()` becomes `null`.
impl IntoReply for () {
    fn into_reply(self) -> Result<Payload, TaskError> {
        Ok(Payload::null())
    }
}
