//! `ratchet submit`: puts jobs into a queue, and goes.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::{Engine, Error, JobName, JobSpec, Submitted};
use ratchet_runtime::{Job, Work};
use tokio::sync::mpsc;

use super::queued::{PlanRequest, QueuedPlan, Submission, connect};
use crate::args::concurrency::ConcurrencyArguments;
use crate::args::record::RecordArguments;
use crate::args::shared_run::SharedRunArguments;
use crate::args::submit::SubmitArguments;
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::job_file::{Jobs, StreamError};
use crate::output::Destination;
use crate::queue::{QueueServer, SpecMaker, queue_error};
use crate::session::{Console, Session, TerminalUse};
use crate::settings::Settings;
use crate::shell_quote::shell_line;

/// How many jobs one call submits.
const BATCH: usize = 500;

/// The first and the longest pause before a call is made again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Submits the jobs. Returns the exit code.
pub(crate) fn run(arguments: &SubmitArguments) -> Result<u8, CliError> {
    let environment = UserEnvironment::current()?;
    let settings = Settings::load(&environment)?;
    let server = QueueServer::chosen(arguments.server.typed(), &settings, &environment)?;
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from("-"));
    if file == Path::new("-") && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no jobs: stdin is a terminal")
            .with_help("name a job file, or write jobs to stdin, a JSON object a line"));
    }
    refuse_flags(arguments)?;
    let submission = Submission::of(&arguments.submission)?;
    let maker = submission.maker(&environment.folder);
    let typed = SharedRunArguments {
        concurrency: ConcurrencyArguments {
            resource: arguments.resource.clone(),
            ..ConcurrencyArguments::default()
        },
        terms: arguments.terms.clone(),
        display: arguments.display.clone(),
        ..SharedRunArguments::default()
    };
    let record = RecordArguments {
        no_record: true,
        ..RecordArguments::default()
    };
    let mut session = Session::open(&typed, &record, TerminalUse::Questions, None)?;
    let request = PlanRequest {
        file: &file,
        terms: &typed.terms,
        selection: arguments.selection.selection(),
        maker: &maker,
    };
    let plan = QueuedPlan::read(&mut session, request)?;
    let engine = connect(&mut session, &server, Some(&plan))?;
    let jobs = reading(plan.jobs, arguments.strict)?;
    let (console, quiet) = (session.console().clone(), session.options().quiet);
    let submitting = submit(engine as Arc<_>, maker, jobs, console.clone());
    let counts = session.wait_for("the list of jobs", submitting)??;
    if counts.total() == 0 {
        return Err(CliError::new(
            exit::NOTHING,
            format!("`{}` has no jobs: nothing to do", file.display()),
        ));
    }
    writeln!(io::stdout(), "{}", submission.name)
        .map_err(|error| Destination::Stdout.error(error))?;
    if !quiet {
        console.say(&counts.text(&submission.name, &server));
    }
    Ok(if counts.refused > 0 {
        exit::UNSUCCESSFUL
    } else {
        exit::SUCCESS
    })
}

/// What has become of the jobs of a submission.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    accepted: u64,
    known: u64,
    refused: u64,
}

impl Counts {
    fn total(self) -> u64 {
        self.accepted + self.known + self.refused
    }

    /// Returns what has become of the jobs, and how they are followed.
    fn text(self, name: &str, server: &QueueServer) -> String {
        let mut parts = vec![format!("{} jobs submitted as `{name}`", self.accepted)];
        if self.known > 0 {
            parts.push(format!("{} were in the queue already", self.known));
        }
        if self.refused > 0 {
            parts.push(format!("{} were refused", self.refused));
        }
        let mut words: Vec<std::ffi::OsString> = [
            "ratchet",
            "run",
            "--attach",
            name,
            "--queue",
            server.address(),
        ]
        .map(Into::into)
        .into();
        if server.prefix() != crate::queue::DEFAULT_PREFIX {
            words.extend(["--queue-prefix".into(), server.prefix().into()]);
        }
        let line = shell_line(&words);
        format!(
            "ratchet: {}; to follow them: {}\n",
            parts.join(", "),
            String::from_utf8_lossy(&line)
        )
    }
}

/// Refuses flags for which a queue has no use.
fn refuse_flags(arguments: &SubmitArguments) -> Result<(), CliError> {
    let typed = [
        ("--cache", arguments.terms.cache.is_some()),
        ("--breaker", arguments.terms.breaker.is_some()),
        ("--slow", arguments.terms.slow.is_some()),
    ];
    match typed.into_iter().find(|(_, is_typed)| *is_typed) {
        Some((flag, _)) => Err(CliError::usage(format!(
            "{flag} has no effect on jobs that nodes do: it is kept by the run that does them"
        ))
        .with_help("leave it out")),
        None => Ok(()),
    }
}

/// Reads the jobs on a thread of its own, because reading may wait. A line that makes no job is a job that is refused, or
/// ends the submission if the call is `strict`.
fn reading(
    jobs: Jobs,
    strict: bool,
) -> Result<mpsc::Receiver<Vec<Result<Job, CliError>>>, CliError> {
    let (send, batches) = mpsc::channel(2);
    let read = move || match jobs {
        Jobs::Listed { jobs, order, .. } => {
            let mut jobs: Vec<Option<Job>> = jobs.into_iter().map(Some).collect();
            let ordered: Vec<Job> = order.into_iter().filter_map(|at| jobs[at].take()).collect();
            let mut ordered = ordered.into_iter();
            loop {
                let batch: Vec<_> = ordered.by_ref().take(BATCH).map(Ok).collect();
                if batch.is_empty() || send.blocking_send(batch).is_err() {
                    return;
                }
            }
        }
        Jobs::Streamed(mut lines) => {
            let mut batch = Vec::new();
            loop {
                let next = lines.next().map(|line| match line {
                    Ok(job) => Ok(job),
                    Err(StreamError::Refused(line)) if strict => Err((*line).into()),
                    Err(StreamError::Refused(line)) => Ok(line.job()),
                    Err(StreamError::Unreadable(source)) => Err(CliError::internal(format!(
                        "`{}` cannot be read further",
                        lines.name()
                    ))
                    .because(source)),
                });
                let is_end = !matches!(next, Some(Ok(_)));
                batch.extend(next);
                if (is_end || batch.len() == BATCH || lines.may_wait())
                    && (send.blocking_send(std::mem::take(&mut batch)).is_err() || is_end)
                {
                    return;
                }
            }
        }
    };
    let started = std::thread::Builder::new()
        .name("jobs".to_owned())
        .spawn(read);
    started.map_err(|error| {
        CliError::internal("the thread for jobs cannot be started").because(error)
    })?;
    Ok(batches)
}

/// Submits batch after batch. A full queue and a server that is away are waited for.
async fn submit(
    engine: Arc<dyn Engine>,
    maker: SpecMaker,
    mut jobs: mpsc::Receiver<Vec<Result<Job, CliError>>>,
    console: Console,
) -> Result<Counts, CliError> {
    let mut counts = Counts::default();
    let mut is_full = false;
    while let Some(batch) = jobs.recv().await {
        let mut specs = Vec::with_capacity(batch.len());
        for job in batch {
            let job = job?;
            let refused = match &job.work {
                Work::Refused { failure, .. } => Some(failure.message.clone()),
                _ => None,
            };
            let refused = match refused {
                Some(message) => Some(message),
                None => match maker.spec(&job, |_| true) {
                    Ok(spec) => {
                        specs.push(spec);
                        None
                    }
                    Err(refused) => Some(format!("{}; {}", refused.message, refused.help)),
                },
            };
            if let Some(message) = refused {
                counts.refused += 1;
                console.say(&format!(
                    "ratchet: job `{}` was refused: {message}\n",
                    job.id
                ));
            }
        }
        let mut pause = FIRST_PAUSE;
        while !specs.is_empty() {
            let answers = match steady(&*engine, &specs, &console).await? {
                Ok(answers) => answers,
                Err((name, message)) => {
                    counts.refused += 1;
                    console.say(&format!("ratchet: job `{name}` was refused: {message}\n"));
                    specs.retain(|spec| spec.name != name);
                    continue;
                }
            };
            let mut full = Vec::new();
            for (spec, answer) in specs.into_iter().zip(answers) {
                match answer {
                    Submitted::Accepted => counts.accepted += 1,
                    Submitted::Known(_) => counts.known += 1,
                    Submitted::Full => full.push(spec),
                    Submitted::Refused(refusal) => {
                        counts.refused += 1;
                        console.say(&format!(
                            "ratchet: job `{}` was refused: {refusal}\n",
                            spec.name
                        ));
                    }
                }
            }
            specs = full;
            if !specs.is_empty() {
                if !is_full {
                    is_full = true;
                    console.say("ratchet: the queue is full; the rest is submitted as jobs end\n");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    Ok(counts)
}

/// Submits jobs, again and again until the server answers. Trouble is told once. If a job is too large, nothing is
/// submitted, and the job is returned with the reason.
async fn steady(
    engine: &dyn Engine,
    specs: &[JobSpec],
    console: &Console,
) -> Result<Result<Vec<Submitted>, (JobName, String)>, CliError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match engine.submit(specs).await {
            Ok(answers) => return Ok(Ok(answers)),
            Err(error @ Error::TooLarge { .. }) => {
                let message = error.to_string();
                return match error {
                    Error::TooLarge { job, .. } => Ok(Err((job, message))),
                    error => Err(queue_error(&error)),
                };
            }
            Err(error @ (Error::Unreachable(_) | Error::OutOfMemory { .. })) => {
                if pause == FIRST_PAUSE {
                    let error = ratchet_runtime::error_chain(&error);
                    console.say(&format!(
                        "ratchet: the queue does not go on ({error}); the rest is submitted when it does\n"
                    ));
                }
            }
            Err(error) => return Err(queue_error(&error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
