//! The crew of this process: closures, a runner, and plain commands.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::attempt::{Clocks, Contained, Pulse, Vigil};
use super::command::Commands;
use super::context::{Attempt, Context, Runner};
use super::crew::{Assignment, Crew, Stop};
use super::reporter::Reporter;
use crate::job::{Timeouts, Work};
use crate::outcome::{Class, Failure};
use crate::scheduling::{Kind, Ticket};

/// Runs each attempt as a task of its own, as many at once as there are slots.
pub(super) struct LocalCrew {
    reporter: Reporter,
    runner: Option<Arc<dyn Runner>>,
    commands: Commands,
    /// Who runs commands instead.
    commander: Option<Arc<dyn Runner>>,
    grace: Duration,
    /// By the index of their tickets; those that have ended stay until the index is used again.
    attempts: Vec<Option<Running>>,
}

struct Running {
    ticket: Ticket,
    asked: CancellationToken,
    task: AbortHandle,
}

impl LocalCrew {
    pub(super) fn new(
        reporter: Reporter,
        runner: Option<Arc<dyn Runner>>,
        commands: Commands,
        commander: Option<Arc<dyn Runner>>,
        grace: Duration,
    ) -> Self {
        Self {
            reporter,
            runner,
            commands,
            commander,
            grace,
            attempts: Vec::new(),
        }
    }

    /// Starts the task of an attempt; it reports its end itself.
    fn spawn(&self, assignment: Assignment, asked: &CancellationToken) -> AbortHandle {
        let Assignment {
            ticket,
            job,
            number,
            ..
        } = assignment;
        let vigil = Vigil::new(self.reporter.clone(), ticket);
        let timeouts = job.terms.timeouts;
        let pulse = (timeouts.idle.is_some()).then(|| Arc::new(Pulse::new(vigil.started())));
        let context = || {
            let reporter = self.reporter.clone();
            Context::of_attempt(number, asked.clone(), reporter, ticket, pulse.clone())
        };
        let task = match &job.work {
            Work::Command(config) => {
                if let Some(commander) = self.commander.clone() {
                    let context = context();
                    let work = async move { commander.run(Attempt { job, number }, context).await };
                    // It keeps the time itself, as it has to stop more than a future.
                    return self
                        .attend(vigil, Timeouts::default(), pulse, asked, work)
                        .abort_handle();
                }
                let config = Arc::clone(config);
                let (commands, asked) = (self.commands.clone(), asked.clone());
                tokio::spawn(async move {
                    let result = commands.run(&config, timeouts, &asked).await;
                    vigil.end(result);
                })
            }
            // Never: these are done with before they are queued.
            Work::Refused { failure, .. } => {
                vigil.end(Err((**failure).clone()));
                tokio::spawn(std::future::ready(()))
            }
            Work::Ended(outcome) => {
                vigil.end(outcome.result.clone().map_err(|failure| *failure));
                tokio::spawn(std::future::ready(()))
            }
            Work::Closure(closure) => {
                let (closure, context) = (Arc::clone(closure), context());
                let work = async move { closure(context).await };
                self.attend(vigil, timeouts, pulse, asked, work)
            }
            Work::Task { task, .. } => {
                let Some(runner) = self.runner.clone() else {
                    let message = format!("nobody here does `{task}`");
                    vigil.end(Err(Failure::new(Class::Input, message)));
                    return tokio::spawn(std::future::ready(())).abort_handle();
                };
                let context = context();
                let work = async move { runner.run(Attempt { job, number }, context).await };
                self.attend(vigil, timeouts, pulse, asked, work)
            }
        };
        task.abort_handle()
    }

    fn attend(
        &self,
        vigil: Vigil,
        timeouts: Timeouts,
        pulse: Option<Arc<Pulse>>,
        asked: &CancellationToken,
        work: impl Future<Output = super::attempt::Attempted> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let untimed = (timeouts.soft, timeouts.hard, timeouts.idle) == (None, None, None);
        if untimed {
            return tokio::spawn(async move {
                let work = std::pin::pin!(work);
                vigil.end(Contained(work).await);
            });
        }
        let clocks = Clocks {
            timeouts,
            started: vigil.started(),
            pulse,
            asked: asked.clone(),
            grace: self.grace,
        };
        tokio::spawn(async move {
            let work = std::pin::pin!(work);
            vigil.end(clocks.watch(Contained(work)).await);
        })
    }
}

impl Crew for LocalCrew {
    fn start(&mut self, assignment: Assignment) {
        let (ticket, index) = (assignment.ticket, assignment.ticket.index());
        let asked = CancellationToken::new();
        let task = self.spawn(assignment, &asked);
        if self.attempts.len() <= index {
            self.attempts.resize_with(index + 1, || None);
        }
        self.attempts[index] = Some(Running {
            ticket,
            asked,
            task,
        });
    }

    fn stop(&mut self, ticket: Ticket, stop: Stop) {
        let Some(Some(running)) = self.attempts.get(ticket.index()) else {
            return;
        };
        if running.ticket != ticket {
            return;
        }
        match stop {
            Stop::Kill => running.task.abort(),
            Stop::Ask { grace } => {
                running.asked.cancel();
                let task = running.task.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(grace).await;
                    task.abort();
                });
            }
        }
    }

    /// There is always somebody.
    fn expect(&mut self, _kind: Kind, _waiting: usize) {}
}

impl Drop for LocalCrew {
    fn drop(&mut self) {
        for running in self.attempts.iter().flatten() {
            running.task.abort();
        }
    }
}
