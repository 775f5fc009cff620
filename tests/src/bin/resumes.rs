//! A host that runs a number of jobs with a journal, or resumes the run if there is one. The worker of the jobs is this
//! program, too, and writes each job to a log of its own.
//!
//! The host is `resumes <state folder> <log> <jobs>`, and the worker is `resumes <log>`.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratchet_ipc::TaskError;
use ratchet_ipc::serve::{Call, Task, Worker};
use ratchet_runtime::journal::ResumeDecision;
use ratchet_runtime::process::{LocalProcesses, PoolConfig, ProcessConfig, ProcessPool, Size};
use ratchet_runtime::summary::Tally;
use ratchet_runtime::{Durability, Executor, Job, Journal, Payload, Resume, RunStore};

/// The time of day of the run, which does not matter here.
const NOW: SystemTime = UNIX_EPOCH;

/// Runs the jobs with a journal, or resumes the run that the state folder has.
#[tokio::main(flavor = "current_thread")]
async fn run(state: &Path, log: &str, jobs: u64) -> Result<(), Box<dyn Error>> {
    let store = RunStore::at(state);
    // A run that was killed before its journal had a header has done nothing, and is started again from the beginning.
    let known = store.list()?.into_iter().find(|run| run.header.is_some());
    let (journal, mut resume) = if let Some(run) = known {
        let about = Payload::null();
        let (journal, history) = Journal::resume(&run.journal, NOW, &about, Durability::Batch)?;
        (journal, Some(Resume::new(Arc::new(history), None)))
    } else {
        let (_, journal) = store.create(NOW, None, Payload::null(), Durability::Batch)?;
        (journal, None)
    };
    let journal = Arc::new(Mutex::new(journal));
    let worker = ProcessConfig::new(std::env::current_exe()?).arg(log);
    let config = PoolConfig {
        size: Size::fixed(2),
        ..PoolConfig::new("notes", worker)
    };
    let pool = ProcessPool::new(Arc::new(LocalProcesses::start()), config).await?;
    let executor = Executor::builder()
        .pool(pool, [])
        .ledger(Arc::clone(&journal))
        .build()?;
    let all = (0..jobs).map(|number| {
        let id = number.to_string();
        Job::task(id.as_str(), "note", Payload::from_text(&id))
    });
    let left = all.filter(move |job| match &mut resume {
        Some(resume) => !matches!(resume.decide(job), ResumeDecision::Keep(_)),
        None => true,
    });
    let mut run = executor.run(left)?;
    let mut tally = Tally::default();
    while let Some(outcome) = run.next().await {
        tally.record(&outcome);
    }
    let summary = tally.summary(Duration::ZERO);
    if !summary.all_successful() {
        return Err(format!("not all of them succeeded: {summary:?}").into());
    }
    let mut journal = journal.lock().map_err(|_| "it has panicked")?;
    Ok(journal.end(NOW, &summary)?)
}

/// Answers requests as the worker. Each job is in the log before its answer is sent.
fn work(log: &str) -> Result<(), Box<dyn Error>> {
    let log = OpenOptions::new().append(true).create(true).open(log)?;
    let note = move |call: &Call| -> Result<(), TaskError> {
        let id: String = call.read()?;
        // A single write appends the line, so that lines of two workers do not mix.
        (&log).write_all(format!("{id}\n").as_bytes())?;
        Ok(())
    };
    Worker::new("notes")
        .task(Task::blocking("note", note))
        .run()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [log] => work(log),
        [state, log, jobs] => run(Path::new(state), log, jobs.parse()?),
        _ => Err("resumes <state folder> <log> <jobs>".into()),
    }
}
