//! A node of a queue: claims jobs, has the executor do them one attempt each, and tells the queue how they ended.
//!
//! ```text
//!   queue <--- FencedEngine <--- NodeRunner ---> NodePerformer ---> NodeRuns ---> Executor ---> pools, commands
//!                   |  each renewal                                     ^
//!                   v  moves the time on                                  | kills all when the session is over
//!               SelfFence ---> keeper                               SessionFence
//! ```
//!
//! Jobs start as in any other run, so timeouts, memory limits, warm workers and the keeper are the same. What the queue
//! decides (hints, limits, retries, order) is not decided again here.
//!
//! **The fence.** The queue gives the jobs of this node to others when the node has not renewed its session in time. Three
//! things happen before, each later than the one before, by the time from before the last renewal that succeeded:
//! after 4/5 of the session the [`NodeRunner`] drops its attempts and the [`SessionFence`](fence) kills the run with all that it has
//! started; after 9/10 the keeper kills this process and whatever it has started, if that has not happened.

mod fence;
mod metrics;
mod performer;
mod progress;
mod runs;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::{Engine, Error, NodeRunner, NodeSpec};
use ratchet_resilience::shutdown::Phase;
use ratchet_runtime::event::{EventRecord, RunEvent};
use ratchet_runtime::process::{Keeper, LocalProcesses, ProcessSupervisor};
use ratchet_runtime::remote::SelfFence;
use ratchet_runtime::{ParallelizationHint, Sink};
use tokio::sync::watch;

use super::Session;
use super::console::Console;
use super::executor::{add_pools, executor};
use super::hosts::StartedHosts;
use super::job_source::JobSource;
use super::run::{FINAL_WRITE_LIMIT, RunContext};
use super::signals::SignalHandler;
use crate::args::terms::CacheMode;
use crate::error::CliError;
use crate::exit;
use crate::job_file::{BreakerAndBudget, HostRegistry, WorkerPlan};
use crate::queue::queue_error;
use fence::{FencedEngine, SessionFence};
use metrics::NodeFigures;
use performer::NodePerformer;
use progress::ProgressReports;
use runs::NodeRuns;

/// How often a node that drains looks whether jobs wait.
const DRAIN_POLL: Duration = Duration::from_millis(200);

/// How much longer than the grace of the executor a cancelled attempt may take. The executor kills it before.
const EXTRA_GRACE: Duration = Duration::from_secs(30);

/// What a node needs.
pub(crate) struct NodeSetup {
    /// The queue.
    pub(crate) engine: Arc<dyn Engine>,
    /// What the node says of itself.
    pub(crate) spec: NodeSpec,
    /// Where the queue is, for people.
    pub(crate) address: String,
    /// The workers of the node.
    pub(crate) workers: Vec<WorkerPlan>,
    /// Says until when what the node has started may run.
    pub(crate) self_fence: SelfFence,
    /// The process that kills what is left.
    pub(crate) keeper: Keeper,
    /// Whether the node leaves when no job waits.
    pub(crate) drains: bool,
    /// Where figures are served, if anywhere.
    pub(crate) metrics: Option<String>,
}

/// How far the node is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NodeStage {
    /// It takes jobs.
    Taking,
    /// It takes no more jobs, and finishes what runs.
    Draining,
    /// It stops what runs.
    Stopping,
}

impl Session {
    /// Takes jobs from a queue until the node drains. Returns the exit code.
    pub(crate) fn serve_node(self, setup: NodeSetup) -> Result<u8, CliError> {
        let Self {
            context, runtime, ..
        } = self;
        let code = runtime.block_on(context.serve_node_shown(setup));
        runtime.shutdown_background();
        code
    }
}

impl RunContext {
    /// Serves, and waits until the last message is written, if stderr has a reader.
    async fn serve_node_shown(mut self, setup: NodeSetup) -> Result<u8, CliError> {
        let thread = self.console.start_thread()?;
        let code = self.serve_node(setup).await;
        self.console.end_display();
        tokio::select! {
            () = thread.end() => code,
            () = self.signals.third_signal(FINAL_WRITE_LIMIT) => {
                Ok(self.signals.exit_code().unwrap_or(exit::INTERNAL))
            }
        }
    }

    /// Takes jobs from the queue until a signal or the end of its jobs has the node leave.
    async fn serve_node(&mut self, setup: NodeSetup) -> Result<u8, CliError> {
        let NodeSetup {
            engine,
            spec,
            address,
            workers,
            self_fence,
            keeper,
            drains,
            metrics,
        } = setup;
        // What these mean for a run is for submitters, and would end the node.
        self.options.cache = CacheMode::Off;
        self.options.max_failures = None;
        self.options.deadline = None;
        let processes = Arc::new(LocalProcesses::with_keeper(Some(keeper.clone())));
        let supervisor = ProcessSupervisor::start(processes);
        let hosts = StartedHosts::start(
            &HostRegistry::default(),
            &JobSource::List(Vec::new()),
            &workers,
            self.options.admission,
            &keeper,
        )?;
        let nothing = BreakerAndBudget::default();
        let builder = executor(&self.options, Vec::new(), Vec::new(), nothing, None).keeper(keeper);
        let (mut builder, _pools) = add_pools(builder, &supervisor, &hosts, workers).await?;
        if !self.options.quiet {
            builder = builder.sink(HintWarnings {
                console: self.console.clone(),
                told: HashSet::new(),
            });
        }
        let progress = ProgressReports::default();
        let builder = builder.sink(progress.sink());
        let runs = Arc::new(NodeRuns::open(builder.build()?)?);
        let (stage, stages) = watch::channel(NodeStage::Taking);
        let stage = Arc::new(stage);
        let performer = NodePerformer::new(Arc::clone(&runs), progress, &spec.name, stages.clone());
        self.obey_signals(&runs, &stage);
        let fence = SessionFence::start(self_fence, Arc::clone(&runs));
        let fenced = Arc::new(FencedEngine::new(Arc::clone(&engine), fence));
        let (name, slots) = (spec.name.clone(), spec.slots);
        let counts = performer.counts();
        if let Some(at) = &metrics {
            let figures = NodeFigures {
                name: name.to_string(),
                slots,
                counts: Arc::clone(&counts),
                runs: Arc::clone(&runs),
                engine: Arc::clone(&engine),
            };
            metrics::serve(at, figures).await?;
        }
        let drained = Arc::clone(&fenced);
        let mut runner = NodeRunner::new(fenced, spec, Arc::new(performer));
        runner.grace = self.options.phases().cancelling + EXTRA_GRACE;
        if !self.options.quiet {
            let slots = if slots == 1 {
                "1 slot"
            } else {
                &format!("{slots} slots")
            };
            let text = format!("ratchet: node {name} takes jobs from {address}, with {slots}\n");
            self.console.say(&text);
        }
        let empty = until_no_job_waits(&drained, drains);
        let drain = async {
            tokio::select! {
                () = reached(stages.clone(), NodeStage::Draining) => {}
                () = empty => {}
            }
            stage.send_if_modified(|stage| {
                let is_first = *stage == NodeStage::Taking;
                *stage = (*stage).max(NodeStage::Draining);
                is_first
            });
        };
        let served = tokio::select! {
            served = runner.run(drain) => Some(served),
            () = self.signals.third_signal(FINAL_WRITE_LIMIT) => None,
        };
        runs.kill().await;
        if served.is_some() {
            supervisor.shutdown().await;
        }
        match served {
            None => Ok(self.signals.exit_code().unwrap_or(exit::INTERNAL)),
            Some(Err(error)) => Err(queue_error(&error)),
            Some(Ok(_)) => {
                if !self.options.quiet {
                    self.console
                        .say(&format!("ratchet: node {name} has left: {counts}\n"));
                }
                Ok(self.signals.exit_code().unwrap_or(exit::SUCCESS))
            }
        }
    }

    /// Lets signals drain the node, then stop what runs, then kill it.
    fn obey_signals(&mut self, runs: &Arc<NodeRuns>, stage: &Arc<watch::Sender<NodeStage>>) {
        let answer = {
            let runs = Arc::clone(runs);
            Box::new(move || {
                let runs = Arc::clone(&runs);
                Box::pin(async move { runs.describe().await })
                    as std::pin::Pin<Box<dyn Future<Output = String> + Send>>
            })
        };
        let (runs, stage) = (Arc::clone(runs), Arc::clone(stage));
        let signals: &mut SignalHandler = &mut self.signals;
        signals.obey(
            self.options.quiet,
            &self.console,
            (None, answer),
            move |phase| match phase {
                Phase::Running | Phase::Draining => {
                    stage.send_replace(NodeStage::Draining);
                    "no more jobs are taken, and what runs is finished; repeat to stop it now"
                        .to_owned()
                }
                Phase::Cancelling => {
                    stage.send_replace(NodeStage::Stopping);
                    runs.order(ratchet_runtime::RunHandle::cancel);
                    "what runs is asked to stop, and goes to other nodes; repeat to kill it"
                        .to_owned()
                }
                Phase::Killing => {
                    stage.send_replace(NodeStage::Stopping);
                    runs.order(ratchet_runtime::RunHandle::kill);
                    "what runs is killed, and goes to other nodes".to_owned()
                }
            },
        );
    }
}

/// Says once of each task that its worker declares a hint, which the queue does not know.
struct HintWarnings {
    console: Console,
    told: HashSet<String>,
}

impl Sink for HintWarnings {
    fn on(&mut self, record: &EventRecord) {
        let RunEvent::HintsDeclared { hints } = &record.event else {
            return;
        };
        for (task, hint) in hints {
            if *hint != ParallelizationHint::FullyParallel && self.told.insert(task.clone()) {
                self.console.say(&format!(
                    "ratchet: the worker of task `{task}` declares the hint `{}`, which does not hold in a queue: write it into the job file\n",
                    hint.name()
                ));
            }
        }
    }
}

/// Waits until the node has come to a stage.
async fn reached(mut stages: watch::Receiver<NodeStage>, wanted: NodeStage) {
    if stages.wait_for(|stage| *stage >= wanted).await.is_err() {
        // The node is ending.
        std::future::pending::<()>().await;
    }
}

/// Waits until no job of the queue waits and this node has none, if the node `drains`; else for ever.
async fn until_no_job_waits(engine: &FencedEngine, drains: bool) {
    if !drains {
        std::future::pending::<()>().await;
    }
    loop {
        match has_nothing_to_do(engine).await {
            // The loop of the node has the same trouble, and tells of it.
            Ok(false) | Err(Error::Unreachable(_) | Error::OutOfMemory { .. }) => {}
            // An error of another kind ends that loop as well.
            Ok(true) | Err(_) => return,
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// Whether no job waits and the queue has given this node none.
async fn has_nothing_to_do(engine: &FencedEngine) -> Result<bool, Error> {
    let Some(node) = engine.node() else {
        return Ok(false);
    };
    if engine.status().await?.waiting > 0 {
        return Ok(false);
    }
    // What this node has claimed by now counts, although the answer to its claim may be on its way.
    let nodes = engine.nodes().await?;
    let own = nodes.iter().find(|info| info.node == node);
    Ok(own.is_some_and(|own| own.running == 0))
}
