//! Requests that have come and have not begun.

use std::collections::VecDeque;

use crate::messages::{MessageId, Request};

/// How much may wait here to be begun. Beyond it requests wait in the pipe, and what the host says
/// behind them with them, so it is more than any host sends ahead.
const BYTES: usize = 64 * 1024 * 1024;

/// What a request costs beside its input.
const ENVELOPE_BYTES: usize = 256;

/// Requests that have come and have not begun, first in, first out.
pub(super) struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self {
            requests: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES
    }

    pub(super) fn push(&mut self, request: Request) {
        self.bytes += cost(&request);
        self.requests.push_back(request);
    }

    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= cost(&request);
        Some(request)
    }

    /// Says whether it was there.
    pub(super) fn remove(&mut self, id: &MessageId) -> bool {
        let place = self.requests.iter().position(|request| request.id == *id);
        let request = place.and_then(|place| self.requests.remove(place));
        self.bytes -= request.as_ref().map_or(0, cost);
        request.is_some()
    }
}

/// About how much memory a request takes while it waits.
fn cost(request: &Request) -> usize {
    ENVELOPE_BYTES + request.input.as_str().len()
}
