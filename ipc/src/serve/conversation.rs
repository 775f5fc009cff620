//! The loop of a worker: requests in, replies out, and everything else answered meanwhile.
//!
//! ```text
//! host -> receive -> waiting -> start -> ready at once? -> reply -> host
//!                                  \---> running (a task each) --/
//! ```

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::Poll;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Preparation;
use super::call::Call;
use super::outbox::{self, Outbox, Outgoing};
use super::task::{Handler, Reply};
use crate::error::IpcError;
use crate::messages::{
    Event, Hello, IpcMessage, Log, LogLevel, MessageId, Request, Response, Started, TaskError,
    TaskName,
};
use crate::serialization::Incoming;
use crate::transport::IpcTransport;

/// Requests that may wait here; beyond it they wait in the pipe, where the host sees them.
const MAX_WAITING: usize = 1024;

/// Replies leave at the latest when they fill a pipe.
const FLUSH_BYTES: usize = 64 * 1024;

/// About what a reply costs beside its payload.
const ENVELOPE_BYTES: usize = 64;

pub(super) struct Conversation<T> {
    transport: T,
    tasks: HashMap<TaskName, Handler>,
    concurrency: usize,
    waiting: VecDeque<Request>,
    running: JoinSet<(MessageId, Reply)>,
    cancellations: HashMap<MessageId, CancellationToken>,
    outbox: Outbox,
    said: Outgoing,
    unflushed_bytes: usize,
    /// Nothing more will be asked for.
    draining: bool,
    /// The host has closed its side.
    ended: bool,
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
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            cancellations: HashMap::new(),
            outbox,
            said,
            unflushed_bytes: 0,
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
        if let Some(preparation) = preparation {
            self.prepare(preparation).await?;
        }
        while !self.is_done() {
            self.start_waiting().await?;
            self.step().await?;
        }
        self.transport.flush().await
    }

    /// Answers the host while the worker gets ready.
    async fn prepare(&mut self, preparation: Preparation) -> Result<(), IpcError> {
        let mut preparation = pin!(preparation);
        loop {
            tokio::select! {
                prepared = &mut preparation => {
                    prepared.map_err(IpcError::Prepare)?;
                    return self.transport.queue(&Event::Ready.into());
                }
                incoming = self.transport.receive(), if !self.ended => self.take_all(incoming?)?,
            }
        }
    }

    fn is_done(&self) -> bool {
        let idle = self.waiting.is_empty() && self.running.is_empty();
        idle && (self.draining || self.ended)
    }

    /// Waits for whatever happens next and deals with it.
    async fn step(&mut self) -> Result<(), IpcError> {
        if self.is_done() {
            return Ok(());
        }
        if self.ended || self.unflushed_bytes >= FLUSH_BYTES {
            self.transport.flush().await?;
            self.unflushed_bytes = 0;
        }
        let wants_more = !self.ended && self.waiting.len() < MAX_WAITING;
        tokio::select! {
            Some(event) = self.said.next() => self.transport.queue(&event.into()),
            Some(done) = self.running.join_next() => match done {
                Ok((id, reply)) => self.finish(id, reply),
                // Its panics are its replies, and nothing here aborts it.
                Err(_) => Ok(()),
            },
            incoming = self.transport.receive(), if wants_more => self.take_all(incoming?),
        }
    }

    /// Takes what came in, and what came in with it.
    fn take_all(&mut self, first: Incoming) -> Result<(), IpcError> {
        let mut next = Some(first);
        while let Some(incoming) = next {
            self.take(incoming)?;
            next = self.transport.try_receive();
        }
        Ok(())
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), IpcError> {
        match incoming {
            Incoming::Message(IpcMessage::Request(request)) => {
                self.waiting.push_back(request);
                Ok(())
            }
            Incoming::Message(IpcMessage::Event(event)) => self.on_event(event),
            Incoming::Message(IpcMessage::Response(response)) => {
                self.complain(format!("a worker takes no response ({})", response.id))
            }
            Incoming::Stray(stray) => self.complain(format!("not a message: {}", stray.text)),
            Incoming::Malformed(malformed) => {
                let error = TaskError::new(TaskError::MALFORMED, malformed.reason);
                self.refuse(malformed.id, error)
            }
            Incoming::TooLarge(large) => {
                let message = format!(
                    "{} bytes, and no more than {} fit",
                    large.bytes, large.limit
                );
                self.refuse(large.id, TaskError::new(TaskError::TOO_LARGE, message))
            }
            Incoming::End => {
                self.ended = true;
                Ok(())
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), IpcError> {
        match event {
            Event::Ping(nonce) => self.transport.queue(&Event::Pong(nonce).into()),
            Event::Cancel(cancel) => self.cancel(&cancel.id),
            Event::Drain => {
                self.draining = true;
                Ok(())
            }
            // What only workers say, and what a later version may say.
            Event::Hello(_)
            | Event::Ready
            | Event::Started(_)
            | Event::Progress(_)
            | Event::Log(_)
            | Event::Pong(_)
            | Event::Unknown(_) => Ok(()),
        }
    }

    /// What waits is answered at once; what runs is told, and answers.
    fn cancel(&mut self, id: &MessageId) -> Result<(), IpcError> {
        if let Some(at) = self.waiting.iter().position(|request| request.id == *id) {
            self.waiting.remove(at);
            let error = TaskError::new(TaskError::CANCELLED, "cancelled before it began");
            return self.reply(id.clone(), Err(error));
        }
        if let Some(cancellation) = self.cancellations.get(id) {
            cancellation.cancel();
        }
        Ok(())
    }

    /// Starts what waits, as far as there is room. What is done at once is answered at once.
    async fn start_waiting(&mut self) -> Result<(), IpcError> {
        while self.running.len() < self.concurrency && self.unflushed_bytes < FLUSH_BYTES {
            let Some(request) = self.waiting.pop_front() else {
                break;
            };
            self.start(request).await?;
        }
        Ok(())
    }

    async fn start(&mut self, request: Request) -> Result<(), IpcError> {
        let id = request.id.clone();
        if self.concurrency > 1 {
            self.transport
                .queue(&Event::Started(Started { id: id.clone() }).into())?;
        }
        let Some(handler) = self.tasks.get(&request.task) else {
            let error = self.unknown_task(&request.task);
            return self.reply(id, Err(error));
        };
        let stops_when_dropped = handler.stops_when_dropped;
        let cancellation = CancellationToken::new();
        let mut work = handler.start(Call::new(
            request,
            self.outbox.clone(),
            cancellation.clone(),
        ));

        let first = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut work).poll(cx))).await;
        if let Poll::Ready(reply) = first {
            return self.finish(id, reply);
        }
        self.cancellations.insert(id.clone(), cancellation.clone());
        self.running.spawn(async move {
            let reply = tokio::select! {
                biased;
                reply = &mut work => reply,
                () = cancellation.cancelled(), if stops_when_dropped => {
                    Err(TaskError::new(TaskError::CANCELLED, "cancelled by the host"))
                }
            };
            (id, reply)
        });
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

    /// Sends what the task said while it worked, and then its reply.
    fn finish(&mut self, id: MessageId, reply: Reply) -> Result<(), IpcError> {
        while let Some(event) = self.said.try_next() {
            self.transport.queue(&event.into())?;
        }
        self.cancellations.remove(&id);
        self.reply(id, reply)
    }

    fn reply(&mut self, id: MessageId, reply: Reply) -> Result<(), IpcError> {
        self.unflushed_bytes +=
            ENVELOPE_BYTES + reply.as_ref().map_or(0, |result| result.as_str().len());
        let refusal = id.clone();
        match self
            .transport
            .queue(&Response { id, outcome: reply }.into())
        {
            Err(error @ IpcError::TooLarge { .. }) => {
                let error =
                    TaskError::new(TaskError::TOO_LARGE, error.to_string()).retryable(false);
                self.transport.queue(
                    &Response {
                        id: refusal,
                        outcome: Err(error),
                    }
                    .into(),
                )
            }
            queued => queued,
        }
    }

    /// Answers a request that could not be read, if it is known whose it is.
    fn refuse(&mut self, id: Option<MessageId>, error: TaskError) -> Result<(), IpcError> {
        match id {
            Some(id) => self.reply(id, Err(error.retryable(false))),
            None => self.complain(error.to_string()),
        }
    }

    fn complain(&mut self, message: String) -> Result<(), IpcError> {
        let log = Log {
            id: None,
            level: LogLevel::Error,
            message,
        };
        self.transport.queue(&Event::Log(log).into())
    }
}
