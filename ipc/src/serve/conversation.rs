//! The main loop of a worker: it starts requests, sends replies, and answers the host at the same time.
//!
//! ```text
//! host -> receive -> queue -> start -> done in the first poll? -> reply -> host
//!                                \---> running (a tokio task each) --/
//! ```

mod incoming;

use std::collections::HashMap;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Preparation;
use super::call::Call;
use super::outbox::{self, Outbox, OutboxReceiver};
use super::queue::RequestQueue;
use super::task::{Handler, Reply};
use crate::error::IpcError;
use crate::messages::{
    Event, Hello, IpcMessage, Log, LogLevel, MessageId, Request, Response, Started, TaskError,
    TaskName,
};
use crate::transport::IpcTransport;

/// Replies are written at the latest when they would fill a pipe.
const MAX_UNSENT_BYTES: usize = 64 * 1024;

/// How long requests that complete in their first poll are processed before the replies are written and input is read
/// again.
const MAX_BATCH_TIME: Duration = Duration::from_millis(1);

/// The state of one worker that serves one host.
pub(super) struct Conversation<T> {
    transport: T,
    tasks: HashMap<TaskName, Handler>,
    /// How many calls may run at once, as declared in the hello.
    concurrency: usize,
    /// Requests that have arrived, and wait for a running call to end.
    queue: RequestQueue,
    /// The tokio tasks of the calls that did not end in their first poll.
    running: JoinSet<Reply>,
    /// The request that each running tokio task works on.
    calls: HashMap<Id, RunningCall>,
    outbox: Outbox,
    events: OutboxReceiver,
    /// The token of the next call. Most calls complete in their first poll and never use it, so it is replaced only
    /// after a call has kept it.
    next_cancellation: CancellationToken,
    /// Whether the host has announced that it sends no more requests.
    is_draining: bool,
    /// Whether the host has closed its side.
    has_host_ended: bool,
}

/// A request that a tokio task works on.
struct RunningCall {
    id: MessageId,
    cancellation: CancellationToken,
}

impl<T: IpcTransport> Conversation<T> {
    /// Makes a conversation in which hello was not said yet.
    pub(super) fn new(
        transport: T,
        tasks: HashMap<TaskName, Handler>,
        concurrency: NonZeroU32,
    ) -> Self {
        let (outbox, events) = outbox::channel();
        Self {
            transport,
            tasks,
            // A 16-bit machine cannot have more tasks than this.
            concurrency: usize::try_from(concurrency.get()).unwrap_or(usize::MAX),
            queue: RequestQueue::default(),
            running: JoinSet::new(),
            calls: HashMap::new(),
            outbox,
            events,
            next_cancellation: CancellationToken::new(),
            is_draining: false,
            has_host_ended: false,
        }
    }

    /// Says hello, prepares, and serves until the host no longer needs the worker.
    pub(super) async fn run(
        mut self,
        hello: Hello,
        preparation: Option<Preparation>,
    ) -> Result<(), IpcError> {
        self.transport.send(Event::Hello(hello).into()).await?;
        if let Some(preparation) = preparation
            && !self.prepare(preparation).await?
        {
            return Ok(());
        }
        loop {
            if self.start_queued().await? {
                self.serve_host_briefly().await?;
            } else if self.is_done() {
                return self.transport.flush().await;
            } else {
                self.wait_for_next().await?;
            }
        }
    }

    /// Runs the preparation, and answers the host at the same time. Returns `false` if the host no longer needs the
    /// worker.
    async fn prepare(&mut self, preparation: Preparation) -> Result<bool, IpcError> {
        let mut preparation = pin!(preparation);
        loop {
            let accepts_input = self.accepts_input();
            tokio::select! {
                prepared = &mut preparation => {
                    prepared.map_err(IpcError::Prepare)?;
                    self.send_or_drop(Event::Ready)?;
                    return Ok(true);
                }
                incoming = self.transport.receive(), if accepts_input => self.handle_all(incoming?)?,
            }
            if self.is_done() {
                return Ok(false);
            }
        }
    }

    /// Whether all requests are answered and no more can arrive.
    fn is_done(&self) -> bool {
        let is_idle = self.queue.is_empty() && self.running.is_empty();
        is_idle && (self.is_draining || self.has_host_ended)
    }

    /// Whether to read more from the host.
    fn accepts_input(&self) -> bool {
        !self.has_host_ended && !self.queue.is_full()
    }

    /// Waits for the next event of any kind, and handles it.
    async fn wait_for_next(&mut self) -> Result<(), IpcError> {
        let accepts_input = self.accepts_input();
        let unsent = self.transport.unsent_bytes();
        tokio::select! {
            // While the host does not read, events wait in the outbox, which is bounded.
            Some(event) = self.events.next(), if unsent < MAX_UNSENT_BYTES => self.send_or_drop(event),
            Some(done) = self.running.join_next_with_id() => match done {
                Ok((task, reply)) => self.finish(task, reply),
                Err(lost) => self.finish(lost.id(), Err(lost.into())),
            },
            // `receive` also writes. If no input is accepted, `flush` has to write.
            incoming = async {
                if accepts_input {
                    return self.transport.receive().await.map(Some);
                }
                self.transport.flush().await.map(|()| None)
            }, if accepts_input || unsent > 0 => match incoming? {
                Some(incoming) => self.handle_all(incoming),
                None => Ok(()),
            },
        }
    }

    /// Writes replies and handles what has arrived, without waiting for more.
    async fn serve_host_briefly(&mut self) -> Result<(), IpcError> {
        if self.transport.unsent_bytes() >= MAX_UNSENT_BYTES {
            self.transport.flush().await?;
        }
        let accepts_input = self.accepts_input();
        tokio::select! {
            biased;
            incoming = self.transport.receive(), if accepts_input => self.handle_all(incoming?),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// Starts queued requests while there is room. Those that complete in their first poll are answered at once.
    ///
    /// Returns whether more could be started, but the host has to be served first.
    async fn start_queued(&mut self) -> Result<bool, IpcError> {
        let begun = Instant::now();
        while self.running.len() < self.concurrency && !self.queue.is_empty() {
            if self.transport.unsent_bytes() >= MAX_UNSENT_BYTES
                || begun.elapsed() >= MAX_BATCH_TIME
            {
                return Ok(true);
            }
            let Some(request) = self.queue.pop() else {
                break;
            };
            self.start(request).await?;
        }
        Ok(false)
    }

    /// Starts one request, and answers it if it completes in its first poll.
    async fn start(&mut self, request: Request) -> Result<(), IpcError> {
        let id = request.id.clone();
        if self.concurrency > 1 {
            self.send_or_drop(Event::Started(Started { id: id.clone() }))?;
        }
        let Some(handler) = self.tasks.get(&request.task) else {
            let error = self.unknown_task(&request.task);
            return self.reply(id, Err(error));
        };
        let stops_when_dropped = handler.stops_when_dropped;
        let cancellation = self.next_cancellation.clone();
        let mut work = handler.start(Call::new(
            request,
            self.outbox.clone(),
            cancellation.clone(),
        ));

        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut work).poll(cx))).await;
        if let Poll::Ready(reply) = first {
            self.send_task_events()?;
            return self.reply(id, reply);
        }
        // This call can be cancelled from now on, so the next one needs another token.
        self.next_cancellation = CancellationToken::new();
        let cancelled = cancellation.clone();
        let task = self.running.spawn(async move {
            tokio::select! {
                biased;
                reply = &mut work => reply,
                () = cancelled.cancelled(), if stops_when_dropped => {
                    Err(TaskError::new(TaskError::CANCELLED, "cancelled by the host"))
                }
            }
        });
        self.calls
            .insert(task.id(), RunningCall { id, cancellation });
        Ok(())
    }

    /// Makes the error for a task that this worker does not have.
    fn unknown_task(&self, task: &TaskName) -> TaskError {
        let mut known: Vec<&str> = self.tasks.keys().map(TaskName::as_str).collect();
        known.sort_unstable();
        let message = if known.is_empty() {
            format!("there is no task `{task}` here, nor any other")
        } else {
            format!(
                "there is no task `{task}` here; known: {}",
                known.join(", ")
            )
        };
        TaskError::new(TaskError::UNKNOWN_TASK, message).retryable(false)
    }

    /// Answers the request of a tokio task that has ended.
    #[expect(
        clippy::expect_used,
        reason = "a call is recorded when its tokio task is spawned"
    )]
    fn finish(&mut self, task: Id, reply: Reply) -> Result<(), IpcError> {
        self.send_task_events()?;
        let call = self.calls.remove(&task);
        let call = call.expect("a task ends once, and its call was recorded when it was spawned");
        self.reply(call.id, reply)
    }

    /// Queues the events that tasks have sent so far, so that they precede the replies of these tasks.
    fn send_task_events(&mut self) -> Result<(), IpcError> {
        for _ in 0..self.events.len() {
            if let Some(event) = self.events.try_next() {
                self.send_or_drop(event)?;
            }
        }
        Ok(())
    }

    /// Queues the response to a request. If it is too large, the host gets an error instead.
    fn reply(&mut self, id: MessageId, reply: Reply) -> Result<(), IpcError> {
        let refused_id = id.clone();
        match self
            .transport
            .queue(&Response { id, outcome: reply }.into())
        {
            Err(error @ IpcError::TooLarge { .. }) => {
                let error =
                    TaskError::new(TaskError::TOO_LARGE, error.to_string()).retryable(false);
                self.send_or_drop(Response {
                    id: refused_id,
                    outcome: Err(error),
                })
            }
            queued => queued,
        }
    }

    /// Logs a message of the worker itself, which belongs to no request.
    fn log_error(&mut self, message: String) -> Result<(), IpcError> {
        self.send_or_drop(Event::Log(Log {
            id: None,
            level: LogLevel::Error,
            message,
        }))
    }

    /// Queues a message, or drops it if it is too large. Such messages are usually small, and the loss of one must not end
    /// the worker.
    fn send_or_drop(&mut self, message: impl Into<IpcMessage>) -> Result<(), IpcError> {
        match self.transport.queue(&message.into()) {
            Err(IpcError::TooLarge { .. }) => Ok(()),
            queued => queued,
        }
    }
}

impl RunningCall {
    fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }
}
