//! What a worker is told: work, and what else it understands.

use std::time::{Duration, Instant};

use ratchet_ipc::{Cancel, Capability, Event, IpcError, MessageId, Nonce, Request, TaskName};

use super::in_flight::Why;
use super::{Live, Ping};
use crate::executor::crew::Report;
use crate::job;
use crate::outcome::{Class, Failure};
use crate::worker::orders::{News, Work};

impl Live {
    /// Sends an attempt to the worker.
    pub(super) fn send(&mut self, work: Work, now: Instant) {
        let begins = self.jobs.has_room();
        if self.closed || (work.ahead && begins && work.has_slot()) {
            // It came too late, or there is none in whose place it could begin.
            return self.tell(News::Back { work, begun: false });
        }
        match self
            .transport
            .queue(&request(&work, self.jobs.next_id()).into())
        {
            Ok(()) => {}
            Err(IpcError::Closed) => return self.tell(News::Back { work, begun: false }),
            Err(error) => return self.refuse(work, &error),
        }
        if begins {
            let worker = Some(self.name.clone());
            work.report(|ticket| Report::Started { ticket, worker });
            self.worked.begun += u32::from(work.ahead);
        }
        if self.jobs.is_empty() {
            self.ended_at = now;
        }
        self.jobs.push(work, now);
        if let Some(filter) = &mut self.filter {
            filter.asked(now);
        }
    }

    /// The worker cannot be sent this attempt, which is the attempt's own fault.
    fn refuse(&mut self, work: Work, error: &IpcError) {
        let failure = match error {
            IpcError::TooLarge { .. } => Failure::new(Class::TooLarge, error.to_string())
                .code(ratchet_ipc::TaskError::TOO_LARGE),
            _ => Failure::new(Class::Input, error.to_string()),
        };
        self.worked.begun += u32::from(work.ahead);
        self.worked.ended += 1;
        work.answer(
            Err(Box::new(failure)),
            Some(self.name.clone()),
            Duration::ZERO,
            None,
        );
    }

    /// Asks an attempt to stop, where the worker understands that; else it has its grace all the same.
    pub(super) fn ask(&mut self, id: u64, why: Why, grace: Duration, now: Instant) {
        let can_ask = self.can(&Capability::Cancel);
        let Some(entry) = self.jobs.get_mut(id) else {
            return;
        };
        let again = entry.asked().is_some();
        entry.ask(why, grace, now);
        if can_ask && !again {
            self.queue(Event::Cancel(Cancel {
                id: MessageId::from(id),
                reason: Some(why.reason().to_owned()),
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

fn request(work: &Work, id: u64) -> Request {
    let (task, input) = match &work.job.work {
        job::Work::Task { task, input } => (task.clone(), input.clone()),
        // Only tasks are given to workers.
        job::Work::Command(_)
        | job::Work::Closure(_)
        | job::Work::Refused { .. }
        | job::Work::Ended(_) => (
            TaskName::from(work.job.task_name()),
            ratchet_ipc::Payload::null(),
        ),
    };
    let timeouts = work.job.terms.timeouts;
    let limit = timeouts.soft.or(timeouts.hard);
    Request {
        attempt: work.number,
        timeout_ms: limit.map(milliseconds),
        host: work.job.host.clone(),
        key: Some(work.job.id.clone()),
        ..Request::new(id, task, input)
    }
}

/// As many as there are at least: none would be no time at all.
fn milliseconds(limit: Duration) -> u64 {
    let whole = limit.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(whole).unwrap_or(u64::MAX)
}
