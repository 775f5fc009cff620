//! The tokio task that communicates with the worker of a client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::WorkerError;
use crate::messages::{
    Cancel, Capability, Event, IpcMessage, MessageId, Payload, ProtocolVersion, Request, TaskError,
    TaskName,
};
use crate::protocol::{Handshake, HandshakeKind, HandshakeMode, HandshakeState, Profile};
use crate::serialization::{Dialect, Incoming};
use crate::transport::IpcTransport;

/// The channel for the answer of a call.
type Reply = oneshot::Sender<Result<Payload, WorkerError>>;

/// An order of a client to its conversation.
#[derive(Debug)]
pub(super) enum Order {
    /// Make a call.
    Call(WaitingCall),
    /// Cancel a call, if it is not answered yet.
    Cancel { number: u64 },
    /// Close the worker's input after all calls are answered.
    Close,
}

/// A call that was not sent yet.
#[derive(Debug)]
pub(super) struct WaitingCall {
    /// The number of the call, which is unique within a client, and is the id of the request.
    pub(super) number: u64,
    pub(super) task: TaskName,
    pub(super) input: Payload,
    pub(super) reply: Reply,
}

/// The state of a conversation: the calls that wait, and those that are not answered yet.
pub(super) struct Conversation {
    handshake: Handshake,
    waiting: VecDeque<WaitingCall>,
    /// The calls that were sent to the worker, by their numbers.
    sent: BTreeMap<u64, Reply>,
    is_closing: bool,
}

impl Conversation {
    pub(super) fn new(dialect: &dyn Dialect, handshake_wait: Duration) -> Self {
        let now = Instant::now().into_std();
        let handshake = match dialect.handshake_kind() {
            HandshakeKind::Hello => {
                let offered = ProtocolVersion::SUPPORTED;
                Handshake::new(HandshakeMode::Auto, offered, now, handshake_wait)
            }
            HandshakeKind::None => Handshake::ready(dialect.profile()),
            HandshakeKind::Session => Handshake::by_session(),
        };
        Self {
            handshake,
            waiting: VecDeque::new(),
            sent: BTreeMap::new(),
            is_closing: false,
        }
    }

    /// Runs until the worker has ended, or until the client closes and all calls are answered.
    pub(super) async fn run(
        mut self,
        mut transport: impl IpcTransport,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) {
        // Orders to cancel are received until the end, also while the client waits for the end.
        let mut has_orders = true;
        loop {
            self.send_waiting(&mut transport);
            if self.is_closing && self.waiting.is_empty() && self.sent.is_empty() {
                // A worker that has ended has closed its input itself.
                let _closed = transport.close().await;
                return;
            }
            let deadline = self.handshake.deadline();
            tokio::select! {
                order = orders.recv(), if has_orders => match order {
                    Some(Order::Call(call)) => self.waiting.push_back(call),
                    Some(Order::Cancel { number }) => self.cancel(number, &mut transport),
                    Some(Order::Close) => self.is_closing = true,
                    None => (has_orders, self.is_closing) = (false, true),
                },
                incoming = transport.receive() => match incoming {
                    Ok(Incoming::End) | Err(_) => return,
                    Ok(incoming) => self.take(incoming),
                },
                () = wait_until(deadline) => self.handshake.on_time(Instant::now().into_std()),
            }
        }
    }

    /// Sends waiting calls, as far as the concurrency of the worker allows.
    fn send_waiting(&mut self, transport: &mut impl IpcTransport) {
        let most = match self.handshake.state() {
            HandshakeState::Ready(profile) => profile.concurrency.get() as usize,
            HandshakeState::Refused(error) => {
                for call in self.waiting.drain(..) {
                    // A caller that was dropped needs no answer.
                    let _gone = call.reply.send(Err(WorkerError::Refused(error.clone())));
                }
                return;
            }
            _ => return,
        };
        while self.sent.len() < most
            && let Some(call) = self.waiting.pop_front()
        {
            let request = Request::new(call.number, call.task, call.input);
            match transport.queue(&request.into()) {
                Ok(()) => {
                    self.sent.insert(call.number, call.reply);
                }
                Err(error) => {
                    let unsent = WorkerError::Unsent(Arc::new(error));
                    let _gone = call.reply.send(Err(unsent));
                }
            }
        }
    }

    /// Cancels a call: a waiting one is answered at once, and for a sent one the worker gets a message.
    fn cancel(&mut self, number: u64, transport: &mut impl IpcTransport) {
        if let Some(place) = self.waiting.iter().position(|call| call.number == number) {
            let cancelled = TaskError::new(TaskError::CANCELLED, "the call was cancelled");
            if let Some(call) = self.waiting.remove(place) {
                let _gone = call.reply.send(Err(WorkerError::Task(cancelled)));
            }
            return;
        }
        if self.sent.contains_key(&number) && self.profile_has(&Capability::Cancel) {
            let cancel = Cancel {
                id: number.into(),
                reason: None,
            };
            // A worker that accepts no more messages has ended, which also ends the call.
            let _ended = transport.queue(&Event::Cancel(cancel).into());
        }
    }

    fn profile_has(&self, capability: &Capability) -> bool {
        let has = |profile: &Profile| profile.capabilities.has(capability);
        matches!(self.handshake.state(), HandshakeState::Ready(profile) if has(profile))
    }

    /// Handles one result of the incoming bytes.
    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(IpcMessage::Response(response)) => {
                self.handshake.on_response();
                self.answer(&response.id, response.outcome.map_err(WorkerError::Task));
            }
            Incoming::Message(IpcMessage::Event(Event::Hello(hello))) => {
                self.handshake.on_hello(hello);
            }
            Incoming::Message(IpcMessage::Event(Event::Ready)) => self.handshake.on_ready(),
            Incoming::Readiness(readiness) => self.handshake.on_readiness(readiness),
            Incoming::Malformed(malformed) if malformed.is_hello => {
                self.handshake.on_malformed_hello(malformed.reason);
            }
            Incoming::Malformed(malformed) => {
                if let Some(id) = &malformed.id {
                    self.answer(id, Err(WorkerError::Malformed(malformed.reason)));
                }
            }
            Incoming::TooLarge(large) => {
                if let Some(id) = &large.id {
                    let reason = format!(
                        "it has {} bytes, and no more than {} are read",
                        large.bytes, large.limit
                    );
                    self.answer(id, Err(WorkerError::Malformed(reason)));
                }
            }
            // Progress, logs and other output are for hosts that show them.
            Incoming::Message(_) | Incoming::Stray(_) | Incoming::Blank | Incoming::End => {}
        }
    }

    fn answer(&mut self, id: &MessageId, result: Result<Payload, WorkerError>) {
        let reply = id.as_counter().and_then(|number| self.sent.remove(&number));
        if let Some(reply) = reply {
            let _gone = reply.send(result);
        }
    }
}

/// Waits until the deadline; forever if there is none.
async fn wait_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
