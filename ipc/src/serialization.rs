//! Converts bytes to messages and back. Only this module knows the format on the wire.
//!
//! A [`Codec`] splits a stream of bytes into lines and enforces the limits. A [`Dialect`] is one session with one peer:
//! it knows the meaning of a line. Nothing here does I/O, so all of it can be tested, and fuzzed, as a value.
//!
//! # Other dialects
//!
//! A dialect may keep state, and each line that it reads may have any of three results: messages for the layers above,
//! bytes that are sent back to the peer ([`Decoded::send`]), and a change of readiness ([`Decoded::ready`],
//! [`Decoded::refuse`]). So the layers above need no change for a protocol that numbers its requests differently, whose
//! peer asks questions, or that begins with a handshake of its own:
//!
//! | here | [`BazelJson`] | [`Mcp`] |
//! |---|---|---|
//! | [`Request`](crate::Request) | `{"arguments":[..],"requestId":7}`, arguments from `input` | `tools/call` with `name` and `arguments` |
//! | [`Response`](crate::Response), result | `exitCode` 0 | `result` |
//! | [`Response`](crate::Response), error | another `exitCode`: code `exit`, message from `output` | `error`, or a `result` with `isError` |
//! | [`Event::Cancel`](crate::Event::Cancel) | `{"requestId":7,"cancel":true}`, answered by `wasCancelled` | `notifications/cancelled` and a ping |
//! | [`Event::Progress`](crate::Event::Progress) | never sent | `notifications/progress` |
//! | handshake | none | `initialize`, then `tools/list` |
//! | a ping of the peer | never sent | the session answers it, and the layers above never see it |

mod bazel;
mod codec;
mod decode;
mod dialect;
mod framing;
mod header;
mod incoming;
mod lines;
mod mcp;
mod native;
mod stray;

pub use bazel::BazelJson;
pub use codec::{Codec, Limits};
pub use dialect::{Decoded, Dialect, OverlongLine};
pub use incoming::{Incoming, Malformed, TooLarge};
pub use lines::{LineFormat, Lines};
pub use mcp::Mcp;
pub use native::Native;
pub use stray::{StrayLine, StrayMode};

#[cfg(test)]
mod tests;
