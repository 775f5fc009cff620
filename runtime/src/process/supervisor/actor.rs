//! The one task in which everything happens that concerns workers.

mod weighing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use tokio::sync::{mpsc, oneshot};

use super::member::Member;
use super::memory::MemoryProbe;
use super::roster::Roster;
use super::{Command, call};
use crate::Error;
use crate::alarm::until;
use crate::event::WorkerNews;
use crate::executor::crew::{Report, Stop};
use crate::process::{PoolConfig, ProcessManager};
use crate::scheduling::Kind;
use crate::worker::WorkerName;
use crate::worker::connection::Connection;
use crate::worker::orders::{Key, News, Order, Work};

/// `max_jobs` varies by this part of it, so that not all workers leave at once.
const JITTER: u64 = 7;

/// How much is taken from a channel at once.
const BATCH: usize = 256;

/// Owns the workers of all kinds.
pub(super) struct Actor {
    manager: Arc<dyn ProcessManager>,
    most: Option<u32>,
    probe: Arc<MemoryProbe>,
    commands: mpsc::WeakUnboundedSender<Command>,
    weighing: bool,
    weigh_at: Option<Instant>,
    rosters: Vec<Roster>,
    news: mpsc::UnboundedSender<(u64, News)>,
    /// Whose roster each worker is on, by the worker's number over all kinds.
    kinds: BTreeMap<u64, (usize, u64)>,
    next_worker: u64,
    rng: Rng,
    closing: Vec<oneshot::Sender<()>>,
    closed: bool,
}

impl Actor {
    pub(super) fn new(
        manager: Arc<dyn ProcessManager>,
        most: Option<u32>,
        probe: Arc<MemoryProbe>,
        commands: mpsc::WeakUnboundedSender<Command>,
        news: mpsc::UnboundedSender<(u64, News)>,
    ) -> Self {
        Self {
            manager,
            most,
            probe,
            commands,
            weighing: false,
            weigh_at: None,
            rosters: Vec::new(),
            news,
            kinds: BTreeMap::new(),
            next_worker: 0,
            rng: Rng::seeded(0x7261_7463_6865_7421),
            closing: Vec::new(),
            closed: false,
        }
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut told: mpsc::UnboundedReceiver<(u64, News)>,
    ) {
        let mut ordered = Vec::with_capacity(BATCH);
        let mut heard = Vec::with_capacity(BATCH);
        let mut next = None;
        loop {
            tokio::select! {
                biased;
                // News first: they free the workers that commands ask for.
                _ = told.recv_many(&mut heard, BATCH) => {}
                taken = commands.recv_many(&mut ordered, BATCH) => {
                    if taken == 0 {
                        // Nobody is left. Dropping the orders' channels ends the workers.
                        return;
                    }
                }
                () = until(next) => {}
            }
            let now = now();
            for (worker, news) in heard.drain(..) {
                self.hear(worker, news, now);
            }
            for command in ordered.drain(..) {
                self.obey(command, now);
            }
            next = self.tend(now);
        }
    }

    fn roster(&mut self, kind: Kind) -> Option<&mut Roster> {
        // Kind 0 is what runs without a worker.
        let place = usize::from(kind.0).checked_sub(1)?;
        self.rosters.get_mut(place)
    }

    fn obey(&mut self, command: Command, now: Instant) {
        // Whoever asked may have gone away, which is no reason to stop.
        match command {
            Command::Add(config, answer) => drop(answer.send(self.add(*config))),
            Command::Listen(kind, listener) => {
                if let Some(roster) = self.roster(kind) {
                    roster.greet(listener);
                }
            }
            Command::Abandon(kind, executor) => {
                if let Some(roster) = self.roster(kind) {
                    roster.abandon(&executor);
                }
            }
            Command::Work(kind, to, work) => self.take(kind, to, work, now),
            Command::Stop(key, stop) => self.stop(key, stop),
            Command::Expect(kind, executor, prospect) => {
                if let Some(roster) = self.roster(kind) {
                    roster.expect(executor, prospect);
                }
            }
            Command::Acquire(kind, acquirer) => {
                if let Some(roster) = self.roster(kind) {
                    roster.acquire(acquirer);
                    roster.hand_out(now);
                }
            }
            Command::Release(kind, number) => {
                if let Some(roster) = self.roster(kind) {
                    if let Some(member) = roster.member(number) {
                        member.leased = false;
                    }
                    roster.hand_out(now);
                }
            }
            Command::ScaleTo(kind, size, answer) => {
                if let Some(roster) = self.roster(kind) {
                    roster.scale_to(size);
                    self.tend(now);
                    let _ = answer.send(());
                }
            }
            Command::Metrics(kind, answer) => {
                if let Some(roster) = self.roster(kind) {
                    drop(answer.send(roster.metrics(now)));
                }
            }
            Command::Weighed(weights) => self.weighed(&weights),
            Command::Close(answer) => {
                self.closed = true;
                self.closing.push(answer);
                for roster in &mut self.rosters {
                    roster.close(now);
                }
            }
        }
    }

    fn add(&mut self, config: PoolConfig) -> Result<Kind, Error> {
        if self.closed {
            return Err(Error::SupervisorEnded);
        }
        if self
            .rosters
            .iter()
            .any(|roster| roster.config.name == config.name)
        {
            return Err(Error::InvalidPool {
                pool: config.name,
                reason: "is declared twice",
            });
        }
        let number = u16::try_from(self.rosters.len() + 1).ok();
        let Some(number) = number else {
            return Err(Error::InvalidPool {
                pool: config.name,
                reason: "is one kind of worker too many: 65,535 are possible",
            });
        };
        let kind = Kind(number);
        self.rosters.push(Roster::new(kind, config));
        Ok(kind)
    }

    fn take(&mut self, kind: Kind, to: Option<u64>, work: Work, now: Instant) {
        let Some(roster) = self.roster(kind) else {
            return call::without_supervisor(work);
        };
        let Some(number) = to else {
            return roster.take(work, now);
        };
        match roster.member(number).filter(|member| member.takes_work()) {
            Some(member) => {
                if let Err(work) = member.give(work, now) {
                    call::without_worker(work);
                }
            }
            None => call::without_worker(work),
        }
    }

    fn stop(&mut self, key: Key, stop: Stop) {
        for roster in &mut self.rosters {
            if roster.drop_pending(key) {
                return;
            }
        }
        for roster in &self.rosters {
            for member in roster
                .members
                .iter()
                .filter(|member| member.state.jobs() > 0)
            {
                member.order(Order::Stop(key, stop));
            }
        }
    }

    fn hear(&mut self, from: u64, news: News, now: Instant) {
        let Some(&(place, number)) = self.kinds.get(&from) else {
            return;
        };
        let Some(roster) = self.rosters.get_mut(place) else {
            return;
        };
        match news {
            News::Started { process, system_id } => {
                if let Some(member) = roster.member(number) {
                    member.system_id = system_id;
                    tracing::debug!(worker = %member.name, %process, "a worker started");
                    let news = WorkerNews::Started {
                        worker: member.name.clone(),
                        system_id,
                    };
                    roster.tell(|_| Report::Worker(news.clone()));
                }
            }
            News::Ready {
                profile,
                introduced,
            } => {
                roster.silent = !introduced;
                roster.ready(number, &profile, now);
            }
            News::Leaves => {
                if let Some(member) = roster.member(number) {
                    member.gone = true;
                }
            }
            News::Filter(news) => roster.hear_of_filter(number, news, now),
            News::Worked(worked) => roster.worked(number, worked, now),
            News::Back { work, begun } => roster.take_back(number, work, begun, now),
            News::Dead(death) => {
                self.kinds.remove(&from);
                if let Some(member) = roster.bury(number, &death, now) {
                    tracing::debug!(worker = %member.name, cause = %death.cause, "a worker ended");
                }
            }
        }
    }

    /// Sees to all pools. Says when to do so again.
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        for place in 0..self.rosters.len() {
            let starts = self.rosters.get_mut(place).map(|roster| roster.tend(now));
            for replaces in starts.into_iter().flatten() {
                // A successor takes the place of one that leaves, so it is within the cap.
                if replaces.is_some() || self.has_room(place, now) {
                    self.start(place, replaces, now);
                }
            }
        }
        for roster in &mut self.rosters {
            roster.announce();
        }
        self.weigh(now);
        if self.closed && self.rosters.iter().all(|roster| roster.members.is_empty()) {
            for answer in self.closing.drain(..) {
                let _ = answer.send(());
            }
        }
        let checks = self
            .rosters
            .iter()
            .filter_map(|roster| roster.next_check(now));
        // A reading that is under way wakes the supervisor when it is there.
        let weigh_at = self.weigh_at.filter(|_| !self.weighing);
        checks.chain(weigh_at).min()
    }

    fn has_room(&mut self, place: usize, now: Instant) -> bool {
        let Some(most) = self.most else { return true };
        let size: u32 = self.rosters.iter().map(Roster::size).sum();
        if size < most {
            return true;
        }
        // When the one that leaves is gone, there is room.
        let mut others = self.rosters.iter_mut().enumerate();
        others.any(|(other, roster)| other != place && roster.yield_one(now));
        false
    }

    fn start(&mut self, place: usize, replaces: Option<u64>, now: Instant) {
        let Some(roster) = self.rosters.get_mut(place) else {
            return;
        };
        let number = roster.next_number();
        let name = WorkerName::new(&roster.config.name, number);
        let (orders, received) = mpsc::unbounded_channel();
        let mut member = Member::new(number, name.clone(), orders, now);
        member.replaces = replaces;
        let most = roster.config.recycling.max_jobs;
        member.max_jobs = most.map(|most| jittered(most, &mut self.rng));
        roster.counts.spawned += 1;
        roster.members.push(member);
        self.next_worker += 1;
        self.kinds.insert(self.next_worker, (place, number));
        let connection = Connection {
            name,
            config: Arc::clone(&roster.config),
            manager: Arc::clone(&self.manager),
            expect_silence: roster.silent,
            number: self.next_worker,
            news: self.news.clone(),
            orders: received,
        };
        tokio::spawn(connection.run());
    }
}

/// About so many: a share more or less.
fn jittered(most: u64, rng: &mut Rng) -> u64 {
    let share = most / JITTER;
    let (low, high) = (most - share, most.saturating_add(share));
    let nanos = rng.between(Duration::from_nanos(low), Duration::from_nanos(high));
    u64::try_from(nanos.as_nanos()).unwrap_or(most).max(1)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
