//! The supervisor: one actor that owns all workers.
//!
//! ```text
//! pools, executors --Command--> supervisor --Order--> a connection a worker ==pipes== worker
//!                                   ^                     |        |
//!                                   +---------News--------+        +--Report, Reply--> whoever asked
//! ```
//!
//! Each kind has a roster: a plain value that is told what happens and decides. The actor starts
//! connections, passes on what they tell, and looks at the clock. No failure of a worker, of a kind or
//! of the system ends it.

mod call;
mod crew;
mod member;
mod memory;
mod metrics;
mod roster;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use tokio::sync::{mpsc, oneshot};

pub(super) use call::Call;
pub(crate) use crew::PoolCrew;
use member::Member;
pub(crate) use memory::MemoryProbe;
pub use metrics::PoolMetrics;
use roster::{Listener, Roster};

use super::{Lease, PoolConfig, ProcessManager, ProcessPool};
use crate::Error;
use crate::event::WorkerNews;
use crate::executor::crew::{Report, Stop};
use crate::executor::reporter::Reporter;
use crate::outcome::Failure;
use crate::scheduling::Kind;
use crate::worker::connection::Connection;
use crate::worker::orders::{Key, News, Order, Work};
use crate::worker::{Cause, WorkerName};

/// How much is taken from a channel at once.
const BATCH: usize = 256;

/// `max_jobs` varies by this part of it, so that not all workers leave at once.
const JITTER: u64 = 7;

/// Owns workers: starts them, gives them work, replaces them, and sees that none is left behind.
///
/// Cheap to clone. It ends with the last handle on it or on one of its pools, and its workers with it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessSupervisor};
///
/// let supervisor = ProcessSupervisor::start(Arc::new(LocalProcesses::start()));
/// let missing = PoolConfig::new("resize", ProcessConfig::new("./no-such-worker"));
/// let pool = supervisor.add(missing).await?;
///
/// // What can never start is given up at once, and says why.
/// let refused = pool.acquire().await.unwrap_err();
/// assert!(refused.message.contains("there is no program `./no-such-worker`"), "{refused}");
/// # Ok::<(), ratchet_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ProcessSupervisor {
    commands: mpsc::UnboundedSender<Command>,
}

/// What others ask of the supervisor. None of the channel's users waits, so it has no bound of its own:
/// what is in it is bounded by what they have in flight.
pub(super) enum Command {
    Add(Box<PoolConfig>, oneshot::Sender<Result<Kind, Error>>),
    Listen(Kind, Listener),
    Abandon(Kind, Reporter),
    /// Work for a kind, or for one worker of it.
    Work(Kind, Option<u64>, Work),
    Stop(Key, Stop),
    Expect(Kind, usize),
    Acquire(Kind, oneshot::Sender<Result<Lease, Box<Failure>>>),
    Release(Kind, u64),
    ScaleTo(Kind, u32, oneshot::Sender<()>),
    Metrics(Kind, oneshot::Sender<PoolMetrics>),
    Weighed(BTreeMap<u32, u64>),
    Close(oneshot::Sender<()>),
}

impl ProcessSupervisor {
    /// A supervisor without workers, on the current tokio runtime.
    pub fn start(manager: Arc<dyn ProcessManager>) -> Self {
        Self::with(manager, None)
    }

    /// A supervisor that never has more workers than this, over all kinds. While one is replaced, its
    /// successor comes on top.
    pub fn capped(manager: Arc<dyn ProcessManager>, most: u32) -> Self {
        Self::with(manager, Some(most))
    }

    fn with(manager: Arc<dyn ProcessManager>, most: Option<u32>) -> Self {
        Self::probing(manager, most, Arc::new(memory::probe))
    }

    pub(crate) fn probing(
        manager: Arc<dyn ProcessManager>,
        most: Option<u32>,
        probe: Arc<MemoryProbe>,
    ) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let (news, told) = mpsc::unbounded_channel();
        let actor = Actor {
            manager,
            most,
            probe,
            // Weighing ends with the supervisor, so this must not keep it alive.
            commands: commands.downgrade(),
            weighing: false,
            weigh_at: None,
            rosters: Vec::new(),
            news,
            kinds: BTreeMap::new(),
            next_worker: 0,
            rng: Rng::seeded(0x7261_7463_6865_7421),
            closing: Vec::new(),
            closed: false,
        };
        tokio::spawn(actor.run(received, told));
        Self { commands }
    }

    /// Adds a kind of worker. Its first workers start at once.
    pub async fn add(&self, config: PoolConfig) -> Result<ProcessPool, Error> {
        config.check()?;
        let known = Arc::new(config.clone());
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Add(Box::new(config), answer))
            .map_err(|_| Error::SupervisorEnded)?;
        let kind = answered.await.map_err(|_| Error::SupervisorEnded)??;
        Ok(ProcessPool::of(kind, known, self.commands.clone()))
    }

    /// Lets all workers finish what they have, and returns when the last is gone.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close(answer)).is_ok() {
            // Gone is gone, whether it could say so or not.
            let _ = answered.await;
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}

struct Actor {
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
    async fn run(
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
            Command::Expect(kind, waiting) => {
                if let Some(roster) = self.roster(kind) {
                    roster.expect(waiting);
                }
            }
            Command::Acquire(kind, answer) => {
                if let Some(roster) = self.roster(kind) {
                    roster.acquire(answer);
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
        checks.chain(self.weigh_at).min()
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

    /// Has the workers' memory read, where a limit is set and the last reading is old.
    fn weigh(&mut self, now: Instant) {
        let limited = |roster: &&Roster| {
            roster.config.hard_memory.is_some() || roster.config.recycling.soft_memory.is_some()
        };
        let limited = self.rosters.iter().filter(limited);
        let members = limited.flat_map(|roster| &roster.members);
        let groups: Vec<u32> = members.filter_map(|member| member.system_id).collect();
        if groups.is_empty() {
            self.weigh_at = None;
            return;
        }
        let due = *self.weigh_at.get_or_insert(now);
        if self.weighing || due > now {
            return;
        }
        self.weighing = true;
        self.weigh_at = now.checked_add(memory::INTERVAL);
        let (probe, commands) = (Arc::clone(&self.probe), self.commands.clone());
        tokio::task::spawn_blocking(move || {
            let weights = probe(&groups).unwrap_or_else(|error| {
                tracing::warn!(%error, "the memory of the workers cannot be read");
                BTreeMap::new()
            });
            if let Some(commands) = commands.upgrade() {
                // A supervisor that has just ended needs no weights.
                let _ = commands.send(Command::Weighed(weights));
            }
        });
    }

    fn weighed(&mut self, weights: &BTreeMap<u32, u64>) {
        self.weighing = false;
        for roster in &mut self.rosters {
            let (soft, hard) = (
                roster.config.recycling.soft_memory,
                roster.config.hard_memory,
            );
            for member in &mut roster.members {
                let weight = member.system_id.and_then(|id| weights.get(&id));
                let Some(&used) = weight else { continue };
                member.rss = used;
                if let Some(limit) = hard.filter(|limit| used > *limit) {
                    member.order(Order::Kill(Cause::Memory { used, limit }));
                } else if soft.is_some_and(|limit| used > limit) {
                    member.swollen = true;
                }
            }
        }
    }
}

/// About so many: a share more or less.
fn jittered(most: u64, rng: &mut Rng) -> u64 {
    let share = most / JITTER;
    let (low, high) = (most - share, most.saturating_add(share));
    let nanos = rng.between(Duration::from_nanos(low), Duration::from_nanos(high));
    u64::try_from(nanos.as_nanos()).unwrap_or(most).max(1)
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
