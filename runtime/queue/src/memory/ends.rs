//! How attempts and jobs of a queue in memory end.

use std::sync::Arc;
use std::time::Duration;

use super::state::{Phase, State, Timer};
use crate::event::EventKind;
use crate::job::{Cancelled, FinalStatus};
use crate::names::JobName;
use crate::node::{AttemptEnd, Finish, FinishResult};

impl State {
    /// Tells the end of an attempt.
    pub(super) fn finish(&mut self, finish: &Finish) -> FinishResult {
        if self.settings.is_too_large(finish) {
            let most = self.settings.max_payload;
            return FinishResult::TooLarge { most };
        }
        let Some(job) = self.jobs.get_mut(&finish.job) else {
            return FinishResult::Stale;
        };
        if job.fence != Some(finish.fence) {
            return if job.told == Some(finish.fence) {
                FinishResult::Committed
            } else {
                FinishResult::Stale
            };
        }
        job.told = Some(finish.fence);
        let name = &finish.job;
        match &finish.end {
            AttemptEnd::Over { status, result } => {
                let (status, result) = (*status, Arc::clone(result));
                self.release(name);
                self.end(name, status, result);
            }
            AttemptEnd::Again { delay, handover } => {
                job.handover = Arc::clone(handover);
                if !job.is_cancelled {
                    let kind = EventKind::Retried {
                        job: name.clone(),
                        delay: *delay,
                        handover: Arc::clone(handover),
                    };
                    self.events.add(kind, self.now);
                }
                self.release(name);
                self.try_again(name, *delay);
            }
            AttemptEnd::NotBegun => {
                self.release(name);
                self.give_back(name);
            }
        }
        FinishResult::Committed
    }

    /// Takes a job from the list of its node.
    fn release(&mut self, name: &JobName) {
        if let Some(job) = self.jobs.get(name)
            && let Phase::Running { node, .. } = job.phase
            && let Some(node) = self.nodes.get_mut(&node)
        {
            node.held.remove(name);
        }
    }

    /// Ends the attempt of a running job, which waits for another one in its old turn. A cancelled job ends.
    #[expect(
        clippy::expect_used,
        reason = "a running job has its ticket in the scheduler, and a turn"
    )]
    pub(super) fn try_again(&mut self, name: &JobName, delay: Duration) {
        self.release(name);
        let not_before = self.now.after(delay);
        let Some(job) = self.jobs.get_mut(name) else {
            return;
        };
        let Phase::Running { ticket, .. } = job.phase else {
            return;
        };
        if job.is_cancelled {
            self.end(name, FinalStatus::Cancelled, [].into());
            return;
        }
        job.fence = None;
        job.not_before = not_before;
        let turn = job.turn.expect("a running job has had its turn");
        self.running -= 1;
        self.tickets.remove(&ticket);
        // The job comes back in its turn by the same way as at first, since no node may be there for it.
        (self.scheduler.finish(ticket))
            .expect("a job that a node has claimed runs in the scheduler");
        self.wait(name, turn);
    }

    /// Ends a job, and those that need it as far as that decides.
    pub(super) fn end(&mut self, name: &JobName, status: FinalStatus, result: Arc<[u8]>) {
        let mut ending = vec![(name.clone(), status, result)];
        self.change += 1;
        while let Some((name, status, result)) = ending.pop() {
            let Some(job) = self.jobs.get_mut(&name) else {
                continue;
            };
            let phase = std::mem::replace(&mut job.phase, Phase::Ended(status));
            if let Phase::Ended(first) = phase {
                job.phase = Phase::Ended(first);
                continue;
            }
            job.fence = None;
            let needs = job.needs();
            if status == FinalStatus::Succeeded {
                // What has not succeeded may be asked for again.
                job.spec.payload = [].into();
            }
            let turn = job.turn;
            let attempts = job.attempts;
            let class = job.class;
            let dependents = std::mem::take(&mut job.dependents);
            let rate = job.spec.rate().ok().flatten();
            if let Some(turn) = turn {
                self.classes.get_mut(class).waiting.remove(&turn);
            }
            match phase {
                Phase::Running { ticket, .. } => {
                    self.running -= 1;
                    self.tickets.remove(&ticket);
                    let _only_known_tickets_end = self.scheduler.finish(ticket);
                }
                Phase::Queued(ticket) => {
                    self.tickets.remove(&ticket);
                    let _only_known_tickets_end = self.scheduler.cancel(ticket);
                }
                Phase::Needs => {
                    // Another job may have its name before they end.
                    for need in needs {
                        if let Some(need) = self.jobs.get_mut(&need) {
                            need.dependents.retain(|dependent| *dependent != name);
                        }
                    }
                }
                Phase::Parked | Phase::Ended(_) => {}
            }
            if let Some((key, _)) = rate
                && let Some((_, users)) = self.rates.get_mut(&key)
            {
                *users -= 1;
                if *users == 0 {
                    self.rates.remove(&key);
                }
            }
            self.set_give_up(&name, false);
            self.open -= 1;
            let expiry = self.now.after(self.settings.retention);
            (self.timers).insert((expiry, Timer::Expiry(name.clone())));
            if let Some(job) = self.jobs.get_mut(&name) {
                job.expires = expiry;
            }
            let kind = EventKind::Ended {
                job: name,
                status,
                attempts,
                result,
            };
            self.events.add(kind, self.now);
            for dependent in dependents {
                if status != FinalStatus::Succeeded {
                    ending.push((dependent, FinalStatus::Skipped, [].into()));
                    continue;
                }
                let Some(job) = self.jobs.get_mut(&dependent) else {
                    continue;
                };
                job.missing -= 1;
                if job.missing == 0 && matches!(job.phase, Phase::Needs) {
                    self.enter(&dependent);
                }
            }
        }
    }

    /// Cancels a job.
    pub(super) fn cancel(&mut self, name: &JobName) -> Cancelled {
        let Some(job) = self.jobs.get_mut(name) else {
            return Cancelled::Unknown;
        };
        match job.phase {
            Phase::Ended(status) => Cancelled::TooLate(status),
            Phase::Running { .. } => {
                job.is_cancelled = true;
                Cancelled::Asked
            }
            Phase::Needs | Phase::Queued(_) | Phase::Parked => {
                self.end(name, FinalStatus::Cancelled, [].into());
                Cancelled::Ended
            }
        }
    }
}
