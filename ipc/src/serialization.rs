//! Bytes to messages and back: the only module that knows what stands on the wire.
//!
//! A [`Codec`] cuts a stream of bytes into lines and enforces the limits. A [`Dialect`] is one session with one peer: it
//! knows what a line means. Nothing here does input or output, so all of it can be tested, and fuzzed, as a value.
//!
//! # Other dialects
//!
//! A dialect may keep state, and each line that it reads may have any of three results: messages for the layers above,
//! bytes that go back to the peer ([`Decoded::send`]), and a change of readiness ([`Decoded::ready`],
//! [`Decoded::refuse`]). So the layers above need no change for a protocol that numbers its requests in another way, that
//! has questions of its own, or that begins with a handshake of its own. Two protocols that other tools speak over stdio
//! would fit like this:
//!
//! | here | Bazel's JSON worker protocol | JSON-RPC 2.0, as MCP speaks it |
//! |---|---|---|
//! | [`Request`](crate::Request) | `{"arguments":[..],"requestId":7}`, arguments from `input` | `{"jsonrpc":"2.0","id":7,"method":task,"params":input}` |
//! | [`Response`](crate::Response), result | `{"exitCode":0,"output":"..","requestId":7}` | `{"id":7,"result":..}` |
//! | [`Response`](crate::Response), error | `exitCode` other than 0: code `exit`, message from `output` | `{"id":7,"error":{"code":..,"message":..}}` |
//! | [`Event::Cancel`](crate::Event::Cancel) | `{"requestId":7,"cancel":true}`, answered by `wasCancelled` | `notifications/cancelled` with `requestId` |
//! | [`Event::Progress`](crate::Event::Progress) | never sent | `notifications/progress` |
//! | [`Dialect::handshake_kind`] | [`HandshakeKind::None`] | [`HandshakeKind::Session`] |
//! | handshake | none | [`Dialect::open`] sends `initialize`; its result makes the session send `notifications/initialized` by [`Decoded::send`] and report [`Decoded::ready`] |
//! | a ping of the peer | never sent | the session answers it by [`Decoded::send`], and no layer above hears of it |

mod codec;
mod decode;
mod dialect;
mod framing;
mod header;
mod incoming;
mod lines;
mod native;
mod stray;

#[cfg(doc)]
use crate::protocol::HandshakeKind;
pub use codec::{Codec, Limits};
pub use dialect::{Decoded, Dialect};
pub use incoming::{Incoming, Malformed, TooLarge};
pub use lines::{LineFormat, Lines};
pub use native::Native;
pub use stray::{StrayLine, StrayMode};

#[cfg(test)]
mod tests;
