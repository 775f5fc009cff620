//! The seats of a pool: which of its workers gets the next attempt, and how many attempts wait in each worker's pipe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Estimate;
use crate::dispatch::{FilterChange, Offer, Order, WorkerLink, WorkerNumber};
use crate::ids::WorkerName;
use crate::scheduling::{Balancer, Candidate};
use crate::worker::config::{PoolConfig, WorkerProtocol};

/// How long a worker may be idle while another one has attempts in its pipe that it has not begun.
const RECALL_AFTER: Duration = Duration::from_millis(2);

/// Identifies an offered worker by its index. The index is reused once the worker has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeatId(u32);

/// Counts the attempts of each offered worker of a pool, and chooses a worker for the next attempt.
///
/// A plain value with one owner at a time: the loop of the run that uses the pool, or the supervisor while callers use
/// the pool directly. The owner reports what begins and ends, and asks where the next attempt goes.
#[derive(Debug)]
pub(crate) struct Seats {
    config: Arc<PoolConfig>,
    /// The offered workers by their numbers; `None` where a worker is gone.
    workers: Vec<Option<OfferedWorker>>,
    /// How many seats are free, over all workers.
    free: u64,
    /// How many of the free seats belong to workers that have shown that they read their requests.
    proven: u64,
    balancer: Box<dyn Balancer>,
    /// The candidates of the last choice, kept to save an allocation.
    candidates: Vec<Candidate>,
    /// The estimate of how long jobs take. It decides how many are sent ahead.
    estimate: Estimate,
    /// The time at which attempts were last recalled.
    recalled_at: Option<Instant>,
}

/// An offered worker with the attempts that it has.
#[derive(Debug)]
struct OfferedWorker {
    offer: Offer,
    /// How many attempts the worker works on.
    running: u32,
    /// How many attempts wait in the worker's pipe and have not begun.
    staged: u32,
    /// How many more attempts the worker may be given; `None` for no limit.
    jobs_left: Option<u64>,
    /// Whether the worker gets no more attempts. It is forgotten when its attempts have ended.
    is_withdrawn: bool,
    /// Whether a caller has the exclusive use of the worker.
    is_leased: bool,
    /// The worker was asked to give back what was staged, and has not given back all of it.
    is_recalled: bool,
    /// The time since which the worker has had no attempt; `None` while it has one.
    idle_since: Option<Instant>,
}

impl OfferedWorker {
    fn takes_attempts(&self) -> bool {
        !self.is_withdrawn && !self.is_leased
    }

    /// Returns how many more attempts the worker can begin at once.
    fn room(&self) -> u32 {
        if self.takes_attempts() {
            let seats = self.offer.concurrency.saturating_sub(self.running);
            let left = (self.jobs_left).map_or(seats, |left| u32::try_from(left).unwrap_or(seats));
            seats.min(left)
        } else {
            0
        }
    }

    /// Whether the worker may be given another attempt, now or later.
    fn has_jobs_left(&self) -> bool {
        self.jobs_left != Some(0)
    }

    /// Counts an attempt that is given to the worker.
    fn count_given(&mut self) {
        // A caller that has leased the worker is not held back.
        self.jobs_left = self.jobs_left.map(|left| left.saturating_sub(1));
    }

    /// Counts back an attempt that the worker has not done.
    fn count_back(&mut self) {
        let most = self.offer.max_jobs;
        self.jobs_left = (self.jobs_left.zip(most)).map(|(left, most)| most.min(left + 1));
    }

    fn is_empty(&self) -> bool {
        self.running == 0 && self.staged == 0
    }

    /// Whether the worker has attempts in its pipe that it can be asked to give back.
    fn can_give_back(&self) -> bool {
        self.staged > 0 && self.offer.gives_back && !self.is_recalled && !self.is_leased
    }
}

impl Seats {
    /// Makes the seats of a pool without workers.
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

    /// Changes one worker and keeps both counts of free seats correct. A withdrawn worker is forgotten when it is
    /// empty.
    #[expect(
        clippy::expect_used,
        reason = "each seat is given back once, and a worker is forgotten only after all of its seats were"
    )]
    fn change<T>(&mut self, seat: SeatId, change: impl FnOnce(&mut OfferedWorker) -> T) -> T {
        let worker = self.workers[seat.0 as usize]
            .as_mut()
            .expect("a seat is asked for only while its worker is known");
        let before = u64::from(worker.room());
        let was_proven = worker.offer.is_proven;
        let result = change(worker);
        let after = u64::from(worker.room());
        self.free = self.free - before + after;
        if was_proven {
            self.proven -= before;
        }
        if worker.offer.is_proven {
            self.proven += after;
        }
        if worker.is_withdrawn && worker.is_empty() {
            let number = worker.offer.number;
            self.workers[seat.0 as usize] = None;
            self.balancer.forget(number);
        }
        result
    }

    #[expect(
        clippy::expect_used,
        reason = "each seat is given back once, and a worker is forgotten only after all of its seats were"
    )]
    fn get(&self, seat: SeatId) -> &OfferedWorker {
        self.workers[seat.0 as usize]
            .as_ref()
            .expect("a seat is asked for only while its worker is known")
    }

    fn ids(&self) -> impl Iterator<Item = (SeatId, &OfferedWorker)> {
        let worker = (0..).map(SeatId).zip(&self.workers);
        worker.filter_map(|(id, worker)| Some((id, worker.as_ref()?)))
    }

    fn find(&self, number: WorkerNumber) -> Option<SeatId> {
        let mut worker = self.ids();
        worker.find_map(|(id, one)| (one.offer.number == number).then_some(id))
    }

    /// Adds a worker that takes attempts, or updates a known worker with what it has declared.
    #[expect(
        clippy::expect_used,
        reason = "the workers of a pool are counted by a u32"
    )]
    pub(crate) fn offered(&mut self, offer: Offer, now: Instant) {
        if let Some(seat) = self.find(offer.number) {
            return self.change(seat, |worker| {
                let is_proven = worker.offer.is_proven || offer.is_proven;
                worker.offer = Offer { is_proven, ..offer };
            });
        }
        let vacant = self.workers.iter().position(Option::is_none);
        let at = vacant.unwrap_or(self.workers.len());
        let worker = OfferedWorker {
            jobs_left: offer.max_jobs,
            offer,
            running: 0,
            staged: 0,
            // It is withdrawn at first: `change` below counts its seats when it is let in.
            is_withdrawn: true,
            is_leased: false,
            is_recalled: false,
            idle_since: Some(now),
        };
        if at == self.workers.len() {
            self.workers.push(Some(worker));
        } else {
            self.workers[at] = Some(worker);
        }
        let seat = u32::try_from(at).expect("a pool has fewer than four thousand million workers");
        self.change(SeatId(seat), |worker| worker.is_withdrawn = false);
    }

    /// Records that a worker has shown that it reads its requests.
    pub(crate) fn proven(&mut self, number: WorkerNumber) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |worker| worker.offer.is_proven = true);
        }
    }

    /// Applies what was found out about a filter.
    pub(crate) fn filter_changed(&mut self, number: WorkerNumber, change: FilterChange) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |worker| worker.offer.filter.apply(change));
        }
    }

    /// Records that a worker takes no more attempts. It is forgotten once it has none.
    pub(crate) fn withdrawn(&mut self, number: WorkerNumber) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |worker| worker.is_withdrawn = true);
        }
    }

    /// Returns how many attempts can begin at once.
    pub(crate) fn free(&self) -> u32 {
        // Workers may declare any concurrency, so the sum is capped.
        u32::try_from(self.free).unwrap_or(u32::MAX)
    }

    /// Returns how many attempts surely begin as soon as they are sent.
    pub(crate) fn free_and_proven(&self) -> u32 {
        u32::try_from(self.proven).unwrap_or(u32::MAX)
    }

    /// Takes a seat for an attempt that begins now. The balancer may prefer one worker for all attempts of a `key`.
    ///
    /// Workers that are proven to read their requests come before others, which may still be loading.
    pub(crate) fn take(&mut self, key: Option<&str>) -> Option<SeatId> {
        let only_proven = self.proven > 0;
        self.candidates.clear();
        for worker in self.workers.iter().flatten() {
            if worker.room() > 0 && (worker.offer.is_proven || !only_proven) {
                self.candidates.push(Candidate {
                    worker: worker.offer.number,
                    in_flight: worker.running,
                    capacity: worker.offer.concurrency,
                    weight: 1,
                });
            }
        }
        let chosen = self.balancer.choose(&self.candidates, key)?;
        let seat = self.find(self.candidates[chosen].worker)?;
        self.change(seat, |worker| {
            worker.running += 1;
            worker.idle_since = None;
            worker.count_given();
        });
        Some(seat)
    }

    /// Takes a place in the pipe of a busy worker, for an attempt that is sent ahead.
    pub(crate) fn take_ahead(&mut self) -> Option<SeatId> {
        let (seat, _) = self
            .ids()
            .filter(|(_, one)| {
                let is_busy = one.takes_attempts() && one.room() == 0;
                is_busy
                    && one.has_jobs_left()
                    && !one.is_recalled
                    && one.staged < self.most_ahead(one)
            })
            .min_by_key(|(_, one)| one.staged)?;
        self.change(seat, |worker| {
            worker.staged += 1;
            worker.count_given();
        });
        Some(seat)
    }

    /// Returns how many attempts may wait in the pipe of a worker.
    fn most_ahead(&self, worker: &OfferedWorker) -> u32 {
        let Offer {
            concurrency,
            gives_back,
            filter,
            ..
        } = worker.offer;
        // Until the first answer of a filter is confirmed, it is not known whether its lines can be counted, so it gets
        // only as many as its silence requires.
        if matches!(self.config.language, WorkerProtocol::Lines { .. }) && !filter.is_aligned {
            return filter.silent_ahead;
        }
        let wanted = self.estimate.ahead(&self.config, concurrency, gives_back);
        wanted.max(filter.silent_ahead)
    }

    /// Returns how many attempts may wait in the pipes of all workers.
    pub(crate) fn room_ahead(&self) -> u32 {
        let worker = self.ids().filter(|(_, one)| one.takes_attempts());
        // Workers may declare any concurrency, so the sum is capped.
        worker.fold(0, |sum, (_, one)| sum.saturating_add(self.most_ahead(one)))
    }

    /// Returns the link to the connection of a seat's worker.
    pub(crate) fn link(&self, seat: SeatId) -> &WorkerLink {
        &self.get(seat).offer.link
    }

    /// Returns the name of a seat's worker.
    pub(crate) fn name(&self, seat: SeatId) -> &WorkerName {
        &self.get(seat).offer.name
    }

    /// Returns the number of a seat's worker.
    pub(crate) fn number(&self, seat: SeatId) -> WorkerNumber {
        self.get(seat).offer.number
    }

    /// Whether a seat's worker has shown that it reads its requests.
    pub(crate) fn is_proven(&self, seat: SeatId) -> bool {
        self.get(seat).offer.is_proven
    }

    /// Gives back the seat of an attempt that has ended or come back. With `next`, one from the pipe has begun in its
    /// place.
    pub(crate) fn ended(&mut self, seat: SeatId, next: bool, now: Instant) {
        self.change(seat, |worker| {
            worker.running -= 1;
            if next {
                worker.begin_staged();
            }
            worker.note_idle(now);
        });
    }

    /// Records that an attempt that was sent ahead has come back without having begun.
    pub(crate) fn note_returned(&mut self, seat: SeatId, now: Instant) {
        self.change(seat, |worker| {
            worker.staged -= 1;
            worker.is_recalled &= worker.staged > 0;
            worker.note_idle(now);
            worker.count_back();
        });
    }

    /// Records that the worker of a seat has not done its attempt, so that the attempt does not count as one of its jobs.
    pub(crate) fn note_undone(&mut self, seat: SeatId) {
        self.change(seat, OfferedWorker::count_back);
    }

    /// Records that the worker of a seat takes no more attempts.
    pub(crate) fn withdraw(&mut self, seat: SeatId) {
        self.change(seat, |worker| worker.is_withdrawn = true);
    }

    /// Records how many attempts have ended, and how long workers have worked on them in total.
    pub(crate) fn record_throughput(&mut self, jobs: u32, busy: Duration) {
        self.estimate.record_throughput(jobs, busy);
    }

    /// Returns the time at which [`recall`](Self::recall) has to be called, if it has something to do.
    pub(crate) fn recall_at(&self) -> Option<Instant> {
        if !self
            .workers
            .iter()
            .flatten()
            .any(OfferedWorker::can_give_back)
        {
            return None;
        }
        let worker = self.workers.iter().flatten();
        let idle = worker.filter(|one| one.takes_attempts());
        let since = idle.filter_map(|one| one.idle_since).min()?;
        // A recall does not follow another one at once, because the same attempts may have been sent ahead again.
        since
            .max(self.recalled_at.unwrap_or(since))
            .checked_add(RECALL_AFTER)
    }

    /// Asks workers to give back the attempts in their pipes while another worker is idle, because a short job must not
    /// wait behind a long one.
    pub(crate) fn recall(&mut self, now: Instant) {
        if self.recall_at().is_none_or(|at| now < at) {
            return;
        }
        self.recalled_at = Some(now);
        for worker in self.workers.iter_mut().flatten() {
            if worker.can_give_back() {
                worker.is_recalled = true;
                worker.offer.link.order(Order::Recall);
            }
        }
    }

    /// Reserves an idle worker for one caller.
    pub(crate) fn lease(&mut self, may_leave: impl Fn(WorkerNumber) -> bool) -> Option<Offer> {
        let (seat, _) = self.ids().find(|(_, one)| {
            one.takes_attempts()
                && one.is_empty()
                && one.has_jobs_left()
                && !may_leave(one.offer.number)
        })?;
        self.change(seat, |worker| worker.is_leased = true);
        Some(self.get(seat).offer.clone())
    }

    /// Takes back a worker whose lease has ended. The worker may have ended before.
    pub(crate) fn release(&mut self, number: WorkerNumber) {
        if let Some(seat) = self.find(number) {
            self.change(seat, |worker| worker.is_leased = false);
        }
    }

    /// Takes a seat of a leased worker for the caller that has leased it.
    pub(crate) fn take_leased(&mut self, number: WorkerNumber) -> Option<SeatId> {
        let seat = self.find(number)?;
        if self.get(seat).is_withdrawn {
            return None;
        }
        self.change(seat, |worker| {
            worker.running += 1;
            worker.idle_since = None;
            worker.count_given();
        });
        Some(seat)
    }

    /// Whether a worker is leased.
    pub(crate) fn is_leased(&self, number: WorkerNumber) -> bool {
        self.find(number)
            .is_some_and(|seat| self.get(seat).is_leased)
    }

    /// Whether a worker has attempts, begun or not.
    pub(crate) fn has_attempts(&self, number: WorkerNumber) -> bool {
        self.find(number)
            .is_some_and(|seat| !self.get(seat).is_empty())
    }

    /// Records how many attempts in the pipe of a worker have begun, and how many attempts have ended after that.
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
            self.change(seat, |worker| {
                (0..begun).for_each(|_| worker.begin_staged());
                worker.running -= ended;
                worker.note_idle(now);
            });
        }
    }

    /// Gives back the seat of a call that has come back, or its place in the pipe if it held no seat.
    pub(crate) fn call_returned(&mut self, number: WorkerNumber, held_seat: bool, now: Instant) {
        match self.find(number) {
            Some(seat) if held_seat => {
                self.note_undone(seat);
                self.ended(seat, false, now);
            }
            Some(seat) => self.note_returned(seat, now),
            None => {}
        }
    }
}

impl OfferedWorker {
    /// Records that the oldest attempt in the pipe has begun.
    fn begin_staged(&mut self) {
        self.staged -= 1;
        self.running += 1;
        self.is_recalled &= self.staged > 0;
    }

    /// Records the time if the worker has no attempt any more.
    fn note_idle(&mut self, now: Instant) {
        if self.is_empty() && self.idle_since.is_none() {
            self.idle_since = Some(now);
        }
    }
}
