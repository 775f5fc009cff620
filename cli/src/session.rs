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
mod consuming;
mod delivery;
mod earlier;
mod events;
mod executor;
mod figures;
#[cfg_attr(not(feature = "queue"), path = "session/no_follow.rs")]
mod follow;
mod hosts;
mod job_source;
mod job_stream;
mod log;
#[cfg(feature = "queue")]
mod node;
mod options;
mod output;
mod record;
mod repeated_jobs;
mod run;
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
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratchet_play::MakeRunner;
use ratchet_runtime::Limit;
use ratchet_runtime::journal::SourceIdentity;
use ratchet_runtime::process::{Keeper, working_now};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::args::record::RecordArguments;
use crate::args::shared_run::SharedRunArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::folders::{CacheOwner, check_state};
use crate::job_file::{
    BreakerAndBudget, HostRegistry, JobAdder, JobPerformer, PlanOptions, Resources, Selection,
    WorkerPlan,
};
use crate::map::{HaltRule, MapRunner};
use crate::output_file::{FormerContent, OutputFile, OutputFiles, is_pipe};
use crate::progress::ProgressMode;
use crate::report::Report;
use crate::settings::{Settings, variable_of_setting};
use events::{EventFile, check_event_path};
use run::RunContext;
use signals::SignalHandler;

pub(crate) use console::Console;
#[cfg(feature = "queue")]
pub(crate) use follow::{QueuedJobs, QueuedSource};
pub(crate) use hosts::{HostConnector, HostFlags, prefixed};
pub(crate) use job_source::JobSource;
pub(crate) use job_stream::JobStream;
#[cfg(feature = "queue")]
pub(crate) use node::NodeSetup;
pub(crate) use options::{RunOptions, cores};
pub(crate) use output::{open_output, open_play_output, open_report, stdout};
pub(crate) use record::{ResumedRun, job_file_source};
pub(crate) use repeated_jobs::Repetition;
pub(crate) use suspend::is_under_job_control;
pub(crate) use system_limits::most_jobs;
pub(crate) use terminal::TerminalUse;

/// A call that is about to run jobs, with the event loop for them.
pub(crate) struct Session {
    /// When the call began, from which the deadline of the run counts.
    opened: Instant,
    context: RunContext,
    runtime: Runtime,
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
        let opened = working_now();
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
            TerminalUse::Questions => options.leave_terminal_to_questions(),
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
            files: OutputFiles::default(),
            events: None,
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

    /// Adds an argument to the command line in the record of the run: one that the call has chosen itself.
    #[cfg(feature = "queue")]
    pub(crate) fn record_argument(&mut self, argument: std::ffi::OsString) {
        self.context.options.chosen_arguments.push(argument);
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
            performer: JobPerformer::Here,
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
        self.on_thread((what, "read"), read)
    }

    /// Opens a file that the run writes. Its former content is lost only when the first job of the run is known.
    pub(crate) fn open_file(
        &mut self,
        path: &Path,
        former: FormerContent,
    ) -> Result<OutputFile, CliError> {
        let file = self.open_apart(path, former)?;
        self.context.files.add(file.clone());
        Ok(file)
    }

    /// Opens a file on a thread of its own, because opening a pipe waits for its reader. The caller begins the file.
    fn open_apart(&mut self, path: &Path, former: FormerContent) -> Result<OutputFile, CliError> {
        let name = if is_pipe(path) {
            format!("the pipe `{}`, which nobody reads,", path.display())
        } else {
            format!("`{}`", path.display())
        };
        let owned = path.to_path_buf();
        let opened = self.on_thread((&name, "opened"), move || OutputFile::open(&owned, former))?;
        opened.map_err(|error| CliError::unwritable(path, error))
    }

    /// Runs a function on a thread of its own, and waits for it until a signal or the deadline of the run ends the call.
    fn on_thread<T: Send + 'static>(
        &mut self,
        what: (&str, &str),
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
        Some(deadline.saturating_sub(working_now().saturating_duration_since(self.opened)))
    }

    /// Waits for what the run needs before it can begin, such as a connection. `what` is its name in messages. SIGINT and
    /// SIGTERM end the call at once.
    #[cfg(feature = "queue")]
    pub(crate) fn wait_for<T: Send + 'static>(
        &mut self,
        what: &str,
        waits: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, CliError> {
        let (send, waiting) = oneshot::channel();
        self.runtime.spawn(async move {
            // A signal may have ended the wait for this.
            let _ = send.send(waits.await);
        });
        let time_left = self.time_left();
        let RunContext {
            signals, console, ..
        } = &mut self.context;
        self.runtime
            .block_on(signals.wait_for_reader((what, "read"), waiting, time_left, console))
    }

    /// Runs all jobs. Returns the exit code.
    pub(crate) fn perform(mut self, setup: RunSetup) -> Result<u8, CliError> {
        if let Some(time_left) = self.time_left() {
            // The executor refuses a deadline of 0, and a deadline that has passed ends the run all the same.
            self.context.options.deadline = Some(time_left.max(Duration::from_nanos(1)));
        }
        if let Some(path) = self.context.options.events.clone() {
            check_event_path(&path)?;
            let former = match &self.context.resumed_run {
                Some(resumed) if !resumed.has_own_events => FormerContent::KeptLines,
                _ => FormerContent::Lost,
            };
            self.context.events = Some(EventFile::to(self.open_apart(&path, former)?, path));
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

/// Starts the process that kills the remaining processes of the jobs if this process is killed.
pub(crate) fn start_keeper() -> Result<Keeper, CliError> {
    Keeper::start().map_err(|error| {
        CliError::internal(format!(
            "the process that guards the jobs cannot be started: {error}; the limits of open files (`ulimit -n`) and of \
             processes (`ulimit -u`) may be too low"
        ))
    })
}
