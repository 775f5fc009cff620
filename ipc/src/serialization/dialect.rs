//! The interface between messages and the format in which a peer writes them.

use std::collections::VecDeque;
use std::time::Instant;

use super::framing::DroppedLine;
use super::incoming::{Incoming, Malformed, TooLarge};
use super::stray::{self, StrayLimiter};
use crate::error::IpcError;
use crate::messages::{IpcMessage, MessageId, MessageKind};
use crate::protocol::{HandshakeError, HandshakeKind, Profile, Readiness};

/// One session with a peer that speaks a line-based protocol.
///
/// The session converts messages to lines and lines to messages. It may keep state, answer the peer itself, and decide
/// when the peer is ready for work.
///
/// ```
/// use ratchet_ipc::{
///     Decoded, Dialect, HandshakeKind, IpcError, IpcMessage, OverlongLine, Payload, Profile, Response,
/// };
///
/// /// Numbered lines. The peer begins with `HI`, waits for `OK`, and may say `PING` at any time.
/// struct Numbered;
///
/// impl Dialect for Numbered {
///     fn handshake_kind(&self) -> HandshakeKind {
///         HandshakeKind::Session
///     }
///
///     fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
///         if let IpcMessage::Request(request) = message {
///             line.extend_from_slice(format!("{} {}\n", request.id, request.input).as_bytes());
///         }
///         Ok(())
///     }
///
///     fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
///         match (line, std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '))) {
///             (b"PING", _) => decoded.send(b"PONG\n"),
///             (b"HI", _) => {
///                 decoded.send(b"OK\n");
///                 decoded.ready(Profile::minimal());
///             }
///             (_, Some((id, text))) => {
///                 let outcome = Ok(Payload::from_text(text));
///                 decoded.message(Response { id: id.into(), outcome });
///             }
///             _ => decoded.stray(line),
///         }
///     }
///
///     fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
///         decoded.stray(line.head);
///     }
/// }
/// ```
pub trait Dialect: Send {
    /// Returns how a peer that speaks this dialect becomes ready for work.
    fn handshake_kind(&self) -> HandshakeKind {
        HandshakeKind::Hello
    }

    /// Returns the profile of a peer of the kind [`HandshakeKind::None`], which does not declare one itself.
    fn profile(&self) -> Profile {
        Profile::minimal()
    }

    /// Appends the bytes with which the session begins. Each line includes its newline.
    fn open(&mut self, _line: &mut Vec<u8>) {}

    /// Appends a message as a line with its newline; some messages take two lines.
    ///
    /// For a message that the dialect cannot express, such as a ping to a filter, it appends nothing. The line may
    /// still be dropped because of its size, so state may change only in [`sent`](Self::sent).
    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError>;

    /// Records that the message that was encoded last will be sent.
    fn sent(&mut self, _message: &IpcMessage) {}

    /// Reads one line, without its newline.
    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>);

    /// Reads the text after the last newline, at the end of the stream.
    fn decode_unfinished(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        self.decode(line, decoded);
    }

    /// Handles a line that was too long to keep, of which only the two ends are left.
    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>);
}

/// What is left of a line that was too long to keep.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OverlongLine<'a> {
    /// The first bytes of the line.
    pub head: &'a [u8],
    /// The last bytes of the line. They may be among the first ones.
    pub tail: &'a [u8],
    /// How many bytes the line had.
    pub bytes: u64,
}

impl<'a> OverlongLine<'a> {
    /// Makes the view of a line that was dropped.
    pub(super) fn of(line: &'a DroppedLine) -> Self {
        Self {
            head: &line.head,
            tail: &line.tail,
            bytes: line.bytes,
        }
    }
}

impl<D: Dialect + ?Sized> Dialect for Box<D> {
    fn handshake_kind(&self) -> HandshakeKind {
        (**self).handshake_kind()
    }

    fn profile(&self) -> Profile {
        (**self).profile()
    }

    fn open(&mut self, line: &mut Vec<u8>) {
        (**self).open(line);
    }

    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        (**self).encode(message, line)
    }

    fn sent(&mut self, message: &IpcMessage) {
        (**self).sent(message);
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        (**self).decode(line, decoded);
    }

    fn decode_unfinished(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        (**self).decode_unfinished(line, decoded);
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        (**self).decode_overlong(line, decoded);
    }
}

/// Receives the results of a line from a [`Dialect`].
pub struct Decoded<'a> {
    /// The messages and other results, for the layers above.
    pub(super) queue: &'a mut VecDeque<Incoming>,
    /// Limits the rate of lines that are not messages.
    pub(super) strays: &'a mut StrayLimiter,
    /// The buffer for bytes to the peer, after everything that is already queued.
    pub(super) outgoing: &'a mut Vec<u8>,
    /// The maximum size of a message, for error messages.
    pub(super) limit: usize,
    /// The time at which the line arrived.
    pub(super) now: Instant,
}

impl Decoded<'_> {
    /// Adds a message that the line contains.
    pub fn message(&mut self, message: impl Into<IpcMessage>) {
        self.queue.push_back(Incoming::Message(message.into()));
    }

    /// Adds text that is not a message. Such lines are passed on at a limited rate.
    pub fn stray(&mut self, text: &[u8]) {
        if let Some(line) = self.strays.pass(text, self.now) {
            self.queue.push_back(Incoming::Stray(line));
        }
    }

    /// Adds a line without any text, which is not a message.
    pub fn blank(&mut self) {
        self.queue.push_back(Incoming::Blank);
    }

    /// Adds a message that breaks the protocol.
    ///
    /// Without the id of a request it has no consequence, so it is passed on at the limited rate of stray lines.
    pub fn malformed(
        &mut self,
        kind: MessageKind,
        id: Option<MessageId>,
        reason: impl Into<String>,
        line: &[u8],
    ) {
        if id.is_none() && !self.strays.has_room(self.now) {
            return;
        }
        self.push_malformed(kind, false, id, reason.into(), line);
    }

    /// Adds a hello that breaks the protocol.
    pub fn malformed_hello(&mut self, reason: impl Into<String>, line: &[u8]) {
        self.push_malformed(MessageKind::Event, true, None, reason.into(), line);
    }

    /// Passes on a malformed message.
    fn push_malformed(
        &mut self,
        kind: MessageKind,
        is_hello: bool,
        id: Option<MessageId>,
        reason: String,
        line: &[u8],
    ) {
        let (line, _) = stray::excerpt(line);
        self.queue.push_back(Incoming::Malformed(Malformed {
            kind,
            is_hello,
            id,
            reason,
            line,
        }));
    }

    /// Adds a message that was too long to keep.
    pub fn too_large(&mut self, kind: Option<MessageKind>, id: Option<MessageId>, bytes: u64) {
        self.queue.push_back(Incoming::TooLarge(TooLarge {
            kind,
            id,
            bytes,
            limit: self.limit,
        }));
    }

    /// Sends bytes with their newline to the peer, after everything that is already queued.
    ///
    /// Use it for the answer to a question of the peer that the layers above do not need to see.
    pub fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Reports that the peer is ready for work. Only a dialect with [`HandshakeKind::Session`] has to do so.
    pub fn ready(&mut self, profile: Profile) {
        let readiness = Readiness::Ready(Box::new(profile));
        self.queue.push_back(Incoming::Readiness(readiness));
    }

    /// Reports that the handshake of the dialect failed, so that the peer gets no work.
    pub fn refuse(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        let readiness = Readiness::Refused(HandshakeError::Dialect { reason });
        self.queue.push_back(Incoming::Readiness(readiness));
    }
}
