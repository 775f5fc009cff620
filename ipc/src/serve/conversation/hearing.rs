//! What the host says, and what comes of it.

use super::Conversation;
use crate::error::IpcError;
use crate::messages::{Event, IpcMessage, MessageId, TaskError};
use crate::serialization::{Incoming, MessageKind};
use crate::transport::IpcTransport;

impl<T: IpcTransport> Conversation<T> {
    /// Takes what came in, and what came in with it.
    pub(super) fn take_all(&mut self, first: Incoming) -> Result<(), IpcError> {
        let mut next = Some(first);
        while let Some(incoming) = next {
            self.take(incoming)?;
            next = if self.listens() {
                self.transport.try_receive()
            } else {
                None
            };
        }
        Ok(())
    }

    fn take(&mut self, incoming: Incoming) -> Result<(), IpcError> {
        match incoming {
            Incoming::Message(IpcMessage::Request(request)) => {
                self.waiting.push(request);
                Ok(())
            }
            Incoming::Message(IpcMessage::Event(event)) => self.on_event(event),
            Incoming::Message(IpcMessage::Response(response)) => {
                self.complain(format!("a worker takes no response ({})", response.id))
            }
            Incoming::Stray(stray) => self.complain(format!("not a message: {}", stray.text)),
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
                self.ended = true;
                Ok(())
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), IpcError> {
        match event {
            Event::Ping(nonce) => self.say(Event::Pong(nonce)),
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
        let mut running = self
            .calls
            .values()
            .filter(|call| call.id == *id && !call.is_cancelled());
        if let Some(call) = running.next() {
            call.cancellation.cancel();
            return Ok(());
        }
        if !self.waiting.remove(id) {
            return Ok(());
        }
        let error = TaskError::new(TaskError::CANCELLED, "cancelled before it began");
        self.reply(id.clone(), Err(error))
    }

    /// Answers a request that could not be read, if it is known whose it is.
    fn refuse(
        &mut self,
        kind: Option<MessageKind>,
        id: Option<MessageId>,
        error: TaskError,
    ) -> Result<(), IpcError> {
        match (kind, id) {
            (Some(MessageKind::Request), Some(id)) => self.reply(id, Err(error.retryable(false))),
            _ => self.complain(error.to_string()),
        }
    }
}
