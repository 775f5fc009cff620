//! The crew of this process: closures, a runner, and plain commands.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempted, Clocks, Contained, Pulse, Vigil};
use super::command::Commands;
use super::context::{Attempt, Context, Runner};
use super::crew::{Assignment, Crew, Prospect, Stop};
use super::hands::{Asked, Craft, Hand, Hands};
use super::reporter::Reporter;
use crate::job::{Job, Timeouts, Work};
use crate::outcome::{Class, Failure};
use crate::scheduling::{Kind, Ticket};

/// Runs as many attempts at once as there are slots, each on a task of its own.
pub(super) struct LocalCrew {
    reporter: Reporter,
    hands: Hands<Tools>,
    /// By the index of their tickets; those that have ended stay until the index is used again.
    attempts: Vec<Option<Running>>,
}

struct Running {
    ticket: Ticket,
    asked: Asked,
    hand: Arc<Hand<Piece>>,
}

/// What it takes to do an attempt.
struct Tools {
    reporter: Reporter,
    runner: Option<Arc<dyn Runner>>,
    commands: Commands,
    /// Who runs commands instead.
    commander: Option<Arc<dyn Runner>>,
    grace: Duration,
}

/// An attempt, as a hand gets it.
struct Piece {
    ticket: Ticket,
    job: Arc<Job>,
    number: u32,
    asked: Asked,
    // The last to be dropped: it tells of the end.
    vigil: Vigil,
}

impl LocalCrew {
    pub(super) fn new(
        reporter: Reporter,
        runner: Option<Arc<dyn Runner>>,
        commands: Commands,
        commander: Option<Arc<dyn Runner>>,
        grace: Duration,
    ) -> Self {
        let tools = Tools {
            reporter: reporter.clone(),
            runner,
            commands,
            commander,
            grace,
        };
        Self {
            reporter,
            hands: Hands::new(tools),
            attempts: Vec::new(),
        }
    }
}

impl Craft for Tools {
    type Piece = Piece;

    fn ticket(piece: &Piece) -> Ticket {
        piece.ticket
    }

    async fn work(&self, piece: Piece) -> (Vigil, Attempted) {
        let Piece {
            mut vigil,
            ticket,
            job,
            number,
            asked,
        } = piece;
        let timeouts = job.terms.timeouts;
        let pulse = (timeouts.idle.is_some()).then(|| Arc::new(Pulse::new(vigil.started())));
        let clocks = Clocks {
            timeouts,
            started: vigil.started(),
            pulse: pulse.clone(),
            asked: asked.clone(),
            grace: self.grace,
        };
        let context = |output| {
            let reporter = self.reporter.clone();
            Context::of_attempt(number, asked.clone(), reporter, ticket, pulse, output)
        };
        let result = match &job.work {
            Work::Command(config) => {
                let output = vigil.keep_output();
                if let Some(commander) = &self.commander {
                    let (job, context) = (Arc::clone(&job), context(Some(output)));
                    let attempt = Attempt { job, number };
                    // It keeps the time itself, as it has to stop more than a future.
                    let work = std::pin::pin!(commander.run(attempt, context));
                    return (vigil, Contained(work).await);
                }
                // Boxed, for it is much larger than the others.
                Box::pin(self.commands.run(config, timeouts, asked.token(), output)).await
            }
            // Never: these are done with before they are queued.
            Work::Refused { failure, .. } => Err((**failure).clone()),
            Work::Ended(outcome) => outcome.result.clone().map_err(|failure| *failure),
            Work::Closure(closure) => {
                let context = context(None);
                clocks.attend(async { closure(context).await }).await
            }
            Work::Task { task, .. } => {
                if let Some(runner) = &self.runner {
                    let (job, context) = (Arc::clone(&job), context(None));
                    let attempt = Attempt { job, number };
                    let work = async { runner.run(attempt, context).await };
                    clocks.attend(work).await
                } else {
                    let message = format!("nobody here does `{task}`");
                    Err(Failure::new(Class::Input, message))
                }
            }
        };
        (vigil, result)
    }
}

impl Clocks {
    /// Runs work to its end, whatever it does.
    async fn attend(self, work: impl Future<Output = Attempted>) -> Attempted {
        let work = Contained(std::pin::pin!(work));
        let Timeouts {
            soft, hard, idle, ..
        } = self.timeouts;
        if (soft, hard, idle) == (None, None, None) {
            work.await
        } else {
            self.watch(work).await
        }
    }
}

impl Crew for LocalCrew {
    fn start(&mut self, assignment: Assignment) {
        let Assignment {
            ticket,
            job,
            number,
            ..
        } = assignment;
        let asked = Asked::default();
        let hand = self.hands.give(Piece {
            vigil: Vigil::new(self.reporter.clone(), ticket),
            ticket,
            job,
            number,
            asked: asked.clone(),
        });
        let index = ticket.index();
        if self.attempts.len() <= index {
            self.attempts.resize_with(index + 1, || None);
        }
        self.attempts[index] = Some(Running {
            ticket,
            asked,
            hand,
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
            // Nothing is sent ahead here.
            Stop::Recall => {}
            Stop::Kill => running.hand.kill(ticket),
            Stop::Ask { grace } => {
                running.asked.ask();
                let hand = Arc::clone(&running.hand);
                tokio::spawn(async move {
                    tokio::time::sleep(grace).await;
                    hand.kill(ticket);
                });
            }
        }
    }

    /// There is always somebody.
    fn expect(&mut self, _kind: Kind, _prospect: Prospect) {}
}
