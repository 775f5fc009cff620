//! How a run is started: its workers and hosts, its executor, and what watches it.

use std::sync::Arc;

use ratchet_play::PlayRunner;
use ratchet_runtime::monitor::Sampler;
use ratchet_runtime::process::{LocalProcesses, ProcessPool, ProcessSupervisor};
use ratchet_runtime::{Executor, ExecutorBuilder, RUN_ID_VARIABLE, Run, RunHandle};

use super::RunContext;
use crate::error::CliError;
use crate::job_file::{JobAdder, StartedParts};
use crate::live::LiveFigures;
use crate::map::MapRunner;
use crate::progress::ProgressMode;
use crate::report::Report;
use crate::session::console::Console;
use crate::session::earlier::EarlierOutcomes;
use crate::session::events::{EventFailure, JournalEvents};
use crate::session::executor::{
    add_pools, executor, machine_sampler, needed_workers, watch_hosts, watch_machine,
};
use crate::session::follow::FollowerParts;
use crate::session::hosts::StartedHosts;
use crate::session::job_source::SourceEnd;
use crate::session::record::RunRecord;
use crate::session::slow_warnings::SlowWarnings;
use crate::session::suspend::SuspensionRecord;
use crate::session::telemetry::RunTelemetry;
use crate::session::{RunSetup, slots_file};

/// A run whose jobs are being read and performed.
pub(super) struct StartedRun {
    pub(super) supervisor: ProcessSupervisor,
    pub(super) hosts: StartedHosts,
    pub(super) executor: Executor,
    pub(super) pools: Vec<ProcessPool>,
    pub(super) run: Run,
    /// How the source of the jobs ended, once it has.
    pub(super) source: SourceEnd,
    pub(super) report: Box<dyn Report>,
    /// Whether all events could be written, for the end of the run. It is nothing without `--events`.
    pub(super) events: Option<EventFailure>,
    /// Reads what is added to the run, which has begun with these parts.
    pub(super) adder: Option<(Arc<JobAdder>, StartedParts)>,
    /// What is sent to a collector.
    pub(super) telemetry: Option<RunTelemetry>,
}

impl RunContext {
    /// Starts the workers and the executor. From then on, signals and the readings of the machine steer the run.
    pub(super) async fn start(
        &mut self,
        setup: RunSetup,
        (record, earlier, mut follows): (
            Option<&RunRecord>,
            Option<EarlierOutcomes>,
            Option<FollowerParts>,
        ),
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
        let (builder, pools) = add_pools(builder, &supervisor, &hosts, workers).await?;
        let mut builder = add_runners(builder, &hosts, command_runner, play);
        if let Some(record) = record {
            builder = builder.ledger(Arc::clone(&record.journal));
            let slots = hosts
                .iter()
                .map(|(name, host)| (name.to_string(), host.slots));
            // The slots of a queue are those of its nodes, which come and go.
            if follows.is_none() {
                record.plan(self.options.slots, slots, run_limits, run_resources)?;
            }
        }
        let (builder, events) = self.add_sinks(builder, record, follows.as_mut());
        // The variable is empty for a run without a record. If it were unset, a run within another run would pass on
        // the id of the outer one.
        let run_id = record.map(|record| record.id().to_string());
        let builder = builder.command_variable(RUN_ID_VARIABLE, run_id.clone().unwrap_or_default());
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
        let announce = total_announcer(&self.console, figures);
        let files = std::mem::take(&mut self.files);
        let (run, source) = jobs.begin(&executor, earlier, (announce, files), follows)?;
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

    /// Adds the sinks that the events of the run go to: the journal, a file of events, progress and warnings. Also returns
    /// whether all events could be written to the file, for the end of the run.
    fn add_sinks(
        &mut self,
        mut builder: ExecutorBuilder,
        record: Option<&RunRecord>,
        mut follows: Option<&mut FollowerParts>,
    ) -> (ExecutorBuilder, Option<EventFailure>) {
        if let Some(record) = record {
            builder = builder.sink(JournalEvents::into_journal(&record.journal));
        }
        let mut events = None;
        if let Some(sink) = self.events.take() {
            let failure = sink.failure();
            builder = match &mut follows {
                Some(follows) => builder.sink(follows.share(sink)),
                None => builder.sink(sink),
            };
            events = Some(failure);
        }
        if self.progress_mode != ProgressMode::None {
            let sink = self.console.clone();
            builder = match &mut follows {
                Some(follows) => builder.sink(follows.share(sink)),
                None => builder.sink(sink),
            };
        }
        if !self.options.quiet {
            builder = builder.sink(SlowWarnings::to(self.console.clone()));
        }
        (builder, events)
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
}

/// Adds the places of the hosts, and what runs commands and the tasks of a play.
fn add_runners(
    mut builder: ExecutorBuilder,
    hosts: &StartedHosts,
    commands: Option<MapRunner>,
    play: Option<PlayRunner>,
) -> ExecutorBuilder {
    for place in hosts.places() {
        builder = builder.place(place);
    }
    if let Some(mut runner) = commands {
        runner.elsewhere = hosts.commands();
        builder = builder.command_runner(runner);
    }
    if let Some(runner) = play {
        builder = builder.runner(runner);
    }
    builder
}

/// Returns a function that announces how many jobs a stream has, once that is known.
fn total_announcer(console: &Console, figures: &Arc<LiveFigures>) -> impl Fn(u64) + Send + use<> {
    let (console, figures) = (console.clone(), Arc::clone(figures));
    move |total| {
        console.announce(total);
        figures.announce(total);
    }
}
