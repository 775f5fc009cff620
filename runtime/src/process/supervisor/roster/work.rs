//! Who gets what: attempts on their way to workers, and back.

use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use super::super::Acquirer;
use super::super::call::without_worker;
use super::super::member::Member;
use super::{Roster, filters};
use crate::executor::crew::Report;
use crate::outcome::{Class, Failure};
use crate::process::Lease;
use crate::scheduling::{Candidate, WorkerNumber};
use crate::worker::orders::{Key, Order, ReplyTo, Work};
use crate::worker::state::{Move, WorkerState};

/// How long a worker may be idle while another has work in its pipe that it does not get to.
pub(super) const RECALL_AFTER: Duration = Duration::from_millis(2);

impl Roster {
    /// An attempt comes in.
    pub(in crate::process::supervisor) fn take(&mut self, work: Work, now: Instant) {
        if let Some(failure) = &self.broken {
            let failure = failure.clone();
            return work.answer(Err(failure), None, Duration::ZERO, None);
        }
        self.called |= !work.has_slot();
        if work.ahead {
            return match self.stage(work, now) {
                None => {}
                Some(work) => give_back(work),
            };
        }
        self.pending.push_back(work);
        self.hand_out(now);
        self.return_outdated();
    }

    /// Gives back what no worker has room for, if the place that it was sent to is gone.
    pub(super) fn return_outdated(&mut self) {
        let mut number = 0;
        while let Some(work) = self.pending.get(number) {
            if !work.is_outdated(self.edition) {
                number += 1;
            } else if let Some(outdated) = self.pending.remove(number) {
                give_back(outdated);
            }
        }
    }

    /// An attempt comes back with which nobody is charged.
    pub(in crate::process::supervisor) fn take_back(
        &mut self,
        number: u64,
        work: Work,
        begun: bool,
        now: Instant,
    ) {
        let mut leased = false;
        if let Some(member) = self.member(number) {
            member.staged -= u32::from(work.ahead && !begun && member.staged > 0);
            member.recalled &= member.staged > 0;
            member.make(Move::GaveBack(1), now);
            leased = member.leased;
        }
        if work.has_slot() {
            give_back(work);
        } else if !work.is_wanted() {
            // Its cancellation may have missed it on the way.
        } else if leased {
            // It was meant for this worker and no other.
            without_worker(work);
        } else {
            let ahead = false;
            self.take(Work { ahead, ..work }, now);
        }
    }

    /// Puts an attempt into the pipe of a worker that is busy.
    fn stage(&mut self, work: Work, now: Instant) -> Option<Work> {
        let (config, estimate) = (&self.config, &self.estimate);
        let (executor, only) = (work.executor(), self.only_executor());
        let roomiest = self
            .members
            .iter_mut()
            .filter(|member| {
                member.takes_work() && !member.leased && !member.recalled && member.room() == 0
            })
            .filter(|member| executor.is_none() || (executor == only && member.is_all_of(executor)))
            .filter(|member| member.staged < filters::ahead(member, config, estimate))
            .min_by_key(|member| member.staged);
        match roomiest {
            Some(member) => member.give(work, now).err(),
            None => Some(work),
        }
    }

    /// Gives what waits to whoever has room.
    pub(in crate::process::supervisor) fn hand_out(&mut self, now: Instant) {
        while let Some(acquirer) = self.acquirers.pop_front() {
            if acquirer.answer.is_closed() {
                continue;
            }
            // One whose successor is on the way would leave under its lease.
            let free = self.members.iter_mut().find(|member| {
                matches!(member.state, WorkerState::Ready { .. })
                    && member.takes_work()
                    && !member.leased
                    && !member.succeeded
            });
            let Some(member) = free else {
                self.acquirers.push_front(acquirer);
                break;
            };
            member.leased = true;
            let Acquirer { answer, supervisor } = acquirer;
            let lease = Lease::new(self.kind, member.number, member.name.clone(), supervisor);
            if let Err(Ok(unwanted)) = answer.send(Ok(lease)) {
                unwanted.forget();
                member.leased = false;
            }
        }
        while let Some(work) = self.pending.pop_front() {
            let host = work.job.host.clone();
            if let Some(member) = self.choose(host.as_ref().map(ratchet_ipc::HostName::as_str)) {
                if let Err(work) = member.give(work, now) {
                    self.pending.push_front(work);
                }
                continue;
            }
            // Whoever called the pool holds no slot, so its work can lie in a pipe as well.
            let work = if work.has_slot() {
                Some(work)
            } else {
                let ahead = true;
                self.stage(Work { ahead, ..work }, now)
            };
            if let Some(work) = work {
                let ahead = false;
                self.pending.push_front(Work { ahead, ..work });
                break;
            }
        }
    }

    fn choose(&mut self, key: Option<&str>) -> Option<&mut Member> {
        self.candidates.clear();
        for member in &self.members {
            if member.room() > 0 {
                self.candidates.push(Candidate {
                    worker: WorkerNumber(member.number),
                    in_flight: member.running(),
                    capacity: member.concurrency,
                    weight: 1,
                });
            }
        }
        let chosen = self.balancer.choose(&self.candidates, key)?;
        let number = self.candidates.get(chosen)?.worker.0;
        self.member(number)
    }

    /// Work that no worker has yet is not wanted any more.
    pub(in crate::process::supervisor) fn drop_pending(&mut self, key: Key) -> bool {
        let Some(place) = self.pending.iter().position(|work| work.key() == key) else {
            return false;
        };
        if let Some(work) = self.pending.remove(place) {
            let failure = Failure::new(Class::Cancelled, "cancelled before it began");
            work.answer(Err(Box::new(failure)), None, Duration::ZERO, None);
        }
        true
    }

    /// A short job must not lie behind a long one while another worker has nothing to do.
    pub(super) fn recall(&mut self, now: Instant) {
        if self
            .bored_since()
            .is_none_or(|since| now.saturating_duration_since(since) < RECALL_AFTER)
        {
            return;
        }
        for member in &mut self.members {
            if member.staged > 0 && member.gives_back && !member.recalled && !member.leased {
                member.recalled = true;
                member.order(Order::Recall);
            }
        }
    }

    /// Since when somebody has been idle while another has work that it does not get to.
    pub(super) fn bored_since(&self) -> Option<Instant> {
        let lies = |member: &Member| member.staged > 0 && member.gives_back && !member.recalled;
        if !self.members.iter().any(lies) {
            return None;
        }
        self.members.iter().filter_map(Member::idle_since).min()
    }
}

/// An attempt goes back to its executor, uncharged.
fn give_back(work: Work) {
    match work.reply {
        ReplyTo::Loop {
            ticket, reporter, ..
        } => reporter.tell(Report::Returned { ticket }),
        ReplyTo::Caller { .. } => {
            // Never: callers' work is handed out again.
            let failure = Failure::new(Class::Crash, "the worker gave the job back");
            work.answer(
                Err::<Payload, _>(Box::new(failure)),
                None,
                Duration::ZERO,
                None,
            );
        }
    }
}
