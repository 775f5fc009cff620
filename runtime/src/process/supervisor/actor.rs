//! The actor of the supervisor: the one task that owns the workers of all pools.

mod memory_limits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_resilience::Rng;
use tokio::sync::{mpsc, oneshot};

use super::pool_state::PoolState;
use super::worker::SupervisedWorker;
use super::{Command, PoolId};
use crate::Error;
use crate::dispatch::{Report, WorkerLink, WorkerNumber};
use crate::error::panic_message;
use crate::event::WorkerNews;
use crate::ids::WorkerName;
use crate::os::{ProcessId, ProcessManager};
use crate::suspension::{until, working_now};
use crate::worker::EndCause;
use crate::worker::config::PoolConfig;
use crate::worker::connection::Connection;
use crate::worker::event::{WorkerEnd, WorkerEvent};

/// `max_jobs` is up to one part in this many lower for some workers, so that not all workers leave at once.
const JITTER: u64 = 7;

/// A successor is started when all but one part in this many of a worker's jobs are done. If it were started after the last
/// one, no worker would take jobs until the successor is ready.
const LAST_PART: u64 = 10;

/// How many commands or events are taken from a channel at once.
const BATCH: usize = 256;

/// Owns the workers of all pools.
pub(super) struct Actor {
    manager: Arc<dyn ProcessManager>,
    /// How many workers all pools may have together; `None` for no limit.
    most: Option<u32>,
    /// A sender for tasks that send a command later. It is weak, since the actor ends when all other senders are gone.
    commands: mpsc::WeakUnboundedSender<Command>,
    /// A measurement is in progress, so another one is not begun.
    is_measuring: bool,
    /// The last measurement has failed, and that was logged.
    has_failed_to_measure: bool,
    /// When the memory of workers is measured next; `None` while no worker has a limit.
    measure_at: Option<Instant>,
    pools: Vec<PoolState>,
    /// Cloned for each connection, which sends the number of its worker with each event.
    events: mpsc::UnboundedSender<(u64, WorkerEvent)>,
    /// The pool of each worker and its number there, by the worker's number over all pools.
    workers: BTreeMap<u64, (PoolId, WorkerNumber)>,
    /// The number of the next worker, over all pools.
    next_worker: u64,
    rng: Rng,
    /// The callers that wait for the end of all workers.
    closing: Vec<oneshot::Sender<()>>,
    /// All workers are to end, and no pool is added any more.
    is_closing: bool,
}

impl Actor {
    /// Makes an actor without pools.
    pub(super) fn new(
        manager: Arc<dyn ProcessManager>,
        most: Option<u32>,
        commands: mpsc::WeakUnboundedSender<Command>,
        events: mpsc::UnboundedSender<(u64, WorkerEvent)>,
    ) -> Self {
        Self {
            manager,
            most,
            commands,
            is_measuring: false,
            has_failed_to_measure: false,
            measure_at: None,
            pools: Vec::new(),
            events,
            workers: BTreeMap::new(),
            next_worker: 0,
            rng: Rng::seeded(0x7261_7463_6865_7421),
            closing: Vec::new(),
            is_closing: false,
        }
    }

    /// Handles commands and events until all handles of the supervisor are gone.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut events: mpsc::UnboundedReceiver<(u64, WorkerEvent)>,
    ) {
        let mut received_commands = Vec::with_capacity(BATCH);
        let mut received_events = Vec::with_capacity(BATCH);
        let mut next = None;
        loop {
            tokio::select! {
                biased;
                // Events of workers come first: they free the workers that commands ask for.
                _ = events.recv_many(&mut received_events, BATCH) => {}
                taken = commands.recv_many(&mut received_commands, BATCH) => {
                    if taken == 0 {
                        // All handles of the supervisor and its pools are gone. Dropping the links ends the workers.
                        return;
                    }
                }
                () = until(next) => {}
            }
            let now = now();
            for (worker, event) in received_events.drain(..) {
                self.handle_event(worker, event, now);
            }
            for command in received_commands.drain(..) {
                self.handle_command(command, now);
            }
            next = self.maintain(now);
        }
    }

    /// Returns the pool with this id. Pools are never removed, so an id stays valid.
    fn pool(&mut self, id: PoolId) -> &mut PoolState {
        &mut self.pools[id.0]
    }

    /// Handles a command of a pool, a run or a caller.
    fn handle_command(&mut self, command: Command, now: Instant) {
        // The receiver of an answer may have been dropped, so errors of `send` are ignored.
        match command {
            Command::Add(config, answer) => drop(answer.send(self.add(*config))),
            Command::Attach(pool, user) => self.pool(pool).attach(user, now),
            Command::Detach(pool, run) => self.pool(pool).detach(run),
            Command::Demand(pool, run, demand) => self.pool(pool).demanded(run, demand),
            Command::Perform(pool, to, assignment) => self.pool(pool).call(to, assignment, now),
            Command::Stop(pool, key) => self.pool(pool).stop_call(key),
            Command::Acquire(pool, acquirer) => self.pool(pool).acquire(acquirer, now),
            Command::Release(pool, number) => self.pool(pool).release(number, now),
            Command::ScaleTo(pool, size, answer) => {
                self.pool(pool).scale_to(size);
                self.maintain(now);
                let _ = answer.send(());
            }
            Command::Metrics(pool, answer) => drop(answer.send(self.pool(pool).metrics(now))),
            Command::Measured(usage) => self.measured(usage.as_ref()),
            Command::Close(answer) => {
                self.is_closing = true;
                self.closing.push(answer);
                for pool in &mut self.pools {
                    pool.close(now);
                }
            }
        }
    }

    /// Adds a pool.
    fn add(&mut self, config: PoolConfig) -> Result<PoolId, Error> {
        if self.is_closing {
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

    /// Handles an event from the connection with the number `from`.
    fn handle_event(&mut self, from: u64, event: WorkerEvent, now: Instant) {
        #[expect(
            clippy::expect_used,
            reason = "the end of a worker is its last event, and removes it from the list"
        )]
        let &(id, number) =
            (self.workers.get(&from)).expect("a worker that has not ended is known");
        let pool = &mut self.pools[id.0];
        match event {
            WorkerEvent::Started { process, system_id } => {
                if let Some(worker) = pool.worker(number) {
                    worker.process = Some(process);
                    tracing::debug!(worker = %worker.name, %process, "a worker started");
                    let news = WorkerNews::Started {
                        worker: worker.name.clone(),
                        system_id,
                    };
                    pool.report(|_| Report::Worker(news));
                }
            }
            WorkerEvent::Ready {
                profile,
                introduced,
            } => pool.ready(number, &profile, introduced, now),
            WorkerEvent::Proven => pool.proven(number),
            WorkerEvent::Withdrawn => pool.withdraw(number),
            WorkerEvent::Filter(change) => pool.filter_changed(number, change, now),
            WorkerEvent::NoAnswer { attempt, printed } => {
                pool.tell_no_answer(number, attempt, &printed);
            }
            WorkerEvent::Updated(update) => pool.worker_updated(number, update, now),
            WorkerEvent::CallReturned { assignment, begun } => {
                pool.call_returned(number, assignment, begun, now);
            }
            WorkerEvent::Vacated => pool.offer_again(number, now),
            WorkerEvent::Ended(end) => {
                self.workers.remove(&from);
                let worker = pool.ended(number, &end, now);
                tracing::debug!(worker = %worker.name, cause = %end.cause, "a worker ended");
            }
            WorkerEvent::Broke(reason) => {
                self.workers.remove(&from);
                let cause = EndCause::ConnectionBroke(reason.clone());
                let worker = pool.ended(number, &WorkerEnd::uncharged(cause), now);
                let name = worker.name;
                tracing::error!(worker = %name, %reason, "the connection to a worker panicked");
                // This report is the last: the loop of the run panics, too, since attempts are lost.
                pool.report(|_| Report::ConnectionBroke {
                    worker: name,
                    reason,
                });
                if let Some(process) = worker.process {
                    kill(Arc::clone(&self.manager), process);
                }
            }
        }
    }

    /// Starts and ends workers as all pools require. Returns when to call it again, if nothing happens before.
    fn maintain(&mut self, now: Instant) -> Option<Instant> {
        for place in 0..self.pools.len() {
            for replaces in self.pools[place].plan_starts(now) {
                // A successor takes the place of a worker that leaves, so it is within the cap.
                if replaces.is_some() || self.has_room(place, now) {
                    self.start(place, replaces, now);
                }
            }
        }
        self.measure_memory(now);
        if self.is_closing && self.pools.iter().all(|pool| pool.workers.is_empty()) {
            for answer in self.closing.drain(..) {
                let _ = answer.send(());
            }
        }
        let checks = self.pools.iter().filter_map(|pool| pool.next_check(now));
        // A measurement that is under way wakes the supervisor when it is done.
        let measure_at = self.measure_at.filter(|_| !self.is_measuring);
        checks.chain(measure_at).min()
    }

    /// Whether the cap allows another worker. If not, it retires an idle worker of another pool.
    fn has_room(&mut self, place: usize, now: Instant) -> bool {
        let Some(most) = self.most else { return true };
        let size: u32 = self.pools.iter().map(PoolState::size).sum();
        if size < most {
            return true;
        }
        // There is room once the worker of the other pool has ended, and that event wakes the actor.
        let mut others = self.pools.iter_mut().enumerate();
        others.any(|(other, pool)| other != place && pool.retire_one_idle(now));
        false
    }

    /// Starts a worker of a pool, with a connection of its own.
    fn start(&mut self, place: usize, replaces: Option<WorkerNumber>, now: Instant) {
        let pool = &mut self.pools[place];
        let number = pool.next_number();
        let name = WorkerName::new(&pool.config.name, number.0);
        let (link, orders) = WorkerLink::channel();
        let mut worker = SupervisedWorker::new(number, name.clone(), link, now);
        worker.replaces = replaces;
        let most = pool.config.recycling.max_jobs;
        let most = most.map(|most| jittered(most, &mut self.rng));
        worker.max_jobs = most;
        worker.replace_after = most.map(|most| most - most / LAST_PART);
        self.next_worker += 1;
        let connection = Connection {
            name,
            config: Arc::clone(&pool.config),
            manager: Arc::clone(&self.manager),
            expect_silence: pool.is_silent,
            replace_after: worker.replace_after,
            number: self.next_worker,
            events: self.events.clone(),
            orders,
        };
        pool.counts.spawned += 1;
        self.workers.insert(self.next_worker, (pool.id, number));
        pool.workers.push(worker);
        let (number, events) = (self.next_worker, self.events.clone());
        let connection = tokio::spawn(connection.run());
        tokio::spawn(async move {
            // The connection reports its end by itself, unless it panics. It is cancelled only with the whole tokio
            // runtime.
            if let Err(error) = connection.await
                && let Ok(panic) = error.try_into_panic()
            {
                let reason = panic_message(&*panic).to_owned();
                // An error means that the supervisor is gone, so no task waits for events.
                let _ = events.send((number, WorkerEvent::Broke(reason)));
            }
        });
    }
}

/// Kills a process whose connection has ended.
fn kill(manager: Arc<dyn ProcessManager>, process: ProcessId) {
    tokio::spawn(async move {
        if let Err(error) = manager.terminate_process(process, Duration::ZERO).await {
            tracing::error!(%process, %error, "the process of a lost worker could not be killed");
        }
    });
}

/// Varies a number by at most one part in [`JITTER`].
fn jittered(most: u64, rng: &mut Rng) -> u64 {
    let share = most / JITTER;
    let nanos = rng.between(
        Duration::from_nanos(most - share),
        Duration::from_nanos(most),
    );
    // The duration has that many nanoseconds, so the number fits.
    u64::try_from(nanos.as_nanos()).unwrap_or(most).max(1)
}

/// Returns the current time of the clock of work: the ages and delays of workers do not grow while they are stopped.
fn now() -> Instant {
    working_now()
}
