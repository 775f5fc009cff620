//! The end of an attempt, with its result.

use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use super::times::WallClock;
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::outcome::{AttemptDetail, AttemptEnd, AttemptUsage, Failure};

/// An attempt that has ended: its result, and where and how long it ran.
#[derive(Debug)]
pub(super) struct EndedAttempt {
    /// The result, or why there is none.
    pub(super) result: Result<Payload, Box<Failure>>,
    /// The worker that performed the attempt; `None` if no worker did.
    pub(super) worker: Option<WorkerName>,
    /// How long the attempt ran, by the clock of work.
    pub(super) ran: Duration,
    /// The resource usage of the attempt, as far as it is known.
    pub(super) usage: Option<Box<AttemptUsage>>,
    /// When the attempt began; `None` if it never did.
    pub(super) began: Option<Instant>,
    /// The first of the slots that the attempt held.
    pub(super) slot: Option<SlotNumber>,
    /// The place where the attempt ran; `None` for the local place.
    pub(super) place: Option<PlaceName>,
    /// Whether the result may still be refuted.
    pub(super) provisional: bool,
}

impl EndedAttempt {
    /// Makes the end of a job that does not end with an attempt: it had none, or waited for another one.
    pub(super) fn none(result: Result<Payload, Box<Failure>>) -> Self {
        Self {
            result,
            worker: None,
            ran: Duration::ZERO,
            usage: None,
            began: None,
            slot: None,
            place: None,
            provisional: false,
        }
    }

    /// Returns the attempt in the form in which the outcome of its job lists it if another attempt follows.
    pub(super) fn detail(&self, number: u32, end: AttemptEnd, wall: &WallClock) -> AttemptDetail {
        #[expect(
            clippy::expect_used,
            reason = "the begin of an attempt is recorded before its end is settled"
        )]
        let began = self.began.expect("an attempt that has ended has begun");
        AttemptDetail {
            number,
            slot: self.slot,
            place: self.place.clone(),
            worker: self.worker.clone(),
            started: wall.at(began),
            duration: self.ran,
            usage: self.usage.as_deref().copied(),
            end,
            failure: self.result.as_ref().err().cloned(),
        }
    }
}
