//! How a connection sends requests and events to the worker.

use std::time::{Duration, Instant};

use ratchet_ipc::{Cancel, Capability, Event, IpcError, MessageId, Nonce, Payload, Request};

use super::RunningWorker;
use crate::dispatch::{Assignment, StopReason};
use crate::ids::SlotNumber;
use crate::job::Work;
use crate::outcome::{Class, Failure};
use crate::scheduling::ResourceShare;

impl RunningWorker {
    /// Sends an attempt to the worker.
    pub(super) fn send(&mut self, mut assignment: Assignment, now: Instant) {
        let begins = self.jobs.has_room();
        if self.takes_no_work || (assignment.ahead && begins && assignment.is_of_run()) {
            // The attempt came too late, or it was sent ahead and no attempt is left in whose place it could begin.
            return self.give_back(assignment, false, None);
        }
        assignment.slot = self.jobs.slot_of(&assignment);
        let starts_at = self.input_end();
        match self
            .transport
            .queue(&request(&assignment, self.jobs.next_id()).into())
        {
            Ok(()) => {}
            Err(IpcError::Closed) => return self.give_back(assignment, false, None),
            Err(error) if begins => return self.refuse(assignment, &error),
            Err(error) => return self.refuse_ahead(assignment, &error, now),
        }
        if begins {
            self.report.count_begin(&assignment);
        }
        if self.jobs.is_empty() {
            self.report.note_busy(now);
        }
        if self.process.view().is_some() {
            self.read_proof.plan_check(now);
        }
        self.jobs.push(assignment, starts_at, now);
        let is_only = self.jobs.len() == 1;
        if let Some(filter) = &mut self.filter {
            filter.asked(is_only, now);
        }
    }

    /// Returns the number of bytes that the worker was sent or will be sent, if they are counted.
    fn input_end(&self) -> Option<u64> {
        let written = self.process.view()?.written_input()?;
        Some(written + self.transport.unsent_bytes() as u64)
    }

    /// Fails an attempt whose request cannot be written, for example because its input is too large.
    fn refuse(&mut self, assignment: Assignment, error: &IpcError) {
        self.report.count_end(&assignment, false);
        assignment.answer(
            Err(Box::new(unsent(error))),
            Some(self.name.clone()),
            Duration::ZERO,
            None,
        );
    }

    /// Fails an attempt that was sent ahead and whose request cannot be written, when it begins.
    fn refuse_ahead(&mut self, assignment: Assignment, error: &IpcError, now: Instant) {
        let id = self.jobs.next_id();
        self.jobs.push(assignment, None, now);
        self.jobs.answer_early(id, Err(Box::new(unsent(error))));
    }

    /// Asks an attempt to stop if the worker understands `cancel`. The grace until the kill begins in any case.
    #[expect(
        clippy::expect_used,
        reason = "callers take the id from the list of attempts in the same step"
    )]
    pub(super) fn ask(&mut self, id: u64, why: StopReason, grace: Duration, now: Instant) {
        let can_ask = self.can(&Capability::Cancel);
        let entry =
            (self.jobs.get_mut(id)).expect("only an attempt that the worker has is asked to stop");
        let again = entry.asked().is_some();
        entry.ask(why, grace, now);
        if can_ask && !again {
            self.queue(Event::Cancel(Cancel {
                id: MessageId::from(id),
                reason: Some(why.as_str().to_owned()),
            }));
        }
    }

    /// Asks the worker to give back all attempts that were sent ahead, or only one. Each is answered as cancelled, or
    /// is performed after all.
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

    /// Sends a ping, if one is due.
    pub(super) fn ping(&mut self, now: Instant) {
        if let Some(nonce) = self.pings.send(now) {
            self.queue(Event::Ping(Nonce { nonce }));
        }
    }

    /// Queues an event for the worker. If that fails, the pipe is broken, and the next read reports it.
    pub(super) fn queue(&mut self, event: Event) {
        if let Err(error) = self.transport.queue(&event.into()) {
            tracing::debug!(worker = %self.name, %error, "an event could not be sent to the worker");
        }
    }
}

/// Returns the failure of an attempt whose request cannot be written.
fn unsent(error: &IpcError) -> Failure {
    match error {
        IpcError::TooLarge { .. } => {
            Failure::new(Class::TooLarge, error.to_string()).code(ratchet_ipc::TaskError::TOO_LARGE)
        }
        _ => Failure::new(Class::Input, error.to_string()),
    }
}

/// Makes the request for an attempt.
fn request(assignment: &Assignment, id: u64) -> Request {
    let Work::Task { task, input, .. } = &assignment.job.work else {
        unreachable!("a run gives workers tasks alone, and a pool refuses other jobs of callers")
    };
    let timeouts = assignment.job.terms.timeouts;
    let limit = timeouts.soft.or(timeouts.hard);
    Request {
        attempt: assignment.attempt,
        timeout_ms: limit.map(milliseconds),
        host: assignment.job.host.clone(),
        key: Some(assignment.job.id.clone()),
        slot: assignment.slot.map(SlotNumber::get),
        resources: assignment.resources.as_deref().map(resources),
        traceparent: (assignment.trace).map(|span| span.to_string().into_boxed_str()),
        ..Request::new(id, task.clone(), input.clone())
    }
}

/// Converts the resources of an attempt to the form that a worker gets: a list of identities, or a number. An identity
/// that is written as a whole number is sent as one.
fn resources(shares: &[ResourceShare]) -> Payload {
    use serde_json::{Map, Value};
    let identity = |identity: &str| match identity.parse::<u64>() {
        Ok(number) if number.to_string() == identity => Value::from(number),
        _ => Value::from(identity),
    };
    let value = |share: &ResourceShare| {
        if share.has_identities() {
            share.identities().map(identity).collect()
        } else {
            Value::from(share.units())
        }
    };
    let shares = shares.iter();
    let told: Map<String, Value> = shares
        .map(|share| (share.name().to_owned(), value(share)))
        .collect();
    #[expect(
        clippy::expect_used,
        reason = "names, texts and numbers can always be written as JSON"
    )]
    Payload::from_value(&Value::Object(told)).expect("a map of plain values is JSON")
}

/// Returns whole milliseconds, rounded up and at least one: a timeout of 0 ms would mean no time at all.
fn milliseconds(limit: Duration) -> u64 {
    let whole = limit.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(whole).unwrap_or(u64::MAX)
}
