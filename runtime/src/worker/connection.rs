//! One worker, from its start to its end: a task that owns its process, its pipes and its attempts.
//!
//! ```text
//! run, supervisor --Order--> connection <==bytes==> worker process
//!                                |  |
//!          supervisor <--News----+  +--Report, Reply--> whoever asked for the attempt
//! ```
//!
//! Attempts come straight from the run that has the pool, and their answers go straight back to it; the supervisor hears
//! numbers. Whatever happens to the worker, each attempt that was given to it is answered or given back, once.

mod alignment;
mod asking;
mod end;
mod filter;
mod in_flight;
mod incoming;
mod introduction;
mod silence;
mod stderr;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::{
    Capability, Dialect, Handshake, HandshakeKind, HandshakeMode, IpcTransport, Lines, Native,
    PROTOCOLS_ENV, Profile, ProtocolVersion, StdioTransport, WORKER_ID_ENV,
};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use self::filter::Filter;
use self::in_flight::InFlight;
use self::stderr::Stderr;
use super::cause::Cause;
use super::news::{Death, Load, News};
use crate::dispatch::{Assignment, AttemptKey, Due, Kill, Order, Retirement, Stop, StopReason};
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::os::{ExitWatch, ProcessHandle, ProcessManager};
use crate::suspension::{CATCH_UP, LATE, working_now};
use crate::worker::config::{Language, PoolConfig};

/// How many orders are taken at once: they leave in one write.
const ORDERS: usize = 256;

/// How many ended attempts the supervisor hears of at once while the worker is busy all the time.
const TOLD_AT_ONCE: u32 = 1024;

/// How often to look whether a worker that says no hello has read its first request. Until it has, no other attempt
/// may take a token of the rate that this one has taken.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a connection is made with.
pub(crate) struct Connection {
    pub(crate) name: WorkerName,
    pub(crate) config: Arc<PoolConfig>,
    pub(crate) manager: Arc<dyn ProcessManager>,
    /// A worker of its kind has shown that it says no hello; nobody waits for one again.
    pub(crate) expect_silence: bool,
    /// The number of jobs after which the supervisor wants to replace it.
    pub(crate) max_jobs: Option<u64>,
    /// The worker's number, with which its news are marked.
    pub(crate) number: u64,
    pub(crate) news: mpsc::UnboundedSender<(u64, News)>,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
}

impl Connection {
    /// Starts the worker and stays with it to its end.
    pub(crate) async fn run(self) {
        let dialect: Box<dyn Dialect> = match self.config.language {
            Language::Native => Box::new(Native),
            Language::Lines { input, output } => {
                Box::new(Lines::new(input, output).skip(self.config.skip_lines))
            }
        };
        self.run_in(dialect).await;
    }

    /// Does the same with a worker that speaks this dialect.
    async fn run_in(mut self, dialect: Box<dyn Dialect>) {
        let death = match self.start().await {
            Ok(handle) => match Live::new(&self, handle, dialect) {
                Some(live) => live.run(&mut self.orders).await,
                None => Death::before_work(Cause::ClosedInput),
            },
            Err(cause) => Death::before_work(cause),
        };
        // What was given to it too late goes back, after the channel is closed: nothing can come in between.
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Perform(assignment) = order
                && let Err(assignment) = assignment.give_back(None, true)
            {
                self.tell(News::Back {
                    assignment,
                    begun: false,
                });
            }
        }
        self.tell(News::Dead(Box::new(death)));
    }

    async fn start(&self) -> Result<ProcessHandle, Cause> {
        let mut process = self.config.process.clone();
        process.env = process
            .env
            .set(
                PROTOCOLS_ENV,
                ratchet_ipc::offer_versions(ProtocolVersion::SUPPORTED),
            )
            .set(WORKER_ID_ENV, self.name.as_str());
        let handle = self.manager.spawn_process(&process).await;
        let handle = handle.map_err(Cause::Spawn)?;
        self.tell(News::Started {
            process: handle.id(),
            system_id: handle.system_id(),
        });
        Ok(handle)
    }

    fn tell(&self, news: News) {
        // Without a supervisor there is nobody left to care.
        let _ = self.news.send((self.number, news));
    }
}

/// A worker whose process runs.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
struct Live {
    name: WorkerName,
    config: Arc<PoolConfig>,
    manager: Arc<dyn ProcessManager>,
    number: u64,
    news: mpsc::UnboundedSender<(u64, News)>,

    /// Its pipes are taken; it still tells what of its stdin was not read.
    process: ProcessHandle,
    exit: ExitWatch,
    transport: Box<dyn IpcTransport>,
    stderr: Stderr,
    handshake: Handshake,
    /// It has said hello, or has taken part in the handshake of its dialect.
    introduced: bool,
    /// It has shown that it reads its requests, and its supervisor knows.
    is_proven: bool,
    /// When to look whether it has read its first request.
    look_at: Option<Instant>,
    /// Nothing that it printed was a message yet, and nobody was warned of that.
    doubtful: bool,
    /// What it said of itself, once it takes work.
    profile: Option<Profile>,
    /// By when it has to be ready.
    ready_by: Option<Instant>,
    jobs: InFlight,
    /// What is known of it as a filter, if it is one.
    filter: Option<Filter>,
    /// What it did since the supervisor was told.
    load: Load,
    /// Whether the supervisor takes it to have something to do.
    told_busy: bool,
    /// How many jobs it has left until the supervisor wants to replace it.
    jobs_left: Option<u64>,
    /// Until when nothing is judged by the clock, because this process was stopped.
    catching_up: Option<Instant>,
    /// When the attempt that ended last did.
    ended_at: Instant,
    pinged: Option<Ping>,
    /// How many pings it was sent: no two are the same, or a late answer to one would answer the next.
    pings: u64,
    ping_at: Option<Instant>,
    /// Nothing more can be read from it.
    mute: bool,
    /// By when it has to end, having closed its stdout.
    ends_by: Option<Instant>,
    /// It gets no more work, and its supervisor knows.
    closed: bool,
    /// The run that had it is gone, and the supervisor waits for the last of its attempts to end.
    awaits_vacancy: bool,
    leaving: Leaving,
    /// Of what it is dying, once that is decided.
    dying: Option<Cause>,
    /// It is being killed: there is nothing left to decide.
    killed: bool,
    /// For whose sake it is killed, and why.
    killed_for: Option<(u64, StopReason)>,
    /// Unknown and repeated answers, not all of which are worth a line.
    unasked: u64,
}

struct Ping {
    nonce: u64,
    by: Instant,
}

/// How far it is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// It is not.
    Stays,
    /// It leaves when it has finished what it has.
    When(Retirement),
    /// It was told, and its stdin is closed; by then its group is asked to end.
    By(Instant),
    /// Its group was asked, and is killed in time.
    Asked,
}

impl Live {
    fn new(
        connection: &Connection,
        mut handle: ProcessHandle,
        dialect: Box<dyn Dialect>,
    ) -> Option<Self> {
        let config = Arc::clone(&connection.config);
        let (stdin, stdout, stderr) = handle.take_pipes()?;
        let now = now();
        let handshake = match dialect.handshake_kind() {
            HandshakeKind::Hello => {
                let wait = if connection.expect_silence {
                    Duration::ZERO
                } else {
                    config.handshake_wait
                };
                Handshake::new(config.handshake, ProtocolVersion::SUPPORTED, now, wait)
            }
            HandshakeKind::None => Handshake::new(HandshakeMode::None, &[], now, Duration::ZERO),
            HandshakeKind::Session => Handshake::by_session(),
        };
        let transport = StdioTransport::with(stdout, stdin, dialect, config.limits);
        Some(Self {
            name: connection.name.clone(),
            manager: Arc::clone(&connection.manager),
            number: connection.number,
            news: connection.news.clone(),
            exit: handle.exit().clone(),
            process: handle,
            transport: Box::new(transport),
            stderr: Stderr::new(stderr, config.stderr_bytes),
            handshake,
            introduced: false,
            is_proven: false,
            look_at: None,
            doubtful: true,
            profile: None,
            ready_by: now.checked_add(config.start_timeout),
            jobs: InFlight::new(),
            filter: Filter::of(&config),
            load: Load::default(),
            told_busy: false,
            catching_up: None,
            jobs_left: connection.max_jobs,
            ended_at: now,
            pinged: None,
            pings: 0,
            ping_at: None,
            mute: false,
            ends_by: None,
            closed: false,
            awaits_vacancy: false,
            leaving: Leaving::Stays,
            dying: None,
            killed: false,
            killed_for: None,
            unasked: 0,
            config,
        })
    }

    /// The conversation, until the process has ended.
    async fn run(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Death {
        let mut batch = Vec::with_capacity(ORDERS);
        let mut alarm = Box::pin(sleep_until(tokio::time::Instant::now()));
        self.handshake.on_time(now());
        self.shake_hands().await;
        let ended = loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                taken = orders.recv_many(&mut batch, ORDERS) => {
                    if taken == 0 {
                        // The supervisor is gone, and with it whoever wanted this worker.
                        self.kill(Cause::Retired(Retirement::Shutdown)).await;
                        break self.exit.wait().await;
                    }
                    let now = now();
                    for order in batch.drain(..) {
                        self.obey(order, now).await;
                    }
                }
                // Before what it says, which somebody who left its group may go on with for ever.
                ended = self.exit.wait() => break ended,
                incoming = self.transport.receive(), if !self.mute => {
                    self.take_all(incoming).await;
                    self.look_up(deadline).await;
                }
                () = self.stderr.read(), if self.stderr.is_open() => {
                    self.stderr.stream(&self.name, self.jobs.oldest());
                }
                () = ring(&mut alarm, deadline) => {
                    let now = now();
                    if self.may_judge(deadline, now) {
                        self.on_time(now).await;
                    }
                }
            }
            self.leave_if_done().await;
            self.tell_load();
        };
        self.bury(ended).await
    }

    /// A worker that never stops talking must not talk its deadlines away, nor fill its stderr.
    async fn look_up(&mut self, deadline: Option<Instant>) {
        if self.stderr.read_now() {
            self.stderr.stream(&self.name, self.jobs.oldest());
        }
        let now = now();
        if deadline.is_some_and(|at| at <= now) && self.may_judge(deadline, now) {
            self.on_time(now).await;
        }
    }

    /// Whether what is due by the clock may be judged now. After this process was stopped, what the worker has done
    /// meanwhile is taken in first.
    fn may_judge(&mut self, deadline: Option<Instant>, now: Instant) -> bool {
        let is_late = deadline.is_some_and(|at| now.saturating_duration_since(at) >= LATE);
        let is_over = self.catching_up.is_some_and(|until| until <= now);
        if is_late && !is_over {
            self.catching_up = self.catching_up.or(now.checked_add(CATCH_UP));
            return false;
        }
        self.catching_up = None;
        true
    }

    /// When something is to be looked at again.
    fn deadline(&self) -> Option<Instant> {
        if self.catching_up.is_some() {
            return self.catching_up;
        }
        let leaving = match self.leaving {
            Leaving::By(at) => Some(at),
            Leaving::Stays | Leaving::When(_) | Leaving::Asked => None,
        };
        let ready_by = self.ready_by.filter(|_| self.profile.is_none());
        [
            self.handshake.deadline(),
            ready_by,
            self.jobs.deadline(self.can(&Capability::Cancel)),
            self.pinged.as_ref().map(|ping| ping.by),
            self.ping_at,
            self.look_at,
            self.ends_by,
            leaving,
            self.filter_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .filter(|_| !self.killed)
    }

    /// When to look at the filter. Once its stdin is closed, the end of its output tells all there is to know.
    fn filter_deadline(&self) -> Option<Instant> {
        let leaves = matches!(self.leaving, Leaving::By(_) | Leaving::Asked);
        let filter = self.filter.as_ref().filter(|_| !leaves)?;
        filter.deadline()
    }

    async fn on_time(&mut self, now: Instant) {
        if self.filter_deadline().is_some_and(|at| at <= now) {
            self.watch_filter(now);
        }
        self.handshake.on_time(now);
        self.shake_hands().await;
        if self.profile.is_none() && self.ready_by.is_some_and(|by| by <= now) {
            self.kill(Cause::NotReady(self.config.start_timeout)).await;
        }
        while let Some((id, due)) = self.jobs.due(self.can(&Capability::Cancel), now) {
            match due {
                Due::Ask(why) => self.ask(id, why, self.config.grace, now),
                Due::Kill(why) => {
                    self.kill_for(id, why).await;
                    break;
                }
            }
        }
        if let Some(ping) = &self.pinged
            && ping.by <= now
        {
            let limit = self.config.ping.unwrap_or_default();
            self.kill(Cause::NoPong(limit)).await;
        }
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping(now);
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_for_proof(now);
        }
        if self.ends_by.is_some_and(|by| by <= now) {
            self.kill(Cause::ClosedOutput).await;
        }
        if matches!(self.leaving, Leaving::By(at) if at <= now) {
            self.leaving = Leaving::Asked;
            self.terminate(self.config.grace).await;
        }
    }

    async fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Perform(assignment) => self.send(assignment, now),
            Order::Stop(key, stop) => self.stop(key, stop, now).await,
            Order::Recall => self.recall(None),
            Order::Last(is_last) => self.expect_last(is_last),
            Order::Abandon => {
                // The run's link was dropped before this was sent, so no attempt of the run comes after it.
                self.awaits_vacancy = true;
                for (id, has_begun) in self.jobs.of_run() {
                    if has_begun {
                        self.ask(id, StopReason::Unwanted, self.config.grace, now);
                    } else {
                        self.recall(Some(id));
                    }
                }
            }
            Order::Retire(why) => {
                self.close_to_work();
                if self.leaving == Leaving::Stays {
                    self.leaving = Leaving::When(why);
                }
            }
            Order::Kill(Kill::Memory { used, limit }) => {
                self.kill(Cause::Memory { used, limit }).await;
            }
            Order::Kill(Kill::Shutdown) => {
                self.kill(Cause::Retired(Retirement::Shutdown)).await;
            }
        }
    }

    async fn stop(&mut self, key: AttemptKey, stop: Stop, now: Instant) {
        let Some(entry) = self.jobs.find(key) else {
            return; // It has ended meanwhile.
        };
        let id = entry.id;
        if entry.begun.is_none() {
            return self.recall(Some(id));
        }
        match stop {
            Stop::Ask { grace } => self.ask(id, StopReason::Unwanted, grace, now),
            Stop::Kill => self.kill_for(id, StopReason::Unwanted).await,
            // Too late: whoever wants it stopped hears that it has begun.
            Stop::Recall => {}
        }
    }

    /// Takes no more attempts, and tells the supervisor at once.
    fn close_to_work(&mut self) {
        if !self.closed {
            self.closed = true;
            self.tell(News::Withdrawn);
        }
    }

    /// Gives back an attempt that never began, or that was only begun to be given back.
    fn give_back(&self, assignment: Assignment, begun: bool, next: Option<Ticket>) {
        if let Err(assignment) = assignment.give_back(next, self.closed) {
            self.tell(News::Back { assignment, begun });
        }
    }

    /// Tells the supervisor how the worker does, where the supervisor has to know: when it has something to do or has
    /// nothing any more, when it has done its share, and of each call, whose seat the supervisor has.
    fn tell_load(&mut self) {
        let in_hand = self.jobs.len();
        let is_busy = in_hand > 0;
        let has_done_its_share = self
            .jobs_left
            .is_some_and(|left| u64::from(self.load.ended) >= left);
        let has_calls = self.load.calls_begun > 0 || self.load.calls_ended > 0;
        if is_busy != self.told_busy
            || has_calls
            || (has_done_its_share && self.load.ended > 0)
            || self.load.ended >= TOLD_AT_ONCE
            // It did something and is idle again.
            || (!is_busy && self.load.ended > 0)
        {
            let load = Load {
                in_hand,
                ..std::mem::take(&mut self.load)
            };
            let ended = u64::from(load.ended);
            self.jobs_left = self.jobs_left.map(|left| left.saturating_sub(ended));
            self.told_busy = is_busy;
            self.tell(News::Load(load));
        }
        if self.awaits_vacancy && self.jobs.of_run().is_empty() {
            self.awaits_vacancy = false;
            self.tell(News::Vacant);
        }
    }

    /// Tells the supervisor that the worker reads its requests.
    fn prove(&mut self) {
        self.look_at = None;
        if !self.is_proven {
            self.is_proven = true;
            self.tell(News::Proven);
        }
    }

    /// Looks whether the worker has read all that it was sent. A worker that says no hello shows only so that it is ready.
    fn look_for_proof(&mut self, now: Instant) {
        let all_read = self.transport.unsent_bytes() == 0 && self.process.unread_input() == Some(0);
        if all_read {
            self.prove();
        } else {
            self.look_at = now.checked_add(LOOK_EVERY);
        }
    }

    fn tell(&self, news: News) {
        // Without a supervisor there is nobody left to care.
        let _ = self.news.send((self.number, news));
    }
}

/// Waits until the clock of work shows a time. The timer is moved only when it rings too early, since deadlines mostly go
/// back as jobs end and begin.
async fn ring(alarm: &mut std::pin::Pin<Box<Sleep>>, deadline: Option<Instant>) {
    let Some(deadline) = deadline else {
        return pending().await;
    };
    loop {
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        let at = tokio::time::Instant::now() + left;
        if alarm.is_elapsed() || alarm.deadline() > at {
            alarm.as_mut().reset(at);
        }
        alarm.as_mut().await;
    }
}

/// Now, by the clock of work: it stands still while jobs are suspended.
fn now() -> Instant {
    working_now()
}

#[cfg(test)]
mod tests;
