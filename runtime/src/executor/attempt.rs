//! One attempt that runs in this process: its time limits, its panics, and the single report of its end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use ratchet_ipc::Payload;

use crate::context::{AttemptOutput, LastProgress, StopSignal};
use crate::dispatch::{Report, Reporter, StopAction, StopClock, StopMethod, StopReason};
use crate::error::panic_message;
use crate::ids::Ticket;
use crate::job::Timeouts;
use crate::outcome::{Class, Failure};
use crate::suspension::{until, working_now};

/// The result of an attempt, or its failure.
pub(super) type AttemptResult = Result<Payload, Failure>;

/// How an attempt of a command ended: the command ran, or its host was lost before the start.
pub(super) enum CommandAttempt {
    /// The attempt has ended with a result or a failure.
    Ended(AttemptResult),
    /// The host was lost before the command was started, so the attempt does not count.
    NeverBegan,
}

/// Reports the end of an attempt exactly once. If the guard is dropped before [`end`](Self::end), it reports that the
/// attempt was killed.
#[derive(Debug)]
pub(super) struct AttemptGuard {
    reporter: Reporter,
    /// The attempt whose end is reported.
    ticket: Ticket,
    /// When the attempt started, by the clock of work.
    started: Instant,
    /// What the attempt prints, if it is a program.
    output: Option<Arc<AttemptOutput>>,
    /// Whether the end was not reported yet.
    is_open: bool,
    /// Whether the attempt never began, so that it is given back instead of reported as ended.
    never_began: bool,
}

impl AttemptGuard {
    /// Makes the guard of an attempt that starts now.
    pub(super) fn new(reporter: Reporter, ticket: Ticket) -> Self {
        Self {
            reporter,
            ticket,
            started: working_now(),
            output: None,
            is_open: true,
            never_began: false,
        }
    }

    /// Returns the buffer for what a program prints. Its content becomes a part of the failure, however the attempt
    /// ends.
    pub(super) fn keep_output(&mut self) -> Arc<AttemptOutput> {
        Arc::clone(self.output.get_or_insert_default())
    }

    /// Marks the attempt as never begun, so that it is given back whatever its result is.
    pub(super) fn give_back(&mut self) {
        self.never_began = true;
    }

    /// Reports this result as that of the attempt.
    pub(super) fn end(mut self, result: AttemptResult) {
        self.report(result);
    }

    /// Sends the report of the end, and notes that it was sent.
    fn report(&mut self, result: AttemptResult) {
        self.is_open = false;
        if self.never_began {
            return self.reporter.send(Report::Returned {
                ticket: self.ticket,
                next: None,
                withdrawn: false,
            });
        }
        let with_output = |failure| match &self.output {
            Some(output) => output.add_to(failure),
            None => failure,
        };
        self.reporter.send(Report::Ended {
            ticket: self.ticket,
            result: result.map_err(|failure| Box::new(with_output(failure))),
            worker: None,
            usage: self
                .output
                .as_ref()
                .and_then(|output| output.usage())
                .map(Box::new),
            ran: working_now().saturating_duration_since(self.started),
            next: None,
            provisional: false,
        });
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        if self.is_open {
            let killed = "it was killed before it had ended";
            self.report(Err(Failure::new(Class::Cancelled, killed)));
        }
    }
}

/// Polls the work of an attempt, and turns a panic of the work into a failure.
pub(super) struct CatchPanic<'a, F>(pub(super) Pin<&'a mut F>);

impl<F: Future<Output = AttemptResult>> Future for CatchPanic<'_, F> {
    type Output = AttemptResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<AttemptResult> {
        // `AssertUnwindSafe` holds because the future is not polled again after a panic, only dropped.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled,
            Err(panic) => {
                let message = format!("it panicked: {}", panic_message(&*panic));
                Poll::Ready(Err(Failure::new(Class::Crash, message).code("panic")))
            }
        }
    }
}

/// What bounds the time of an attempt.
pub(super) struct TimeLimits {
    /// How long the attempt may run.
    pub(super) timeouts: Timeouts,
    /// When the attempt last reported progress.
    pub(super) last_progress: Option<Arc<LastProgress>>,
    /// The signal by which the attempt is asked to stop.
    pub(super) stop: StopSignal,
    /// How long the attempt may go on after it was asked to stop, unless its timeouts say when to kill it.
    pub(super) grace: Duration,
}

impl TimeLimits {
    /// Runs work until it ends or one of its timeouts has passed. Work whose time is over is dropped, which kills it.
    ///
    /// Work that never took its stop token cannot learn that it is to stop. It is dropped at the moment at which it
    /// would be asked.
    pub(super) async fn watch(self, work: impl Future<Output = AttemptResult>) -> AttemptResult {
        let mut work = std::pin::pin!(work);
        let mut clock = StopClock::new(working_now());
        loop {
            let next = clock.next(&self.timeouts, StopMethod::Dropped);
            tokio::select! {
                biased;
                result = &mut work => {
                    return match (result, clock.asked()) {
                        // The work failed because it was asked to stop, so the reason for asking is its failure. A
                        // crash stays a crash.
                        (Err(failure), Some(reason)) if failure.class != Class::Crash => Err(reason.failure()),
                        (result, _) => result,
                    };
                }
                () = until(next.map(|(at, _)| at)) => {}
            }
            if let Some(last) = &self.last_progress {
                clock.note_activity(last.at());
            }
            let now = working_now();
            match clock.next(&self.timeouts, StopMethod::Dropped) {
                // The attempt has reported progress in the meantime, which moved its idle timeout.
                Some((at, _)) if at > now => {}
                Some((_, StopAction::Ask(reason))) if self.stop.is_heard() => {
                    self.stop.ask();
                    clock.ask(reason, &self.timeouts, StopMethod::Dropped, self.grace, now);
                }
                Some((_, StopAction::Ask(reason) | StopAction::Kill(reason))) => {
                    return Err(killed(reason));
                }
                None => {}
            }
        }
    }
}

/// Returns the failure of work that was dropped because its time was over.
fn killed(reason: StopReason) -> Failure {
    let failure = reason.failure();
    let message = format!("{}, and was killed", failure.message);
    Failure { message, ..failure }
}
