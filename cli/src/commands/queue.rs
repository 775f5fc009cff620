//! `ratchet queue`: shows and steers a queue that nodes share.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::{
    Cancelled, Engine, ExplainedState, Explanation, JobName, JobState, Purged, QueueSettings,
    Requeued,
};
use serde_json::{Value, json};

use crate::args::queue::{AnswerFormat, QueueAction, QueueArguments};
use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::escape::plain;
use crate::exit;
use crate::output::Destination;
use crate::queue::{COMMANDS, QueueServer, queue_error};
use crate::readable::duration;
use crate::settings::Settings;

/// How many jobs one call lists.
const PAGE: usize = 1000;

/// The answer of an action: for people, for programs, and the exit code.
struct Answer {
    text: String,
    json: Value,
    code: u8,
}

impl Answer {
    fn ok(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            code: exit::SUCCESS,
        }
    }
}

/// Performs the action, and prints its answer.
pub(crate) fn run(arguments: &QueueArguments) -> Result<u8, CliError> {
    let environment = UserEnvironment::current()?;
    let settings = Settings::load(&environment)?;
    let server = QueueServer::chosen(arguments.server.typed(), &settings, &environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::internal("the event loop cannot be started").because(error))?;
    let answer = runtime.block_on(async {
        if let Some(QueueAction::Create {
            session,
            retention,
            capacity,
        }) = &arguments.action
        {
            return create(&server, *session, *retention, *capacity).await;
        }
        let engine = server.connect().await?;
        answer(arguments.action.as_ref(), engine as Arc<_>, &server).await
    })?;
    let mut out = io::stdout();
    let written = match arguments.format {
        AnswerFormat::Human => out.write_all(answer.text.as_bytes()),
        AnswerFormat::Json => writeln!(out, "{}", answer.json),
    };
    written.map_err(|error| Destination::Stdout.error(error))?;
    Ok(answer.code)
}

async fn answer(
    action: Option<&QueueAction>,
    engine: Arc<dyn Engine>,
    server: &QueueServer,
) -> Result<Answer, CliError> {
    let failed = |error| queue_error(&error);
    match action.unwrap_or(&QueueAction::Status) {
        QueueAction::Status | QueueAction::Create { .. } => status(&*engine, server).await,
        QueueAction::Show { jobs } => show(&*engine, jobs).await,
        QueueAction::Explain { job } => explain(&*engine, job).await,
        QueueAction::Nodes => nodes(&*engine).await,
        QueueAction::Pause => {
            engine.pause().await.map_err(failed)?;
            Ok(Answer::ok(
                "no job of the queue starts until `ratchet queue continue`; what runs goes on\n"
                    .to_owned(),
                json!({"v": 1, "paused": true}),
            ))
        }
        QueueAction::Continue => {
            engine.resume().await.map_err(failed)?;
            Ok(Answer::ok(
                "jobs start again\n".to_owned(),
                json!({"v": 1, "paused": false}),
            ))
        }
        QueueAction::Cancel { jobs } => {
            let names = names(jobs)?;
            let answers = engine.cancel(&names).await.map_err(failed)?;
            Ok(each(&names, answers, |answer| match answer {
                Cancelled::Ended => (true, "cancelled".to_owned()),
                Cancelled::Asked => (true, "it runs, and its node stops it".to_owned()),
                Cancelled::TooLate(status) => (false, format!("it had ended before: {status}")),
                Cancelled::Unknown => (false, UNKNOWN.to_owned()),
            }))
        }
        QueueAction::Requeue { jobs } => {
            let names = names(jobs)?;
            let answers = engine.requeue(&names).await.map_err(failed)?;
            Ok(each(&names, answers, |answer| match answer {
                Requeued::Waiting => (true, "it waits again".to_owned()),
                Requeued::Unended(_) => (false, "it has not ended".to_owned()),
                Requeued::Succeeded => (
                    false,
                    "it has succeeded; purge it, and submit it again".to_owned(),
                ),
                Requeued::Full => (
                    false,
                    "the queue is full; try again after jobs have ended".to_owned(),
                ),
                Requeued::Refused(refusal) => {
                    (false, format!("the queue would not take it now: {refusal}"))
                }
                Requeued::Unknown => (false, UNKNOWN.to_owned()),
            }))
        }
        QueueAction::Purge { jobs } => {
            let names = names(jobs)?;
            let answers = engine.purge(&names).await.map_err(failed)?;
            Ok(each(&names, answers, |answer| match answer {
                Purged::Forgotten => (true, "forgotten; its name is free again".to_owned()),
                Purged::Unended(_) => (false, "it has not ended; cancel it first".to_owned()),
                Purged::Unknown => (false, UNKNOWN.to_owned()),
            }))
        }
    }
}

/// Makes the queue, or says with which settings it is there already.
async fn create(
    server: &QueueServer,
    session: Option<Duration>,
    retention: Option<Duration>,
    capacity: Option<u64>,
) -> Result<Answer, CliError> {
    let usual = QueueSettings::default();
    let wanted = QueueSettings {
        session: session.unwrap_or(usual.session),
        retention: retention.unwrap_or(usual.retention),
        capacity: capacity.unwrap_or(usual.capacity),
        ..usual
    };
    let found = server.connect_with(wanted).await?.settings();
    let shown = format!(
        "sessions of {}, ends kept for {}, {} jobs at most",
        duration(found.session),
        duration(found.retention),
        found.capacity
    );
    let is_wanted = found == wanted;
    let text = if is_wanted {
        format!("the queue is there: {shown}\n")
    } else {
        format!(
            "the queue was there already, with other settings: {shown}; they cannot be changed, so use another --queue-prefix\n"
        )
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Answer {
        text,
        json: json!({
            "v": 1,
            "created": is_wanted,
            "session_ms": millis(found.session),
            "retention_ms": millis(found.retention),
            "capacity": found.capacity,
        }),
        code: if is_wanted {
            exit::SUCCESS
        } else {
            exit::UNSUCCESSFUL
        },
    })
}

/// What is said of a job that a queue does not know.
const UNKNOWN: &str = "the queue does not know it, or no longer";

/// Makes the answer about each of several jobs. It is no success if one of them is none.
fn each<T>(names: &[JobName], answers: Vec<T>, say: impl Fn(T) -> (bool, String)) -> Answer {
    let mut text = String::new();
    let mut list = Vec::new();
    let mut code = exit::SUCCESS;
    for (name, answer) in names.iter().zip(answers) {
        let (is_done, what) = say(answer);
        if !is_done {
            code = exit::UNSUCCESSFUL;
        }
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{}: {what}", plain(name.as_str()));
        list.push(json!({"job": name.as_str(), "done": is_done, "message": what}));
    }
    Answer {
        text,
        json: json!({"v": 1, "jobs": list}),
        code,
    }
}

/// Reads names of jobs.
fn names(typed: &[String]) -> Result<Vec<JobName>, CliError> {
    let name = |text: &String| {
        text.parse::<JobName>()
            .map_err(|error| CliError::usage(error.to_string()))
    };
    typed.iter().map(name).collect()
}

async fn status(engine: &dyn Engine, server: &QueueServer) -> Result<Answer, CliError> {
    let status = engine.status().await.map_err(|error| queue_error(&error))?;
    let paused = if status.is_paused {
        "; it is paused, so no job starts"
    } else {
        ""
    };
    let text = format!(
        "{} (prefix {}): {} waiting, {} running, {} nodes{paused}\n",
        server.address(),
        server.prefix(),
        status.waiting,
        status.running,
        status.nodes
    );
    let json = json!({
        "v": 1,
        "queue": server.address(),
        "prefix": server.prefix(),
        "waiting": status.waiting,
        "running": status.running,
        "nodes": status.nodes,
        "paused": status.is_paused,
    });
    Ok(Answer::ok(text, json))
}

/// Returns where a job is, in a word.
fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Running => "running",
        JobState::Ended(status) => status.as_str(),
    }
}

/// Shows jobs, or all whose names begin with `SUBMISSION/`.
async fn show(engine: &dyn Engine, jobs: &[String]) -> Result<Answer, CliError> {
    let failed = |error| queue_error(&error);
    let mut found: Vec<(String, Option<JobState>)> = Vec::new();
    for job in jobs {
        let name: JobName = job
            .parse()
            .map_err(|error: ratchet_queue::InvalidName| CliError::usage(error.to_string()))?;
        let states = engine
            .states(std::slice::from_ref(&name))
            .await
            .map_err(failed)?;
        if let Some(Some(state)) = states.first() {
            found.push((job.clone(), Some(*state)));
            continue;
        }
        // It may be the name of a submission.
        let prefix = format!("{}/", job.trim_end_matches('/'));
        let before = found.len();
        let mut after = None;
        loop {
            let page = engine
                .list(&prefix, after.as_ref(), PAGE)
                .await
                .map_err(failed)?;
            let jobs = page.jobs.into_iter();
            found.extend(jobs.map(|(name, state)| (name.as_str().to_owned(), Some(state))));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if found.len() == before {
            found.push((job.clone(), None));
        }
    }
    let mut text = String::new();
    let mut list = Vec::new();
    let mut code = exit::SUCCESS;
    for (job, state) in found {
        let word = state.map(state_word);
        if word.is_none() {
            code = exit::UNSUCCESSFUL;
        }
        let _ = writeln!(text, "{}: {}", plain(&job), word.unwrap_or(UNKNOWN));
        list.push(json!({"job": job, "state": word}));
    }
    Ok(Answer {
        text,
        json: json!({"v": 1, "jobs": list}),
        code,
    })
}

async fn explain(engine: &dyn Engine, job: &str) -> Result<Answer, CliError> {
    let name = &names(&[job.to_owned()])?[0];
    let explained = engine
        .explain(name)
        .await
        .map_err(|error| queue_error(&error))?;
    let shown = plain(job);
    let Some(Explanation {
        attempts, state, ..
    }) = explained
    else {
        return Ok(Answer {
            text: format!("{shown}: {UNKNOWN}\n"),
            json: json!({"v": 1, "job": job, "state": null}),
            code: exit::UNSUCCESSFUL,
        });
    };
    Ok(match state {
        ExplainedState::Waiting { reasons, ahead } => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            let mut text = format!("{shown} waits");
            for reason in &reasons {
                let _ = write!(text, "\n  because {}", plain(reason));
            }
            if reasons.is_empty() {
                text.push_str(" for its turn on a node with enough free slots");
            }
            if let Some(ahead) = ahead.filter(|ahead| *ahead > 0) {
                let _ = write!(text, "\n  {ahead} jobs that claim the same are before it");
            }
            text.push('\n');
            let json = json!({"v": 1, "job": job, "state": "waiting", "attempts": attempts, "reasons": reasons, "ahead": ahead});
            Answer::ok(text, json)
        }
        ExplainedState::Running {
            node,
            name,
            is_cancelled,
        } => {
            let cancelled = if is_cancelled {
                ", which is stopping it because somebody has cancelled it"
            } else {
                ""
            };
            let text = format!(
                "{shown} runs on {} ({node}), attempt {attempts}{cancelled}\n",
                plain(&name)
            );
            let json = json!({"v": 1, "job": job, "state": "running", "attempts": attempts, "node": name.as_str(), "cancelled": is_cancelled});
            Answer::ok(text, json)
        }
        ExplainedState::Ended { status, result, .. } => {
            let line = result.as_deref().filter(|result| !result.is_empty());
            let line: Option<Value> = line.and_then(|line| serde_json::from_slice(line).ok());
            let why = line
                .as_ref()
                .and_then(|line| line.pointer("/error/message")?.as_str());
            let why = why.map_or_else(String::new, |why| format!(": {}", plain(why)));
            let text = format!("{shown} has ended after {attempts} attempts: {status}{why}\n");
            let json = json!({"v": 1, "job": job, "state": status.as_str(), "attempts": attempts, "result": line});
            Answer::ok(text, json)
        }
    })
}

async fn nodes(engine: &dyn Engine) -> Result<Answer, CliError> {
    let nodes = engine.nodes().await.map_err(|error| queue_error(&error))?;
    if nodes.is_empty() {
        return Ok(Answer::ok(
            "no node takes jobs; start one by `ratchet node`\n".to_owned(),
            json!({"v": 1, "nodes": []}),
        ));
    }
    let mut text = String::new();
    let mut list = Vec::new();
    for node in nodes {
        let tasks = node.spec.tasks.as_ref();
        let tasks: Option<Vec<&str>> = tasks.map(|tasks| {
            let tasks = tasks.iter().filter(|task| *task != COMMANDS);
            tasks
                .map(|task| task.strip_prefix("task:").unwrap_or(task))
                .collect()
        });
        let does = match &tasks {
            None => "commands and any task".to_owned(),
            Some(tasks) if tasks.is_empty() => "commands".to_owned(),
            Some(tasks) => format!("commands and {}", tasks.join(", ")),
        };
        let labels: Vec<&str> = node
            .spec
            .labels
            .iter()
            .map(ratchet_queue::Label::as_str)
            .collect();
        let _ = write!(
            text,
            "{}: {} of {} slots, {does}",
            plain(&node.spec.name),
            node.running,
            node.spec.slots
        );
        if !labels.is_empty() {
            let _ = write!(text, ", labels {}", plain(&labels.join(", ")));
        }
        let _ = writeln!(text, "; heard {} ago", duration(node.renewed));
        list.push(json!({
            "name": node.spec.name.as_str(),
            "session": node.node.to_string(),
            "slots": node.spec.slots,
            "running": node.running,
            "tasks": tasks,
            "labels": labels,
            "renewed_ms": u64::try_from(node.renewed.as_millis()).unwrap_or(u64::MAX),
        }));
    }
    Ok(Answer::ok(text, json!({"v": 1, "nodes": list})))
}
