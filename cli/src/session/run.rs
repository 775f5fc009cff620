//! A run, from its first job to its exit code.

mod starting;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::journal::{RunState, StoredRun};
use ratchet_runtime::process::working_now;
use ratchet_runtime::{History, RunHandle};

use self::starting::StartedRun;
use super::RunSetup;
use super::conclusion::{CompletedRun, conclude, interrupted};
use super::console::Console;
use super::consuming::consume;
use super::delivery::Delivery;
use super::earlier::EarlierOutcomes;
use super::events::EventFile;
use super::figures::run_figures;
use super::follow::{FollowControl, FollowRules, FollowerParts};
use super::job_source::JobSource;
use super::options::RunOptions;
use super::record::{ResumedRun, RunRecord};
use super::signals::SignalHandler;
use super::suspend::{self, SuspensionRecord};
use super::telemetry::{RunTelemetry, TelemetrySettings};
use super::terminal::TerminalUse;
use super::terminal_keys::{KeyGuard, TerminalKeys};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::github::{wanted_summary, write_summary};
use crate::live::LiveFigures;
use crate::output_file::OutputFiles;
use crate::progress::ProgressMode;
use crate::readable::duration;
use crate::recorded;
use crate::style::When;
use crate::trust::Trust;

/// How long writing results, and then the last messages, may take after the third signal.
pub(super) const FINAL_WRITE_LIMIT: Duration = Duration::from_secs(2);

/// What a call needs for its run: its options, its console, and its signal handlers.
pub(super) struct RunContext {
    /// The flags and settings of the run.
    pub(super) options: RunOptions,
    /// Decides whether the folder of the cache may be used. It is asked once it is known whether a job may use the
    /// cache.
    pub(super) trust: Trust,
    /// The stderr of this process, on which messages and progress are shown.
    pub(super) console: Console,
    pub(super) environment: UserEnvironment,
    /// The run that this call continues; `None` for a new run. It is taken when the run begins.
    pub(super) resumed_run: Option<ResumedRun>,
    pub(super) progress_mode: ProgressMode,
    pub(super) signals: SignalHandler,
    /// Where telemetry is sent, if anywhere. It is taken when the run begins.
    pub(super) telemetry: Option<TelemetrySettings>,
    /// The files that lose their former content when the first job is known.
    pub(super) files: OutputFiles,
    /// The file that takes the events of the run, if there is one. It is taken when the run begins.
    pub(super) events: Option<EventFile>,
}

impl RunContext {
    /// Runs all jobs, and waits until the last message is written, if stderr has a reader.
    pub(super) async fn run_shown(mut self, setup: RunSetup) -> Result<u8, CliError> {
        let keys = TerminalKeys::default();
        let _restored = KeyGuard(keys.clone());
        let suspensions = suspend::install(self.console.clone(), keys.clone())?;
        let thread = self.console.start_thread()?;
        let code = self.run(setup, &suspensions, &keys).await;
        tokio::select! {
            () = thread.end() => code,
            () = self.signals.third_signal(FINAL_WRITE_LIMIT) => {
                Ok(self.signals.exit_code().unwrap_or(exit::INTERNAL))
            }
        }
    }

    /// Runs all jobs, while the thread of the console writes messages.
    async fn run(
        &mut self,
        setup: RunSetup,
        suspensions: &SuspensionRecord,
        keys: &TerminalKeys,
    ) -> Result<u8, CliError> {
        let reads_keys = self.reads_keys(setup.stdin.is_some());
        let began = working_now();
        let summary_file = self.summary_file()?;
        self.check_cache(&setup.jobs)?;
        let resumed_run = self.resumed_run.take();
        let is_resumed = resumed_run.is_some();
        let mut follows = self.follower_of(&setup.jobs);
        let follower = follows.as_ref().map(FollowerParts::control);
        let ended = setup.jobs.ended_jobs();
        let figures = Arc::new(LiveFigures::default());
        let (record, earlier) = self.begin_record(&setup, resumed_run, suspensions)?;
        if let (Some(follows), Some(record)) = (&mut follows, &record) {
            follows.record_in(&record.journal);
        }
        let StartedRun {
            supervisor,
            hosts,
            executor,
            pools,
            run,
            source,
            report,
            events,
            adder,
            telemetry,
        } = match self
            .start(
                setup,
                (record.as_ref(), earlier, follows),
                &figures,
                suspensions,
            )
            .await
        {
            Ok(started) => started,
            Err(error) => {
                // No job has run, so there is nothing that could be resumed.
                if let Some(record) = record {
                    record.withdraw();
                }
                return Err(error);
            }
        };
        let handle = run.handle();
        self.steer(&handle, follower.clone(), reads_keys.then_some(keys));
        // The socket lives until the end of the run is recorded, so that clients that watch the run can then look up
        // how it ended.
        let _socket = record
            .as_ref()
            .filter(|_| follower.is_none())
            .and_then(|record| self.serve(record, &handle, (&figures, began), (&pools, adder)));
        let delivery = Delivery::begin(report, ended.is_some())?;
        self.drain_when_unwritable(&delivery, &handle);

        let completion = async {
            let stopped = consume(run, &delivery, (&figures, ended.as_deref())).await;
            // The jobs of a queue may have been cancelled, and their ends are still to be recorded.
            let source = source.end().await;
            let mut figures = run_figures(&handle, &pools, (record.as_ref(), began)).await;
            if let Some(follower) = &follower {
                figures.peak = follower.peak();
            }
            let delivery = delivery.end(figures).await?;
            Ok::<_, CliError>(CompletedRun {
                delivery,
                stopped: stopped.or(source.stopped),
                source: source.result,
                jobs: source.jobs,
                differences: source.differences,
            })
        };
        let signals = &self.signals;
        let completed = tokio::select! {
            completed = completion => Some(completed?),
            () = signals.third_signal(FINAL_WRITE_LIMIT) => None,
        };
        if completed.is_some() {
            let sent = RunTelemetry::end(telemetry, &self.console);
            tokio::select! {
                () = async { tokio::join!(supervisor.shutdown(), hosts.shutdown(), sent); } => {}
                // The keeper kills the remaining processes when this process ends.
                () = signals.next() => {}
            }
        }
        // The executor holds the journal too, which is closed when its last owner is dropped.
        drop(executor);
        self.console.end_display();
        let Some(completed) = completed else {
            return Ok(self.tell_interrupted(record.as_ref()));
        };
        let reported = record.as_ref().map(RunRecord::reported);
        let code = conclude(
            completed,
            signals,
            &self.options,
            &self.console,
            record,
            is_resumed,
        )?;
        events.map_or(Ok(()), |events| events.check())?;
        let run = reported.map(|(store, id)| store.run(id));
        self.tell_github(summary_file, run)?;
        Ok(code)
    }

    /// Makes what follows the jobs, if the nodes of a queue do them.
    #[cfg_attr(
        not(feature = "queue"),
        expect(unreachable_code, reason = "a command without queues has no such jobs")
    )]
    fn follower_of(&mut self, jobs: &JobSource) -> Option<FollowerParts> {
        let JobSource::Queued(queued) = jobs else {
            return None;
        };
        // The executor sees only jobs that have ended, so the follower applies these.
        let rules = FollowRules {
            max_failures: self.options.max_failures.take(),
            deadline: self.options.deadline.take(),
            keeps_order: std::mem::take(&mut self.options.keep_order),
        };
        let console = (!self.options.quiet).then(|| self.console.clone());
        Some(queued.follower(rules, console))
    }

    /// Begins the record of the run, if it has one. Also returns the outcomes that a resumed run has already.
    fn begin_record(
        &self,
        setup: &RunSetup,
        resumed_run: Option<ResumedRun>,
        suspensions: &SuspensionRecord,
    ) -> Result<(Option<RunRecord>, Option<EarlierOutcomes>), CliError> {
        let record = RunRecord::begin(
            &self.options,
            &self.environment.folder,
            setup.source.clone(),
            setup.stdin,
            resumed_run,
        )?;
        let Some((record, history)) = record else {
            return Ok((None, None));
        };
        suspensions.keep_in(&record.journal);
        let earlier =
            |history| EarlierOutcomes::new(history, setup.source.as_ref(), &record.journal);
        let earlier = history.map(earlier);
        Ok((Some(record), earlier))
    }

    /// Tells how the interrupted run is resumed. Returns the exit code.
    fn tell_interrupted(&self, record: Option<&RunRecord>) -> u8 {
        let resume = record.map(|record| record.resume_command(&self.options));
        self.console.say(&interrupted(resume.as_deref()));
        self.signals.exit_code().unwrap_or(exit::INTERNAL)
    }

    /// Refuses a cache that another user could have written to, if the jobs may use it.
    fn check_cache(&self, jobs: &JobSource) -> Result<(), CliError> {
        match self.options.used_cache_dir() {
            Some(cache) if jobs.may_use_cache() => Ok(self.trust.folder(cache)?),
            _ => Ok(()),
        }
    }

    /// Lets signals steer the run, and keys query it if they are read.
    fn steer(
        &mut self,
        handle: &RunHandle,
        follower: Option<FollowControl>,
        keys: Option<&TerminalKeys>,
    ) {
        let keys = keys.and_then(|keys| {
            let started = keys.start();
            started
                .inspect_err(|error| tracing::debug!(%error, "no keys are read from the terminal"))
                .ok()
        });
        let (signals, console) = (&mut self.signals, &self.console);
        match follower {
            None => signals.steer(handle, &self.options, console, keys),
            Some(follower) => {
                signals.steer_follower(follower, handle, &self.options, console, keys);
            }
        }
    }

    /// Whether the key `t` is read from the terminal: stderr is shown on it, and nothing else reads from it.
    fn reads_keys(&self, reads_stdin: bool) -> bool {
        // Reading keys changes the terminal so that no line can be read from it.
        let is_used = self.options.terminal != TerminalUse::Progress;
        let is_source = reads_stdin && io::stdin().is_terminal();
        io::stderr().is_terminal() && !self.options.quiet && !is_used && !is_source
    }

    /// Returns the file that takes a summary of the run for a GitHub workflow, if one is wanted.
    fn summary_file(&self) -> Result<Option<PathBuf>, CliError> {
        if self.options.github == When::Always && self.options.no_record {
            return Err(CliError::usage(
                "the summary for GitHub is made from the record of the run, but --no-record keeps no record",
            )
            .with_help("use --github=never"));
        }
        wanted_summary(self.options.github, |name| std::env::var_os(name))
    }

    /// Appends the summary of a run that has ended to the file that a GitHub workflow shows, and prints annotations. A
    /// run without jobs has no record, and so no summary.
    fn tell_github(&self, path: Option<PathBuf>, run: Option<StoredRun>) -> Result<(), CliError> {
        let (Some(path), Some(run)) = (path, run) else {
            return Ok(());
        };
        if matches!(run.state, RunState::Unreadable(_)) {
            return Ok(());
        }
        let history = History::load(&run.journal)?;
        let model = recorded::model(&run, &history, SystemClock.now())?;
        let annotations = write_summary(&model, &path)?;
        self.console.say(&annotations);
        Ok(())
    }

    /// Drains the run when its results cannot be written any more. Running jobs get the grace of any other stop: their
    /// outcomes are recorded, and `resume` delivers them.
    fn drain_when_unwritable(&self, delivery: &Delivery, handle: &RunHandle) {
        let (failed, handle, grace) = (delivery.failed(), handle.clone(), self.options.grace);
        let console = (!self.options.quiet).then(|| self.console.clone());
        tokio::spawn(async move {
            let why = failed.await;
            handle.drain();
            if let Some(console) = console.filter(|_| handle.status().running > 0) {
                console.say(&format!(
                    "ratchet: {why}: no new jobs start; running jobs have {} to finish\n",
                    duration(grace)
                ));
            }
        });
    }
}
