//! Bytes to messages and back: the only place that knows what stands on the wire.
//!
//! A [`Codec`] cuts a stream of bytes into lines and holds the limits; a [`Dialect`] says what a line
//! means. Nothing here does input or output, so all of it can be tested, and fuzzed, as a value.
//!
//! # Room for other dialects
//!
//! The seam is small on purpose: one message becomes one line, one line becomes any number of
//! messages. Two protocols that other tools speak over stdio fit it as it stands:
//!
//! | here | Bazel's JSON worker protocol | JSON-RPC 2.0, as MCP speaks it |
//! |---|---|---|
//! | [`Request`](crate::Request) | `{"arguments":[..],"requestId":7}`, arguments from `input` | `{"jsonrpc":"2.0","id":7,"method":task,"params":input}` |
//! | [`Response`](crate::Response), result | `{"exitCode":0,"output":"..","requestId":7}` | `{"id":7,"result":..}` |
//! | [`Response`](crate::Response), error | `exitCode` other than 0: code `exit`, message from `output` | `{"id":7,"error":{"code":..,"message":..}}` |
//! | [`Event::Cancel`](crate::Event::Cancel) | `{"requestId":7,"cancel":true}`, answered by `wasCancelled` | `notifications/cancelled` with `requestId` |
//! | [`Event::Progress`](crate::Event::Progress) | never said | `notifications/progress` |
//! | handshake | none: [`HandshakeMode::None`](crate::HandshakeMode::None) | `initialize` by [`Dialect::open`]; its result comes up as [`Event::Hello`](crate::Event::Hello), and `notifications/initialized` goes out by [`Found::answer`] |
//!
//! A dialect may keep state (as [`Lines`] does, which has to remember whose turn it is), so mapping
//! ids of its own to ours needs nothing from the layers above. Questions of the peer that are none of
//! their business, it answers itself.

mod decode;
pub(crate) mod encode;
mod framing;
mod lines;
mod native;
mod sniff;
mod stray;

use std::collections::VecDeque;
use std::time::Instant;

use crate::error::IpcError;
use crate::messages::{IpcMessage, MessageId};
use framing::{Frame, LineBuffer};
pub use lines::{LineFormat, Lines};
pub use native::Native;
use stray::StrayFilter;
pub use stray::{StrayLine, StrayMode};

/// What a dialect does: it turns messages into lines and lines into messages.
pub trait Dialect: Send {
    /// Appends a message as one line, newline included.
    ///
    /// A message that the dialect has no words for, such as a ping to a filter, leaves no bytes.
    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError>;

    /// The message that was encoded last goes out.
    fn sent(&mut self, _message: &IpcMessage) {}

    /// Appends what is said before everything else, newline included.
    fn open(&mut self, _line: &mut Vec<u8>) {}

    /// Reads one line, without its newline.
    fn decode(&mut self, line: &[u8], found: &mut Found<'_>);

    /// Reads what stood after the last newline when the stream ended.
    fn decode_unfinished(&mut self, line: &[u8], found: &mut Found<'_>) {
        self.decode(line, found);
    }

    /// Learns of a line that was too long to keep; `head` is how it began.
    fn decode_overlong(&mut self, head: &[u8], bytes: u64, found: &mut Found<'_>);
}

/// What a conversation is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes one message may have, either way, without its newline.
    pub max_message_bytes: usize,
    /// What output that is no message leads to.
    pub stray: StrayMode,
    /// How many stray lines are passed on in a second; more are counted and dropped.
    pub stray_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 16 * 1024 * 1024,
            stray: StrayMode::Log,
            stray_lines_per_second: 100,
        }
    }
}

/// One thing that came in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Incoming {
    /// A message.
    Message(IpcMessage),
    /// Output that is no message.
    Stray(StrayLine),
    /// A message of a known type that breaks the protocol.
    Malformed(Malformed),
    /// A message that was dropped for its size.
    TooLarge(TooLarge),
    /// The peer has ended its side; nothing follows.
    End,
}

/// The type of a message: `type` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A request.
    Request,
    /// A response.
    Response,
    /// An event.
    Event,
}

/// A message of a known type that breaks the protocol.
///
/// A malformed response is all that its request will get, and a malformed hello has its worker refused; any other
/// malformed event costs nobody anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What it claims to be.
    pub kind: MessageKind,
    /// It is a hello, without which a worker cannot be known for what it is.
    pub is_hello: bool,
    /// The request that it concerns, if that could be read.
    pub id: Option<MessageId>,
    /// What is wrong with it.
    pub reason: String,
    /// How it began.
    pub line: String,
}

/// A message that was dropped up to its newline for its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// What it was, if that stood early enough in it; encoders that sort their keys put it last.
    pub kind: Option<MessageKind>,
    /// The request that it concerns, if that stood early enough in it.
    pub id: Option<MessageId>,
    /// How long it was.
    pub bytes: u64,
    /// How long it may be.
    pub limit: usize,
}

/// Where a [`Dialect`] puts what it finds in a line.
pub struct Found<'a> {
    queue: &'a mut VecDeque<Incoming>,
    strays: &'a mut StrayFilter,
    answers: &'a mut Vec<u8>,
    limit: usize,
    now: Instant,
}

impl Found<'_> {
    /// A message.
    pub fn message(&mut self, message: impl Into<IpcMessage>) {
        self.queue.push_back(Incoming::Message(message.into()));
    }

    /// Output that is no message.
    pub fn stray(&mut self, text: &[u8]) {
        if let Some(line) = self.strays.judge(text, self.now) {
            self.queue.push_back(Incoming::Stray(line));
        }
    }

    /// A message that breaks the protocol. Those that concern no request are chatter, and rate-capped
    /// like it.
    pub fn malformed(
        &mut self,
        kind: MessageKind,
        id: Option<MessageId>,
        reason: impl Into<String>,
        line: &[u8],
    ) {
        if id.is_none() && !self.strays.admits(self.now) {
            return;
        }
        self.wrong(kind, false, id, reason.into(), line);
    }

    /// A hello that breaks the protocol, which is no chatter.
    pub fn malformed_hello(&mut self, reason: impl Into<String>, line: &[u8]) {
        self.wrong(MessageKind::Event, true, None, reason.into(), line);
    }

    fn wrong(
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

    /// A message that was too long to keep.
    pub fn too_large(&mut self, kind: Option<MessageKind>, id: Option<MessageId>, bytes: u64) {
        let large = TooLarge {
            kind,
            id,
            bytes,
            limit: self.limit,
        };
        self.queue.push_back(Incoming::TooLarge(large));
    }

    /// Answers by itself, where the dialect asks for what no layer above has to know: the bytes go out
    /// as they are, newline included.
    pub fn answer(&mut self, bytes: &[u8]) {
        self.answers.extend_from_slice(bytes);
    }
}

/// One side of a conversation without its input and output.
///
/// ```
/// use std::time::Instant;
/// use ratchet_ipc::{Codec, Incoming, Limits, Native};
///
/// let mut codec = Codec::new(Native, Limits::default());
/// codec.feed(b"hello from print\n{\"type\":\"response\",\"id\":\"7\",\"result\":[1,2]}\n");
///
/// let now = Instant::now();
/// assert!(matches!(codec.next(now), Some(Incoming::Stray(_))));
/// assert!(matches!(codec.next(now), Some(Incoming::Message(_))));
/// assert_eq!(codec.next(now), None);
/// ```
pub struct Codec {
    dialect: Box<dyn Dialect>,
    limit: usize,
    incoming: LineBuffer,
    found: VecDeque<Incoming>,
    strays: StrayFilter,
    ended: bool,
    outgoing: Outgoing,
}

/// Bytes that wait to be written; `written` of them have been.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Codec {
    /// A conversation in this dialect, within these limits.
    pub fn new(mut dialect: impl Dialect + 'static, limits: Limits) -> Self {
        let mut outgoing = Outgoing::default();
        dialect.open(&mut outgoing.bytes);
        Self {
            dialect: Box::new(dialect),
            limit: limits.max_message_bytes,
            incoming: LineBuffer::new(limits.max_message_bytes),
            found: VecDeque::new(),
            strays: StrayFilter::new(limits.stray, limits.stray_lines_per_second),
            ended: false,
            outgoing,
        }
    }

    /// Adds a message to what waits to be written.
    ///
    /// After an error nothing of the message remains, and the conversation goes on.
    pub fn encode(&mut self, message: &IpcMessage) -> Result<(), IpcError> {
        let before = self.outgoing.bytes.len();
        let encoded = self
            .dialect
            .encode(message, &mut self.outgoing.bytes)
            .and_then(|()| {
                let bytes = (self.outgoing.bytes.len() - before).saturating_sub(1);
                if bytes > self.limit {
                    return Err(IpcError::TooLarge {
                        bytes,
                        limit: self.limit,
                    });
                }
                Ok(())
            });
        match encoded {
            Ok(()) => self.dialect.sent(message),
            Err(_) => self.outgoing.bytes.truncate(before),
        }
        encoded
    }

    /// What waits to be written.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing.bytes[self.outgoing.written..]
    }

    /// So many bytes of [`outgoing`](Self::outgoing) have been written.
    pub fn wrote(&mut self, bytes: usize) {
        let Outgoing {
            bytes: waiting,
            written,
        } = &mut self.outgoing;
        *written = waiting.len().min(written.saturating_add(bytes));
        if *written == waiting.len() {
            framing::clear(waiting);
            *written = 0;
        } else if *written >= framing::KEPT_CAPACITY && *written >= waiting.len() / 2 {
            // A peer that is always a little behind would otherwise let this grow without end. What is
            // moved is no more than what was written, so moving it costs no more than writing it.
            waiting.drain(..*written);
            *written = 0;
        }
    }

    /// Drops what waits to be written: the peer will not take it any more.
    pub(crate) fn discard_outgoing(&mut self) {
        self.outgoing = Outgoing::default();
    }

    /// Takes bytes as they come from the peer, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.incoming.feed(bytes);
    }

    /// The peer has ended its side.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// The stream broke off: half a line at its end means nothing.
    pub fn break_off(&mut self) {
        self.incoming.discard_unfinished();
        self.finish();
    }

    /// How many bytes have come in and were not looked at yet.
    pub(crate) fn unread(&self) -> usize {
        self.incoming.unread()
    }

    /// The next thing that came in, if one is complete.
    ///
    /// `now` is when the bytes came; it matters for the rate of stray lines only.
    pub fn next(&mut self, now: Instant) -> Option<Incoming> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(found);
            }
            let mut found = Found {
                queue: &mut self.found,
                strays: &mut self.strays,
                answers: &mut self.outgoing.bytes,
                limit: self.limit,
                now,
            };
            match self.incoming.next() {
                Some(Frame::Line(line)) => self.dialect.decode(line, &mut found),
                Some(Frame::Overlong { head, bytes }) => {
                    self.dialect.decode_overlong(&head, bytes, &mut found);
                }
                None if self.ended => match self.incoming.take_unfinished() {
                    Some(Frame::Line(line)) => self.dialect.decode_unfinished(line, &mut found),
                    Some(Frame::Overlong { head, bytes }) => {
                        self.dialect.decode_overlong(&head, bytes, &mut found);
                    }
                    None => {
                        let suppressed = self.strays.last().map(Incoming::Stray);
                        return Some(suppressed.unwrap_or(Incoming::End));
                    }
                },
                None => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
