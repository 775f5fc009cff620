//! The loop of a worker: requests in, replies out, and everything else answered meanwhile.
//!
//! ```text
//! host -> receive -> waiting -> start -> ready at once? -> reply -> host
//!                                  \---> running (a task each) --/
//! ```

mod hearing;

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
use super::outbox::{self, Outbox, Said};
use super::task::{Handler, Reply};
use super::waiting::Waiting;
use crate::error::IpcError;
use crate::messages::{
    Event, Hello, IpcMessage, Log, LogLevel, MessageId, Request, Response, Started, TaskError,
    TaskName,
};
use crate::transport::IpcTransport;

/// What waits to be written leaves at the latest when it fills a pipe.
const UNSENT_BYTES: usize = 64 * 1024;

/// Requests that are done at once are done one after another for so long before the host is heard
/// again and hears what came of them.
const TURN: Duration = Duration::from_millis(1);

pub(super) struct Conversation<T> {
    transport: T,
    tasks: HashMap<TaskName, Handler>,
    concurrency: usize,
    waiting: Waiting,
    running: JoinSet<Reply>,
    /// Whose reply each running task brings.
    calls: HashMap<Id, Running>,
    outbox: Outbox,
    said: Said,
    /// A token that no call has cancelled or keeps: most calls are over before they need theirs.
    spare: CancellationToken,
    /// Nothing more will be asked for.
    draining: bool,
    /// The host has closed its side.
    ended: bool,
}

struct Running {
    id: MessageId,
    cancellation: CancellationToken,
}

impl<T: IpcTransport> Conversation<T> {
    pub(super) fn new(
        transport: T,
        tasks: HashMap<TaskName, Handler>,
        concurrency: NonZeroU32,
    ) -> Self {
        let (outbox, said) = outbox::channel();
        Self {
            transport,
            tasks,
            concurrency: usize::try_from(concurrency.get()).unwrap_or(usize::MAX),
            waiting: Waiting::new(),
            running: JoinSet::new(),
            calls: HashMap::new(),
            outbox,
            said,
            spare: CancellationToken::new(),
            draining: false,
            ended: false,
        }
    }

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
            if self.start_waiting().await? {
                self.look_up().await?;
            } else if self.is_done() {
                return self.transport.flush().await;
            } else {
                self.step().await?;
            }
        }
    }

    /// Answers the host while the worker gets ready. Says whether it is still wanted then.
    async fn prepare(&mut self, preparation: Preparation) -> Result<bool, IpcError> {
        let mut preparation = pin!(preparation);
        loop {
            let listens = self.listens();
            tokio::select! {
                prepared = &mut preparation => {
                    prepared.map_err(IpcError::Prepare)?;
                    self.say(Event::Ready)?;
                    return Ok(true);
                }
                incoming = self.transport.receive(), if listens => self.take_all(incoming?)?,
            }
            if self.is_done() {
                return Ok(false);
            }
        }
    }

    fn is_done(&self) -> bool {
        let idle = self.waiting.is_empty() && self.running.is_empty();
        idle && (self.draining || self.ended)
    }

    fn listens(&self) -> bool {
        !self.ended && !self.waiting.is_full()
    }

    /// Waits for whatever happens next and deals with it.
    async fn step(&mut self) -> Result<(), IpcError> {
        let listens = self.listens();
        let unsent = self.transport.unsent_bytes();
        tokio::select! {
            // What tasks say waits with them while the host does not listen.
            Some(event) = self.said.next(), if unsent < UNSENT_BYTES => self.say(event),
            Some(done) = self.running.join_next_with_id() => match done {
                Ok((task, reply)) => self.finish(task, reply),
                Err(lost) => self.finish(lost.id(), Err(lost.into())),
            },
            // Whoever receives writes too; whoever does not still has to.
            incoming = async {
                if listens {
                    return self.transport.receive().await.map(Some);
                }
                self.transport.flush().await.map(|()| None)
            }, if listens || unsent > 0 => match incoming? {
                Some(incoming) => self.take_all(incoming),
                None => Ok(()),
            },
        }
    }

    /// Looks up from the work for a moment: writes what is done, and takes what came in.
    async fn look_up(&mut self) -> Result<(), IpcError> {
        if self.transport.unsent_bytes() >= UNSENT_BYTES {
            self.transport.flush().await?;
        }
        let listens = self.listens();
        tokio::select! {
            biased;
            incoming = self.transport.receive(), if listens => self.take_all(incoming?),
            () = std::future::ready(()) => Ok(()),
        }
    }

    /// Starts what waits, as far as there is room. What is done at once is answered at once.
    ///
    /// Says whether there is more that could be started, if somebody else had not to be heard first.
    async fn start_waiting(&mut self) -> Result<bool, IpcError> {
        let begun = Instant::now();
        while self.running.len() < self.concurrency && !self.waiting.is_empty() {
            if self.transport.unsent_bytes() >= UNSENT_BYTES || begun.elapsed() >= TURN {
                return Ok(true);
            }
            if let Some(request) = self.waiting.pop() {
                self.start(request).await?;
            }
        }
        Ok(false)
    }

    async fn start(&mut self, request: Request) -> Result<(), IpcError> {
        let id = request.id.clone();
        if self.concurrency > 1 {
            self.say(Event::Started(Started { id: id.clone() }))?;
        }
        let Some(handler) = self.tasks.get(&request.task) else {
            let error = self.unknown_task(&request.task);
            return self.reply(id, Err(error));
        };
        let stops_when_dropped = handler.stops_when_dropped;
        let cancellation = self.spare.clone();
        let mut work = handler.start(Call::new(
            request,
            self.outbox.clone(),
            cancellation.clone(),
        ));

        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut work).poll(cx))).await;
        if let Poll::Ready(reply) = first {
            self.say_all()?;
            return self.reply(id, reply);
        }
        // It may be cancelled from now on, so the next call gets another.
        self.spare = CancellationToken::new();
        let stop = cancellation.clone();
        let task = self.running.spawn(async move {
            tokio::select! {
                biased;
                reply = &mut work => reply,
                () = stop.cancelled(), if stops_when_dropped => {
                    Err(TaskError::new(TaskError::CANCELLED, "cancelled by the host"))
                }
            }
        });
        self.calls.insert(task.id(), Running { id, cancellation });
        Ok(())
    }

    fn unknown_task(&self, task: &TaskName) -> TaskError {
        let mut known: Vec<&str> = self.tasks.keys().map(TaskName::as_str).collect();
        known.sort_unstable();
        let message = format!(
            "there is no task `{task}` here; known: {}",
            known.join(", ")
        );
        TaskError::new(TaskError::UNKNOWN_TASK, message).retryable(false)
    }

    fn finish(&mut self, task: Id, reply: Reply) -> Result<(), IpcError> {
        self.say_all()?;
        match self.calls.remove(&task) {
            Some(call) => self.reply(call.id, reply),
            None => Ok(()),
        }
    }

    /// Sends what tasks have said up to now: it comes before their replies.
    fn say_all(&mut self) -> Result<(), IpcError> {
        for _ in 0..self.said.len() {
            if let Some(event) = self.said.try_next() {
                self.say(event)?;
            }
        }
        Ok(())
    }

    fn reply(&mut self, id: MessageId, reply: Reply) -> Result<(), IpcError> {
        let refusal = id.clone();
        match self
            .transport
            .queue(&Response { id, outcome: reply }.into())
        {
            Err(error @ IpcError::TooLarge { .. }) => {
                let error =
                    TaskError::new(TaskError::TOO_LARGE, error.to_string()).retryable(false);
                self.say(Response {
                    id: refusal,
                    outcome: Err(error),
                })
            }
            queued => queued,
        }
    }

    fn complain(&mut self, message: String) -> Result<(), IpcError> {
        self.say(Event::Log(Log {
            id: None,
            level: LogLevel::Error,
            message,
        }))
    }

    /// Sends what no limit should get in the way of. What is too large all the same is left out: its
    /// loss must not cost the worker its life.
    fn say(&mut self, message: impl Into<IpcMessage>) -> Result<(), IpcError> {
        match self.transport.queue(&message.into()) {
            Err(IpcError::TooLarge { .. }) => Ok(()),
            queued => queued,
        }
    }
}

impl Running {
    fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }
}
