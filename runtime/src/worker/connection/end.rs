//! How a worker ends, and what becomes of the attempts that it had.

use std::time::Duration;

use ratchet_ipc::{Capability, Event, Incoming, IpcError};
use tokio::time::timeout;

use super::filter::Filter;
use super::{Cause, Leaving, Live, now};
use crate::dispatch::{Retirement, StopReason};
use crate::os::OutputExcerpt;
use crate::os::{Ended, Ending};
use crate::outcome::{Class, Failure};
use crate::worker::news::Death;

/// How long what a dead worker has printed is read. Only somebody who left its group can still hold
/// its pipes.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// How long a worker that closed its stdout has to end by itself, which tells more than killing it, and one
/// that has not come as far as to take work, once it was asked.
const LAST_BREATH: Duration = Duration::from_millis(500);

impl Death {
    /// It never got any work.
    pub(super) fn before_work(cause: Cause) -> Self {
        Self {
            cause,
            charged: 0,
            stderr: OutputExcerpt::default(),
        }
    }
}

impl Live {
    /// Kills the worker for this reason; it is dead when its exit is seen.
    pub(super) async fn kill(&mut self, cause: Cause) {
        if !self.killed {
            self.killed = true;
            self.close_to_work();
            self.dying.get_or_insert(cause);
            self.terminate(Duration::ZERO).await;
        }
    }

    /// Kills the worker to stop one attempt.
    pub(super) async fn kill_for(&mut self, id: u64, why: StopReason) {
        if !self.killed {
            self.killed_for = Some((id, why));
        }
        self.kill(match why {
            StopReason::Time(_) | StopReason::Silence(_) => Cause::OutOfTime,
            StopReason::Unwanted => Cause::Unwanted,
        })
        .await;
    }

    pub(super) async fn terminate(&mut self, grace: Duration) {
        if let Err(error) = self
            .manager
            .terminate_process(self.process.id(), grace)
            .await
        {
            tracing::warn!(worker = %self.name, %error, "the worker could not be told to end");
        }
    }

    /// Ends the worker by degrees, though not for nothing.
    pub(super) async fn leave_for(&mut self, cause: Cause) {
        self.dying = Some(cause);
        self.leaving = now()
            .checked_add(self.config.grace)
            .map_or(Leaving::Asked, Leaving::By);
        if self.leaving == Leaving::Asked {
            self.terminate(self.config.grace).await;
        }
    }

    /// It has closed its stdout, and is given a moment to end by itself.
    pub(super) fn expect_end(&mut self) {
        self.ends_by = now().checked_add(LAST_BREATH);
    }

    /// A worker that is to leave and has nothing left to do is told so.
    pub(super) async fn leave_if_done(&mut self) {
        if self.jobs.is_empty()
            && matches!(self.leaving, Leaving::By(_))
            && matches!(self.dying, Some(Cause::ClosedInput))
        {
            // Nothing more can come of it.
            self.leaving = Leaving::Asked;
            self.terminate(self.config.grace).await;
        }
        let Leaving::When(why) = self.leaving else {
            return;
        };
        if !self.jobs.is_empty() || self.dying.is_some() {
            return;
        }
        self.dying = Some(Cause::Retired(why));
        if self.profile.is_none() {
            // It has nothing to finish, and may heed nothing for as long as it loads.
            self.leaving = Leaving::Asked;
            return self.terminate(LAST_BREATH.min(self.config.grace)).await;
        }
        if self.can(&Capability::Drain) {
            self.queue(Event::Drain);
        }
        // What it does not read in time it need not read at all: it is told by other means.
        let _ = timeout(self.config.grace, self.transport.close()).await;
        self.leaving = now()
            .checked_add(self.config.grace)
            .map_or(Leaving::Asked, Leaving::By);
        if self.leaving == Leaving::Asked {
            self.terminate(self.config.grace).await;
        }
    }

    /// The process has ended: what it still said counts, and the rest is settled.
    pub(super) async fn bury(mut self, ended: Ended) -> Death {
        self.close_to_work();
        let _ = timeout(DRAIN_LIMIT, self.hear_out()).await;
        self.stderr.finish(&self.name);
        let was_stopped_by_terminal = ended.ending == Ending::WantedTerminal;
        self.killed |= was_stopped_by_terminal;
        let cause = match self.dying.take() {
            // Its pipes may have broken before its end was seen.
            None | Some(Cause::ClosedInput | Cause::ClosedOutput) if was_stopped_by_terminal => {
                Cause::WantedTerminal
            }
            // Pipes break before an end is seen.
            Some(Cause::ClosedInput | Cause::ClosedOutput) if ended.ending == Ending::ByItself => {
                Cause::Exited(ended.exit)
            }
            Some(cause) => cause,
            // A filter that was sent all there is ends by the end of its input.
            None if self.filter.as_ref().is_some_and(Filter::was_closed) => {
                Cause::Retired(Retirement::Shutdown)
            }
            None => Cause::Exited(ended.exit),
        };
        if !ended.survivors.is_empty() {
            tracing::error!(
                worker = %self.name, survivors = ?ended.survivors,
                "processes of this worker could not be killed"
            );
        }
        // What came so far is all that will ever come.
        self.end_output(now());
        let stderr = self.stderr.tail();
        let now = now();
        let mut charged = self.filter.as_ref().map_or(0, |filter| filter.charged);
        for entry in self.jobs.take_all() {
            let begun = entry.begun.is_some();
            let (mine, why) = match self.killed_for {
                Some((id, why)) => (id == entry.id, Some(why)),
                None => (true, None),
            };
            let asked = entry.asked();
            if !begun || (!mine && asked.is_none()) {
                // It never began, or the worker was killed for another's sake.
                self.give_back(entry.assignment, begun, None);
                continue;
            }
            let failure = match (why.filter(|_| mine).or(asked), &cause) {
                (Some(why), _) => why.failure(),
                (None, Cause::Memory { .. }) => {
                    Failure::new(Class::Memory, format!("{} {cause}", self.who()))
                }
                (None, Cause::Stray(_) | Cause::Surplus { .. }) => {
                    Failure::new(Class::Protocol, format!("{} {cause}", self.who()))
                }
                (None, Cause::Exited(_)) => Failure::new(
                    Class::Crash,
                    format!("{} {cause} before it answered", self.who()),
                ),
                (None, Cause::WantedTerminal) => {
                    Failure::new(Class::Crash, format!("{} {cause}", self.who())).code("terminal")
                }
                (None, _) => Failure::new(Class::Crash, format!("{} {cause}", self.who())),
            };
            charged += 1;
            self.load.ended += 1;
            self.load.calls_ended += u32::from(!entry.assignment.is_of_run());
            let ran = entry.ran(now);
            let failure = Box::new(failure.stderr(stderr.clone()));
            let worker = Some(self.name.clone());
            entry.assignment.answer(Err(failure), worker, ran, None);
        }
        self.tell_load();
        Death {
            cause,
            charged,
            stderr,
        }
    }

    /// Reads what is still in the pipes.
    async fn hear_out(&mut self) {
        while !self.mute || self.stderr.is_open() {
            tokio::select! {
                incoming = self.transport.receive(), if !self.mute => match incoming {
                    // That it takes nothing more says nothing of what it has answered.
                    Err(IpcError::Write(_)) => {}
                    Ok(Incoming::End) | Err(_) => self.mute = true,
                    incoming => self.take_all(incoming).await,
                },
                () = self.stderr.read(), if self.stderr.is_open() => {
                    self.stderr.stream(&self.name, self.jobs.oldest());
                }
            }
        }
    }
}
