//! Traces which jobs wait for the claims of their hints, take them, and release them.

use ratchet_ipc::HostName;

use super::entry::EntryState;
use super::queue::Queue;
use crate::ids::Ticket;
use crate::scheduling::{Acquisition, AcquisitionChange, are_traced};

/// Traces the changes of the claims of hints. Without a subscriber it does nothing.
#[derive(Debug, Default)]
pub(super) struct AcquisitionTrace {
    /// The jobs that were queued in this turn. They are only kept if a subscriber is there.
    queued: Vec<Ticket>,
}

impl AcquisitionTrace {
    /// Notes a job that was queued. Whether it has to wait shows at the end of the turn.
    pub(super) fn note_queued(&mut self, ticket: Ticket) {
        if are_traced() {
            self.queued.push(ticket);
        }
    }

    /// Traces the jobs that were queued in the turn that ends, and that have to wait.
    pub(super) fn end_turn(&mut self, queue: &Queue) {
        for ticket in std::mem::take(&mut self.queued) {
            let entry = queue.find(ticket);
            if entry.is_some_and(|entry| entry.state() == EntryState::Waiting) {
                trace_acquisition(queue, ticket, AcquisitionChange::Waits);
            }
        }
    }
}

/// Traces a change of the claims of a job's hint, if a subscriber is there.
pub(super) fn trace_acquisition(queue: &Queue, ticket: Ticket, change: AcquisitionChange) {
    if !are_traced() {
        return;
    }
    if let (Some(entry), Some(hint)) = (queue.find(ticket), queue.scheduler().hint_name(ticket)) {
        let acquisition = Acquisition {
            hint,
            host: entry.job.host.as_ref().map(HostName::as_str),
            task: entry.job.task_name(),
            job: Some(entry.job.id.as_str()),
        };
        acquisition.tell(change);
    }
}
