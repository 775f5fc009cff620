//! One worker, from its start to its end: a task that owns its process, its pipes and its attempts.
//!
//! ```text
//!              Order                 bytes
//! supervisor ---------> connection <======> worker process
//!            <---------     |
//!               News        +--Report, Reply--> whoever asked for the attempt
//! ```
//!
//! Answers go straight to whoever asked; the supervisor hears numbers. Whatever happens to the worker,
//! each attempt that was given to it is answered or given back, once.

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
    Capability, Handshake, IpcTransport, Lines, Native, PROTOCOLS_ENV, Profile, ProtocolVersion,
    StdioTransport, WORKER_ID_ENV,
};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use self::filter::Filter;
use self::in_flight::{Due, InFlight, Why};
use self::stderr::Stderr;
use super::cause::{Cause, Retirement};
use super::name::WorkerName;
use super::orders::{Death, News, Order, Worked};
use crate::executor::crew::Stop;
use crate::process::{ExitWatch, Language, PoolConfig, ProcessHandle, ProcessId, ProcessManager};

/// How many orders are taken at once: they leave in one write.
const ORDERS: usize = 256;

/// What a connection is made with.
pub(crate) struct Connection {
    pub(crate) name: WorkerName,
    pub(crate) config: Arc<PoolConfig>,
    pub(crate) manager: Arc<dyn ProcessManager>,
    /// A worker of its kind has shown that it says no hello; nobody waits for one again.
    pub(crate) expect_silence: bool,
    /// The worker's number, with which its news are marked.
    pub(crate) number: u64,
    pub(crate) news: mpsc::UnboundedSender<(u64, News)>,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
}

impl Connection {
    /// Starts the worker and stays with it to its end.
    pub(crate) async fn run(mut self) {
        let death = match self.start().await {
            Ok(handle) => match Live::new(&self, handle) {
                Some(live) => live.run(&mut self.orders).await,
                None => Death::before_work(Cause::ClosedInput),
            },
            Err(cause) => Death::before_work(cause),
        };
        // What was given to it too late goes back.
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Work(work) = order {
                self.tell(News::Back { work, begun: false });
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
                ratchet_ipc::offer(ProtocolVersion::SUPPORTED),
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

    process: ProcessId,
    exit: ExitWatch,
    transport: Box<dyn IpcTransport>,
    stderr: Stderr,
    handshake: Handshake,
    /// It has said hello.
    introduced: bool,
    /// Nothing that it printed was a message yet, and nobody was warned of that.
    doubtful: bool,
    /// What it said of itself, once it takes work.
    profile: Option<Profile>,
    /// By when it has to be ready.
    ready_by: Option<Instant>,
    jobs: InFlight,
    /// What is known of it as a filter, if it is one.
    filter: Option<Filter>,
    worked: Worked,
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
    leaving: Leaving,
    /// Of what it is dying, once that is decided.
    dying: Option<Cause>,
    /// It is being killed: there is nothing left to decide.
    killed: bool,
    /// For whose sake it is killed, and why.
    killed_for: Option<(u64, Why)>,
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
    fn new(connection: &Connection, mut handle: ProcessHandle) -> Option<Self> {
        let config = Arc::clone(&connection.config);
        let (stdin, stdout, stderr) = handle.take_pipes()?;
        let transport = match config.language {
            Language::Native => StdioTransport::with(stdout, stdin, Native, config.limits),
            Language::Lines { input, output } => {
                let lines = Lines::new(input, output).skip(config.skip_lines);
                StdioTransport::with(stdout, stdin, lines, config.limits)
            }
        };
        let now = now();
        let (mode, wait) = match config.language {
            Language::Lines { .. } => (ratchet_ipc::HandshakeMode::None, Duration::ZERO),
            Language::Native if connection.expect_silence => (config.handshake, Duration::ZERO),
            Language::Native => (config.handshake, config.handshake_wait),
        };
        Some(Self {
            name: connection.name.clone(),
            manager: Arc::clone(&connection.manager),
            number: connection.number,
            news: connection.news.clone(),
            process: handle.id(),
            exit: handle.exit().clone(),
            transport: Box::new(transport),
            stderr: Stderr::new(stderr, config.stderr_bytes),
            handshake: Handshake::new(mode, ProtocolVersion::SUPPORTED, now, wait),
            introduced: false,
            doubtful: true,
            profile: None,
            ready_by: now.checked_add(config.start_timeout),
            jobs: InFlight::new(),
            filter: Filter::of(&config),
            worked: Worked::default(),
            ended_at: now,
            pinged: None,
            pings: 0,
            ping_at: None,
            mute: false,
            ends_by: None,
            closed: false,
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
                () = ring(&mut alarm, deadline) => self.on_time(now()).await,
            }
            self.leave_if_done().await;
            self.tell_worked();
        };
        self.bury(ended).await
    }

    /// A worker that never stops talking must not talk its deadlines away, nor fill its stderr.
    async fn look_up(&mut self, deadline: Option<Instant>) {
        if self.stderr.read_now() {
            self.stderr.stream(&self.name, self.jobs.oldest());
        }
        let now = now();
        if deadline.is_some_and(|at| at <= now) {
            self.on_time(now).await;
        }
    }

    /// When something is to be looked at again.
    fn deadline(&self) -> Option<Instant> {
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
        while let Some(due) = self.jobs.due(self.can(&Capability::Cancel), now) {
            match due {
                Due::Ask(id, why) => self.ask(id, why, self.config.grace, now),
                Due::Kill(id, why) => {
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
            Order::Work(work) => self.send(work, now),
            Order::Stop(key, stop) => {
                let Some(entry) = self.jobs.find(key) else {
                    return;
                };
                let id = entry.id;
                if entry.begun.is_none() {
                    return self.recall(Some(id));
                }
                match stop {
                    Stop::Ask { grace } => self.ask(id, Why::Unwanted, grace, now),
                    Stop::Kill => self.kill_for(id, Why::Unwanted).await,
                    // Too late: whoever wants it stopped hears that it has begun.
                    Stop::Recall => {}
                }
            }
            Order::Abandon(executor) => {
                for (id, has_begun) in self.jobs.of(&executor) {
                    if has_begun {
                        self.ask(id, Why::Unwanted, self.config.grace, now);
                    } else {
                        self.recall(Some(id));
                    }
                }
            }
            Order::Recall => self.recall(None),
            Order::Last(is_last) => self.expect_last(is_last),
            Order::Retire(why) => {
                if self.leaving == Leaving::Stays {
                    self.leaving = Leaving::When(why);
                }
            }
            Order::Kill(cause) => self.kill(cause).await,
        }
    }

    /// It gets no more work, and its supervisor is told at once, before it sends more.
    fn close_to_work(&mut self) {
        if !self.closed {
            self.closed = true;
            self.tell(News::Leaves);
        }
    }

    fn tell_worked(&mut self) {
        if self.worked != Worked::default() {
            let worked = std::mem::take(&mut self.worked);
            self.tell(News::Worked(worked));
        }
    }

    fn tell(&self, news: News) {
        // Without a supervisor there is nobody left to care.
        let _ = self.news.send((self.number, news));
    }
}

/// Waits until a moment. The timer is moved only when it rings too early, since deadlines mostly go
/// back as jobs end and begin.
async fn ring(alarm: &mut std::pin::Pin<Box<Sleep>>, deadline: Option<Instant>) {
    let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
        return pending().await;
    };
    if alarm.is_elapsed() || alarm.deadline() > deadline {
        alarm.as_mut().reset(deadline);
    }
    alarm.as_mut().await;
    while deadline > tokio::time::Instant::now() {
        alarm.as_mut().reset(deadline);
        alarm.as_mut().await;
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
