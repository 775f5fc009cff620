//! Compares the clocks with a model that looks at every job at every moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{AfterAttempt, Decision, SchedulerSettings, Workers};
use super::*;
use crate::ids::SlotNumber;
use crate::scheduling::{
    Ageing, Kind, Limit, LimitId, ParallelizationHint, Priority, SchedulerRequest,
};

/// The time between two moments of the model. Delays are multiples of it.
const MOMENT: Duration = Duration::from_millis(100);

const SLOTS: u32 = 3;
/// The resources that the caller counts.
const COUNTED_ELSEWHERE: [&str; 2] = ["gpu", "license"];

#[derive(Debug, Clone)]
enum Step {
    Push {
        hint: usize,
        host: usize,
        limited: bool,
        slots: u32,
        kind: u16,
    },
    End(prop::sample::Index),
    Retry(prop::sample::Index, u32),
    Postpone(prop::sample::Index, u32),
    Cancel(prop::sample::Index),
    Ahead(u16),
    BeginAhead(prop::sample::Index),
    PutBack,
    Park(prop::sample::Index),
    Unpark(prop::sample::Index),
    Pause(bool),
    Hold(bool),
    Slots(u32),
    Workers(u32),
    Absent(Workers),
    /// No worker is free, because this resource of the caller is used up.
    Lack(u16),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    let push = (
        0_usize..6,
        0_usize..2,
        prop::bool::weighted(0.3),
        1_u32..3,
        0_u16..2,
    );
    let push = push.prop_map(|(hint, host, limited, slots, kind)| Step::Push {
        hint,
        host,
        limited,
        slots,
        kind,
    });
    prop_oneof![
        8 => push,
        6 => any::<prop::sample::Index>().prop_map(Step::End),
        2 => (any::<prop::sample::Index>(), 0_u32..4).prop_map(|(which, delay)| Step::Retry(which, delay)),
        1 => (any::<prop::sample::Index>(), 1_u32..4).prop_map(|(which, delay)| Step::Postpone(which, delay)),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => (0_u16..2).prop_map(Step::Ahead),
        2 => any::<prop::sample::Index>().prop_map(Step::BeginAhead),
        1 => Just(Step::PutBack),
        3 => any::<prop::sample::Index>().prop_map(Step::Park),
        2 => any::<prop::sample::Index>().prop_map(Step::Unpark),
        2 => any::<bool>().prop_map(Step::Pause),
        2 => any::<bool>().prop_map(Step::Hold),
        1 => (2_u32..5).prop_map(Step::Slots),
        2 => (0_u32..3).prop_map(Step::Workers),
        1 => prop_oneof![Just(Workers::Away), Just(Workers::Held), Just(Workers::Full)].prop_map(Step::Absent),
        1 => (0_u16..2).prop_map(Step::Lack),
        12 => Just(Step::Pass),
    ]
}

/// The state of a job in the model.
struct Known {
    hint: ParallelizationHint,
    host: &'static str,
    limited: bool,
    kind: u16,
    state: State,
    /// The moment until which its delay is that of a retry.
    retry_until: Instant,
    is_parked: bool,
    waited: BTreeMap<Blocker, Duration>,
}

#[derive(PartialEq)]
enum State {
    Waiting,
    Ahead,
    Running(Vec<SlotNumber>),
}

struct Life {
    scheduler: Scheduler,
    jobs: BTreeMap<Ticket, Known>,
    limit: LimitId,
    now: Instant,
    slots: u32,
    free_workers: u32,
    /// Why there are no workers, if the reason is not that all of them are busy.
    absent: Option<Workers>,
    /// The number of the resource of the caller that jobs with a worker lack.
    lack: Option<u16>,
    is_paused: bool,
    is_held: bool,
}

impl Life {
    fn new() -> Self {
        let now = tokio::time::Instant::now().into_std();
        let settings = SchedulerSettings {
            slots: SLOTS,
            // No job falls due, so that nothing is kept for any.
            ageing: Ageing {
                step: Duration::from_hours(10_000),
            },
            limits: vec![("db".to_owned(), Limit::max(1).unwrap())],
            ..SchedulerSettings::default()
        };
        let mut scheduler = Scheduler::new(settings, now).unwrap();
        scheduler.keep_waits(COUNTED_ELSEWHERE.map(SmolStr::new_static).to_vec());
        scheduler.set_workers(Kind(1), Workers::Free(1));
        Self {
            limit: scheduler.limit("db").unwrap(),
            scheduler,
            jobs: BTreeMap::new(),
            now,
            slots: SLOTS,
            free_workers: 1,
            absent: None,
            lack: None,
            is_paused: false,
            is_held: false,
        }
    }

    fn tickets(&self, wanted: impl Fn(&Known) -> bool) -> Vec<Ticket> {
        let jobs = self.jobs.iter().filter(|(_, known)| wanted(known));
        jobs.map(|(ticket, _)| *ticket).collect()
    }

    fn running(&self) -> Vec<Ticket> {
        self.tickets(|known| matches!(known.state, State::Running(_)))
    }

    fn blocker(&self, ticket: Ticket, known: &Known) -> Blocker {
        if self.scheduler.is_delayed(ticket) && self.now < known.retry_until {
            return Blocker::Retry;
        }
        if self.is_paused {
            return Blocker::Paused;
        }
        if self.scheduler.is_delayed(ticket) {
            return Blocker::Breaker;
        }
        if known.is_parked {
            return Blocker::Cache;
        }
        let is_absent = |why| known.kind == 1 && self.absent == Some(why);
        if is_absent(Workers::Away) {
            return Blocker::Connect;
        }
        let is_global = known.hint == ParallelizationHint::GlobalExclusive;
        let wants_host = is_global || known.hint == ParallelizationHint::HostExclusive;
        let is_locked = |(host, locked): (&str, bool)| host == known.host && locked;
        if wants_host && self.scheduler.hosts().any(is_locked) {
            return Blocker::Host;
        }
        if is_global && !self.scheduler.global_available() {
            return Blocker::Global;
        }
        let is_used_up = self
            .scheduler
            .limits(self.now)
            .any(|(_, state)| state.left < 1.0);
        if known.limited && is_used_up {
            return Blocker::Limit("db".into());
        }
        let is_rated = matches!(known.hint, ParallelizationHint::RateLimited { .. });
        if is_rated
            && self
                .scheduler
                .keys(self.now)
                .any(|(_, state)| state.tokens < 1.0)
        {
            return Blocker::Rate;
        }
        if let Some(resource) = self.lack.filter(|_| known.kind == 1) {
            let name = COUNTED_ELSEWHERE[usize::from(resource)];
            return Blocker::Resource(name.into());
        }
        if self.is_held || is_absent(Workers::Held) {
            return Blocker::Admission;
        }
        if known.kind == 1 && self.free_workers == 0 && !is_absent(Workers::Full) {
            return Blocker::Worker;
        }
        Blocker::Slot
    }

    /// Lets a moment pass.
    fn pass(&mut self) {
        let waiting = self
            .jobs
            .iter()
            .filter(|(_, known)| !matches!(known.state, State::Running(_)));
        let charged: Vec<_> = waiting
            .map(|(ticket, known)| (*ticket, self.blocker(*ticket, known)))
            .collect();
        for (ticket, blocker) in charged {
            let known = self.jobs.get_mut(&ticket).unwrap();
            *known.waited.entry(blocker).or_default() += MOMENT;
        }
        self.now += MOMENT;
        self.scheduler.pass_time(self.now);
    }

    fn pop(&mut self) {
        if self.is_paused || self.is_held {
            return;
        }
        while let Decision::Start(ticket) = self.scheduler.pop(self.now) {
            if self.jobs[&ticket].kind == 1 {
                self.free_workers -= 1;
            }
            self.starts(ticket, false);
        }
    }

    /// Checks a job that begins: it has waited for what the model says, and no other job has its slots. One that
    /// inherits its slot has the number of a job that may have begun when there were more slots.
    fn starts(&mut self, ticket: Ticket, inherits_slot: bool) {
        assert!(!self.jobs[&ticket].is_parked, "a parked job does not start");
        self.leaves(ticket);
        let id = self.scheduler.find(ticket).unwrap();
        let first = self.scheduler.slot(ticket).unwrap();
        let more = self
            .scheduler
            .more_numbers
            .get(&id)
            .cloned()
            .unwrap_or_default();
        let mine: Vec<SlotNumber> = std::iter::once(first).chain(more).collect();
        let held: BTreeSet<SlotNumber> = self
            .jobs
            .values()
            .filter_map(|known| match &known.state {
                State::Running(numbers) => Some(numbers),
                State::Waiting | State::Ahead => None,
            })
            .flatten()
            .copied()
            .collect();
        for number in &mine {
            assert!(!held.contains(number), "two at once hold slot {number}");
            assert!(
                number.get() <= self.slots || inherits_slot || !self.is_full_by_choice(),
                "{number}"
            );
        }
        assert!(mine.is_sorted(), "{mine:?}");
        self.jobs.get_mut(&ticket).unwrap().state = State::Running(mine);
    }

    /// Whether no more slots are filled than there are, so that every number is in range. After slots were taken away,
    /// running jobs keep theirs, and pass them on to those that begin in their place.
    fn is_full_by_choice(&self) -> bool {
        self.scheduler.load().slots_used <= self.slots
    }

    /// Checks a job that leaves: it has waited for what the model says.
    fn leaves(&mut self, ticket: Ticket) {
        let mut waits = Waits::default();
        self.scheduler.take_waits(ticket, &mut waits).unwrap();
        let waited = std::mem::take(&mut self.jobs.get_mut(&ticket).unwrap().waited);
        let expected: Waits = waited.into_iter().collect();
        assert_eq!(waits, expected);
    }

    fn freed(&mut self, kind: u16) {
        if kind == 1 {
            self.free_workers += 1;
            self.tell_workers();
        }
    }

    fn tell_workers(&mut self) {
        let workers = self.absent.unwrap_or(Workers::Free(self.free_workers));
        self.scheduler.set_workers(Kind(1), workers);
        self.scheduler.set_lack(Kind(1), self.lack);
    }

    fn push(&mut self, hint: usize, host: usize, limited: bool, slots: u32, kind: u16) {
        let hint = [
            ParallelizationHint::FullyParallel,
            ParallelizationHint::FullyParallel,
            ParallelizationHint::HostExclusive,
            ParallelizationHint::GlobalExclusive,
            ParallelizationHint::rate_limited(3.0),
            ParallelizationHint::Alone,
        ][hint]
            .clone();
        let host = ["web1", "web2"][host];
        let limits = [self.limit];
        let request = SchedulerRequest {
            hint: &hint,
            host: Some(host),
            limits: if limited { &limits } else { &[] },
            slots,
            kind: Kind(kind),
            priority: Priority::Normal,
            ..SchedulerRequest::new("task")
        };
        let ticket = self.scheduler.push(request, self.now).unwrap();
        self.jobs.insert(
            ticket,
            Known {
                hint,
                host,
                limited,
                kind,
                state: State::Waiting,
                retry_until: self.now,
                is_parked: false,
                waited: BTreeMap::new(),
            },
        );
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Push {
                hint,
                host,
                limited,
                slots,
                kind,
            } => self.push(*hint, *host, *limited, *slots, *kind),
            Step::End(which) => {
                if let Some(ticket) = choose(*which, &self.running()) {
                    self.scheduler.finish(ticket).unwrap();
                    let known = self.jobs.remove(&ticket).unwrap();
                    self.freed(known.kind);
                }
            }
            Step::Retry(which, delay) => {
                if let Some(ticket) = choose(*which, &self.running()) {
                    let until = self.now + MOMENT * *delay;
                    self.scheduler.retry(ticket, until).unwrap();
                    let known = self.jobs.get_mut(&ticket).unwrap();
                    known.state = State::Waiting;
                    known.retry_until = until;
                    let kind = known.kind;
                    self.freed(kind);
                }
            }
            Step::Postpone(which, delay) => {
                let mut waiting = self.tickets(|known| known.state == State::Waiting);
                waiting.retain(|ticket| !self.scheduler.is_delayed(*ticket));
                if let Some(ticket) = choose(*which, &waiting) {
                    let until = self.now + MOMENT * *delay;
                    self.scheduler.postpone(ticket, until).unwrap();
                }
            }
            Step::Cancel(which) => {
                let waiting = self.tickets(|known| known.state == State::Waiting);
                if let Some(ticket) = choose(*which, &waiting) {
                    self.leaves(ticket);
                    self.scheduler.cancel(ticket).unwrap();
                    self.jobs.remove(&ticket);
                }
            }
            Step::Ahead(kind) => {
                if let Some(ticket) = self.scheduler.pop_ahead(Kind(*kind), self.now) {
                    self.jobs.get_mut(&ticket).unwrap().state = State::Ahead;
                }
            }
            Step::BeginAhead(which) => self.begin_ahead(*which),
            Step::PutBack => {
                let ahead = self.tickets(|known| known.state == State::Ahead);
                if let Some(ticket) = ahead.first() {
                    self.scheduler.put_back(*ticket).unwrap();
                    self.jobs.get_mut(ticket).unwrap().state = State::Waiting;
                }
            }
            Step::Park(which) => {
                let waiting = self.tickets(|known| known.state == State::Waiting);
                if let Some(ticket) = choose(*which, &waiting) {
                    self.scheduler.park(ticket).unwrap();
                    self.jobs.get_mut(&ticket).unwrap().is_parked = true;
                }
            }
            Step::Unpark(which) => {
                if let Some(ticket) = choose(*which, &self.tickets(|known| known.is_parked)) {
                    self.scheduler.unpark(ticket).unwrap();
                    self.jobs.get_mut(&ticket).unwrap().is_parked = false;
                }
            }
            Step::Pause(is_paused) => {
                self.is_paused = *is_paused;
                self.scheduler.set_paused(*is_paused);
            }
            Step::Hold(is_held) => {
                self.is_held = *is_held;
                self.scheduler.set_held(*is_held);
            }
            Step::Slots(slots) => {
                if self.scheduler.set_slots(*slots).is_ok() {
                    self.slots = *slots;
                }
            }
            Step::Workers(free) => {
                (self.free_workers, self.absent, self.lack) = (*free, None, None);
                self.tell_workers();
            }
            Step::Absent(why) => {
                (self.absent, self.lack) = (Some(*why), None);
                self.tell_workers();
            }
            Step::Lack(resource) => {
                (self.absent, self.lack) = (Some(Workers::Full), Some(*resource));
                self.tell_workers();
            }
            Step::Pass => self.pass(),
        }
    }

    /// Begins a job that was sent ahead, in the place and in the slot of another of its kind.
    fn begin_ahead(&mut self, which: prop::sample::Index) {
        let Some(ahead) = self
            .tickets(|known| known.state == State::Ahead)
            .first()
            .copied()
        else {
            return;
        };
        let kind = self.jobs[&ahead].kind;
        let mut before = self.running();
        before.retain(|ticket| self.jobs[ticket].kind == kind);
        let Some(ended) = choose(which, &before) else {
            return;
        };
        let slot = self.scheduler.slot(ended);
        self.scheduler
            .begin_after(ended, AfterAttempt::Over, ahead)
            .unwrap();
        self.jobs.remove(&ended);
        assert_eq!(self.scheduler.slot(ahead), slot);
        self.starts(ahead, true);
    }
}

fn choose(which: prop::sample::Index, tickets: &[Ticket]) -> Option<Ticket> {
    (!tickets.is_empty()).then(|| *which.get(tickets))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn each_moment_is_charged_to_the_first_blocker_and_no_slot_is_held_twice(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut life = Life::new();
        for step in &steps {
            life.take(step);
            life.pop();
        }
        for ticket in life.tickets(|known| !matches!(known.state, State::Running(_))) {
            life.leaves(ticket);
        }
    }
}
