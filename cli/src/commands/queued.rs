//! Jobs for a queue: what `run --queue` and `submit` have in common, and `run --queue`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratchet_caching::{Clock, SystemClock};
use ratchet_queue::{Engine, JobName, Label, RedisEngine};
use ratchet_runtime::RunId;

use super::file_jobs;
use crate::args::run::RunArguments;
use crate::args::submit::SubmissionArguments;
use crate::args::terms::TermsArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::job_file::{
    self, BreakerAndBudget, HostRegistry, JobPerformer, Jobs, Plan, Resources, Selection,
};
use crate::preflight::overwrite;
use crate::queue::{QueueServer, Refused, SpecMaker, declarations, job_name, queue_error};
use crate::session::{
    JobSource, QueuedJobs, QueuedSource, ResumedRun, RunSetup, Session, TerminalUse,
    job_file_source, open_report, start_keeper,
};
use crate::settings::Settings;

/// How many jobs that no queue takes are named.
const NAMED: usize = 10;

/// How many names one call lists.
const PAGE: usize = 1000;

/// What a submission asks for besides its jobs.
pub(super) struct Submission {
    /// The name of the submission.
    pub(super) name: String,
    /// Whether the name was typed.
    pub(super) is_typed: bool,
    labels: Vec<Label>,
    unservable_after: Option<Duration>,
}

impl Submission {
    /// Takes the typed name, else one that nobody else has.
    pub(super) fn of(typed: &SubmissionArguments) -> Result<Self, CliError> {
        let name = match &typed.name {
            Some(name) if name.contains('/') => {
                return Err(CliError::usage(format!(
                    "--name {name}: a submission has no `/` in its name"
                ))
                .with_help("it stands before the ids of the jobs, as in nightly/build"));
            }
            Some(name) => name.clone(),
            None => unique_name(),
        };
        if let Err(error) = job_name(&name, "1") {
            return Err(CliError::usage(format!("--name {name}: {error}")));
        }
        Ok(Self {
            name,
            is_typed: typed.name.is_some(),
            labels: typed.label.clone(),
            unservable_after: typed.unservable_after,
        })
    }

    /// Makes the specifications of jobs.
    pub(super) fn maker(&self, folder: &Path) -> SpecMaker {
        SpecMaker {
            submission: self.name.clone(),
            labels: self.labels.clone(),
            unservable_after: self.unservable_after,
            folder: folder.to_owned(),
        }
    }
}

/// Returns a name that no other call of any machine chooses: the moment, and what tells calls of one moment apart.
fn unique_name() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let moment = RunId::at(SystemClock.now());
    // Each hasher of the standard library has random keys.
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    format!("{moment}-{:08x}", random >> 32)
}

/// The jobs of a file, checked as far as that is possible before they are submitted.
pub(super) struct QueuedPlan {
    /// The jobs.
    pub(super) jobs: Jobs,
    limits: Vec<(String, ratchet_runtime::Limit)>,
    resources: Resources,
}

/// What is read for a submission.
pub(super) struct PlanRequest<'a> {
    /// The job file; `-` is stdin.
    pub(super) file: &'a Path,
    /// The terms of flags.
    pub(super) terms: &'a TermsArguments,
    /// Which jobs.
    pub(super) selection: Selection,
    /// What the jobs are called in the queue.
    pub(super) maker: &'a SpecMaker,
}

impl QueuedPlan {
    /// Reads and checks the jobs. What no queue keeps is refused.
    pub(super) fn read(session: &mut Session, request: PlanRequest<'_>) -> Result<Self, CliError> {
        let PlanRequest {
            file,
            terms,
            selection,
            maker,
        } = request;
        let mut options = session.plan_options();
        options.performer = JobPerformer::Nodes;
        options.slots = None;
        options.selection = selection;
        let name = if file == Path::new("-") {
            "stdin".to_owned()
        } else {
            format!("`{}`", file.display())
        };
        let path = file.to_owned();
        let plan = session.read(&name, move || job_file::open(&path, &options))??;
        let limits = file_jobs::limits(terms, plan.limits.clone())?;
        job_file::check_typed(
            &plan.resources,
            session.options().flags.resources.as_deref(),
        )?;
        check(&plan, &name, maker)?;
        let style = session.options().stderr_style();
        session.console().say(&plan.warnings.render(style));
        if !plan.workers.is_empty() && !session.options().quiet {
            session.console().say(&format!(
                "ratchet: the workers of {name} are not started here: each node starts those of its own --config\n"
            ));
        }
        Ok(Self {
            jobs: plan.jobs,
            limits,
            resources: plan.resources,
        })
    }
}

/// Connects to a queue, and declares limits and resources there.
pub(super) fn connect(
    session: &mut Session,
    server: &QueueServer,
    declared: Option<&QueuedPlan>,
) -> Result<Arc<RedisEngine>, CliError> {
    let server = server.clone();
    let declared = declared.map(|plan| declarations(&plan.limits, &plan.resources));
    session.wait_for("the queue", async move {
        let engine = server.connect().await?;
        if let Some(declared) = declared.filter(|declared| !declared.is_empty()) {
            let declared = engine.declare(&declared).await;
            declared.map_err(|error| match error {
                ratchet_queue::Error::Conflict { .. } => CliError::new(exit::USAGE, error)
                    .with_help("limits and resources hold for the whole queue: use the same ones, another name, or another --queue-prefix"),
                error => queue_error(&error),
            })?;
        }
        Ok::<_, CliError>(engine)
    })?
}

/// Refuses what no queue keeps.
fn check(plan: &Plan, name: &str, maker: &SpecMaker) -> Result<(), CliError> {
    let BreakerAndBudget {
        breaker,
        retry_budget,
    } = plan.protection;
    if breaker.is_some() || retry_budget.is_some() {
        let what = if breaker.is_some() {
            "`breaker`"
        } else {
            "`retry_budget`"
        };
        return Err(CliError::usage(format!(
            "{what} in {name} counts the attempts of one run, and the nodes of a queue are many"
        ))
        .with_help("leave it out, or set the breaker of a worker in the --config of the nodes"));
    }
    let Jobs::Listed { jobs, setups, .. } = &plan.jobs else {
        return Ok(());
    };
    if let Some(setup) = setups.iter().next() {
        return Err(CliError::usage(format!(
            "setup script `{setup}` of {name} prepares one machine, and the jobs of a queue run on many"
        ))
        .with_help("run it where the nodes are started, or make it a job that the others need"));
    }
    let refused = jobs.iter().filter_map(|job| {
        let refused: Refused = maker.spec(job, |_| true).err()?;
        Some((job.id.clone(), refused))
    });
    let refused: Vec<_> = refused.take(NAMED + 1).collect();
    let Some((_, first)) = refused.first() else {
        return Ok(());
    };
    let help = first.help;
    let named = refused.iter().take(NAMED).map(|(id, refused)| {
        format!(
            "job `{id}` of {name} cannot go through a queue: {}",
            refused.message
        )
    });
    let mut text = named.collect::<Vec<_>>().join("\n");
    if refused.len() > NAMED {
        text.push_str("\nand more");
    }
    Err(CliError::usage(text).with_help(help))
}

/// Runs jobs through a queue, and follows them.
pub(super) fn run(
    arguments: &RunArguments,
    resumed_run: Option<ResumedRun>,
) -> Result<u8, CliError> {
    refuse_flags(arguments)?;
    let environment = UserEnvironment::current()?;
    let settings = Settings::load(&environment)?;
    let through = &arguments.through;
    let server = QueueServer::chosen(through.typed(), &settings, &environment)?;
    if let Some(name) = &through.attach {
        return attach(arguments, &server, name);
    }
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from("-"));
    let reads_stdin = file == Path::new("-");
    if reads_stdin && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no jobs: stdin is a terminal")
            .with_help("name a job file, or write jobs to stdin, a JSON object a line"));
    }
    overwrite::refuse_of_run(arguments, &file)?;
    let submission = Submission::of(&through.submission)?;
    let maker = submission.maker(&environment.folder);
    let mut session = Session::open(
        &arguments.common,
        &arguments.record,
        TerminalUse::Progress,
        resumed_run,
    )?;
    if !submission.is_typed {
        session.record_argument(format!("--name={}", submission.name).into());
    }
    let request = PlanRequest {
        file: &file,
        terms: &arguments.common.terms,
        selection: arguments.selection.selection(),
        maker: &maker,
    };
    let plan = QueuedPlan::read(&mut session, request)?;
    if arguments.list {
        let name = file.display().to_string();
        return file_jobs::list(&plan.jobs, &name);
    }
    let engine = connect(&mut session, &server, Some(&plan))?;
    let jobs = JobSource::of(plan.jobs, arguments.strict, Vec::new());
    let queued = QueuedJobs {
        engine: engine as Arc<_>,
        maker,
        jobs: jobs.into_submission(),
    };
    let source = (!reads_stdin).then(|| job_file_source(&file)).flatten();
    let setup = RunSetup {
        source,
        stdin: reads_stdin.then_some("jobs.jsonl"),
        ..setup(&mut session, queued)?
    };
    session.perform(setup)
}

/// Follows jobs that another call has submitted.
fn attach(arguments: &RunArguments, server: &QueueServer, name: &str) -> Result<u8, CliError> {
    let mut arguments_record = crate::args::record::RecordArguments {
        no_record: true,
        ..Default::default()
    };
    arguments_record.events.clone_from(&arguments.record.events);
    let mut session = Session::open(
        &arguments.common,
        &arguments_record,
        TerminalUse::Progress,
        None,
    )?;
    let engine = connect(&mut session, server, None)?;
    let (queue, prefix) = (Arc::clone(&engine), format!("{name}/"));
    let names = session.wait_for("the queue", async move { list(&*queue, &prefix).await })??;
    if names.is_empty() {
        return Err(CliError::new(
            exit::NOTHING,
            format!(
                "the queue at {} has no jobs of submission `{name}`",
                server.address()
            ),
        )
        .with_help("ends of jobs are kept for a day; `ratchet queue show` lists what there is"));
    }
    let maker = SpecMaker {
        submission: name.to_owned(),
        labels: Vec::new(),
        unservable_after: None,
        folder: PathBuf::new(),
    };
    let queued = QueuedJobs {
        engine: engine as Arc<_>,
        maker,
        jobs: QueuedSource::Attached(names),
    };
    let setup = setup(&mut session, queued)?;
    session.perform(setup)
}

/// Returns the names of jobs that begin like this.
async fn list(engine: &dyn Engine, prefix: &str) -> Result<Vec<JobName>, CliError> {
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = engine.list(prefix, after.as_ref(), PAGE).await;
        let page = page.map_err(|error| queue_error(&error))?;
        names.extend(page.jobs.into_iter().map(|(name, _)| name));
        after = page.next;
        if after.is_none() {
            return Ok(names);
        }
    }
}

/// Makes a run whose jobs are done elsewhere.
fn setup(session: &mut Session, queued: QueuedJobs) -> Result<RunSetup, CliError> {
    Ok(RunSetup {
        verb: "run",
        jobs: JobSource::Queued(Box::new(queued)),
        source: None,
        stdin: None,
        workers: Vec::new(),
        hosts: HostRegistry::default(),
        limits: Vec::new(),
        resources: Vec::new(),
        protection: BreakerAndBudget::default(),
        report: open_report(session)?,
        command_runner: None,
        play: None,
        keeper: start_keeper()?,
        halt: None,
        adder: None,
    })
}

/// A flag of `run`, whether it was typed, why it has no effect on jobs that nodes do, and what to do.
type RefusedFlag = (&'static str, bool, &'static str, &'static str);

/// Refuses flags of `run` that have no effect on jobs which nodes do.
fn refuse_flags(arguments: &RunArguments) -> Result<(), CliError> {
    let machine = flags_of_one_machine(arguments);
    let typed = machine.into_iter().chain(flags_of_one_run(arguments));
    for (flag, is_typed, why, help) in typed {
        if is_typed {
            let refused = CliError::usage(format!("{flag} has no effect with --queue: {why}"));
            return Err(refused.with_help(help));
        }
    }
    Ok(())
}

/// Lists the flags about the machine that does the jobs.
fn flags_of_one_machine(arguments: &RunArguments) -> [RefusedFlag; 12] {
    let concurrency = &arguments.common.concurrency;
    let hosts = &arguments.common.hosts;
    let chosen = &hosts.chosen;
    let is_on = !chosen.on.is_empty() || !chosen.sshloginfile.is_empty();
    let (slots, of_node) = (
        "each node decides how much it runs at once",
        "give it to `ratchet node`",
    );
    let (workers, config) = (
        "each node has workers of its own",
        "write it into the --config of the nodes",
    );
    let (this, leave_out) = (
        "it is about this machine, and nodes do the jobs",
        "leave it out",
    );
    let (nodes, start) = (
        "the jobs of a queue run on its nodes",
        "start a node on each host",
    );
    let is_inventory = !chosen.inventory.is_empty();
    [
        ("--jobs", concurrency.jobs.is_some(), slots, of_node),
        (
            "--jobs-total",
            hosts.jobs_total.is_some(),
            slots,
            "give the jobs a limit: --limit all=4",
        ),
        ("--workers", concurrency.workers.is_some(), workers, of_node),
        ("--worker", arguments.worker.is_some(), workers, config),
        (
            "--prefetch",
            concurrency.prefetch.is_some(),
            workers,
            config,
        ),
        (
            "--memory-limit",
            concurrency.memory_limit.is_some(),
            this,
            leave_out,
        ),
        (
            "--memory-free",
            concurrency.memory_free.is_some(),
            this,
            leave_out,
        ),
        ("--load", concurrency.load.is_some(), this, leave_out),
        ("--tty", arguments.tty, "nodes have no terminal", leave_out),
        ("--on", is_on, nodes, start),
        ("--inventory", is_inventory, nodes, start),
        ("--keep-remote", hosts.keep_remote, nodes, leave_out),
    ]
}

/// Lists the flags about a run that does its jobs itself.
fn flags_of_one_run(arguments: &RunArguments) -> [RefusedFlag; 8] {
    let terms = &arguments.common.terms;
    let leave_out = "leave it out";
    let run = "it is kept by the run that does the jobs, and nodes do them";
    let once = "a queue runs each job once";
    let is_grouped = !arguments.group_fail_fast.is_empty();
    let is_traced = arguments.record.telemetry.otlp.is_some();
    let has_grace = arguments.common.stop.grace.is_some();
    [
        ("--cache", terms.cache.is_some(), run, leave_out),
        ("--breaker", terms.breaker.is_some(), run, leave_out),
        ("--slow", terms.slow.is_some(), run, "set a --timeout"),
        (
            "--otlp",
            is_traced,
            "spans are made where jobs run",
            leave_out,
        ),
        (
            "--group-fail-fast",
            is_grouped,
            "a queue knows no groups",
            leave_out,
        ),
        ("--repeat", arguments.repeat.is_some(), once, leave_out),
        ("--stress", arguments.stress.is_some(), once, leave_out),
        (
            "--grace",
            has_grace,
            "each node gives its jobs time to end",
            "give it to `ratchet node`",
        ),
    ]
}
