//! One attempt of work that runs in this process: timed, contained, and reported exactly once.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use ratchet_ipc::Payload;
use tokio::time::Instant;

use super::crew::Report;
use super::hands::Asked;
use super::output::AttemptOutput;
use super::reporter::Reporter;
use crate::alarm::until;
use crate::job::Timeouts;
use crate::outcome::{Class, Failure};
use crate::scheduling::Ticket;

pub(super) type Attempted = Result<Payload, Failure>;

/// What an attempt is, while it runs; reports its end, be it by its drop.
#[derive(Debug)]
pub(super) struct Vigil {
    reporter: Reporter,
    ticket: Ticket,
    started: Instant,
    /// What the attempt prints, if it is a program.
    output: Option<Arc<AttemptOutput>>,
    open: bool,
}

impl Vigil {
    pub(super) fn new(reporter: Reporter, ticket: Ticket) -> Self {
        Self {
            reporter,
            ticket,
            started: Instant::now(),
            output: None,
            open: true,
        }
    }

    /// Has what a program prints told with its failure, however that comes about.
    pub(super) fn keep_output(&mut self) -> Arc<AttemptOutput> {
        Arc::clone(self.output.get_or_insert_default())
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn end(mut self, result: Attempted) {
        self.report(result);
    }

    fn report(&mut self, result: Attempted) {
        self.open = false;
        let with_output = |failure| match &self.output {
            Some(output) => output.add_to(failure),
            None => failure,
        };
        self.reporter.tell(Report::Ended {
            ticket: self.ticket,
            result: result.map_err(|failure| Box::new(with_output(failure))),
            worker: None,
            ran: self.started.elapsed(),
            next: None,
            provisional: false,
        });
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        if self.open {
            let killed = "it was killed before it had ended";
            self.report(Err(Failure::new(Class::Cancelled, killed)));
        }
    }
}

/// Work whose panics are failures.
pub(super) struct Contained<'a, F>(pub(super) Pin<&'a mut F>);

impl<F: Future<Output = Attempted>> Future for Contained<'_, F> {
    type Output = Attempted;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Attempted> {
        // After a panic the future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled,
            Err(panic) => {
                let message = format!("it panicked: {}", said(&*panic));
                Poll::Ready(Err(Failure::new(Class::Crash, message).code("panic")))
            }
        }
    }
}

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is not text")
}

/// When an attempt last told of progress.
#[derive(Debug)]
pub(super) struct Pulse {
    started: Instant,
    /// Nanoseconds after the start.
    last: AtomicU64,
}

impl Pulse {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            last: AtomicU64::new(0),
        }
    }

    pub(super) fn beat(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: the timer looks at this one number alone, and again later.
        self.last.store(nanos, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        let nanos = self.last.load(Ordering::Relaxed);
        self.started
            .checked_add(Duration::from_nanos(nanos))
            .unwrap_or(self.started)
    }
}

/// The clocks of an attempt.
pub(super) struct Clocks {
    pub(super) timeouts: Timeouts,
    pub(super) started: Instant,
    pub(super) pulse: Option<Arc<Pulse>>,
    pub(super) asked: Asked,
    /// What one that was asked to stop gets, where it was not said when to kill it.
    pub(super) grace: Duration,
}

impl Clocks {
    /// Runs the work to its end, or to that of its time; dropping it then is what kills it.
    pub(super) async fn watch(self, work: impl Future<Output = Attempted>) -> Attempted {
        let mut work = std::pin::pin!(work);
        let after =
            |limit: Option<Duration>| limit.and_then(|limit| self.started.checked_add(limit));
        let mut ask_at = after(self.timeouts.soft);
        let mut kill_at = after(self.timeouts.hard_for_asked());
        let mut idle_at = after(self.timeouts.idle);
        let mut overdue: Option<String> = None;
        loop {
            tokio::select! {
                biased;
                result = &mut work => {
                    return match (result, overdue) {
                        // It was asked to stop and did, which is no success but no other failure either.
                        (Err(failure), Some(why)) if failure.class != Class::Crash => Err(late(why)),
                        (result, _) => result,
                    };
                }
                () = until(kill_at) => {
                    let why = overdue.unwrap_or_else(|| too_long(self.timeouts.hard));
                    return Err(late(format!("{why}, and was killed")));
                }
                () = until(ask_at) => {
                    ask_at = None;
                    self.ask(&mut overdue, &mut kill_at, too_long(self.timeouts.soft));
                }
                () = until(idle_at) => {
                    idle_at = self.idle_until();
                    if idle_at.is_none() {
                        let limit = self.timeouts.idle.unwrap_or_default();
                        let why = format!("it told of no progress for {limit:?}");
                        self.ask(&mut overdue, &mut kill_at, why);
                    }
                }
            }
        }
    }

    fn ask(&self, overdue: &mut Option<String>, kill_at: &mut Option<Instant>, why: String) {
        overdue.get_or_insert(why);
        self.asked.ask();
        if self.timeouts.hard.is_none() && kill_at.is_none() {
            *kill_at = Instant::now().checked_add(self.grace);
        }
    }

    /// When to look at the pulse again; nothing if it has stopped.
    fn idle_until(&self) -> Option<Instant> {
        let last = self.pulse.as_ref()?.last();
        let next = last.checked_add(self.timeouts.idle?)?;
        (next > Instant::now()).then_some(next)
    }
}

fn too_long(limit: Option<Duration>) -> String {
    format!("it ran for longer than {:?}", limit.unwrap_or_default())
}

fn late(why: String) -> Failure {
    Failure::new(Class::Timeout, why)
}
