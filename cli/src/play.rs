//! Playbooks as a run: their jobs as they unfold, and their results as people know them.
//!
//! ```text
//!  Execution --jobs--> JobStream --> Executor --outcomes--> PlayReport
//!      ^                                                        |
//!      +------------------ the end of each job -----------------+
//! ```
//!
//! The report owns the execution: each outcome that it takes decides which jobs follow.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use ratchet_play::{Execution, HostCounts, MakeRunner, PlayEvent, PlayLines, Prepared, StepAnswer};
use ratchet_runtime::{Job, Outcome, Summary};

use crate::error::CliError;
use crate::escape::plain;
use crate::output::{Output, OutputError};
use crate::report::Report;
use crate::session::{Console, JobStream};

/// How a play has ended, for the exit code. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedPlayCounts(Arc<Mutex<PlayCounts>>);

/// What the exit code of a play depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PlayCounts {
    /// How many hosts have failed.
    pub(crate) failed: u64,
    /// How many hosts could not be reached.
    pub(crate) unreachable: u64,
    /// Whether hosts have failed and their errors were cleared, so that none counts as failed at the end.
    pub(crate) has_cleared: bool,
    /// Whether something in the playbook was wrong, which ended it for all hosts.
    pub(crate) has_error: bool,
    /// Whether the play stopped before its end, by a fault of the program.
    pub(crate) is_stuck: bool,
}

impl SharedPlayCounts {
    /// Returns how the play has ended. The thread that reports it has ended before the run does.
    pub(crate) fn counts(&self) -> PlayCounts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, counts: PlayCounts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

/// Takes the outcomes of a play, lets the jobs begin that follow from them, and writes what happens.
pub(crate) struct PlayReport {
    execution: Execution,
    /// Takes the jobs; gone when there are no more.
    jobs: Option<Sender<Job>>,
    output_form: PlayOutput,
    console: Console,
    end: SharedPlayCounts,
    /// Whether somebody is asked before each task.
    asks: bool,
}

/// Asks whether the task of a name is to be done.
pub(crate) type AskStep = Box<dyn FnMut(&str) -> StepAnswer + Send>;

/// How results are written.
enum PlayOutput {
    People {
        lines: Box<PlayLines>,
        out: Output<'static>,
    },
    Programs(Box<dyn Report>),
}

/// The jobs of a play as they come.
pub(crate) struct PlayJobs(Receiver<Job>);

impl JobStream for PlayJobs {
    fn next(&mut self) -> Option<Result<Job, CliError>> {
        // The sender is dropped when the play is over.
        self.0.recv().ok().map(Ok)
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn may_use_cache(&self) -> bool {
        false
    }
}

impl PlayReport {
    /// Makes a report for people, with the jobs of the play and the maker of its runner.
    pub(crate) fn for_people(
        prepared: Prepared,
        lines: PlayLines,
        out: Output<'static>,
        console: Console,
        end: SharedPlayCounts,
        ask: Option<AskStep>,
    ) -> (Self, PlayJobs, MakeRunner) {
        let lines = Box::new(lines);
        Self::new(
            prepared,
            PlayOutput::People { lines, out },
            console,
            end,
            ask,
        )
    }

    /// Makes a report for programs, which writes outcomes in the form of another report.
    pub(crate) fn for_programs(
        prepared: Prepared,
        inner: Box<dyn Report>,
        console: Console,
        end: SharedPlayCounts,
    ) -> (Self, PlayJobs, MakeRunner) {
        Self::new(prepared, PlayOutput::Programs(inner), console, end, None)
    }

    fn new(
        prepared: Prepared,
        output_form: PlayOutput,
        console: Console,
        end: SharedPlayCounts,
        ask: Option<AskStep>,
    ) -> (Self, PlayJobs, MakeRunner) {
        let asks = ask.is_some();
        let (sender, receiver) = mpsc::channel();
        let (mut execution, runner) = prepared.into_parts();
        if let Some(ask) = ask {
            execution.ask_before_tasks(ask);
        }
        let mut report = Self {
            execution,
            jobs: Some(sender),
            output_form,
            console,
            end,
            asks,
        };
        report.proceed();
        (report, PlayJobs(receiver), runner)
    }

    /// Advances the play as far as it can go without another outcome.
    fn proceed(&mut self) {
        let jobs = self.execution.proceed();
        self.hand_over(jobs);
    }

    /// Hands jobs over, and ends the stream of jobs when the play is over.
    fn hand_over(&mut self, jobs: Vec<Job>) {
        if let Some(sender) = &self.jobs {
            for job in jobs {
                // A run that was stopped takes no more jobs, and says so itself.
                let _ = sender.send(job);
            }
        }
        if self.execution.is_done() || self.execution.is_stuck() {
            self.jobs = None;
        }
    }

    /// Takes over what has happened.
    fn show_events(&mut self) {
        for event in self.execution.take_events() {
            if let PlayEvent::Warning(text) | PlayEvent::Error(text) = &event {
                self.console.say(&format!("ratchet: {}\n", plain(text)));
            }
            if let PlayOutput::People { lines, .. } = &mut self.output_form {
                lines.add(&event);
            }
        }
    }

    fn write(&mut self) -> Result<(), OutputError> {
        if let PlayOutput::People { lines, out } = &mut self.output_form {
            let text = lines.take();
            if !text.is_empty() {
                out.write(text.as_bytes())?;
                out.flush()?;
            }
        }
        Ok(())
    }
}

impl Report for PlayReport {
    fn outcome(&mut self, outcome: &Outcome) -> Result<(), OutputError> {
        let is_of_task = self.execution.ended(outcome);
        if self.asks {
            // Whoever is asked for the next task wants to see how this one ended.
            self.show_events();
            self.write()?;
        }
        self.proceed();
        self.show_events();
        match &mut self.output_form {
            PlayOutput::Programs(inner) if is_of_task => inner.outcome(outcome),
            PlayOutput::Programs(_) | PlayOutput::People { .. } => Ok(()),
        }
    }

    fn idle(&mut self) -> Result<(), OutputError> {
        self.show_events();
        match &mut self.output_form {
            PlayOutput::Programs(inner) => inner.idle(),
            PlayOutput::People { .. } => self.write(),
        }
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), OutputError> {
        self.show_events();
        let recap = self.execution.recap().clone();
        let mut all = PlayCounts {
            is_stuck: self.execution.is_stuck(),
            has_error: self.execution.has_error(),
            ..PlayCounts::default()
        };
        (all.failed, all.unreachable) = self.execution.lost_hosts();
        let has_failed = |(_, counts): (&str, &HostCounts)| counts.failed + counts.unreachable > 0;
        all.has_cleared = all.failed + all.unreachable == 0 && recap.hosts().any(has_failed);
        self.end.set(all);
        match &mut self.output_form {
            PlayOutput::Programs(inner) => inner.finish(summary),
            PlayOutput::People { lines, .. } => {
                lines.add_timings(self.execution.timings());
                lines.add_recap(&recap);
                self.write()
            }
        }
    }
}
