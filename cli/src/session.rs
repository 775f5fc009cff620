//! Takes a run from its jobs to its exit code: what `run`, `map` and `resume` have in common.
//!
//! ```text
//!        thread `jobs`              the loop                   thread `results`
//! file, stdin --JobSource--> Executor --outcomes--> Delivery --> Report (results, or what commands print)
//!                             |    |                    |
//!                      workers    journal          Summary, HumanSummary
//! ```
//!
//! Jobs are read, and results and messages are written, on threads of their own. The loop handles signals and watches
//! workers, so it must not block on a reader or a writer.

mod conclusion;
mod console;
mod delivery;
mod events;
mod executor;
mod hosts;
mod job_source;
mod log;
mod options;
mod output;
mod record;
mod repeated_jobs;
mod serving;
mod signals;
mod slots_file;
mod slow_warnings;
mod slurm;
mod status_signal;
mod suspend;
mod system_limits;
#[cfg_attr(not(feature = "otel"), path = "session/no_telemetry.rs")]
mod telemetry;
mod terminal;
mod terminal_keys;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_caching::{Clock, SystemClock};
use ratchet_play::MakeRunner;
use ratchet_runtime::journal::{RunState, SourceIdentity, StoredRun};
use ratchet_runtime::monitor::Sampler;
use ratchet_runtime::process::{
    Keeper, LocalProcesses, ProcessPool, ProcessSupervisor, working_now,
};
use ratchet_runtime::{Executor, History, Limit, RUN_ID_VARIABLE, Run, RunHandle, Stopped};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::args::record::RecordArguments;
use crate::args::shared_run::SharedRunArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::folders::{CacheOwner, check_state};
use crate::github::{wanted_summary, write_summary};
use crate::job_file::{
    BreakerAndBudget, HostRegistry, JobAdder, PlanOptions, Resources, Selection, StartedParts,
    WorkerPlan,
};
use crate::live::LiveFigures;
use crate::map::{HaltRule, MapRunner};
use crate::progress::ProgressMode;
use crate::readable::duration;
use crate::recorded;
use crate::report::Report;
use crate::settings::{Settings, variable_of_setting};
use crate::style::When;
use crate::trust::Trust;
use conclusion::{CompletedRun, conclude, interrupted};
use delivery::{Delivery, RunFigures};
use events::{EventFailure, EventFile, JournalEvents};
use executor::{add_pools, executor, machine_sampler, needed_workers, watch_hosts, watch_machine};
use hosts::StartedHosts;
use job_source::{EarlierOutcomes, SourceEnd};
use record::RunRecord;
use repeated_jobs::EndedJobs;
use signals::SignalHandler;
use slow_warnings::SlowWarnings;
use suspend::SuspensionRecord;
use telemetry::{RunTelemetry, TelemetrySettings};
use terminal_keys::{KeyGuard, TerminalKeys};

pub(crate) use console::Console;
pub(crate) use hosts::{HostConnector, HostFlags, prefixed};
pub(crate) use job_source::{JobSource, JobStream};
pub(crate) use options::{RunOptions, cores};
pub(crate) use output::{open_output, open_play_output, open_report, stdout};
pub(crate) use record::{ResumedRun, job_file_source};
pub(crate) use repeated_jobs::Repetition;
pub(crate) use suspend::is_under_job_control;
pub(crate) use system_limits::most_jobs;
pub(crate) use terminal::TerminalUse;

/// How many outcomes are delivered together.
const BATCH: usize = 256;

/// How long writing results, and then the last messages, may take after the third signal.
const FINAL_WRITE_LIMIT: Duration = Duration::from_secs(2);

/// A call that is about to run jobs, with the event loop for them.
pub(crate) struct Session {
    /// When the call began, from which the deadline of the run counts.
    opened: Instant,
    context: RunContext,
    runtime: Runtime,
}

/// What a call needs for its run: its options, its console, and its signal handlers.
struct RunContext {
    /// The flags and settings of the run.
    options: RunOptions,
    /// Decides whether the folder of the cache may be used. It is asked once it is known whether a job may use the
    /// cache.
    trust: Trust,
    /// The stderr of this process, on which messages and progress are shown.
    console: Console,
    environment: UserEnvironment,
    /// The run that this call continues; `None` for a new run. It is taken when the run begins.
    resumed_run: Option<ResumedRun>,
    progress_mode: ProgressMode,
    signals: SignalHandler,
    /// Where telemetry is sent, if anywhere. It is taken when the run begins.
    telemetry: Option<TelemetrySettings>,
}

/// The jobs of a run, and the workers, hosts and reports for them.
pub(crate) struct RunSetup {
    /// The verb of the call, by which telemetry names the run.
    pub(crate) verb: &'static str,
    /// Where the jobs come from.
    pub(crate) jobs: JobSource,
    /// The file that the jobs come from, as the journal records it.
    pub(crate) source: Option<SourceIdentity>,
    /// What is read from stdin, as messages name it; `None` if stdin is not read.
    pub(crate) stdin: Option<&'static str>,
    /// The pools of workers that the run starts.
    pub(crate) workers: Vec<WorkerPlan>,
    /// The hosts on which jobs and workers can run.
    pub(crate) hosts: HostRegistry,
    /// The limits that jobs can name.
    pub(crate) limits: Vec<(String, Limit)>,
    /// The resources of which jobs can take units.
    pub(crate) resources: Resources,
    /// The breakers and the retry budget of the run.
    pub(crate) protection: BreakerAndBudget,
    /// Writes the results in the format that was asked for.
    pub(crate) report: Box<dyn Report>,
    /// Runs the commands instead of the executor.
    pub(crate) command_runner: Option<MapRunner>,
    /// Makes the runner of the tasks of a play.
    pub(crate) play: Option<MakeRunner>,
    /// The process that kills the remaining processes of the jobs if this process is killed.
    pub(crate) keeper: Keeper,
    /// The rule for stopping the run early, if a flag gives one.
    pub(crate) halt: Option<HaltRule>,
    /// Reads what is added to the run while it goes on; `None` if it takes no more jobs.
    pub(crate) adder: Option<Arc<JobAdder>>,
}

impl Session {
    /// Reads the settings, starts the log, and installs the signal handlers.
    pub(crate) fn open(
        typed: &SharedRunArguments,
        record: &RecordArguments,
        terminal: TerminalUse,
        resumed_run: Option<ResumedRun>,
    ) -> Result<Self, CliError> {
        let opened = Instant::now();
        let environment = UserEnvironment::current()?;
        let settings = Settings::load(&environment)?;
        let mut hosts = HostFlags::of(&typed.hosts.chosen)?;
        hosts.keep_remote = typed.hosts.keep_remote;
        let mut options = RunOptions::of(typed, record, hosts, &settings, &environment)?;
        let endpoint = record.telemetry.otlp.as_ref();
        let telemetry = endpoint.map(|endpoint| telemetry::settings(endpoint, &environment));
        let telemetry = telemetry.transpose()?;
        match terminal {
            TerminalUse::Progress => {}
            TerminalUse::Job => options.leave_terminal_to_jobs(),
            TerminalUse::Questions => options.hide_progress(),
        }
        let trust = settings.trust(&environment);
        if let Some(state) = options.state_dir.as_ref().filter(|_| !options.no_record) {
            check_state(&trust, state)?;
        }
        if let Some(cache) = &options.cache_dir {
            options.cache_owner = CacheOwner::of(cache, &trust);
        }
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let progress_mode =
            ProgressMode::decide(options.progress, options.quiet, is_terminal, is_dumb);
        let tells_failures = !options.writes_results_for_people();
        let console = Console::new(progress_mode, options.stderr_style(), tells_failures);
        log::begin(&options, &console)?;
        let fit = system_limits::prepare(options.slots, options.workers)?;
        if fit < options.slots {
            if !options.quiet {
                let slots = options.slots;
                console.say(&format!(
                    "ratchet: only {fit} of {slots} jobs run at once: the hard limit of open files (`ulimit -Hn`) is too \
                     low for more\n"
                ));
            }
            options.slots = fit;
        }
        let runtime = system_limits::event_loop()?;
        let signals = {
            // tokio delivers signals through the event loop that is entered when a handler is installed.
            let _entered = runtime.enter();
            SignalHandler::install()?
        };
        let context = RunContext {
            options,
            trust,
            console,
            environment,
            resumed_run,
            progress_mode,
            signals,
            telemetry,
        };
        Ok(Self {
            opened,
            context,
            runtime,
        })
    }

    /// Returns the options of the run.
    pub(crate) fn options(&self) -> &RunOptions {
        &self.context.options
    }

    /// Returns the console for messages to people.
    pub(crate) fn console(&self) -> &Console {
        &self.context.console
    }

    /// Whether progress is shown.
    pub(crate) fn shows_progress(&self) -> bool {
        self.context.progress_mode != ProgressMode::None
    }

    /// Returns the options for reading a job file.
    pub(crate) fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            flags: self.context.options.flags.clone(),
            settings: self.context.options.settings.clone(),
            breaker: self.context.options.breaker.map(Some),
            worker: None,
            pools: self.context.options.pool_defaults(),
            slots: Some(self.context.options.slots),
            selection: Selection::default(),
            fail_fast: Vec::new(),
            resources: self.context.options.resources.clone(),
            variable_of_setting: Some(variable_of_setting),
            hosts: self.context.options.hosts.table.clone(),
            keep_remote: self.context.options.hosts.keep_remote,
        }
    }

    /// Refuses a `--on` that names a host that is not among these.
    pub(crate) fn check_hosts(&self, hosts: &HostRegistry) -> Result<(), CliError> {
        self.context.options.hosts.refuse_unknown(hosts)
    }

    /// Reads the input that the run needs before it can begin, such as a job file. `what` is its name in messages.
    ///
    /// It is read on a thread of its own, because a large file takes seconds and a pipe may stay silent forever, and
    /// the event loop handles signals in the meantime. SIGINT, SIGTERM and the deadline of the run end the call at once:
    /// the thread holds nothing that has to be given back.
    pub(crate) fn read<T: Send + 'static>(
        &mut self,
        what: &str,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CliError> {
        let (send, reading) = oneshot::channel();
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                // A signal may have ended the wait for this.
                let _ = send.send(read());
            })
            .map_err(|error| CliError::internal("a thread cannot be started").because(error))?;
        let time_left = self.time_left();
        let RunContext {
            signals, console, ..
        } = &mut self.context;
        self.runtime
            .block_on(signals.wait_for_reader(what, reading, time_left, console))
    }

    /// Returns how much time the run has left until its deadline, if it has one.
    fn time_left(&self) -> Option<Duration> {
        let deadline = self.context.options.deadline?;
        Some(deadline.saturating_sub(self.opened.elapsed()))
    }

    /// Runs all jobs. Returns the exit code.
    pub(crate) fn perform(mut self, setup: RunSetup) -> Result<u8, CliError> {
        if let Some(time_left) = self.time_left() {
            // The executor refuses a deadline of 0, and a deadline that has passed ends the run all the same.
            self.context.options.deadline = Some(time_left.max(Duration::from_nanos(1)));
        }
        let Self {
            context, runtime, ..
        } = self;
        let code = runtime.block_on(context.run_shown(setup));
        // A thread that is stuck in a system call must not keep the process from ending.
        runtime.shutdown_background();
        code
    }
}

/// A run whose jobs are being read and performed.
struct StartedRun {
    supervisor: ProcessSupervisor,
    hosts: StartedHosts,
    executor: Executor,
    pools: Vec<ProcessPool>,
    run: Run,
    /// How the source of the jobs ended, once it has.
    source: SourceEnd,
    report: Box<dyn Report>,
    /// Whether all events could be written, for the end of the run. It is nothing without `--events`.
    events: Option<EventFailure>,
    /// Reads what is added to the run, which has begun with these parts.
    adder: Option<(Arc<JobAdder>, StartedParts)>,
    /// What is sent to a collector.
    telemetry: Option<RunTelemetry>,
}

impl RunContext {
    /// Runs all jobs, and waits until the last message is written, if stderr has a reader.
    async fn run_shown(mut self, setup: RunSetup) -> Result<u8, CliError> {
        let keys = TerminalKeys::default();
        let _restored = KeyGuard(keys.clone());
        let suspensions = suspend::install(self.console.clone(), keys.clone())?;
        let thread = self.console.start_thread()?;
        let code = self.run(setup, &suspensions, &keys).await;
        tokio::select! {
            () = thread.end() => code,
            () = self.signals.third(FINAL_WRITE_LIMIT) => {
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
        let ended = setup.jobs.ended_jobs();
        let figures = Arc::new(LiveFigures::default());
        let record = RunRecord::begin(
            &self.options,
            &self.environment.folder,
            setup.source.clone(),
            setup.stdin,
            resumed_run,
        )?;
        let (record, history) = record.unzip();
        let earlier = record.as_ref().and_then(|record| {
            suspensions.keep_in(&record.journal);
            let earlier =
                |history| EarlierOutcomes::new(history, setup.source.as_ref(), &record.journal);
            history.flatten().map(earlier)
        });
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
            .start(setup, (record.as_ref(), earlier), &figures, suspensions)
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
        self.steer(&handle, reads_keys.then_some(keys));
        // The socket lives until the end of the run is recorded, so that clients that watch the run can then look up
        // how it ended.
        let _socket = record
            .as_ref()
            .and_then(|record| self.serve(record, &handle, (&figures, began), (&pools, adder)));
        let delivery = Delivery::begin(report, ended.is_some())?;
        self.drain_when_unwritable(&delivery, &handle);

        let completion = async {
            let stopped = consume(run, &delivery, (&figures, ended.as_deref())).await;
            let figures = run_figures(&handle, &pools, (record.as_ref(), began)).await;
            let delivery = delivery.end(figures).await?;
            let (source, differences) = source.end();
            Ok::<_, CliError>(CompletedRun {
                delivery,
                stopped,
                source,
                differences,
            })
        };
        let signals = &self.signals;
        let completed = tokio::select! {
            completed = completion => Some(completed?),
            () = signals.third(FINAL_WRITE_LIMIT) => None,
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

    /// Starts the workers and the executor. From then on, signals and the readings of the machine steer the run.
    async fn start(
        &mut self,
        setup: RunSetup,
        (record, earlier): (Option<&RunRecord>, Option<EarlierOutcomes>),
        figures: &Arc<LiveFigures>,
        suspensions: &SuspensionRecord,
    ) -> Result<StartedRun, CliError> {
        let RunSetup {
            jobs,
            workers,
            hosts,
            limits,
            resources,
            protection,
            report,
            command_runner,
            play,
            keeper,
            halt,
            adder,
            verb,
            ..
        } = setup;
        let processes = Arc::new(LocalProcesses::with_keeper(Some(keeper.clone())));
        let play = play.map(|make| make(Arc::clone(&processes) as _));
        let supervisor = ProcessSupervisor::start(processes);
        let workers = needed_workers(workers, &jobs);
        let hosts = StartedHosts::start(&hosts, &jobs, &workers, self.options.admission, &keeper)?;
        let adder = adder.map(|adder| (adder, self.started_parts(&workers, &hosts)));
        let run_limits: Vec<_> = limits.clone();
        let totals = resources
            .iter()
            .map(|(name, resource)| (name.clone(), resource.total()));
        let run_resources = totals.collect();
        let builder = executor(&self.options, limits, resources, protection, halt).keeper(keeper);
        suspensions.stop_on(hosts.with_agents().map(|(_, host)| host));
        if let Some(warning) = hosts.warning().filter(|_| !self.options.quiet) {
            self.console.say(&format!("ratchet: {warning}\n"));
        }
        let (mut builder, pools) = add_pools(builder, &supervisor, &hosts, workers).await?;
        for place in hosts.places() {
            builder = builder.place(place);
        }
        if let Some(mut runner) = command_runner {
            runner.elsewhere = hosts.commands();
            builder = builder.command_runner(runner);
        }
        if let Some(runner) = play {
            builder = builder.runner(runner);
        }
        if let Some(record) = record {
            builder = builder.ledger(Arc::clone(&record.journal));
            builder = builder.sink(JournalEvents::into_journal(&record.journal));
            let slots = hosts
                .iter()
                .map(|(name, host)| (name.to_string(), host.slots));
            record.plan(self.options.slots, slots, run_limits, run_resources)?;
        }
        let mut events = None;
        if let Some(path) = &self.options.events {
            let continues = record.is_some_and(|record| record.continues_events);
            let (sink, failure) = EventFile::open(path, continues)?;
            builder = builder.sink(sink);
            events = Some(failure);
        }
        // The variable is empty for a run without a record. If it were unset, a run within another run would pass on
        // the id of the outer one.
        let run_id = record.map(|record| record.id().to_string());
        builder = builder.command_variable(RUN_ID_VARIABLE, run_id.clone().unwrap_or_default());
        if self.progress_mode != ProgressMode::None {
            builder = builder.sink(self.console.clone());
        }
        if !self.options.quiet {
            builder = builder.sink(SlowWarnings::to(self.console.clone()));
        }
        let (telemetry, builder) = RunTelemetry::start(
            self.telemetry.take(),
            &self.options,
            &self.environment,
            (verb, run_id),
            &self.console,
            builder,
        )?;
        let executor = builder.build()?;
        let sampler = machine_sampler(&self.options.admission)?;
        let (run, source) =
            jobs.begin(&executor, earlier, total_announcer(&self.console, figures))?;
        let handle = run.handle();
        if let Some(telemetry) = &telemetry {
            telemetry.watch(&handle);
        }
        if let Some(record) = record {
            record.steer_as_before(&handle)?;
        }
        self.watch(sampler, &hosts, &handle)?;
        Ok(StartedRun {
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
        })
    }

    /// Watches what changes how much runs at once: memory and load, the file of slots, the end of an allocation.
    fn watch(
        &mut self,
        sampler: Option<Sampler>,
        hosts: &StartedHosts,
        handle: &RunHandle,
    ) -> Result<(), CliError> {
        if let Some(sampler) = sampler {
            let is_alone = hosts.iter().next().is_none();
            watch_machine(self.options.admission, sampler, handle.clone(), is_alone)?;
            watch_hosts(self.options.admission, hosts, handle);
        }
        if let Some(path) = self.options.slots_file.clone() {
            let console = (!self.options.quiet).then(|| self.console.clone());
            slots_file::watch(path, self.options.slots, handle.clone(), console);
        }
        if let Some(allocation) = self.options.hosts.allocation.take() {
            let console = (!self.options.quiet).then(|| self.console.clone());
            let (phases, grace) = (self.options.phases(), self.options.grace);
            allocation.watch_end(handle.clone(), phases, grace, console);
        }
        Ok(())
    }

    /// Lets signals steer the run, and keys query it if they are read.
    fn steer(&mut self, handle: &RunHandle, keys: Option<&TerminalKeys>) {
        let keys = keys.and_then(|keys| {
            let started = keys.start();
            started
                .inspect_err(|error| tracing::debug!(%error, "no keys are read from the terminal"))
                .ok()
        });
        self.signals
            .steer(handle, &self.options, &self.console, keys);
    }

    /// Whether the key `t` is read from the terminal: stderr is shown on it, and nothing else reads from it.
    fn reads_keys(&self, reads_stdin: bool) -> bool {
        let is_used = self.options.terminal == TerminalUse::Job;
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

/// Starts the process that kills the remaining processes of the jobs if this process is killed.
pub(crate) fn start_keeper() -> Result<Keeper, CliError> {
    Keeper::start().map_err(|error| {
        CliError::internal(format!(
            "the process that guards the jobs cannot be started: {error}; the limits of open files (`ulimit -n`) and of \
             processes (`ulimit -u`) may be too low"
        ))
    })
}

/// Returns a function that announces how many jobs a stream has, once that is known.
fn total_announcer(console: &Console, figures: &Arc<LiveFigures>) -> impl Fn(u64) + Send + use<> {
    let (console, figures) = (console.clone(), Arc::clone(figures));
    move |total| {
        console.announce(total);
        figures.announce(total);
    }
}

/// Delivers all outcomes. Returns why the run stopped before all jobs were done, if it did.
async fn consume(
    mut run: Run,
    delivery: &Delivery,
    (figures, ended): (&LiveFigures, Option<&EndedJobs>),
) -> Option<Stopped> {
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        if run.next_many(&mut batch, BATCH).await == 0 {
            return run.stopped().cloned();
        }
        for outcome in &batch {
            figures.ended(outcome);
        }
        if let Some(ended) = ended {
            ended.add(batch.len());
        }
        delivery.send(batch).await;
    }
}

/// Returns the figures of a run that has ended, as far as they do not follow from its outcomes. The time is that of
/// all its parts, because the outcomes of earlier ones are counted as well.
async fn run_figures(
    handle: &RunHandle,
    pools: &[ProcessPool],
    (record, began): (Option<&RunRecord>, Instant),
) -> RunFigures {
    let before = record.map_or(Duration::ZERO, |record| record.worked_before);
    let status = handle.status();
    RunFigures {
        restarts: worker_restarts(pools).await,
        elapsed: before + working_now().saturating_duration_since(began),
        peak: status.peak as u64,
        slow: status.slow,
        suspects: status.suspects,
        breakers: status.breakers,
        retries_refused: status.retries_refused,
    }
}

/// Returns how many workers were started to replace one that had failed.
async fn worker_restarts(pools: &[ProcessPool]) -> u64 {
    let mut restarts = 0;
    for pool in pools {
        // A pool whose supervisor has ended has no figures; the run itself is complete all the same.
        if let Ok(metrics) = pool.metrics().await {
            let failures: u64 = metrics.failures.values().sum();
            // The first start does not replace a worker.
            restarts += failures.min(metrics.spawned.saturating_sub(1));
        }
    }
    restarts
}
