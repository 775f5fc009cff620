//! The loop of a run waits for the next event, lets the orchestrator do all that follows from it in one turn, and waits
//! again.

use std::time::Instant;

use ratchet_resilience::shutdown::Phase;
use tokio::sync::mpsc;

use super::orchestrator::{Orchestrator, Sources};
use super::reuse::CacheReport;
use super::run_orders::RunOrder;
use super::source::Batch;
use super::stop::Stopped;
use crate::dispatch::{Report, ReportReceiver, Reporter};
use crate::suspension::{system_time_of, working_now};

/// The most reports that are taken in one turn. With so many, the fixed cost of a turn does not matter, and what they
/// free can still start again soon.
const REPORTS: usize = 1024;

/// The event loop of a run. Only the loop awaits; the orchestrator decides without waiting.
pub(super) struct EventLoop {
    run: Orchestrator,
    channels: Channels,
}

/// The channels through which a run receives orders and reports.
pub(super) struct Channels {
    /// The orders of those who steer the run.
    pub(super) orders: mpsc::UnboundedReceiver<RunOrder>,
    /// The reports of those who perform attempts.
    pub(super) reports: ReportReceiver,
    /// A sender of such reports. It keeps the channel open, and counts the messages that were dropped.
    pub(super) reporter: Reporter,
}

/// The event that woke the loop.
enum Wakeup {
    /// An order came from a handle of the run; `None` once all handles are dropped.
    Order(Option<RunOrder>),
    /// Reports on attempts and workers have come. They are in the loop's buffer.
    Reports,
    /// A progress step or a log line has come.
    Message(Option<Report>),
    /// The cache has answered, or has stored a result.
    Consulted(Option<CacheReport>),
    /// A batch of outcomes was recorded, or the receiver has room for outcomes.
    Delivery,
    /// Jobs were submitted; `None` says that no more will be.
    Jobs(Option<Batch>),
    /// The timer of the loop has fired.
    Timer,
    /// The last turn has left something to do.
    More,
}

impl EventLoop {
    /// Makes the loop of a run with these channels.
    pub(super) fn new(run: Orchestrator, channels: Channels) -> Self {
        Self { run, channels }
    }

    /// Runs until every job has its outcome and all outcomes are delivered. Returns why the run stopped early,
    /// if it did.
    pub(super) async fn run(self) -> Option<Stopped> {
        let Self { mut run, channels } = self;
        let Channels {
            mut orders,
            mut reports,
            reporter,
        } = channels;
        run.begin(working_now());
        // Orders from before the first turn are obeyed in it.
        while let Ok(order) = orders.try_recv() {
            run.apply_order(order);
        }
        let mut buffer = Vec::with_capacity(REPORTS);
        // One sleep is reset in place, which saves an allocation in each turn.
        let sleep = tokio::time::sleep_until(tokio::time::Instant::now());
        let mut sleep = std::pin::pin!(sleep);
        let mut set_to: Option<Instant> = None;
        loop {
            let more = run.turn();
            if run.is_over() {
                break;
            }
            let timer = run.next_timer();
            if timer != set_to {
                if let Some(timer) = timer {
                    sleep.as_mut().reset(system_time_of(timer).into());
                }
                set_to = timer;
            }
            let Sources {
                resolver,
                delivery,
                intake,
                takes_jobs,
            } = run.sources();
            // The order of the branches matters. An order comes first. The end of an attempt is read before the timer
            // decides that the attempt has taken too long. New jobs and messages come last, so that a flood of them
            // delays nothing.
            let wakeup = tokio::select! {
                biased;
                order = orders.recv() => Wakeup::Order(order),
                _ = reports.reports.recv_many(&mut buffer, REPORTS) => Wakeup::Reports,
                consulted = resolver.consulted(), if !resolver.is_idle() => {
                    Wakeup::Consulted(consulted)
                }
                () = delivery.changed() => Wakeup::Delivery,
                () = &mut sleep, if timer.is_some() => Wakeup::Timer,
                message = reports.messages.recv() => Wakeup::Message(message),
                jobs = intake.submitted(), if takes_jobs => Wakeup::Jobs(jobs),
                () = tokio::task::yield_now(), if more => Wakeup::More,
            };
            run.pass_time(working_now());
            if let Some(timer) = timer {
                run.note_wakeup(timer);
            }
            match wakeup {
                Wakeup::Order(Some(order)) => run.apply_order(order),
                // All handles are gone, and the receiver of the outcomes has one, so nobody takes outcomes any more.
                Wakeup::Order(None) => run.stop(Phase::Killing, Stopped::Asked),
                Wakeup::Reports => run.handle_reports(buffer.drain(..)),
                Wakeup::Message(Some(message)) => run.handle_report(message),
                Wakeup::Consulted(Some(consulted)) => run.consulted(consulted),
                Wakeup::Delivery => run.take_recorded(),
                Wakeup::Jobs(jobs) => run.received(jobs),
                // The timer has to be set again. It fires too early if the clock of work stood still in the meantime.
                Wakeup::Timer => set_to = None,
                Wakeup::Consulted(None) | Wakeup::Message(None) | Wakeup::More => {}
            }
        }
        run.finish(reporter.dropped()).await
    }
}
