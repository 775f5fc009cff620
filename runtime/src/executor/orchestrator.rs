//! The loop: one task that owns the queue, the claims and the state of every job.
//!
//! ```text
//! source -> needs -> cache? -> scheduler -> seat -+
//!                                 ^               |
//!                                 +---- retry ----+-> outcome -> ledger -> order -> Run
//! ```
//!
//! It waits for the first of many things, does all that follows from it in one turn, and waits again. A
//! turn reads the clock once. Nothing in it waits for anybody: performers report, the cache and the ledger work
//! beside it, sinks have backlogs.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_ipc::{JobKey, TaskName};
use ratchet_resilience::Rng;
use ratchet_resilience::retry::RetryHistory;
use ratchet_resilience::shutdown::{Phase, PhaseClock};
use tokio::sync::mpsc;

use super::breakers::{Admission, Breakers};
use super::handle::{Gauges, Order};
use super::kinds::Kinds;
use super::needs::Needs;
use super::order::Outgoing;
use super::pace::Pace;
use super::performers::Performers;
use super::provisional::Provisional;
use super::recording::Recording;
use super::reuse::{Reuse, Share};
use super::sinks::Sinks;
use super::source::Source;
use super::stop::{Halt, MaxFailures, Stopped, Tally};
use crate::dispatch::{Report, Reporter, Reports};
use crate::event::Event;
use crate::ids::Ticket;
use crate::job::Job;
use crate::outcome::{Failure, Outcome};
use crate::process::SeatId;
use crate::scheduling::{Kind, LimitId, Scheduler};
use crate::suspension::{CATCH_UP, LATE};
use crate::table::Names;

/// How many reports are taken in one turn: enough that a turn's fixed cost is nothing beside them, few enough
/// that what they free starts again at once.
const BATCH: usize = 1024;

/// How many bytes of inputs and results may be in hand before no more jobs are taken in, and of results before no
/// more are started: as many as the window has room for would be gigabytes if each carries a megabyte.
const IN_HAND: usize = 64 * 1024 * 1024;

/// What the loop is told once.
pub(super) struct Rules {
    /// When the run began.
    pub(super) began: Instant,
    pub(super) window: usize,
    pub(super) crash_limit: u32,
    pub(super) max_failures: Option<(MaxFailures, Halt)>,
    pub(super) deadline: Option<Instant>,
    pub(super) grace: Duration,
}

/// A job that has come and is not queued yet.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) job: Arc<Job>,
    /// Its place in the order of submission.
    pub(super) place: u64,
    pub(super) since: Instant,
}

/// A job that is queued or runs.
///
/// There are as many as the window is wide, and each is looked at again and again: what few jobs have is in boxes.
pub(super) struct Entry {
    pub(super) ticket: Ticket,
    pub(super) job: Arc<Job>,
    pub(super) place: u64,
    pub(super) kind: Kind,
    pub(super) state: State,
    /// Where it runs or lies ahead, if on a worker of a pool.
    pub(super) seat: Option<SeatId>,
    /// Attempts that count.
    pub(super) attempts: u32,
    pub(super) crashes: u32,
    /// Since when it has been in its state.
    pub(super) since: Instant,
    pub(super) queued: Duration,
    pub(super) history: Option<Box<RetryHistory>>,
    /// What it came to last, if it is to be tried again.
    pub(super) failure: Option<Box<Failure>>,
    pub(super) first_start: Option<Instant>,
    /// When its patience with the queue ends.
    pub(super) patience: Option<Instant>,
    /// It takes tokens of a rate.
    pub(super) is_rated: bool,
    /// A breaker has kept it from starting.
    pub(super) rejected: bool,
    pub(super) admission: Option<Box<Admission>>,
    /// Its right to fill the cache.
    pub(super) share: Option<Box<Share>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// Sent to its worker before its turn.
    Ahead,
    Running,
}

/// How many jobs there are for a kind of worker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KindCounts {
    pub(super) running: u32,
    pub(super) ahead: u32,
    pub(super) waiting: usize,
}

impl KindCounts {
    pub(super) fn jobs(&self) -> usize {
        self.waiting + self.running as usize + self.ahead as usize
    }
}

pub(super) struct Orchestrator {
    pub(super) rules: Rules,
    pub(super) now: Instant,
    pub(super) source: Source,
    pub(super) total: Option<u64>,
    /// How many jobs came.
    pub(super) taken: u64,
    /// The names of the living, where no two may have the same and that is not known beforehand.
    pub(super) names: Option<Names<JobKey>>,
    pub(super) needs: Needs,
    pub(super) kinds: Kinds,
    /// By kind.
    pub(super) counts: Vec<KindCounts>,
    /// Jobs whose worker has not introduced itself yet.
    pub(super) unresolved: VecDeque<Arrival>,
    pub(super) reuse: Reuse,
    pub(super) scheduler: Scheduler,
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) living: usize,
    /// How many bytes the living carry.
    pub(super) weight: usize,
    /// How many bytes outcomes on their way out carry.
    pub(super) weight_out: usize,
    pub(super) patience: BTreeSet<(Instant, Ticket)>,
    /// Until then nothing is judged by the clock.
    pub(super) judges_from: Option<Instant>,
    pub(super) provisional: Provisional,
    pub(super) breakers: Breakers,
    pub(super) performers: Performers,
    pub(super) reports: Reports,
    /// Kept, so that there is always somebody who could report.
    pub(super) reporter: Reporter,
    pub(super) phases: PhaseClock,
    pub(super) stopped: Option<Stopped>,
    pub(super) held: Option<String>,
    pub(super) paused: bool,
    pub(super) tally: Tally,
    pub(super) pace: Pace,
    pub(super) rng: Rng,
    /// Jobs that have ended and whose dependents do not know it yet.
    pub(super) ended: VecDeque<(JobKey, bool)>,
    pub(super) recording: Recording,
    pub(super) outgoing: Outgoing,
    pub(super) out: mpsc::Sender<Arc<Outcome>>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) sinks: Sinks,
    pub(super) gauges: Arc<Gauges>,
    /// What closures are called.
    pub(super) closure: TaskName,
    pub(super) limits: Vec<LimitId>,
    /// A job that takes tokens has come.
    pub(super) has_rates: bool,
    /// The attempt that took tokens and of which it is not known whether it has begun.
    pub(super) uncertain: Option<Ticket>,
    /// How long the attempts of this turn ran, by kind.
    pub(super) ran: Vec<(Kind, Duration)>,
    /// When the scheduler wants to be asked again.
    pub(super) wake: Option<Instant>,
}

/// What the loop waited for.
enum Turn {
    Order(Option<Order>),
    Reports,
    Talk(Option<Report>),
    Reused(Option<super::reuse::Consulted>),
    Recorded,
    Room,
    Jobs(Option<Vec<Arc<Job>>>),
    Time,
    More,
}

impl Orchestrator {
    /// Runs until every job has its outcome, and everybody has it who waits for it.
    pub(super) async fn run(mut self) -> Option<Stopped> {
        self.now = tokio::time::Instant::now().into_std();
        let total = self.total;
        self.tell(|| Event::RunStarted { total });
        // What was ordered before the first turn counts in it.
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        let mut news = Vec::with_capacity(BATCH);
        let sleep = tokio::time::sleep_until(self.now.into());
        let mut sleep = std::pin::pin!(sleep);
        let mut heard_of_timer = None;
        loop {
            let more = self.turn();
            if self.is_over() {
                break;
            }
            let timer = self.next_timer();
            if timer != heard_of_timer {
                if let Some(timer) = timer {
                    sleep.as_mut().reset(timer.into());
                }
                heard_of_timer = timer;
            }
            let room_left = self.has_room();
            let submitted = match &mut self.source {
                Source::Submitted { coming, here } if room_left && here.len() == 0 => Some(coming),
                _ => None,
            };
            let turn = tokio::select! {
                biased;
                order = self.orders.recv() => Turn::Order(order),
                _ = self.reports.news.recv_many(&mut news, BATCH) => Turn::Reports,
                consulted = self.reuse.next(), if !self.reuse.is_idle() => Turn::Reused(consulted),
                () = self.recording.done() => Turn::Recorded,
                () = room(&self.out), if self.outgoing.is_ready() => Turn::Room,
                () = &mut sleep, if timer.is_some() => Turn::Time,
                talk = self.reports.talk.recv() => Turn::Talk(talk),
                jobs = next_jobs(submitted) => Turn::Jobs(jobs),
                () = tokio::task::yield_now(), if more => Turn::More,
            };
            self.now = self.now.max(tokio::time::Instant::now().into_std());
            if timer.is_some_and(|timer| self.now.saturating_duration_since(timer) >= LATE) {
                // This process was stopped. What has ended meanwhile is heard before anything is judged by the clock.
                self.judges_from = self.now.checked_add(CATCH_UP);
            }
            match turn {
                Turn::Order(Some(order)) => self.obey(order),
                // Nobody can order anything any more.
                Turn::Order(None) => self.stop(Phase::Killing, Stopped::Asked),
                Turn::Reports => {
                    news.drain(..).for_each(|report| self.hear(report));
                    self.learn();
                }
                Turn::Talk(Some(report)) => self.hear(report),
                Turn::Reused(Some(consulted)) => self.consulted(consulted),
                Turn::Recorded => self.recorded(),
                Turn::Jobs(Some(jobs)) => self.source.received(jobs),
                Turn::Jobs(None) => self.source = Source::Dry,
                Turn::Reused(None) | Turn::Talk(None) | Turn::Room | Turn::Time | Turn::More => {}
            }
        }
        self.finish().await
    }

    /// All that follows from what has come. Says whether there is more to do at once.
    fn turn(&mut self) -> bool {
        self.keep_time();
        self.pace.ended(self.tally.ended, self.now);
        self.take_in();
        self.release_dependents();
        self.check_failures();
        let clogged = self.is_clogged();
        self.dispatch();
        if self.may_recall() {
            self.performers.recall(self.now);
        }
        self.tell_demand();
        self.tell_breakers();
        self.recording.begin(self.living > 0, self.now);
        self.recorded();
        self.send_out();
        self.gauge();
        // What has left has made room, which nothing else will tell.
        let unclogged = clogged && !self.is_clogged();
        let released = !self.ended.is_empty();
        unclogged || released || (self.source.has_more() && (self.has_room() || !self.is_running()))
    }

    /// Nothing lives, nothing comes, nothing is on its way.
    fn is_over(&self) -> bool {
        let over = self.source.is_dry() && self.living == 0;
        if over {
            self.gauges.set_quiet();
        }
        over && self.recording.is_idle() && !self.outgoing.is_ready()
    }

    async fn finish(self) -> Option<Stopped> {
        let Self {
            tally,
            sinks,
            now,
            mut stopped,
            taken,
            reuse,
            recording,
            performers,
            reporter,
            ..
        } = self;
        drop(performers);
        if tally.ended != taken {
            let reason = format!("{} jobs have no outcome", taken.abs_diff(tally.ended));
            stopped = Some(Stopped::Broken { reason });
        }
        let dropped = reporter.dropped();
        if dropped > 0 {
            tracing::warn!(dropped, "workers said more than could be listened to");
        }
        reuse.finish().await;
        recording.finish().await;
        if !sinks.is_empty() {
            let (total, succeeded) = (tally.ended, tally.succeeded);
            sinks.tell(Event::RunEnded { total, succeeded }, now);
            sinks.finish().await;
        }
        stopped
    }

    pub(super) fn is_running(&self) -> bool {
        self.phases.phase() == Phase::Running
    }

    /// Whether another job may be taken in: memory follows the jobs that are somewhere between their source and
    /// whoever takes their outcomes.
    pub(super) fn has_room(&self) -> bool {
        // The list that waits for its first outcome is there as a whole anyway.
        let early = match self.total {
            Some(_) => 0,
            None => self.outgoing.held(),
        };
        let leaving = self.recording.len() + self.outgoing.ready() + self.reuse.storing();
        // Something always has to be, or nothing would ever become less.
        let is_light = self.weight + self.weight_out < IN_HAND || self.living == 0;
        is_light
            && self.living + early + leaving < self.rules.window
            && self.enough_until().is_none()
    }

    /// Whether nobody takes the results that there are. Those that wait for an earlier job do not count: it has to
    /// start for them to leave.
    pub(super) fn is_clogged(&self) -> bool {
        self.weight_out >= IN_HAND && self.outgoing.held() == 0
    }

    /// Whether what is asked back from a busy worker could begin on an idle one.
    fn may_recall(&self) -> bool {
        let load = self.scheduler.load();
        self.is_running() && !self.paused && self.held.is_none() && load.slots_used < load.slots
    }

    /// Until when there are jobs enough, if they end faster than more could be of use.
    fn enough_until(&self) -> Option<Instant> {
        let pools = self.performers.pools();
        let ahead = pools.fold(0, |sum: u32, (_, pool)| {
            sum.saturating_add(pool.seats.room_ahead())
        });
        self.pace
            .enough_until(self.scheduler.unclaimed(), ahead as usize, self.now)
    }

    fn next_timer(&self) -> Option<Instant> {
        if self.judges_from.is_some() {
            return self.judges_from;
        }
        let stopping = !self.is_running();
        let wake = self.wake.filter(|_| !stopping);
        let deadline = self.rules.deadline.filter(|_| !stopping);
        let patience = self.patience.first().map(|(when, _)| *when);
        let recall = self.performers.recall_at().filter(|_| self.may_recall());
        let recording = self.recording.due();
        let enough = self.enough_until().filter(|_| !stopping);
        [
            wake,
            deadline,
            patience,
            recall,
            recording,
            enough,
            self.provisional.deadline(),
            self.phases.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Hands over what is on its way out, as far as there is room.
    fn send_out(&mut self) {
        while self.outgoing.is_ready() {
            match self.out.try_reserve() {
                Ok(permit) => {
                    if let Some(outcome) = self.outgoing.pop() {
                        self.weight_out -= outcome.weight();
                        permit.send(outcome);
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                // Nobody wants them any more; the run is about to be dropped.
                Err(mpsc::error::TrySendError::Closed(())) => {
                    let unwanted = self.outgoing.pop();
                    self.weight_out -= unwanted.map_or(0, |outcome| outcome.weight());
                }
            }
        }
    }
}

/// The entry of a job that waits or runs.
pub(super) fn entry_of(entries: &mut [Option<Entry>], ticket: Ticket) -> &mut Entry {
    #[expect(
        clippy::expect_used,
        reason = "the scheduler gives out a ticket when its entry is made, and forgets it when the entry is taken out"
    )]
    entries[ticket.index()]
        .as_mut()
        .filter(|entry| entry.ticket == ticket)
        .expect("a ticket that the scheduler knows has its entry")
}

/// What the scheduler says of a ticket whose entry is in the state that the call needs.
pub(super) fn expect_known<T>(said: Result<T, crate::Error>) -> T {
    #[expect(
        clippy::expect_used,
        reason = "entries and scheduler change state in the same step"
    )]
    said.expect("the scheduler knows each job of the loop in the state that the loop knows it in")
}

async fn room(out: &mpsc::Sender<Arc<Outcome>>) {
    // An error says that nobody listens, which sending finds out.
    let _ = out.reserve().await;
}

async fn next_jobs(jobs: Option<&mut mpsc::Receiver<Vec<Arc<Job>>>>) -> Option<Vec<Arc<Job>>> {
    match jobs {
        Some(jobs) => jobs.recv().await,
        None => std::future::pending().await,
    }
}
