//! The seats of a pool: which of its workers gets an attempt, and how much lies ahead of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Estimate;
use crate::dispatch::{FilterNews, Offer, Order, WorkerLink, WorkerNumber};
use crate::ids::WorkerName;
use crate::scheduling::{Balancer, Candidate};
use crate::worker::config::{Language, PoolConfig};

/// How long a worker may be idle while another one has attempts in its pipe that it has not begun.
const RECALL_AFTER: Duration = Duration::from_millis(2);

/// Identifies a worker among those that were offered; small, and used again once the worker is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeatId(u32);

/// The workers of a pool that were offered, with the attempts that each has.
///
/// A plain value with one owner at a time: the loop of the run that has the pool, or the supervisor while callers use the
/// pool directly. The owner tells it what begins and ends, and asks it where the next attempt goes.
#[derive(Debug)]
pub(crate) struct Seats {
    config: Arc<PoolConfig>,
    workers: Vec<Option<Seated>>,
    /// Seats that are free, over all workers.
    free: u64,
    /// Free seats of workers that are proven to read their requests.
    proven: u64,
    balancer: Box<dyn Balancer>,
    /// Kept between choices, for its memory.
    candidates: Vec<Candidate>,
    estimate: Estimate,
    /// When attempts were last asked back.
    recalled_at: Option<Instant>,
}

#[derive(Debug)]
struct Seated {
    offer: Offer,
    /// How many attempts it works on.
    running: u32,
    /// How many lie in its pipe.
    staged: u32,
    is_withdrawn: bool,
    is_leased: bool,
    /// It was asked to give back what was staged, and has not given back all of it.
    is_recalled: bool,
    /// Since when it has had nothing at all.
    idle_since: Option<Instant>,
}

impl Seated {
    fn takes_attempts(&self) -> bool {
        !self.is_withdrawn && !self.is_leased
    }

    fn room(&self) -> u32 {
        if self.takes_attempts() {
            self.offer.concurrency.saturating_sub(self.running)
        } else {
            0
        }
    }

    fn is_empty(&self) -> bool {
        self.running == 0 && self.staged == 0
    }

    /// Whether it has attempts in its pipe that it can be asked to give back.
    fn can_give_back(&self) -> bool {
        self.staged > 0 && self.offer.gives_back && !self.is_recalled && !self.is_leased
    }
}

impl Seats {
    pub(crate) fn new(config: Arc<PoolConfig>) -> Self {
        Self {
            balancer: config.balance.balancer(),
            config,
            workers: Vec::new(),
            free: 0,
            proven: 0,
            candidates: Vec::new(),
            estimate: Estimate::default(),
            recalled_at: None,
        }
    }

    /// Changes one worker and keeps the counts of free seats true.
    #[expect(
        clippy::expect_used,
        reason = "whoever has a seat gives it back once, and its worker is forgotten only after that"
    )]
    fn change<T>(&mut self, seat: SeatId, change: impl FnOnce(&mut Seated) -> T) -> T {
        let seated = self.workers[seat.0 as usize]
            .as_mut()
            .expect("a seat is asked for only while its worker is known");
        let before = u64::from(seated.room());
        let was_proven = seated.offer.is_proven;
        let result = change(seated);
        let after = u64::from(seated.room());
        self.free = self.free - before + after;
        if was_proven {
            self.proven -= before;
        }
        if seated.offer.is_proven {
            self.proven += after;
        }
        if seated.is_withdrawn && seated.is_empty() {
            let number = seated.offer.number;
            self.workers[seat.0 as usize] = None;
            self.balancer.forget(number);
        }
        result
    }

    #[expect(
        clippy::expect_used,
        reason = "whoever has a seat gives it back once, and its worker is forgotten only after that"
    )]
    fn get(&self, seat: SeatId) -> &Seated {
        self.workers[seat.0 as usize]
            .as_ref()
            .expect("a seat is asked for only while its worker is known")
    }

    fn ids(&self) -> impl Iterator<Item = (SeatId, &Seated)> {
        let seated = (0..).map(SeatId).zip(&self.workers);
        seated.filter_map(|(id, worker)| Some((id, worker.as_ref()?)))
    }

    fn find(&self, number: WorkerNumber) -> Option<SeatId> {
        let mut seated = self.ids();
        seated.find_map(|(id, one)| (one.offer.number == number).then_some(id))
    }

    /// A worker takes attempts from now on, or has said more of itself.
    #[expect(
        clippy::expect_used,
        reason = "the workers of a pool are counted by a u32"
    )]
    pub(crate) fn offered(&mut self, offer: Offer, now: Instant) {
        if let Some(seat) = self.find(offer.number) {
            return self.change(seat, |seated| {
                let is_proven = seated.offer.is_proven || offer.is_proven;
                seated.offer = Offer { is_proven, ..offer };
            });
        }
        let vacant = self.workers.iter().position(Option::is_none);
        let at = vacant.unwrap_or(self.workers.len());
        let seated = Seated {
            offer,
            running: 0,
            staged: 0,
            // The counts of free seats change when it is let in below.
            is_withdrawn: true,
            is_leased: false,
            is_recalled: false,
            idle_since: Some(now),
        };
        if at == self.workers.len() {
            self.workers.push(Some(seated));
        } else {
            self.workers[at] = Some(seated);
        }
        let seat = u32::try_from(at).expect("a pool has fewer than four thousand million workers");
        self.change(SeatId(seat), |seated| seated.is_withdrawn = false);
    }

    /// A worker has shown that it reads its requests.
    pub(crate) fn proven(&mut self, number: WorkerNumber) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |seated| seated.offer.is_proven = true);
        }
    }

    /// Something was found out about a filter.
    pub(crate) fn filter_changed(&mut self, number: WorkerNumber, news: FilterNews) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |seated| seated.offer.filter.learn(news));
        }
    }

    /// A worker takes no more attempts; it is forgotten once it has none.
    pub(crate) fn withdrawn(&mut self, number: WorkerNumber) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |seated| seated.is_withdrawn = true);
        }
    }

    /// How many attempts can begin at once.
    pub(crate) fn free(&self) -> u32 {
        u32::try_from(self.free).unwrap_or(u32::MAX)
    }

    /// How many of them surely begin as soon as they are sent.
    pub(crate) fn free_and_proven(&self) -> u32 {
        u32::try_from(self.proven).unwrap_or(u32::MAX)
    }

    /// Takes a seat for an attempt that begins now. Attempts of one `key` do better on one worker.
    ///
    /// A worker that is proven goes before one that is not: whether the latter turns to the attempt at once is not known.
    pub(crate) fn take(&mut self, key: Option<&str>) -> Option<SeatId> {
        let only_proven = self.proven > 0;
        self.candidates.clear();
        for seated in self.workers.iter().flatten() {
            if seated.room() > 0 && (seated.offer.is_proven || !only_proven) {
                self.candidates.push(Candidate {
                    worker: seated.offer.number,
                    in_flight: seated.running,
                    capacity: seated.offer.concurrency,
                    weight: 1,
                });
            }
        }
        let chosen = self.balancer.choose(&self.candidates, key)?;
        let seat = self.find(self.candidates[chosen].worker)?;
        self.change(seat, |seated| {
            seated.running += 1;
            seated.idle_since = None;
        });
        Some(seat)
    }

    /// Takes a place in the pipe of a busy worker.
    pub(crate) fn take_ahead(&mut self) -> Option<SeatId> {
        let (seat, _) = self
            .ids()
            .filter(|(_, one)| {
                let is_busy = one.takes_attempts() && one.room() == 0;
                is_busy && !one.is_recalled && one.staged < self.most_ahead(one)
            })
            .min_by_key(|(_, one)| one.staged)?;
        self.change(seat, |seated| seated.staged += 1);
        Some(seat)
    }

    fn most_ahead(&self, seated: &Seated) -> u32 {
        let Offer {
            concurrency,
            gives_back,
            filter,
            ..
        } = seated.offer;
        // The first answer of a filter tells whether its lines can be counted at all, so nothing follows it closely.
        if matches!(self.config.language, Language::Lines { .. }) && !filter.is_aligned {
            return filter.silent_ahead;
        }
        let wanted = self.estimate.ahead(&self.config, concurrency, gives_back);
        wanted.max(filter.silent_ahead)
    }

    /// How many attempts could lie in pipes at most.
    pub(crate) fn room_ahead(&self) -> u32 {
        let seated = self.ids().filter(|(_, one)| one.takes_attempts());
        // What workers say of themselves can be any number.
        seated.fold(0, |sum, (_, one)| sum.saturating_add(self.most_ahead(one)))
    }

    pub(crate) fn link(&self, seat: SeatId) -> &WorkerLink {
        &self.get(seat).offer.link
    }

    pub(crate) fn name(&self, seat: SeatId) -> &WorkerName {
        &self.get(seat).offer.name
    }

    pub(crate) fn number(&self, seat: SeatId) -> WorkerNumber {
        self.get(seat).offer.number
    }

    pub(crate) fn is_proven(&self, seat: SeatId) -> bool {
        self.get(seat).offer.is_proven
    }

    /// An attempt that was performed has ended or come back, and `next` of those in the pipe began in its place.
    pub(crate) fn ended(&mut self, seat: SeatId, next: bool, now: Instant) {
        self.change(seat, |seated| {
            seated.running -= 1;
            if next {
                seated.begin_staged();
            }
            seated.note_idle(now);
        });
    }

    /// An attempt that lay in the pipe has come back.
    pub(crate) fn unstaged(&mut self, seat: SeatId, now: Instant) {
        self.change(seat, |seated| {
            seated.staged -= 1;
            seated.is_recalled &= seated.staged > 0;
            seated.note_idle(now);
        });
    }

    /// The worker of a seat takes no more attempts.
    pub(crate) fn withdraw(&mut self, seat: SeatId) {
        self.change(seat, |seated| seated.is_withdrawn = true);
    }

    /// So many attempts have ended, on which workers worked so long in all.
    pub(crate) fn learn(&mut self, jobs: u32, busy: Duration) {
        self.estimate.learn(jobs, busy);
    }

    /// When [`recall`](Self::recall) has something to do.
    pub(crate) fn recall_at(&self) -> Option<Instant> {
        if !self.workers.iter().flatten().any(Seated::can_give_back) {
            return None;
        }
        let seated = self.workers.iter().flatten();
        let idle = seated.filter(|one| one.takes_attempts());
        let since = idle.filter_map(|one| one.idle_since).min()?;
        // Not at once again, should the same attempts have been sent ahead once more.
        since
            .max(self.recalled_at.unwrap_or(since))
            .checked_add(RECALL_AFTER)
    }

    /// Asks back what lies in pipes while another worker is idle: a short job must not lie behind a long one.
    pub(crate) fn recall(&mut self, now: Instant) {
        if self.recall_at().is_none_or(|at| now < at) {
            return;
        }
        self.recalled_at = Some(now);
        for seated in self.workers.iter_mut().flatten() {
            if seated.can_give_back() {
                seated.is_recalled = true;
                seated.offer.link.order(Order::Recall);
            }
        }
    }

    /// Reserves an idle worker for one caller.
    pub(crate) fn lease(&mut self, may_leave: impl Fn(WorkerNumber) -> bool) -> Option<Offer> {
        let (seat, _) = self.ids().find(|(_, one)| {
            one.takes_attempts() && one.is_empty() && !may_leave(one.offer.number)
        })?;
        self.change(seat, |seated| seated.is_leased = true);
        Some(self.get(seat).offer.clone())
    }

    /// A lease has ended.
    pub(crate) fn release(&mut self, number: WorkerNumber) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |seated| seated.is_leased = false);
        }
    }

    /// Takes a seat of a leased worker for its holder.
    pub(crate) fn take_leased(&mut self, number: WorkerNumber) -> Option<SeatId> {
        let seat = self.find(number)?;
        if self.get(seat).is_withdrawn {
            return None;
        }
        self.change(seat, |seated| {
            seated.running += 1;
            seated.idle_since = None;
        });
        Some(seat)
    }

    pub(crate) fn is_leased(&self, number: WorkerNumber) -> bool {
        self.find(number)
            .is_some_and(|seat| self.get(seat).is_leased)
    }

    /// Whether a worker has attempts, begun or not.
    pub(crate) fn has_attempts(&self, number: WorkerNumber) -> bool {
        self.find(number)
            .is_some_and(|seat| !self.get(seat).is_empty())
    }

    /// So many of the attempts in the pipe of a worker have begun, and then so many have ended.
    pub(crate) fn calls_changed(
        &mut self,
        number: WorkerNumber,
        begun: u32,
        ended: u32,
        now: Instant,
    ) {
        if (begun, ended) == (0, 0) {
            return;
        }
        if let Some(seat) = self.find(number) {
            self.change(seat, |seated| {
                (0..begun).for_each(|_| seated.begin_staged());
                seated.running -= ended;
                seated.note_idle(now);
            });
        }
    }

    /// An attempt has come back from a worker, which had turned to it or not.
    pub(crate) fn call_returned(&mut self, number: WorkerNumber, begun: bool, now: Instant) {
        match self.find(number) {
            Some(seat) if begun => self.ended(seat, false, now),
            Some(seat) => self.unstaged(seat, now),
            None => {}
        }
    }
}

impl Seated {
    fn begin_staged(&mut self) {
        self.staged -= 1;
        self.running += 1;
        self.is_recalled &= self.staged > 0;
    }

    fn note_idle(&mut self, now: Instant) {
        if self.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }
}
