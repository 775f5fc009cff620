//! Requests that were received and have not started.

use std::collections::VecDeque;

use crate::messages::{MessageId, Request};

/// How many bytes of requests may be queued in this process. Beyond that they stay in the pipe, and so do the cancels
/// and pings after them. So the limit is higher than what any host sends ahead.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The bytes that a request occupies besides its input.
const OVERHEAD_BYTES: usize = 256;

/// Requests that were received and have not started, first in, first out.
#[derive(Default)]
pub(super) struct RequestQueue {
    requests: VecDeque<Request>,
    /// The total size of the queued requests in bytes.
    bytes: usize,
}

impl RequestQueue {
    /// Whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether so much is queued that no more should be read from the host.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES
    }

    /// Adds a request at the end.
    pub(super) fn push(&mut self, request: Request) {
        self.bytes += size_of(&request);
        self.requests.push_back(request);
    }

    /// Takes the oldest request.
    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= size_of(&request);
        Some(request)
    }

    /// Removes the oldest request with this id. Returns whether there was one.
    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        let position = self.requests.iter().position(|request| request.id == *id);
        let request = position.and_then(|position| self.requests.remove(position));
        self.bytes -= request.as_ref().map_or(0, size_of);
        request.is_some()
    }
}

/// Returns the approximate memory that a queued request occupies.
fn size_of(request: &Request) -> usize {
    OVERHEAD_BYTES + request.input.as_str().len()
}
