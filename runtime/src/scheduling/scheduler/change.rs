//! What may change while jobs wait and run.

use std::time::Instant;

use super::super::claims::{Kind, LimitId};
use super::super::gates::{Hold, Level};
use super::super::limits::{Limit, Quota};
use super::{Scheduler, Workers};
use crate::Error;

impl Scheduler {
    /// Changes the number of slots. Running jobs keep theirs, even if they are more.
    ///
    /// Refused if a job that waits or runs weighs more than that: it could never run again.
    pub fn set_slots(&mut self, slots: u32) -> Result<(), Error> {
        let heaviest = self.heavy.last_key_value().map_or(1, |(weight, _)| *weight);
        if slots < heaviest {
            return Err(Error::ImpossibleSlots {
                asked: heaviest,
                total: slots,
            });
        }
        let before = self.free();
        self.total = slots;
        self.reopen_weights(before);
        Ok(())
    }

    /// Says how many workers of a kind are free. A kind nobody spoke of has any number.
    pub fn set_workers(&mut self, kind: Kind, workers: Workers) {
        let kind = self.ensure_kind(kind.0);
        self.kinds[kind].workers = workers;
        if !workers.are_none() {
            self.reopen(self.kinds[kind].gate);
        }
    }

    /// How many workers of a kind are free, as far as was said.
    pub fn workers(&self, kind: Kind) -> Workers {
        let kind = self.kinds.get(usize::from(kind.0));
        kind.map_or(Workers::Unlimited, |kind| kind.workers)
    }

    /// Changes a limit. What is held stays held, what was taken stays taken.
    ///
    /// A max stays a max and a rate stays a rate.
    pub fn set_limit(&mut self, id: LimitId, limit: Limit, now: Instant) -> Result<(), Error> {
        self.tell_time(now);
        let now = self.now;
        let Some(named) = self.limits.get_mut(id.0 as usize).filter(|_| id.0 > 0) else {
            return Err(Error::UnknownLimit {
                name: format!("#{}", id.0),
                suggestion: None,
            });
        };
        match (&mut named.level, limit) {
            (Level::Max { max, .. }, Limit::Max(new)) => *max = new,
            (Level::Rate(bucket), Limit::Rate(quota)) => bucket.change(quota, now),
            (level, second) => {
                return Err(Error::LimitConflict {
                    name: named.name.to_string(),
                    first: level.limit().to_string(),
                    second: second.to_string(),
                });
            }
        }
        let gate = named.gate;
        self.reopen(gate);
        Ok(())
    }

    /// Changes the rate of a key, whatever its jobs declare, from now on. Use it where an API tells how often it may be called.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ratchet_runtime::{Decision, Quota, ParallelizationHint, Rate, Request, Scheduler, Settings};
    ///
    /// let start = Instant::now();
    /// let mut scheduler = Scheduler::new(Settings::default(), start)?;
    /// let hint = ParallelizationHint::rate_limited(10.0);
    /// let call = || Request { hint: &hint, ..Request::new("ec2") };
    /// let first = scheduler.push(call(), start)?;
    /// let second = scheduler.push(call(), start)?;
    /// assert_eq!(scheduler.pop(start), Decision::Start(first));
    /// scheduler.finish(first)?;
    /// // The API has answered that it takes one call a second.
    /// scheduler.set_rate("ec2", Quota::new(Rate::per_second(1.0)?, 1)?, start);
    /// let later = |millis| start + Duration::from_millis(millis);
    /// assert_eq!(scheduler.pop(later(900)), Decision::WaitUntil(later(1000)));
    /// assert_eq!(scheduler.pop(later(1000)), Decision::Start(second));
    /// # Ok::<(), ratchet_runtime::Error>(())
    /// ```
    pub fn set_rate(&mut self, key: &str, quota: Quota, now: Instant) {
        self.tell_time(now);
        self.changed_rates.insert(key.into(), quota);
        let now = self.now;
        let Some(&place) = self.keys.get(key) else {
            return;
        };
        if let Hold::Key { bucket, .. } = &mut self.places[place].hold {
            bucket.change(quota, now);
        }
        self.refresh_place(place);
    }
}
