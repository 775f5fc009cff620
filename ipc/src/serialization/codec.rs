//! One side of a conversation, without its I/O.

use std::collections::VecDeque;
use std::time::Instant;

use super::dialect::{Decoded, Dialect, OverlongLine};
use super::framing::{self, Frame, LineBuffer};
use super::incoming::Incoming;
use super::stray::{StrayLimiter, StrayMode};
use crate::error::IpcError;
use crate::messages::IpcMessage;

/// The limits of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum size of one message in bytes, in either direction, without its newline.
    pub max_message_bytes: usize,
    /// The consequence of output that is not a message.
    pub stray: StrayMode,
    /// How many stray lines are passed on per second. More are counted and dropped.
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

/// One side of a conversation, without its I/O.
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
    /// The maximum size of a message in bytes, in either direction.
    limit: usize,
    incoming: LineBuffer,
    /// The results of the lines that were read and that the caller has not taken yet.
    decoded: VecDeque<Incoming>,
    strays: StrayLimiter,
    /// Whether the other side has closed its end, so that no more bytes come.
    has_ended: bool,
    outgoing: Outgoing,
}

/// The bytes that are not written yet.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// How many of the bytes are already written.
    written: usize,
    /// How many bytes the session itself has added since the buffer was empty.
    from_session: usize,
}

impl Codec {
    /// Makes the codec of a new conversation, with its dialect and its limits.
    pub fn new(dialect: impl Dialect + 'static, limits: Limits) -> Self {
        let mut outgoing = Outgoing::default();
        let mut dialect: Box<dyn Dialect> = Box::new(dialect);
        dialect.open(&mut outgoing.bytes);
        Self {
            dialect,
            limit: limits.max_message_bytes,
            incoming: LineBuffer::new(limits.max_message_bytes),
            decoded: VecDeque::new(),
            strays: StrayLimiter::new(limits.stray, limits.stray_lines_per_second),
            has_ended: false,
            outgoing,
        }
    }

    /// Adds a message to the bytes to be written.
    ///
    /// After an error, no part of the message is sent, and the conversation continues.
    pub fn encode(&mut self, message: &IpcMessage) -> Result<(), IpcError> {
        let before = self.outgoing.bytes.len();
        let encoded = self
            .dialect
            .encode(message, &mut self.outgoing.bytes)
            .and_then(|()| {
                // The newline does not count. If the dialect appends nothing, there is no newline to subtract.
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

    /// Returns the bytes to be written.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing.bytes[self.outgoing.written..]
    }

    /// Records that this many bytes of [`outgoing`](Self::outgoing) were written.
    pub fn mark_written(&mut self, bytes: usize) {
        let Outgoing {
            bytes: waiting,
            written,
            from_session,
        } = &mut self.outgoing;
        *written = waiting.len().min(written.saturating_add(bytes));
        if *written == waiting.len() {
            framing::clear(waiting);
            *written = 0;
            *from_session = 0;
        } else if *written >= framing::KEPT_CAPACITY && *written >= waiting.len() / 2 {
            // Otherwise a peer that is always a little behind would let the buffer grow without bound. At most as many
            // bytes are moved as were written, so moving them costs no more than writing them did.
            waiting.drain(..*written);
            *written = 0;
        }
    }

    /// Drops the bytes to be written, because the peer will not read them.
    pub(crate) fn discard_outgoing(&mut self) {
        self.outgoing = Outgoing::default();
    }

    /// Whether the peer sends questions to the session faster than it reads the answers. Then nothing more should be
    /// read from it; otherwise the answers would fill the memory.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.outgoing.from_session > self.limit
    }

    /// Adds bytes from the peer, cut at any position.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.incoming.feed(bytes);
    }

    /// Records that the peer has closed its side.
    pub fn finish(&mut self) {
        self.has_ended = true;
    }

    /// Records that the stream broke off. The text after the last newline is dropped.
    pub fn mark_broken(&mut self) {
        self.incoming.discard_unfinished();
        self.finish();
    }

    /// Returns the number of bytes that arrived and were not decoded yet.
    pub(crate) fn unread(&self) -> usize {
        self.incoming.unread()
    }

    /// Returns the next result of the incoming bytes, if one is complete.
    ///
    /// `now` is the time at which the bytes arrived. Only the rate of stray lines depends on it.
    pub fn next(&mut self, now: Instant) -> Option<Incoming> {
        loop {
            if let Some(incoming) = self.decoded.pop_front() {
                return Some(incoming);
            }
            let before = self.outgoing.bytes.len();
            let mut decoded = Decoded {
                queue: &mut self.decoded,
                strays: &mut self.strays,
                outgoing: &mut self.outgoing.bytes,
                limit: self.limit,
                now,
            };
            match self.incoming.next() {
                Some(Frame::Line(line)) => self.dialect.decode(line, &mut decoded),
                Some(Frame::Overlong(line)) => {
                    self.dialect
                        .decode_overlong(&OverlongLine::of(&line), &mut decoded);
                }
                None if self.has_ended => match self.incoming.take_unfinished() {
                    Some(Frame::Line(line)) => self.dialect.decode_unfinished(line, &mut decoded),
                    Some(Frame::Overlong(line)) => {
                        self.dialect
                            .decode_overlong(&OverlongLine::of(&line), &mut decoded);
                    }
                    None => {
                        let dropped = self.strays.report_dropped().map(Incoming::Stray);
                        return Some(dropped.unwrap_or(Incoming::End));
                    }
                },
                None => return None,
            }
            self.outgoing.from_session += self.outgoing.bytes.len() - before;
        }
    }
}
