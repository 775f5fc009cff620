//! `ratchet check`: reads a job file, resolves everything, and runs nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::Path;

use ratchet_runtime::process::Size;
use ratchet_runtime::{Job, Work};
use serde::Serialize;

use crate::args::check::{CheckArguments, SummaryFormat};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::escape;
use crate::job_file::{
    self, JobLines, Jobs, PartialTerms, Plan, PlanOptions, PoolDefaults, ServedTasks, StreamError,
    WorkerPlan,
};
use crate::output::Destination;
use crate::session::{cores, most_jobs};
use crate::settings::{Settings, variable_of_setting};
use crate::style::Style;

/// Checks a job file, and prints what it would run.
pub(crate) fn run(arguments: &CheckArguments) -> Result<(), CliError> {
    let worker = arguments
        .worker
        .as_deref()
        .map(|command| job_file::typed_worker(command, arguments.protocol))
        .transpose()?;
    let environment = UserEnvironment::current()?;
    let settings = Settings::load(&environment)?;
    let slots = match (arguments.jobs, settings.jobs()) {
        (Some(jobs), _) => jobs.get(),
        (None, Some(jobs)) => jobs.resolve(cores(), most_jobs)?,
        (None, None) => cores(),
    };
    let workers = settings.workers().map_or(slots, NonZeroU32::get);
    let options = PlanOptions {
        settings: settings.terms(),
        worker,
        pools: PoolDefaults {
            size: Some(Size::between(1, workers)),
            prefetch: settings.prefetch(),
            grace: settings.grace(),
        },
        slots: Some(slots),
        flags: PartialTerms {
            resources: arguments.uses.as_ref().map(|uses| uses.0.clone()),
            ..PartialTerms::default()
        },
        resources: arguments.resource.clone(),
        selection: arguments.selection.selection(),
        variable_of_setting: Some(variable_of_setting),
        ..PlanOptions::default()
    };
    let plan = job_file::open(&arguments.file, &options)?;
    let known = plan.hosts.all_resources(&plan.resources);
    job_file::check_typed(&known, options.flags.resources.as_deref())?;
    let color = arguments.color.or(settings.color());
    let style = Style::of_stderr(color.unwrap_or_default());
    let warnings = plan.warnings.render(style);
    let _ = io::stderr().write_all(warnings.as_bytes());
    let summary = FileSummary::of(&arguments.file, plan, style)?;
    let text = match arguments.format {
        SummaryFormat::Human => summary.human(),
        SummaryFormat::Json => summary.json(),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Destination::Stdout.error(error).into())
}

/// The counts of a job file that `ratchet check` prints: its jobs, tasks, programs and workers.
#[derive(Debug, Serialize)]
struct FileSummary {
    v: u32,
    file: String,
    jobs: u64,
    /// How many jobs name each task.
    tasks: BTreeMap<String, u64>,
    /// How many jobs start each program.
    commands: BTreeMap<String, u64>,
    /// How many jobs have needs.
    with_needs: u64,
    /// How many jobs the longest chain of needs has; `None` for a stream, whose jobs are not all known.
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u64>,
    workers: Vec<WorkerSummary>,
    limits: BTreeMap<String, String>,
    resources: BTreeMap<String, String>,
}

/// A kind of worker in the summary of a file.
#[derive(Debug, Serialize)]
struct WorkerSummary {
    name: String,
    command: String,
    min: u32,
    max: u32,
    /// The tasks that the worker serves; `None` if it serves every task.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<String>>,
}

impl FileSummary {
    fn of(file: &Path, plan: Plan, style: Style) -> Result<Self, CliError> {
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
            resources: plan
                .resources
                .iter()
                .map(|(name, resource)| (name.clone(), resource.to_string()))
                .collect(),
        };
        match plan.jobs {
            Jobs::Listed { jobs, order, .. } => {
                for job in &jobs {
                    summary.count(job);
                }
                summary.depth = Some(depth(&jobs, &order));
            }
            Jobs::Streamed(lines) => summary.read(*lines, style)?,
        }
        Ok(summary)
    }

    /// Reads a stream to its end. All lines that do not make a job are reported, not only the first.
    fn read(&mut self, lines: JobLines, style: Style) -> Result<(), CliError> {
        let mut bad = 0;
        for line in lines {
            match line {
                Ok(job) => self.count(&job),
                Err(StreamError::Unreadable(error)) => {
                    return Err(CliError::unreadable(Path::new(&self.file), error));
                }
                Err(StreamError::Refused(error)) => {
                    bad += 1;
                    if bad <= SHOWN {
                        let shown = error.diagnostics.render(style);
                        let _ = io::stderr().write_all(shown.as_bytes());
                    }
                }
            }
        }
        if bad > 0 {
            let file = &self.file;
            return Err(CliError::usage(match bad {
                1 => format!("a line of {file} is not a valid job"),
                _ => format!("{bad} lines of {file} are not valid jobs"),
            }));
        }
        Ok(())
    }

    /// Counts a job by its task or its program.
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

    #[expect(
        clippy::expect_used,
        reason = "numbers, texts and maps with text keys can be written as JSON"
    )]
    fn json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("a summary can be written as JSON");
        text.push('\n');
        text
    }

    fn human(&self) -> String {
        let mut out = format!(
            "{}: {} would run\n",
            escape::plain(&self.file),
            jobs(self.jobs)
        );
        let mut line = |what: &str, text: String| {
            // Names come from the file, so they may hold anything. Writing to a string cannot fail.
            let _ = writeln!(out, "  {what:<8} {}", escape::plain(&text));
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
        for (name, resource) in &self.resources {
            line("resource", format!("{name}: {resource}"));
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

/// How many lines that do not make a job are shown; further ones are only counted.
const SHOWN: u64 = 20;

impl WorkerSummary {
    fn of(worker: &WorkerPlan) -> Self {
        Self {
            name: worker.pool.name.clone(),
            command: worker.pool.process.to_string(),
            min: worker.pool.size.min,
            max: worker.pool.size.max,
            tasks: match &worker.serves {
                ServedTasks::Everything => None,
                ServedTasks::Named(tasks) => Some(tasks.iter().map(ToString::to_string).collect()),
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

/// Returns the length of the longest chain of jobs that wait for each other. `order` lists each job after its needs.
fn depth(jobs: &[Job], order: &[usize]) -> u64 {
    if jobs.iter().all(|job| job.needs.is_empty()) {
        return u64::from(!jobs.is_empty());
    }
    // There may be hundreds of thousands of jobs, and the standard hash takes three times as long.
    let mut depths: HashMap<&str, u64, foldhash::fast::RandomState> = HashMap::default();
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
