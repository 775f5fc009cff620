//! `ratchet node`: does the jobs of a queue.

use std::sync::Arc;

use ratchet_queue::NodeSpec;
use ratchet_runtime::Placement;
use ratchet_runtime::process::Environment;
use ratchet_runtime::remote::SelfFence;

use crate::args::node::NodeArguments;
use crate::args::record::RecordArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::job_file::{self, JobPerformer, ServedTasks, WorkerPlan};
use crate::queue::{COMMANDS, QueueServer, task_in_queue};
use crate::session::{NodeSetup, Session, TerminalUse};
use crate::settings::{PASSWORD_VARIABLE, Settings};

/// Takes jobs from the queue until the node drains.
pub(crate) fn run(arguments: &NodeArguments) -> Result<u8, CliError> {
    let environment = UserEnvironment::current()?;
    let settings = Settings::load(&environment)?;
    let server = QueueServer::chosen(arguments.server.typed(), &settings, &environment)?;
    let record = RecordArguments {
        no_record: true,
        ..RecordArguments::default()
    };
    let typed = arguments.of_run();
    let mut session = Session::open(&typed, &record, TerminalUse::Questions, None)?;
    let workers = match &arguments.config {
        None => Vec::new(),
        Some(path) => {
            let mut options = session.plan_options();
            options.performer = JobPerformer::Nobody;
            let path = path.clone();
            let name = format!("`{}`", path.display());
            let plan = session.read(&name, move || job_file::open(&path, &options))??;
            if let Some(worker) = plan
                .workers
                .iter()
                .find(|worker| worker.on != Placement::Here)
            {
                return Err(CliError::usage(format!(
                    "worker `{}` in {name} runs on other hosts, and the workers of a node run with it",
                    worker.pool.name
                ))
                .with_help("leave `on` out, and start a node on each host"));
            }
            let style = session.options().stderr_style();
            session.console().say(&plan.warnings.render(style));
            plan.workers.into_iter().map(without_password).collect()
        }
    };
    let slots = session.options().slots;
    let name = arguments.name.clone().unwrap_or_else(machine_name);
    let tasks = tasks(&workers);
    let spec = NodeSpec {
        tasks: tasks.map(|tasks| tasks.iter().map(|task| task.as_str().into()).collect()),
        labels: arguments.label.clone(),
        ..NodeSpec::new(&name, slots)
    };
    let (self_fence, keeper) = keeper()?;
    let address = format!("{} (prefix {})", server.address(), server.prefix());
    let engine = session.wait_for("the queue", async move { server.connect().await })??;
    session.serve_node(NodeSetup {
        engine: engine as Arc<_>,
        spec,
        address,
        workers,
        self_fence,
        keeper,
        drains: arguments.drain,
        metrics: arguments.metrics.clone(),
    })
}

/// Keeps the password of the queue from a worker.
fn without_password(mut worker: WorkerPlan) -> WorkerPlan {
    if std::env::var_os(PASSWORD_VARIABLE).is_some() {
        let env = std::mem::replace(&mut worker.pool.process.env, Environment::clean());
        worker.pool.process.env = env.set(PASSWORD_VARIABLE, "");
    }
    worker
}

/// Returns the tasks that a node with these workers can do; `None` for any.
fn tasks(workers: &[WorkerPlan]) -> Option<Vec<String>> {
    let mut tasks = vec![COMMANDS.to_owned()];
    for worker in workers {
        match &worker.serves {
            ServedTasks::Everything => return None,
            ServedTasks::Named(served) => {
                tasks.extend(served.iter().map(|task| task_in_queue(task.as_str())));
            }
        }
    }
    Some(tasks)
}

/// Returns the name of this machine.
fn machine_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "node".to_owned()
    } else {
        name
    }
}

/// Starts the process that kills what the node has started, when the node is killed or the time of its session is over.
fn keeper() -> Result<(SelfFence, ratchet_runtime::process::Keeper), CliError> {
    let failed = |what: &str, error| CliError::internal(what.to_owned()).because(error);
    let program = std::env::current_exe().map_err(|error| {
        failed(
            "the path of this program, which would be the keeper, cannot be found",
            error,
        )
    })?;
    let command = [program.into_os_string(), "agent".into(), "--keeper".into()];
    SelfFence::start(command).map_err(|error| {
        failed(
            "the process that guards the jobs cannot be started; the limits of open files (`ulimit -n`) and of processes (`ulimit -u`) may be too low",
            error,
        )
    })
}
