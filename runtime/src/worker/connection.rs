//! The connection to one worker: a task that owns the worker's process, its pipes and its attempts, from start to end.
//!
//! ```text
//! run, supervisor --Order--> connection <==bytes==> worker process
//!                                |  |
//!     supervisor <--WorkerEvent--+  +--Report, Reply--> the sender of the attempt
//! ```
//!
//! Attempts come straight from the run that uses the pool, and their results go straight back to it. The supervisor
//! gets only figures. However the worker ends, each attempt that was sent to it is answered or given back exactly once.

mod alignment;
mod buffering;
mod end;
mod filter;
mod handshake;
mod in_flight;
mod incoming;
mod other_output;
mod pings;
mod pulls;
mod read_proof;
mod requests;
mod stderr;
mod work_report;

use std::future::{pending, ready};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::{
    BazelJson, Capability, Dialect, Handshake, HandshakeKind, IpcTransport, Lines, Mcp, Native,
    PROTOCOLS_ENV, Profile, ProtocolVersion, StdioTransport, WORKER_ID_ENV,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep_until};

use self::filter::Filter;
use self::in_flight::InFlight;
use self::other_output::OtherOutput;
use self::pings::Pings;
use self::pulls::{Pulled, joined};
use self::read_proof::ReadProof;
use self::stderr::Stderr;
use self::work_report::WorkReport;
use super::end_cause::EndCause;
use super::event::{WorkerEnd, WorkerEvent};
use crate::context::ATTEMPT_VARIABLES;
use crate::dispatch::{
    Assignment, AttemptKey, Kill, Order, Retirement, StopAction, StopReason, StopRequest,
};
use crate::ids::Ticket;
use crate::ids::WorkerName;
use crate::os::{ExitWatch, OutputCount, ProcessHandle, ProcessManager, ProcessView};
use crate::suspension::{LATE, until, working_now};
use crate::worker::config::{PoolConfig, WorkerProtocol};

/// How many orders are taken from the channel at once. Their requests are sent in one write.
const ORDERS: usize = 256;

/// A connection that has not started its worker yet.
pub(crate) struct Connection {
    /// The name of the worker.
    pub(crate) name: WorkerName,
    /// The settings of the worker's pool.
    pub(crate) config: Arc<PoolConfig>,
    /// The manager that starts the process.
    pub(crate) manager: Arc<dyn ProcessManager>,
    /// An earlier worker of the pool has shown that these workers send no hello, so this connection does not wait for
    /// one.
    pub(crate) expect_silence: bool,
    /// The number of ended jobs after which the supervisor starts a successor.
    pub(crate) replace_after: Option<u64>,
    /// The number of the worker over all pools. It marks the worker's events.
    pub(crate) number: u64,
    /// The sender of events to the supervisor.
    pub(crate) events: mpsc::UnboundedSender<(u64, WorkerEvent)>,
    /// The orders of the supervisor and the attempts of the pool's user.
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
}

impl Connection {
    /// Starts the worker and serves it until it has ended.
    pub(crate) async fn run(self) {
        let dialect: Box<dyn Dialect> = match self.config.language {
            WorkerProtocol::Native => Box::new(Native),
            WorkerProtocol::Lines { input, output } => {
                Box::new(Lines::new(input, output).skip(self.config.skip_lines))
            }
            WorkerProtocol::Mcp => Box::new(Mcp::new(self.concurrency())),
            WorkerProtocol::BazelJson {
                understands_cancel: true,
            } => Box::new(BazelJson::new(self.concurrency()).understanding_cancel()),
            WorkerProtocol::BazelJson {
                understands_cancel: false,
            } => Box::new(BazelJson::new(self.concurrency())),
        };
        self.run_in(dialect).await;
    }

    /// Returns how many requests the worker works on at once, where its protocol does not declare it.
    fn concurrency(&self) -> NonZeroU32 {
        self.config.concurrency.unwrap_or(NonZeroU32::MIN)
    }

    /// Starts and serves a worker that speaks this dialect.
    async fn run_in(mut self, dialect: Box<dyn Dialect>) {
        let end = match self.start().await {
            Ok(handle) => match RunningWorker::new(&self, handle, dialect) {
                Some(worker) => worker.run(&mut self.orders).await,
                None => WorkerEnd::uncharged(EndCause::ClosedInput),
            },
            Err(cause) => WorkerEnd::uncharged(cause),
        };
        // Orders may have been sent while the worker ended. The channel is closed before they are taken out, so that
        // none can be added in between and be lost.
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Perform(assignment) = order
                && let Err(assignment) = assignment.give_back(None, true)
            {
                self.emit(WorkerEvent::CallReturned {
                    assignment,
                    begun: false,
                });
            }
        }
        self.emit(WorkerEvent::Ended(Box::new(end)));
    }

    /// Starts the process of the worker.
    async fn start(&self) -> Result<ProcessHandle, EndCause> {
        let mut process = self.config.process.clone();
        process.env = process
            .env
            .set(
                PROTOCOLS_ENV,
                ratchet_ipc::offer_versions(ProtocolVersion::SUPPORTED),
            )
            .set(WORKER_ID_ENV, self.name.as_str());
        // A worker of a run within another run would otherwise inherit the variables of an attempt of the outer run.
        for name in ATTEMPT_VARIABLES {
            process.env.declare_missing(name.as_ref(), "".as_ref());
        }
        let handle = self.manager.spawn_process(&process).await;
        let handle = handle.map_err(EndCause::StartFailed)?;
        self.emit(WorkerEvent::Started {
            process: handle.id(),
            system_id: handle.system_id(),
        });
        Ok(handle)
    }

    fn emit(&self, event: WorkerEvent) {
        // An error means that the supervisor is gone, so no task waits for events.
        let _ = self.events.send((self.number, event));
    }
}

/// A worker whose process runs, with the state of its connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags are independent of each other"
)]
struct RunningWorker {
    name: WorkerName,
    config: Arc<PoolConfig>,
    manager: Arc<dyn ProcessManager>,
    number: u64,
    events: mpsc::UnboundedSender<(u64, WorkerEvent)>,

    /// The handle of the process. Its pipes are taken; it still reports how much of stdin was not read.
    process: ProcessHandle,
    exit: ExitWatch,
    transport: Box<dyn IpcTransport>,
    stderr: Stderr,
    handshake: Handshake,
    /// The worker has sent its hello, or has taken part in the handshake of its dialect.
    introduced: bool,
    /// Whether the worker has shown that it reads its requests. The supervisor is told of the first proof.
    read_proof: ReadProof,
    /// The worker has answered an attempt.
    has_answered: bool,
    /// Nothing that the worker printed was a message yet, and no warning about that was logged.
    has_sent_no_message: bool,
    /// The profile of the worker, set when it starts to take work.
    profile: Option<Profile>,
    /// The deadline by which the worker has to be ready.
    ready_by: Option<Instant>,
    jobs: InFlight,
    /// The state of the filter, if the worker is one.
    filter: Option<Filter>,
    /// What the worker has done since the last update to the supervisor.
    report: WorkReport,
    /// The worker's process has ended, and its exit is not reported yet. Deadlines are ignored from now on.
    awaits_exit: bool,
    pings: Pings,
    /// The worker is known to have closed its stdin.
    is_input_closed: bool,
    /// The worker's stdout has ended or cannot be read.
    is_output_closed: bool,
    /// The deadline by which the worker has to end after it has closed its stdout.
    ends_by: Option<Instant>,
    /// The worker gets no more attempts, and the supervisor was notified.
    takes_no_work: bool,
    /// The worker has said of an attempt that it has started it.
    tells_starts: bool,
    /// The run that used the worker is gone, and the supervisor waits for the end of the last attempt of that run.
    awaits_vacancy: bool,
    exit_stage: ExitStage,
    /// The cause of the worker's end, once it is decided.
    end_cause: Option<EndCause>,
    /// The worker is being killed, so deadlines are ignored.
    is_killed: bool,
    /// The attempt for which the worker is killed, and the reason. The other attempts are given back uncharged.
    killed_for: Option<(u64, StopReason)>,
    /// How many answers had an unknown id, or an id that was answered before. Only the first few are logged.
    unknown_answers: u64,
    /// Output that may have been meant as an answer.
    other_output: OtherOutput,
    /// The files that are coming back, of attempts that the worker has answered.
    pulls: JoinSet<Pulled>,
}

/// The stage of a worker's way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitStage {
    /// The worker continues to work.
    Working,
    /// The worker is asked to end once it has finished its attempts.
    AfterWork(Retirement),
    /// The worker's stdin is closed. Its process group gets SIGTERM if it has not ended by this time.
    InputClosed(Instant),
    /// The worker's process group got SIGTERM, and the process manager kills it after the grace.
    Terminated,
}

impl RunningWorker {
    /// Prepares the connection to a process that was just started. Returns `None` if its pipes are taken already.
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
            HandshakeKind::None => Handshake::ready(dialect.profile()),
            HandshakeKind::Session => Handshake::by_session(),
        };
        let transport = StdioTransport::with(stdout, stdin, dialect, config.limits);
        Some(Self {
            name: connection.name.clone(),
            manager: Arc::clone(&connection.manager),
            number: connection.number,
            events: connection.events.clone(),
            exit: handle.exit().clone(),
            process: handle,
            transport: Box::new(transport),
            stderr: Stderr::new(stderr, config.stderr_bytes),
            handshake,
            introduced: false,
            read_proof: ReadProof::default(),
            has_answered: false,
            has_sent_no_message: true,
            profile: None,
            ready_by: now.checked_add(config.start_timeout),
            jobs: InFlight::new(),
            filter: Filter::of(&config),
            report: WorkReport::new(connection.replace_after, now),
            awaits_exit: false,
            pings: Pings::new(config.ping),
            is_input_closed: false,
            is_output_closed: false,
            ends_by: None,
            takes_no_work: false,
            tells_starts: false,
            awaits_vacancy: false,
            exit_stage: ExitStage::Working,
            end_cause: None,
            is_killed: false,
            killed_for: None,
            unknown_answers: 0,
            other_output: OtherOutput::default(),
            pulls: JoinSet::new(),
            config,
        })
    }

    /// Serves the worker until its process has ended, and returns how it ended.
    async fn run(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> WorkerEnd {
        let mut batch = Vec::with_capacity(ORDERS);
        let mut alarm = Box::pin(sleep_until(tokio::time::Instant::now()));
        self.handshake.on_time(now());
        self.follow_handshake().await;
        let ended = loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                taken = orders.recv_many(&mut batch, ORDERS) => {
                    if taken == 0 {
                        // All senders are gone: the supervisor has ended, and this worker cannot be used again.
                        self.kill(EndCause::Retired(Retirement::Shutdown)).await;
                        break self.exit.wait().await;
                    }
                    let now = now();
                    for order in batch.drain(..) {
                        self.handle_order(order, now).await;
                    }
                }
                // The exit is polled before the output: a descendant that left the group can hold the pipe open and
                // print forever.
                ended = self.exit.wait() => break ended,
                Some(pulled) = self.pulls.join_next(), if !self.pulls.is_empty() => {
                    self.finish_pull(joined(pulled));
                }
                incoming = self.transport.receive(), if !self.is_output_closed => {
                    self.take_all(incoming).await;
                    self.check_between_reads(deadline).await;
                }
                () = self.stderr.read(), if self.stderr.is_open() => {
                    self.stderr.stream(&self.name, self.jobs.oldest());
                }
                () = self.process.input_closed(), if !self.is_input_closed => {
                    self.is_input_closed = true;
                    self.on_input_closed().await;
                }
                () = wait_until(&mut alarm, deadline) => self.check_deadlines(now()).await,
            }
            self.finish_early(now());
            self.exit_if_done().await;
            self.send_update();
        };
        self.conclude(ended).await
    }

    /// Checks deadlines and reads stderr between two reads of stdout. The select prefers stdout, so without this a
    /// worker that prints without a pause would never meet a deadline, or would block on a full stderr.
    async fn check_between_reads(&mut self, deadline: Option<Instant>) {
        if self.stderr.read_now() {
            self.stderr.stream(&self.name, self.jobs.oldest());
        }
        let now = now();
        if deadline.is_some_and(|at| at <= now) {
            self.check_deadlines(now).await;
        }
    }

    /// Does what is due at this time, after everything that happened before it was handled.
    ///
    /// The order makes this correct, however late it is called: `now` is read first, then the system is asked what the
    /// worker has printed and whether it has ended, and only attempts that this does not answer are checked, as of
    /// `now`. It does not matter which events the event loop has delivered so far. When this process was stopped or
    /// starved, the event loop can fire a timer before it reports the data in a pipe.
    async fn check_deadlines(&mut self, now: Instant) {
        if self.has_ended() {
            // Its exit is about to be reported. Its remaining output is read then, and counts.
            self.awaits_exit = true;
            return;
        }
        let due = self.deadline().filter(|at| *at <= now);
        if due.is_some() && self.process.view().is_some_and(|view| !view.is_direct()) {
            self.catch_up_with_host(due, now).await;
            if self.has_ended() {
                self.awaits_exit = true;
                return;
            }
        }
        self.read_printed().await;
        // An answer may have moved the deadline.
        if self.deadline().is_some_and(|at| at <= now) {
            self.on_time(now).await;
        }
    }

    /// Waits until what the worker has printed on another host has come here.
    async fn catch_up_with_host(&mut self, due: Option<Instant>, now: Instant) {
        let view = self.process.view();
        if let Some(view) = view.filter(|_| self.kill_deadline().is_some_and(|at| at <= now)) {
            // The host may have been stopped, or the network. This costs a round trip, so it is done only before
            // something is stopped or killed.
            view.catch_up().await;
            let delay = working_now().saturating_duration_since(now);
            if delay >= LATE {
                self.pings.was_delayed(delay);
            }
        } else {
            // If this process was stopped, what the worker has printed may wait in the connection to its host.
            until(due).await;
        }
    }

    fn has_ended(&self) -> bool {
        self.exit.ended().is_some() || self.process.view().is_some_and(ProcessView::has_ended)
    }

    /// Handles everything that the worker has printed so far.
    async fn read_printed(&mut self) {
        let output = |process: &ProcessHandle| process.view().and_then(ProcessView::output);
        let Some(OutputCount { printed, mut read }) = output(&self.process) else {
            return;
        };
        // A write that could not be finished at once may have read messages in the meantime.
        if let Some(incoming) = self.transport.try_receive() {
            self.take_all(Ok(incoming)).await;
        }
        // Only what is printed by now is read, because a worker that prints without a pause has to meet its deadlines.
        while read < printed && !self.is_output_closed {
            let incoming = tokio::select! {
                biased;
                incoming = self.transport.receive() => Some(incoming),
                () = ready(()) => None,
            };
            let is_nothing = incoming.is_none();
            if let Some(incoming) = incoming {
                self.take_all(incoming).await;
            }
            let Some(count) = output(&self.process) else {
                return;
            };
            if is_nothing && count.read == read {
                // The worker asks more questions than it reads answers to. The transport reads no more from it until it
                // reads them.
                return;
            }
            read = count.read;
        }
    }

    /// Returns the earliest time at which something is due.
    fn deadline(&self) -> Option<Instant> {
        [
            self.kill_deadline(),
            self.handshake.deadline(),
            self.pings.deadline(),
            self.read_proof.deadline(),
            self.other_output.deadline(),
            self.filter_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .filter(|_| !self.is_killed && !self.awaits_exit)
    }

    /// Returns the earliest time at which an attempt or the worker is stopped or killed, unless the worker does
    /// something before that.
    fn kill_deadline(&self) -> Option<Instant> {
        let leaving = match self.exit_stage {
            ExitStage::InputClosed(at) => Some(at),
            ExitStage::Working | ExitStage::AfterWork(_) | ExitStage::Terminated => None,
        };
        [
            self.ready_by.filter(|_| self.profile.is_none()),
            self.jobs.deadline(self.can(&Capability::Cancel)),
            self.pings.answer_by(),
            self.ends_by,
            leaving,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns when to check the filter. Once its stdin is closed, the end of its output answers everything.
    fn filter_deadline(&self) -> Option<Instant> {
        let leaves = matches!(
            self.exit_stage,
            ExitStage::InputClosed(_) | ExitStage::Terminated
        );
        let filter = self.filter.as_ref().filter(|_| !leaves)?;
        filter.deadline()
    }

    /// Does everything whose deadline has passed.
    async fn on_time(&mut self, now: Instant) {
        if self.filter_deadline().is_some_and(|at| at <= now) {
            self.watch_filter(now);
        }
        self.handshake.on_time(now);
        self.follow_handshake().await;
        if self.profile.is_none() && self.ready_by.is_some_and(|by| by <= now) {
            self.kill(EndCause::NotReady(self.config.start_timeout))
                .await;
        }
        while let Some((id, due)) = self.jobs.due(self.can(&Capability::Cancel), now) {
            match due {
                StopAction::Ask(why) => self.ask(id, why, self.config.grace, now),
                StopAction::Kill(why) => {
                    self.kill_for(id, why).await;
                    break;
                }
            }
        }
        if let Some(limit) = self.pings.overdue(now) {
            self.kill(EndCause::PingUnanswered(limit)).await;
        }
        self.ping(now);
        if self.read_proof.deadline().is_some_and(|at| at <= now) {
            self.check_proof(now);
        }
        self.tell_other_output(now);
        if self.ends_by.is_some_and(|by| by <= now) {
            self.kill(EndCause::ClosedOutput).await;
        }
        if matches!(self.exit_stage, ExitStage::InputClosed(at) if at <= now) {
            self.exit_stage = ExitStage::Terminated;
            self.terminate(self.config.grace).await;
        }
    }

    /// Handles one order of the supervisor or the run.
    async fn handle_order(&mut self, order: Order, now: Instant) {
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
                if self.exit_stage == ExitStage::Working {
                    self.exit_stage = ExitStage::AfterWork(why);
                }
            }
            Order::Kill(Kill::Memory { used, limit }) => {
                self.kill(EndCause::Memory { used, limit }).await;
            }
            Order::Kill(Kill::Shutdown) => {
                self.kill(EndCause::Retired(Retirement::Shutdown)).await;
            }
        }
    }

    /// Stops an attempt in the requested way. The worker is asked to give back an attempt that has not begun.
    async fn stop(&mut self, key: AttemptKey, stop: StopRequest, now: Instant) {
        let Some(entry) = self.jobs.find(key) else {
            return; // The attempt ended while this order was on its way.
        };
        let id = entry.id;
        if entry.begun.is_none() {
            return self.recall(Some(id));
        }
        match stop {
            StopRequest::Ask { grace } => self.ask(id, StopReason::Unwanted, grace, now),
            StopRequest::Kill => self.kill_for(id, StopReason::Unwanted).await,
            // The attempt has begun in the meantime, as a report to the loop has said. It continues.
            StopRequest::Recall => {}
        }
    }

    /// Takes no more attempts, and notifies the supervisor.
    fn close_to_work(&mut self) {
        if !self.takes_no_work {
            self.takes_no_work = true;
            self.emit(WorkerEvent::Withdrawn);
        }
    }

    /// Gives back an attempt that never began, or that began only to be given back.
    fn give_back(&self, assignment: Assignment, begun: bool, next: Option<Ticket>) {
        if let Err(assignment) = assignment.give_back(next, self.takes_no_work) {
            self.emit(WorkerEvent::CallReturned { assignment, begun });
        }
    }

    /// Sends the supervisor an update if it needs one, and tells it when the last attempt of an abandoned run has ended.
    fn send_update(&mut self) {
        if let Some(update) = self.report.take_due(self.jobs.len()) {
            self.emit(WorkerEvent::Updated(update));
        }
        if self.awaits_vacancy && self.jobs.of_run().is_empty() {
            self.awaits_vacancy = false;
            self.emit(WorkerEvent::Vacated);
        }
    }

    /// Reports to the supervisor that the worker reads its requests.
    fn prove(&mut self) {
        if self.read_proof.prove() {
            self.emit(WorkerEvent::Proven);
        }
    }

    /// Checks whether the worker has read everything that it was sent. Only this shows that a worker without a hello is
    /// ready.
    fn check_proof(&mut self, now: Instant) {
        if self.has_read_all() {
            self.prove();
        } else {
            self.read_proof.plan_next_check(now);
        }
    }

    /// Whether the worker is known to have read everything that it was sent.
    fn has_read_all(&self) -> bool {
        let input = self.process.view().and_then(ProcessView::input);
        self.transport.unsent_bytes() == 0 && input.is_some_and(|count| count.read == count.written)
    }

    fn emit(&self, event: WorkerEvent) {
        // An error means that the supervisor is gone, so no task waits for events.
        let _ = self.events.send((self.number, event));
    }
}

/// Waits until the clock of work shows a time.
///
/// The timer is moved only when it would fire too late. As jobs end and begin, their deadlines mostly move to later,
/// and a timer that sometimes fires too early costs less than one that is moved for each job.
async fn wait_until(alarm: &mut std::pin::Pin<Box<Sleep>>, deadline: Option<Instant>) {
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

/// Returns the current time of the clock of work, which does not run while jobs are suspended.
fn now() -> Instant {
    working_now()
}

#[cfg(test)]
mod tests;
