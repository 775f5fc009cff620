//! What a worker can be asked to do.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;

use super::Call;
use crate::messages::{Payload, TaskDeclaration, TaskError, TaskName};

/// What comes of a request.
pub(super) type Reply = Result<Payload, TaskError>;

/// One request being worked on. A panic of it is its failure.
pub(super) struct Work(Pin<Box<dyn Future<Output = Reply> + Send>>);

/// How requests of one task are worked on.
#[derive(Clone)]
pub(super) struct Handler {
    start: Arc<dyn Fn(Call) -> Work + Send + Sync>,
    /// Whether dropping the work ends it; a thread goes on all the same.
    pub(super) stops_when_dropped: bool,
}

impl Handler {
    /// Begins to work; a panic before the first await is a failure like any other.
    pub(super) fn start(&self, call: Call) -> Work {
        catch_unwind(AssertUnwindSafe(|| (self.start)(call)))
            .unwrap_or_else(|panic| Work(Box::pin(std::future::ready(Err(panicked(&*panic))))))
    }
}

impl Future for Work {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
    }
}

/// A panic as an answer.
fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    TaskError::new(TaskError::PANIC, format!("the task panicked: {message}"))
}

/// One thing that a worker can be asked to do.
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
///     .description("says it louder");
/// ```
pub struct Task {
    pub(super) name: TaskName,
    pub(super) declaration: TaskDeclaration,
    pub(super) handler: Handler,
}

impl Task {
    /// A task that waits more than it computes; it runs on the thread of the conversation.
    pub fn new<F, Fut, R>(name: impl Into<TaskName>, handler: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
        R: IntoReply,
    {
        let start = move |call| {
            let work = handler(call);
            Work(Box::pin(async move { work.await?.into_reply() }))
        };
        Self::with(
            name,
            Handler {
                start: Arc::new(start),
                stops_when_dropped: true,
            },
        )
    }

    /// A task that computes or blocks; it runs on a thread of its own, so that pings are answered and
    /// cancels are seen meanwhile.
    pub fn blocking<F, R>(name: impl Into<TaskName>, handler: F) -> Self
    where
        F: Fn(&Call) -> Result<R, TaskError> + Send + Sync + 'static,
        R: IntoReply,
    {
        let handler = Arc::new(handler);
        let start = move |call: Call| {
            let handler = Arc::clone(&handler);
            let thread = tokio::task::spawn_blocking(move || handler(&call)?.into_reply());
            Work(Box::pin(async move {
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

    fn with(name: impl Into<TaskName>, handler: Handler) -> Self {
        Self {
            name: name.into(),
            declaration: TaskDeclaration::default(),
            handler,
        }
    }

    /// Has the task see its cancel and answer by itself, where it has to clean up first.
    ///
    /// Otherwise an async task is dropped when it is cancelled. It should look at
    /// [`Call::cancelled`], or the host will kill the worker when the grace is over.
    #[must_use]
    pub fn stops_itself(mut self) -> Self {
        self.handler.stops_when_dropped = false;
        self
    }

    /// How parallel it may be, by name: `fully_parallel`, `host_exclusive`, `global_exclusive`.
    #[must_use]
    pub fn hint(self, name: &str) -> Self {
        self.hint_json(Payload::from_text(name))
    }

    /// How parallel it may be, as in a job file: `{"rate_limited": {"requests_per_second": 5}}`.
    #[must_use]
    pub fn hint_json(mut self, hint: Payload) -> Self {
        self.declaration.hint = Some(hint);
        self
    }

    /// Says that the same input always gives the same result, so that one may be kept for later.
    #[must_use]
    pub fn cacheable(mut self) -> Self {
        self.declaration.cacheable = true;
        self
    }

    /// Says what it does, for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.declaration.description = Some(description.into());
        self
    }
}

/// What a task may return.
pub trait IntoReply: Send + 'static {
    /// The result as JSON.
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

/// Nothing is `null`.
impl IntoReply for () {
    fn into_reply(self) -> Result<Payload, TaskError> {
        Ok(Payload::null())
    }
}
