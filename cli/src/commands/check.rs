//! `ratchet check`: reads a job file, resolves everything, runs nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ratchet_runtime::process::Size;
use ratchet_runtime::{Job, Work};
use serde::Serialize;

use crate::args::display::When;
use crate::diagnostic::Look;
use crate::error::CliError;
use crate::job_file::{
    self, BadLine, Jobs, Lines, Options, Plan, PoolDefaults, Protocol, Served, WorkerPlan,
};
use crate::report::Style;
use crate::session::cores;
use crate::settings::{Settings, Surroundings};
use crate::value;

/// Reads a job file, resolves everything, and runs nothing.
///
/// All that is wrong with it is told at once, each with its place and what to do about it. What
/// would run is summed up on stdout.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ratchet check jobs.yaml\n  \
    ratchet check --worker 'python3 resize.py' jobs.jsonl\n  \
    ratchet check --format json jobs.toml | jq .tasks")]
pub(crate) struct Arguments {
    /// The job file; `-` is JSON lines from stdin.
    file: PathBuf,
    /// One worker command for every task, where the file has no `workers`.
    #[arg(short, long, value_name = "COMMAND")]
    worker: Option<String>,
    /// What that worker speaks.
    #[arg(long, value_enum, default_value_t, requires = "worker")]
    protocol: Protocol,
    /// How many slots there would be (default: as many as cores): a job that needs more is refused.
    #[arg(short, long, value_name = "N", value_parser = value::positive)]
    jobs: Option<NonZeroU32>,
    /// How the summary is written.
    #[arg(long, value_enum, default_value_t)]
    format: SummaryFormat,
    /// Use colours on stderr: `auto` does on a terminal, unless `NO_COLOR` is set or TERM is `dumb`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) color: Option<When>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum SummaryFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON document.
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let worker = arguments
        .worker
        .as_deref()
        .map(|command| super::run::worker(command, arguments.protocol))
        .transpose()?;
    let surroundings = Surroundings::current().map_err(|source| CliError::Read {
        path: PathBuf::from("."),
        source,
    })?;
    let settings = Settings::load(&surroundings)?;
    let slots = arguments
        .jobs
        .or(settings.jobs())
        .map_or_else(cores, NonZeroU32::get);
    let workers = settings.workers().map_or(slots, NonZeroU32::get);
    let options = Options {
        settings: settings.terms(),
        worker,
        pools: PoolDefaults {
            size: Some(Size::between(1, workers)),
            prefetch: settings.prefetch(),
            grace: settings.grace(),
        },
        slots: Some(slots),
        ..Options::default()
    };
    let plan = job_file::open(&arguments.file, &options)?;
    let color = arguments.color.or(settings.color());
    let look = Style::of_stderr(color.unwrap_or_default()).look();
    let warnings = plan.warnings.render(look);
    let _ = io::stderr().write_all(warnings.as_bytes());
    let summary = Summary::of(&arguments.file, plan, look)?;
    let text = match arguments.format {
        SummaryFormat::Human => summary.human(),
        SummaryFormat::Json => summary.json(),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(CliError::Output)
}

/// What would run.
#[derive(Debug, Serialize)]
struct Summary {
    v: u32,
    file: String,
    jobs: u64,
    /// How many jobs ask for it, by task.
    tasks: BTreeMap<String, u64>,
    /// How many jobs start it, by program.
    commands: BTreeMap<String, u64>,
    /// How many jobs have needs, and how many wait one after the other in the longest chain.
    with_needs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u64>,
    workers: Vec<WorkerSummary>,
    limits: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct WorkerSummary {
    name: String,
    command: String,
    min: u32,
    max: u32,
    /// Nothing where it serves every task.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<String>>,
}

impl Summary {
    fn of(file: &Path, plan: Plan, look: Look) -> Result<Self, CliError> {
        let mut summary = Self {
            v: 1,
            file: file.display().to_string(),
            jobs: 0,
            tasks: BTreeMap::new(),
            commands: BTreeMap::new(),
            with_needs: 0,
            depth: None,
            workers: plan.workers.iter().map(WorkerSummary::of).collect(),
            limits: plan
                .limits
                .iter()
                .map(|(name, limit)| (name.clone(), limit.to_string()))
                .collect(),
        };
        match plan.jobs {
            Jobs::Listed { jobs, order } => {
                for job in &jobs {
                    summary.count(job);
                }
                summary.depth = Some(depth(&jobs, &order));
            }
            Jobs::Streamed(lines) => summary.read(*lines, look)?,
        }
        Ok(summary)
    }

    /// Reads a stream to its end. All bad lines are told, not only the first.
    fn read(&mut self, lines: Lines, look: Look) -> Result<(), CliError> {
        let mut bad = 0;
        for line in lines {
            match line {
                Ok(job) => self.count(&job),
                Err(BadLine::Unreadable(error)) => {
                    return Err(CliError::Read {
                        path: PathBuf::from(&self.file),
                        source: error,
                    });
                }
                Err(BadLine::Refused(error)) => {
                    bad += 1;
                    if bad <= SHOWN {
                        let shown = error.report.render(look);
                        let _ = io::stderr().write_all(shown.as_bytes());
                    }
                }
            }
        }
        if bad > 0 {
            let file = self.file.clone();
            return Err(CliError::BadLines { file, bad });
        }
        Ok(())
    }

    fn count(&mut self, job: &Job) {
        self.jobs += 1;
        self.with_needs += u64::from(!job.needs.is_empty());
        let by = match &job.work {
            Work::Command(_) => &mut self.commands,
            _ => &mut self.tasks,
        };
        match by.get_mut(job.task_name()) {
            Some(count) => *count += 1,
            None => {
                by.insert(job.task_name().to_owned(), 1);
            }
        }
    }

    fn json(&self) -> String {
        // Texts, numbers and maps by text: nothing here has no JSON.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn human(&self) -> String {
        let mut out = format!("{}: {} would run\n", self.file, jobs(self.jobs));
        let mut line = |what: &str, text: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "  {what:<8} {text}");
        };
        for (task, count) in &self.tasks {
            line("task", format!("{task}: {}", jobs(*count)));
        }
        for (program, count) in &self.commands {
            line("run", format!("{program}: {}", jobs(*count)));
        }
        for worker in &self.workers {
            let tasks = match &worker.tasks {
                None => "every task".to_owned(),
                Some(tasks) => tasks.join(", "),
            };
            let size = match (worker.min, worker.max) {
                (min, max) if min == max => format!("{max}"),
                (min, max) => format!("{min} to {max}"),
            };
            let (name, command) = (&worker.name, &worker.command);
            line(
                "worker",
                format!("{name}: {size} of `{command}` for {tasks}"),
            );
        }
        for (name, limit) in &self.limits {
            line("limit", format!("{name}: {limit}"));
        }
        if let Some(depth) = self.depth.filter(|_| self.with_needs > 0) {
            let waiting = jobs(self.with_needs);
            line(
                "needs",
                format!("{waiting} with needs, {depth} in the longest chain"),
            );
        }
        out
    }
}

/// Bad lines beyond these are counted, not shown.
const SHOWN: u64 = 20;

impl WorkerSummary {
    fn of(worker: &WorkerPlan) -> Self {
        Self {
            name: worker.pool.name.clone(),
            command: worker.pool.process.to_string(),
            min: worker.pool.size.min,
            max: worker.pool.size.max,
            tasks: match &worker.serves {
                Served::Everything => None,
                Served::Tasks(tasks) => Some(tasks.iter().map(ToString::to_string).collect()),
            },
        }
    }
}

fn jobs(count: u64) -> String {
    match count {
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    }
}

/// How many jobs wait one after the other, at most.
fn depth(jobs: &[Job], order: &[usize]) -> u64 {
    let mut depths: std::collections::HashMap<&str, u64> = std::collections::HashMap::new();
    for job in order.iter().filter_map(|index| jobs.get(*index)) {
        let needs = job
            .needs
            .iter()
            .filter_map(|need| depths.get(need.as_str()));
        let depth = 1 + needs.max().copied().unwrap_or_default();
        depths.insert(job.id.as_str(), depth);
    }
    depths.into_values().max().unwrap_or_default()
}
