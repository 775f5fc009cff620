//! What a worker is told: work, and what else it understands.

use std::time::{Duration, Instant};

use ratchet_ipc::{Cancel, Capability, Event, IpcError, MessageId, Nonce, Request, TaskName};

use super::{Live, Ping};
use crate::dispatch::{Assignment, StopReason};
use crate::job;
use crate::outcome::{Class, Failure};

impl Live {
    /// Sends an attempt to the worker.
    pub(super) fn send(&mut self, assignment: Assignment, now: Instant) {
        let begins = self.jobs.has_room();
        if self.closed || (assignment.ahead && begins && assignment.is_of_run()) {
            // It came too late, or there is none in whose place it could begin.
            return self.give_back(assignment, false, None);
        }
        match self
            .transport
            .queue(&request(&assignment, self.jobs.next_id()).into())
        {
            Ok(()) => {}
            Err(IpcError::Closed) => return self.give_back(assignment, false, None),
            Err(error) => return self.refuse(assignment, &error),
        }
        if begins && assignment.ahead {
            self.load.calls_begun += 1;
        }
        if self.jobs.is_empty() {
            self.ended_at = now;
        }
        if !self.is_proven && self.look_at.is_none() && self.process.knows_unread_input() {
            self.look_at = now.checked_add(super::LOOK_EVERY);
        }
        self.jobs.push(assignment, now);
        if let Some(filter) = &mut self.filter {
            filter.asked(now);
        }
    }

    /// Fails an attempt that cannot be sent, which is its own fault.
    fn refuse(&mut self, assignment: Assignment, error: &IpcError) {
        let failure = match error {
            IpcError::TooLarge { .. } => Failure::new(Class::TooLarge, error.to_string())
                .code(ratchet_ipc::TaskError::TOO_LARGE),
            _ => Failure::new(Class::Input, error.to_string()),
        };
        self.load.ended += 1;
        if !assignment.is_of_run() {
            self.load.calls_begun += u32::from(assignment.ahead);
            self.load.calls_ended += 1;
        }
        assignment.answer(
            Err(Box::new(failure)),
            Some(self.name.clone()),
            Duration::ZERO,
            None,
        );
    }

    /// Asks an attempt to stop, where the worker understands that; else it has its grace all the same.
    pub(super) fn ask(&mut self, id: u64, why: StopReason, grace: Duration, now: Instant) {
        let can_ask = self.can(&Capability::Cancel);
        let Some(entry) = self.jobs.get_mut(id) else {
            return;
        };
        let again = entry.asked().is_some();
        entry.ask(why, grace, now);
        if can_ask && !again {
            self.queue(Event::Cancel(Cancel {
                id: MessageId::from(id),
                reason: Some(why.as_str().to_owned()),
            }));
        }
    }

    /// Asks back what was sent ahead, all of it or one. It comes back answered as cancelled, or done
    /// after all.
    pub(super) fn recall(&mut self, only: Option<u64>) {
        if !self.can(&Capability::Cancel) {
            return;
        }
        let ids: Vec<u64> = self
            .jobs
            .waiting()
            .filter(|entry| only.is_none_or(|only| entry.id == only))
            .map(|entry| {
                entry.recalled = true;
                entry.id
            })
            .collect();
        for id in ids {
            self.queue(Event::Cancel(Cancel {
                id: MessageId::from(id),
                reason: Some("recalled".to_owned()),
            }));
        }
    }

    pub(super) fn ping(&mut self, now: Instant) {
        let Some(every) = self.config.ping else {
            return;
        };
        self.pings += 1;
        let nonce = self.pings;
        self.ping_at = None;
        self.pinged = now.checked_add(every).map(|by| Ping { nonce, by });
        self.queue(Event::Ping(Nonce { nonce }));
    }

    /// Queues an event. One that cannot be said is not missed: the writer is broken, and whoever
    /// receives next is told.
    pub(super) fn queue(&mut self, event: Event) {
        if let Err(error) = self.transport.queue(&event.into()) {
            tracing::debug!(worker = %self.name, %error, "the worker could not be told");
        }
    }
}

fn request(assignment: &Assignment, id: u64) -> Request {
    let (task, input) = match &assignment.job.work {
        job::Work::Task { task, input } => (task.clone(), input.clone()),
        // Only tasks are given to workers.
        job::Work::Command(_)
        | job::Work::Closure(_)
        | job::Work::Refused { .. }
        | job::Work::Ended(_) => (
            TaskName::from(assignment.job.task_name()),
            ratchet_ipc::Payload::null(),
        ),
    };
    let timeouts = assignment.job.terms.timeouts;
    let limit = timeouts.soft.or(timeouts.hard);
    Request {
        attempt: assignment.attempt,
        timeout_ms: limit.map(milliseconds),
        host: assignment.job.host.clone(),
        key: Some(assignment.job.id.clone()),
        ..Request::new(id, task, input)
    }
}

/// As many as there are at least: none would be no time at all.
fn milliseconds(limit: Duration) -> u64 {
    let whole = limit.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(whole).unwrap_or(u64::MAX)
}
