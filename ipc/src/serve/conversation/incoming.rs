//! Handles what the host sends.

use super::Conversation;
use crate::error::IpcError;
use crate::messages::{Event, IpcMessage, MessageId, MessageKind, TaskError};
use crate::serialization::Incoming;
use crate::transport::IpcTransport;

impl<T: IpcTransport> Conversation<T> {
    /// Handles a first result, and all others of the same read.
    pub(super) fn handle_all(&mut self, first: Incoming) -> Result<(), IpcError> {
        let mut next = Some(first);
        while let Some(incoming) = next {
            self.handle(incoming)?;
            next = if self.accepts_input() {
                self.transport.try_receive()
            } else {
                None
            };
        }
        Ok(())
    }

    /// Handles one result of the incoming bytes.
    fn handle(&mut self, incoming: Incoming) -> Result<(), IpcError> {
        match incoming {
            Incoming::Message(IpcMessage::Request(request)) => {
                self.queue.push(request);
                Ok(())
            }
            Incoming::Message(IpcMessage::Event(event)) => self.handle_event(event),
            Incoming::Message(IpcMessage::Response(response)) => self.log_error(format!(
                "a worker does not take responses ({})",
                response.id
            )),
            // Only a host waits for its peer to be ready, or for answers.
            Incoming::Readiness(_) | Incoming::Blank => Ok(()),
            Incoming::Stray(stray) => self.log_error(format!("not a message: {}", stray.text)),
            Incoming::Malformed(malformed) => {
                let error = TaskError::new(TaskError::MALFORMED, malformed.reason);
                self.refuse(Some(malformed.kind), malformed.id, error)
            }
            Incoming::TooLarge(large) => {
                let message = format!(
                    "{} bytes, and no more than {} fit",
                    large.bytes, large.limit
                );
                self.refuse(
                    large.kind,
                    large.id,
                    TaskError::new(TaskError::TOO_LARGE, message),
                )
            }
            Incoming::End => {
                self.has_host_ended = true;
                Ok(())
            }
        }
    }

    /// Handles an event of the host.
    fn handle_event(&mut self, event: Event) -> Result<(), IpcError> {
        match event {
            Event::Ping(nonce) => self.send_or_drop(Event::Pong(nonce)),
            Event::Cancel(cancel) => self.cancel(&cancel.id),
            Event::Drain => {
                self.is_draining = true;
                Ok(())
            }
            // Only workers, or later versions of the protocol, send these.
            Event::Hello(_)
            | Event::Ready
            | Event::Started(_)
            | Event::Progress(_)
            | Event::Log(_)
            | Event::Pong(_)
            | Event::Unknown(_) => Ok(()),
        }
    }

    /// Cancels a request. A queued one is answered here; a running one is notified and answers itself.
    fn cancel(&mut self, id: &MessageId) -> Result<(), IpcError> {
        let mut running = self
            .calls
            .values()
            .filter(|call| call.id == *id && !call.is_cancelled());
        if let Some(call) = running.next() {
            call.cancellation.cancel();
            return Ok(());
        }
        if !self.queue.remove(id) {
            return Ok(());
        }
        let error = TaskError::new(TaskError::CANCELLED, "cancelled before it began");
        self.reply(id.clone(), Err(error))
    }

    /// Answers a request that could not be read. If its id is unknown, the error is only logged.
    fn refuse(
        &mut self,
        kind: Option<MessageKind>,
        id: Option<MessageId>,
        error: TaskError,
    ) -> Result<(), IpcError> {
        match (kind, id) {
            (Some(MessageKind::Request), Some(id)) => self.reply(id, Err(error.retryable(false))),
            _ => self.log_error(error.to_string()),
        }
    }
}
