//! What the loop of a run is told from outside.

use ratchet_resilience::shutdown::Phase;
use tokio::sync::oneshot;

use super::snapshot::Snapshot;
use crate::Error;
use crate::scheduling::Limit;

/// Tells the loop of a run to do something.
#[derive(Debug)]
pub(super) enum RunOrder {
    Stop(Phase),
    Hold(Option<String>),
    Pause(bool),
    SetSlots(u32, oneshot::Sender<Result<(), Error>>),
    SetLimit(String, Limit, oneshot::Sender<Result<(), Error>>),
    Snapshot(oneshot::Sender<Snapshot>),
}
