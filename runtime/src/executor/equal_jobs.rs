//! Which jobs of the queue are equal, and which of them computes the result for all.
//!
//! Jobs are equal if they have the same cache key. They wait in the queue like all other jobs, and nobody is the leader
//! from the start:
//!
//! ```text
//!           +----- starts, or is sent ahead: takes the permit -----+
//!           |                                                      v
//!   nobody computes                                       one job computes
//!   all wait for their start                              the others wait for the result
//!           ^                                                 |          |
//!           +-- waits again (a retry, a return), or fails ----+          +-- succeeds: the group is over
//! ```
//!
//! So an urgent job never waits for a less urgent equal one that has not started, nor for the host, the rate or the
//! breaker of that one.

use std::collections::{BTreeSet, HashMap};

use ratchet_caching::Key;

use crate::ids::Ticket;

/// Knows the equal jobs of a queue, and has the permit of each cache key that nobody computes. `P` is the permit.
///
/// At most one job of a key computes, because there is one permit for it.
#[derive(Debug)]
pub(super) struct EqualJobs<P> {
    groups: HashMap<Key, Group<P>>,
}

/// The jobs of one cache key.
#[derive(Debug)]
struct Group<P> {
    /// The jobs that wait: for their start while nobody computes, and else for the result.
    waiting: BTreeSet<Ticket>,
    computed: Computed<P>,
}

/// Who computes the result of a key.
#[derive(Debug)]
enum Computed<P> {
    /// Nobody does. The first job that starts gets this permit.
    ByNobody(P),
    /// This job does, and has the permit. It was sent ahead, runs, or has a result that is not confirmed yet.
    By(Ticket),
}

impl<P> Default for EqualJobs<P> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
        }
    }
}

impl<P> EqualJobs<P> {
    /// Whether jobs with this key are queued, or one of them computes.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.groups.contains_key(key)
    }

    /// Returns the job that computes the result of a key, if one does.
    pub(super) fn computing(&self, key: &Key) -> Option<Ticket> {
        match self.groups.get(key)?.computed {
            Computed::By(ticket) => Some(ticket),
            Computed::ByNobody(_) => None,
        }
    }

    /// Adds a job that was queued. Returns whether it has to wait for the result, because an equal job computes it.
    ///
    /// A job without a permit may only be added if the key is known. The cache gives another permit for a known key
    /// after a result of the key was invalidated. It replaces the old one, whose result would not be stored, unless a job
    /// computes already.
    pub(super) fn join(&mut self, key: Key, ticket: Ticket, permit: Option<P>) -> bool {
        use std::collections::hash_map::Entry;
        match self.groups.entry(key) {
            Entry::Occupied(group) => {
                let group = group.into_mut();
                group.waiting.insert(ticket);
                match (&mut group.computed, permit) {
                    (Computed::ByNobody(old), Some(new)) => *old = new,
                    (Computed::ByNobody(_), None) => {}
                    (Computed::By(_), _) => return true,
                }
            }
            Entry::Vacant(group) => {
                #[expect(
                    clippy::expect_used,
                    reason = "the cache gives the first job of a key a permit"
                )]
                let permit = permit.expect("a job without a permit has an equal job in the queue");
                group.insert(Group {
                    waiting: BTreeSet::from([ticket]),
                    computed: Computed::ByNobody(permit),
                });
            }
        }
        false
    }

    /// Gives the permit to a job that starts or is sent ahead. Returns the permit, and the jobs that wait for the result
    /// from now on.
    pub(super) fn start(&mut self, key: &Key, ticket: Ticket) -> (P, Vec<Ticket>) {
        let group = self.group(key);
        let was_waiting = group.waiting.remove(&ticket);
        assert!(was_waiting, "a job that starts has waited");
        match std::mem::replace(&mut group.computed, Computed::By(ticket)) {
            Computed::ByNobody(permit) => (permit, group.waiting.iter().copied().collect()),
            #[expect(
                clippy::panic,
                reason = "two attempts at one result must never run at the same time"
            )]
            Computed::By(other) => {
                panic!("{ticket:?} starts while {other:?} computes the same result")
            }
        }
    }

    /// Takes the permit back from a job that computed and waits again, under the ticket `again`. Returns the jobs that
    /// wait for their start again, without this one.
    pub(super) fn wait_again(
        &mut self,
        key: &Key,
        (ticket, again): (Ticket, Ticket),
        permit: P,
    ) -> Vec<Ticket> {
        let group = self.computed_by(key, ticket);
        group.computed = Computed::ByNobody(permit);
        let others = group.waiting.iter().copied().collect();
        group.waiting.insert(again);
        others
    }

    /// Takes the permit back from a job that computed and ends without a result. Returns the jobs that wait for their
    /// start again.
    pub(super) fn failed(&mut self, key: &Key, ticket: Ticket, permit: P) -> Vec<Ticket> {
        let group = self.computed_by(key, ticket);
        if group.waiting.is_empty() {
            self.groups.remove(key);
            return Vec::new();
        }
        group.computed = Computed::ByNobody(permit);
        group.waiting.iter().copied().collect()
    }

    /// Removes the group of a key whose result was computed by this job, which has the permit. Returns the jobs that the
    /// caller has to answer. A job with this key that is queued later gets a new permit from the cache.
    pub(super) fn succeeded(&mut self, key: &Key, ticket: Ticket) -> BTreeSet<Ticket> {
        let waiting = std::mem::take(&mut self.computed_by(key, ticket).waiting);
        self.groups.remove(key);
        waiting
    }

    /// Removes a waiting job that leaves the queue. The last one takes the permit of its key with it.
    pub(super) fn leave(&mut self, key: &Key, ticket: Ticket) {
        let group = self.group(key);
        let was_waiting = group.waiting.remove(&ticket);
        assert!(was_waiting, "a job that leaves the queue was in it");
        if group.waiting.is_empty() && matches!(group.computed, Computed::ByNobody(_)) {
            self.groups.remove(key);
        }
    }

    fn computed_by(&mut self, key: &Key, ticket: Ticket) -> &mut Group<P> {
        let group = self.group(key);
        assert!(
            matches!(group.computed, Computed::By(by) if by == ticket),
            "only the job that computes has the permit"
        );
        group
    }

    #[expect(
        clippy::expect_used,
        reason = "a group lives as long as a job of it waits or computes"
    )]
    fn group(&mut self, key: &Key) -> &mut Group<P> {
        let group = self.groups.get_mut(key);
        group.expect("the jobs of a key have their group")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::{Rc, Weak};

    use proptest::prelude::*;

    use super::*;

    /// The number of keys in the model.
    const KEYS: usize = 3;

    #[derive(Debug, Clone)]
    enum Step {
        Join { key: usize, with_permit: bool },
        Start(prop::sample::Index),
        WaitAgain(prop::sample::Index, bool),
        Fail(prop::sample::Index),
        Succeed(prop::sample::Index),
        Leave(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let which = any::<prop::sample::Index>;
        prop_oneof![
            4 => (0..KEYS, any::<bool>()).prop_map(|(key, with_permit)| Step::Join { key, with_permit }),
            3 => which().prop_map(Step::Start),
            1 => (which(), any::<bool>()).prop_map(|(which, moves)| Step::WaitAgain(which, moves)),
            1 => which().prop_map(Step::Fail),
            1 => which().prop_map(Step::Succeed),
            1 => which().prop_map(Step::Leave),
        ]
    }

    /// The state of a job in the model: its key, and whether it computes, waits for its start or waits for the result.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Is {
        Ready,
        Parked,
        Computing,
    }

    /// Keeps what the queue would do with the answers, and a permit that is alive as long as somebody has it.
    #[derive(Default)]
    struct Model {
        jobs: EqualJobs<Rc<()>>,
        known: BTreeMap<Ticket, (usize, Is)>,
        held: BTreeMap<Ticket, Rc<()>>,
        permits: Vec<(usize, Weak<()>)>,
        tickets: u32,
    }

    impl Model {
        fn ticket(&mut self) -> Ticket {
            self.tickets += 1;
            Ticket {
                index: self.tickets,
                generation: 0,
            }
        }

        fn permit(&mut self, key: usize) -> Rc<()> {
            let permit = Rc::new(());
            self.permits.push((key, Rc::downgrade(&permit)));
            permit
        }

        fn choose(&self, which: prop::sample::Index, is: &[Is]) -> Option<(Ticket, usize)> {
            let chosen = self
                .known
                .iter()
                .filter(|(_, (_, state))| is.contains(state));
            let chosen: Vec<(Ticket, usize)> =
                chosen.map(|(ticket, (key, _))| (*ticket, *key)).collect();
            (!chosen.is_empty()).then(|| *which.get(&chosen))
        }

        /// Changes the state of all jobs of a key that wait, which have to be exactly those that were returned.
        fn turn_over(&mut self, key: usize, from: Is, to: Is, returned: &[Ticket]) {
            let of_key = |(_, state): &(usize, Is)| *state == from;
            let expected: Vec<Ticket> = self
                .known
                .iter()
                .filter(|(_, job)| job.0 == key && of_key(job))
                .map(|(ticket, _)| *ticket)
                .collect();
            assert_eq!(returned, expected);
            for ticket in returned {
                self.known.insert(*ticket, (key, to));
            }
        }

        fn take(&mut self, step: &Step) {
            match step {
                Step::Join { key, with_permit } => {
                    let name = name(*key);
                    let ticket = self.ticket();
                    let permit =
                        (*with_permit || !self.jobs.knows(&name)).then(|| self.permit(*key));
                    let computes = self.known.values().any(|job| *job == (*key, Is::Computing));
                    assert_eq!(self.jobs.join(name, ticket, permit), computes);
                    let is = if computes { Is::Parked } else { Is::Ready };
                    self.known.insert(ticket, (*key, is));
                }
                Step::Start(which) => {
                    let Some((ticket, key)) = self.choose(*which, &[Is::Ready]) else {
                        return;
                    };
                    let (permit, others) = self.jobs.start(&name(key), ticket);
                    self.held.insert(ticket, permit);
                    self.known.insert(ticket, (key, Is::Computing));
                    self.turn_over(key, Is::Ready, Is::Parked, &others);
                }
                Step::WaitAgain(which, moves) => {
                    let Some((ticket, key)) = self.choose(*which, &[Is::Computing]) else {
                        return;
                    };
                    let again = if *moves { self.ticket() } else { ticket };
                    let permit = self.held.remove(&ticket).unwrap();
                    let others = self.jobs.wait_again(&name(key), (ticket, again), permit);
                    self.known.remove(&ticket);
                    self.turn_over(key, Is::Parked, Is::Ready, &others);
                    self.known.insert(again, (key, Is::Ready));
                }
                Step::Fail(which) => {
                    let Some((ticket, key)) = self.choose(*which, &[Is::Computing]) else {
                        return;
                    };
                    let permit = self.held.remove(&ticket).unwrap();
                    let others = self.jobs.failed(&name(key), ticket, permit);
                    self.known.remove(&ticket);
                    self.turn_over(key, Is::Parked, Is::Ready, &others);
                }
                Step::Succeed(which) => {
                    let Some((ticket, key)) = self.choose(*which, &[Is::Computing]) else {
                        return;
                    };
                    let others: Vec<Ticket> = self
                        .jobs
                        .succeeded(&name(key), ticket)
                        .into_iter()
                        .collect();
                    self.held.remove(&ticket);
                    self.known.remove(&ticket);
                    self.turn_over(key, Is::Parked, Is::Ready, &others);
                    self.known.retain(|_, job| job.0 != key);
                }
                Step::Leave(which) => {
                    let Some((ticket, key)) = self.choose(*which, &[Is::Ready, Is::Parked]) else {
                        return;
                    };
                    self.jobs.leave(&name(key), ticket);
                    self.known.remove(&ticket);
                }
            }
        }

        /// Checks that each key with a job has one permit and others have none, and who computes.
        fn check(&self) {
            for key in 0..KEYS {
                let of_key = self.known.iter().filter(|(_, job)| job.0 == key);
                let jobs: Vec<(Ticket, Is)> = of_key.map(|(at, job)| (*at, job.1)).collect();
                let permits = self.permits.iter();
                let alive = permits.filter(|(of, permit)| *of == key && permit.strong_count() > 0);
                assert_eq!(alive.count(), usize::from(!jobs.is_empty()), "{jobs:?}");
                assert_eq!(self.jobs.knows(&name(key)), !jobs.is_empty());
                let computing: Vec<Ticket> = jobs
                    .iter()
                    .filter(|(_, is)| *is == Is::Computing)
                    .map(|(ticket, _)| *ticket)
                    .collect();
                assert!(computing.len() <= 1, "{computing:?}");
                assert_eq!(self.jobs.computing(&name(key)), computing.first().copied());
                let wrong = if computing.is_empty() {
                    Is::Parked
                } else {
                    Is::Ready
                };
                assert!(jobs.iter().all(|(_, is)| *is != wrong), "{jobs:?}");
            }
        }
    }

    fn name(key: usize) -> Key {
        Key::of(&[u8::try_from(key).unwrap()])
    }

    proptest! {
        #[test]
        fn of_equal_jobs_one_computes_at_a_time_and_each_key_has_one_permit(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut model = Model::default();
            for step in &steps {
                model.take(step);
                model.check();
            }
        }
    }

    #[test]
    #[should_panic(expected = "computes the same result")]
    fn a_second_start_of_one_key_is_loud() {
        let mut model = Model::default();
        let tickets = [model.ticket(), model.ticket()];
        let permit = model.permit(0);
        let _ = model.jobs.join(name(0), tickets[0], Some(permit));
        let _ = model.jobs.join(name(0), tickets[1], None);
        for ticket in tickets {
            let _permit = model.jobs.start(&name(0), ticket);
        }
    }
}
