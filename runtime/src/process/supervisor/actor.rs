//! The one task in which everything happens that concerns workers.

mod memory_limits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use tokio::sync::{mpsc, oneshot};

use super::memory::MemoryProbe;
use super::pool_state::PoolState;
use super::worker::SupervisedWorker;
use super::{Command, PoolId};
use crate::Error;
use crate::dispatch::{Report, WorkerLink, WorkerNumber};
use crate::event::WorkerNews;
use crate::ids::WorkerName;
use crate::os::ProcessManager;
use crate::suspension::{until, working_now};
use crate::worker::config::PoolConfig;
use crate::worker::connection::Connection;
use crate::worker::news::News;

/// `max_jobs` varies by this part of it, so that not all workers leave at once.
const JITTER: u64 = 7;

/// How much is taken from a channel at once.
const BATCH: usize = 256;

/// Owns the workers of all pools.
pub(super) struct Actor {
    manager: Arc<dyn ProcessManager>,
    most: Option<u32>,
    probe: Arc<MemoryProbe>,
    commands: mpsc::WeakUnboundedSender<Command>,
    weighing: bool,
    weigh_at: Option<Instant>,
    pools: Vec<PoolState>,
    news: mpsc::UnboundedSender<(u64, News)>,
    /// The pool and the number in it of each worker, by the worker's number over all pools.
    workers: BTreeMap<u64, (PoolId, WorkerNumber)>,
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
            pools: Vec::new(),
            news,
            workers: BTreeMap::new(),
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
                        // Nobody is left. Dropping the links ends the workers.
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

    /// Pools are never removed, so whoever has the id of one finds it.
    fn pool(&mut self, id: PoolId) -> &mut PoolState {
        &mut self.pools[id.0]
    }

    fn obey(&mut self, command: Command, now: Instant) {
        // Whoever asked may have gone away, which is no reason to stop.
        match command {
            Command::Add(config, answer) => drop(answer.send(self.add(*config))),
            Command::Attach(pool, holder) => self.pool(pool).attach(holder, now),
            Command::Detach(pool, run) => self.pool(pool).detach(run),
            Command::Demand(pool, run, demand) => self.pool(pool).demanded(run, demand),
            Command::Perform(pool, to, assignment) => self.pool(pool).call(to, assignment, now),
            Command::Stop(pool, key, stop) => self.pool(pool).stop_call(key, stop),
            Command::Acquire(pool, acquirer) => self.pool(pool).acquire(acquirer, now),
            Command::Release(pool, number) => self.pool(pool).release(number, now),
            Command::ScaleTo(pool, size, answer) => {
                self.pool(pool).scale_to(size);
                self.tend(now);
                let _ = answer.send(());
            }
            Command::Metrics(pool, answer) => drop(answer.send(self.pool(pool).metrics(now))),
            Command::Weighed(weights) => self.weighed(&weights),
            Command::Close(answer) => {
                self.closed = true;
                self.closing.push(answer);
                for pool in &mut self.pools {
                    pool.close(now);
                }
            }
        }
    }

    fn add(&mut self, config: PoolConfig) -> Result<PoolId, Error> {
        if self.closed {
            return Err(Error::SupervisorEnded);
        }
        if self
            .pools
            .iter()
            .any(|pool| pool.config.name == config.name)
        {
            return Err(Error::InvalidPool {
                pool: config.name,
                reason: "is declared twice",
            });
        }
        let id = PoolId(self.pools.len());
        self.pools.push(PoolState::new(id, config));
        Ok(id)
    }

    fn hear(&mut self, from: u64, news: News, now: Instant) {
        let Some(&(id, number)) = self.workers.get(&from) else {
            return; // Its death was the last that it had to tell.
        };
        let pool = &mut self.pools[id.0];
        match news {
            News::Started { process, system_id } => {
                if let Some(worker) = pool.worker(number) {
                    worker.system_id = system_id;
                    tracing::debug!(worker = %worker.name, %process, "a worker started");
                    let news = WorkerNews::Started {
                        worker: worker.name.clone(),
                        system_id,
                    };
                    pool.tell(|_| Report::Worker(news));
                }
            }
            News::Ready {
                profile,
                introduced,
            } => pool.ready(number, &profile, introduced, now),
            News::Proven => pool.proven(number),
            News::Withdrawn => pool.withdraw(number),
            News::Filter(news) => pool.filter_changed(number, news, now),
            News::Load(load) => pool.loaded(number, load, now),
            News::Back { assignment, begun } => pool.call_returned(number, assignment, begun, now),
            News::Vacant => pool.vacated(number, now),
            News::Dead(death) => {
                self.workers.remove(&from);
                if let Some(worker) = pool.died(number, &death, now) {
                    tracing::debug!(worker = %worker.name, cause = %death.cause, "a worker ended");
                }
            }
        }
    }

    /// Sees to all pools. Says when to do so again.
    fn tend(&mut self, now: Instant) -> Option<Instant> {
        for place in 0..self.pools.len() {
            for replaces in self.pools[place].plan_starts(now) {
                // A successor takes the place of one that leaves, so it is within the cap.
                if replaces.is_some() || self.has_room(place, now) {
                    self.start(place, replaces, now);
                }
            }
        }
        self.weigh(now);
        if self.closed && self.pools.iter().all(|pool| pool.workers.is_empty()) {
            for answer in self.closing.drain(..) {
                let _ = answer.send(());
            }
        }
        let checks = self.pools.iter().filter_map(|pool| pool.next_check(now));
        // A reading that is under way wakes the supervisor when it is there.
        let weigh_at = self.weigh_at.filter(|_| !self.weighing);
        checks.chain(weigh_at).min()
    }

    fn has_room(&mut self, place: usize, now: Instant) -> bool {
        let Some(most) = self.most else { return true };
        let size: u32 = self.pools.iter().map(PoolState::size).sum();
        if size < most {
            return true;
        }
        // When the one that leaves is gone, there is room.
        let mut others = self.pools.iter_mut().enumerate();
        others.any(|(other, pool)| other != place && pool.yield_one(now));
        false
    }

    fn start(&mut self, place: usize, replaces: Option<WorkerNumber>, now: Instant) {
        let pool = &mut self.pools[place];
        let number = pool.next_number();
        let name = WorkerName::new(&pool.config.name, number.0);
        let (link, orders) = WorkerLink::channel();
        let mut worker = SupervisedWorker::new(number, name.clone(), link, now);
        worker.replaces = replaces;
        let most = pool.config.recycling.max_jobs;
        worker.max_jobs = most.map(|most| jittered(most, &mut self.rng));
        self.next_worker += 1;
        let connection = Connection {
            name,
            config: Arc::clone(&pool.config),
            manager: Arc::clone(&self.manager),
            expect_silence: pool.is_silent,
            max_jobs: worker.max_jobs,
            number: self.next_worker,
            news: self.news.clone(),
            orders,
        };
        pool.counts.spawned += 1;
        self.workers.insert(self.next_worker, (pool.id, number));
        pool.workers.push(worker);
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

/// Now, by the clock of work: the ages and delays of workers do not grow while they are stopped.
fn now() -> Instant {
    working_now()
}
