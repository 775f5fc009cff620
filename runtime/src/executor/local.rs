//! The performer in this process, which runs closures, the jobs of a runner, and commands.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attempt::{AttemptGuard, AttemptResult, CatchPanic, CommandAttempt, TimeLimits};
use super::command::Commands;
use super::runner::{Attempt, Runner};
use super::task_pool::{Perform, TaskHandle, TaskPool};
use crate::context::{
    AttemptFacts, AttemptOutput, Context, LastProgress, StopSignal, Subject, Variables,
};
use crate::dispatch::{Assignment, Reporter, StopRequest};
use crate::ids::{PlaceId, PlaceName, SlotNumber, Ticket};
use crate::job::{Job, Timeouts, Work};
use crate::os::ProcessConfig;
use crate::outcome::{Class, Failure};
use crate::scheduling::ResourceShare;
use crate::suspension::{until, working_now};
use crate::trace_context::TraceParent;

/// Performs attempts in this process, each on a task of its own. It has no limit of its own; the slots limit how many
/// it is given.
pub(super) struct LocalPerformer {
    reporter: Reporter,
    tasks: TaskPool<LocalRunners>,
    /// The attempts, by the index of their tickets. An attempt that has ended stays until its index is used again.
    attempts: Vec<Option<RunningTask>>,
}

/// What is needed to stop and to watch an attempt that was started here.
struct RunningTask {
    ticket: Ticket,
    stop: StopSignal,
    task: Arc<TaskHandle<LocalAttempt>>,
    /// The output of the attempt, if it is a command. The reference is weak, so the output is freed when the attempt
    /// ends.
    output: Weak<AttemptOutput>,
}

/// Performs closures, commands and the tasks of the runner.
struct LocalRunners {
    reporter: Reporter,
    /// The runner of tasks; `None` if the executor has none.
    runner: Option<Arc<dyn Runner>>,
    /// What runs commands at each place, by the number of the place.
    commands: Vec<CommandsAt>,
    /// The runner that runs commands instead of `commands`, if there is one.
    command_override: Option<Arc<dyn Runner>>,
    /// The variables that every command of the run gets.
    variables: Variables,
    /// How long an attempt may go on after it was asked to stop, unless its timeouts say when to kill it.
    grace: Duration,
}

/// What runs commands at one place.
pub(super) struct CommandsAt {
    /// The name of the place; `None` for the local place.
    pub(super) name: Option<PlaceName>,
    pub(super) commands: Commands,
    /// Whether commands get the variables that describe their attempts.
    pub(super) sets_attempt_variables: bool,
}

/// An attempt with all that its task needs to perform it.
struct LocalAttempt {
    ticket: Ticket,
    job: Arc<Job>,
    /// The number of the attempt, from 1 on.
    number: u32,
    place: PlaceId,
    slot: Option<SlotNumber>,
    /// The resources that the attempt holds.
    resources: Option<Arc<[ResourceShare]>>,
    /// The span of the attempt, if the run is traced.
    trace: Option<TraceParent>,
    stop: StopSignal,
    // Fields are dropped in the order of their declaration. The guard has to be the last, because its drop reports the
    // end of the attempt.
    guard: AttemptGuard,
}

impl LocalPerformer {
    /// Makes a performer that runs nothing yet.
    pub(super) fn new(
        reporter: Reporter,
        runner: Option<Arc<dyn Runner>>,
        commands: Vec<CommandsAt>,
        command_override: Option<Arc<dyn Runner>>,
        variables: Variables,
        grace: Duration,
    ) -> Self {
        let runners = LocalRunners {
            reporter: reporter.clone(),
            runner,
            commands,
            command_override,
            variables,
            grace,
        };
        Self {
            reporter,
            tasks: TaskPool::new(runners),
            attempts: Vec::new(),
        }
    }

    /// Performs an attempt on a task of its own. If it is a command, it runs at this place.
    pub(super) fn perform(&mut self, ticket: Ticket, assignment: Assignment, place: PlaceId) {
        let Assignment {
            job,
            attempt,
            slot,
            resources,
            trace,
            ..
        } = assignment;
        let stop = StopSignal::default();
        let mut guard = AttemptGuard::new(self.reporter.clone(), ticket);
        let output = match &job.work {
            Work::Command(_) => Arc::downgrade(&guard.keep_output()),
            _ => Weak::new(),
        };
        let task = self.tasks.give(LocalAttempt {
            guard,
            ticket,
            job,
            number: attempt,
            place,
            slot,
            resources,
            trace,
            stop: stop.clone(),
        });
        let index = ticket.index();
        if self.attempts.len() <= index {
            self.attempts.resize_with(index + 1, || None);
        }
        self.attempts[index] = Some(RunningTask {
            ticket,
            stop,
            task,
            output,
        });
    }

    /// Returns the output of a running command; `None` if the attempt is no command or has ended.
    pub(super) fn output(&self, ticket: Ticket) -> Option<Arc<AttemptOutput>> {
        let running = self.attempts.get(ticket.index())?.as_ref()?;
        let output = running.output.upgrade()?;
        (running.ticket == ticket).then_some(output)
    }

    /// Stops an attempt. If it has ended in the meantime, nothing happens.
    pub(super) fn stop(&mut self, ticket: Ticket, stop: StopRequest) {
        let Some(Some(running)) = self.attempts.get(ticket.index()) else {
            return;
        };
        if running.ticket != ticket {
            return;
        }
        match stop {
            // No attempt is sent ahead to this process, so there is nothing to give back.
            StopRequest::Recall => {}
            StopRequest::Ask { grace } if running.stop.is_heard() => {
                running.stop.ask();
                let task = Arc::clone(&running.task);
                tokio::spawn(async move {
                    until(working_now().checked_add(grace)).await;
                    task.kill(ticket);
                });
            }
            // Work that never took its stop token cannot learn that it is to stop, so it is killed.
            StopRequest::Kill | StopRequest::Ask { .. } => running.task.kill(ticket),
        }
    }
}

impl Perform for LocalRunners {
    type Attempt = LocalAttempt;

    fn ticket(attempt: &LocalAttempt) -> Ticket {
        attempt.ticket
    }

    async fn perform(&self, attempt: LocalAttempt) -> (AttemptGuard, AttemptResult) {
        let LocalAttempt {
            mut guard,
            ticket,
            job,
            number,
            place,
            slot,
            resources,
            trace,
            stop,
        } = attempt;
        let timeouts = job.terms.timeouts;
        let last_progress = (timeouts.idle.is_some()).then(|| Arc::new(LastProgress::new()));
        let limits = TimeLimits {
            timeouts,
            last_progress: last_progress.clone(),
            stop: stop.clone(),
            grace: self.grace,
        };
        let context = |output| {
            Context::of_attempt(
                number,
                stop.clone(),
                self.reporter.step_listener(),
                ticket,
                last_progress,
                output,
            )
            .in_slot(slot)
            .with_resources(resources.clone())
            .traced_as(trace)
            .with_subject(Arc::clone(&job) as Arc<dyn Subject>)
        };
        let result = match &job.work {
            Work::Command(config) => {
                let output = guard.keep_output();
                let context = context(Some(Arc::clone(&output)));
                let attempt = CommandToRun {
                    config,
                    job: &job,
                    number,
                    place,
                    slot,
                    resources: resources.as_deref().unwrap_or_default(),
                    trace,
                };
                // Boxed, because this future is much larger than those of the other kinds of work.
                let run = Box::pin(self.run_command(attempt, context, stop.token(), output));
                match run.await {
                    CommandAttempt::Ended(result) => result,
                    CommandAttempt::NeverBegan => {
                        guard.give_back();
                        Err(Failure::new(
                            Class::Host,
                            "the host was lost before it began",
                        ))
                    }
                }
            }
            Work::Refused { .. } | Work::Ended(_) => {
                unreachable!("a job that was refused or has ended is never queued")
            }
            Work::Closure(closure) => {
                let context = context(None);
                limits.run(async { closure(context).await }).await
            }
            Work::Task { task, .. } => {
                if let Some(runner) = &self.runner {
                    let (job, context) = (Arc::clone(&job), context(None));
                    let attempt = Attempt { job, number };
                    let work = async { runner.run(attempt, context).await };
                    limits.run(work).await
                } else {
                    let message = format!("there is no runner for task `{task}`");
                    Err(Failure::new(Class::Input, message))
                }
            }
        };
        (guard, result)
    }
}

/// A command that an attempt runs.
struct CommandToRun<'a> {
    config: &'a ProcessConfig,
    job: &'a Arc<Job>,
    number: u32,
    place: PlaceId,
    slot: Option<SlotNumber>,
    resources: &'a [ResourceShare],
    trace: Option<TraceParent>,
}

impl LocalRunners {
    /// Runs a command at its place, or hands it to what runs commands instead.
    async fn run_command(
        &self,
        command: CommandToRun<'_>,
        context: Context,
        stop: &CancellationToken,
        output: Arc<AttemptOutput>,
    ) -> CommandAttempt {
        let at = &self.commands[command.place.index()];
        let mut variables = Variables::new();
        if at.sets_attempt_variables {
            let facts = AttemptFacts {
                job: &command.job.id,
                host: command.job.host.as_ref(),
                attempt: command.number,
                slot: command.slot,
                place: at.name.as_ref(),
                resources: command.resources,
                trace: command.trace,
            };
            variables = facts.variables();
            variables.extend_from_slice(&self.variables);
        }
        let context = context.with_variables(variables);
        if let Some(command_override) = &self.command_override {
            let attempt = Attempt {
                job: Arc::clone(command.job),
                number: command.number,
            };
            // This runner enforces the timeouts itself, because dropping its future may not stop all that it has
            // started.
            let work = command_override.run(attempt, context.at(at.name.clone()));
            return CommandAttempt::Ended(CatchPanic(std::pin::pin!(work)).await);
        }
        let config = context.command_with_variables(command.config);
        let terms = &command.job.terms;
        let limits = (terms.timeouts, terms.memory);
        at.commands.run(&config, limits, stop, output).await
    }
}

impl TimeLimits {
    /// Runs work until it ends or one of its timeouts has passed, and turns a panic into a failure.
    async fn run(self, work: impl Future<Output = AttemptResult>) -> AttemptResult {
        let work = CatchPanic(std::pin::pin!(work));
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
