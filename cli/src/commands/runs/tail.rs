//! `ratchet runs tail`: shows what a job has printed. The run of a running job is asked, and the record tells of the others.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use ratchet_runtime::{History, ItemName, JobKey, Outcome, RunId, RunStore};

use super::live::{LiveRun, connect, last, run_and_jobs};
use super::{find, named_or_last};
use crate::args::runs_live::TailArguments;
use crate::error::CliError;
use crate::escape::{plain, plain_lines};
use crate::folders::Folders;
use crate::live::{AskError, Explanation, OutputPiece, Printed, Question};
use crate::output::{Destination, OutputError};
use crate::report::PrintedOutputs;

/// The interval at which a job that is followed is asked for its output.
const POLL: Duration = Duration::from_millis(100);

/// Prints what a job has printed so far, and with `--follow` also what it prints until it ends.
pub(super) fn run(arguments: &TailArguments) -> Result<(), CliError> {
    let (run, mut jobs) = run_and_jobs(&arguments.words);
    let Some(job) = jobs.pop() else {
        return Err(CliError::usage("no job is named"));
    };
    let (folders, _, trust) = Folders::load_with_trust(&arguments.state)?;
    let store = RunStore::at(&folders.state);
    let streams = Streams::new();
    let live = match run {
        Some(wanted) => {
            let id = find(&store, wanted)?;
            connect(&store, id)?.map(|client| LiveRun { id, client })
        }
        None => last(&store)?,
    };
    let Some(mut live) = live else {
        let id = named_or_last(&store, run)?;
        trust.file(&store.journal(id))?;
        let Some(outcome) = recorded(&store, id, &job)? else {
            let job = plain(job.as_str());
            return Err(
                CliError::usage(format!("no job {job} has ended in run {id}"))
                    .with_help(format!("`ratchet runs show {id}` lists its jobs")),
            );
        };
        return Ok(streams.write_outputs(&PrintedOutputs::of(&outcome))?);
    };
    let (mut attempt, mut stdout_from, mut stderr_from) = (0, 0, 0);
    loop {
        let question = Question::Output {
            job: job.clone(),
            stdout_from,
            stderr_from,
        };
        let printed: Printed = match live.client.ask(&question) {
            Ok(printed) => printed,
            // The run has ended together with the job that is followed.
            Err(AskError::Ended | AskError::Refused(_)) if attempt > 0 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if printed.attempt > 0 {
            if attempt > 0 && printed.attempt != attempt {
                let (number, job) = (printed.attempt, plain(job.as_str()));
                say(&format!("ratchet: attempt {number} at {job}\n"));
            }
            attempt = printed.attempt;
            streams.write_stdout(&printed.stdout)?;
            streams.write_stderr(&printed.stderr);
            (stdout_from, stderr_from) = (printed.stdout.next, printed.stderr.next);
            if !arguments.follow {
                return Ok(());
            }
        }
        if !printed.running {
            let question = Question::Explain { job: job.clone() };
            let explanation: Explanation = match live.client.ask(&question) {
                Ok(explanation) => explanation,
                Err(AskError::Ended | AskError::Refused(_)) if attempt > 0 => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            match explanation.state.as_str() {
                "unknown" if attempt > 0 => return Ok(()),
                "unknown" => {
                    if let Some(outcome) = recorded(&store, live.id, &job)? {
                        return Ok(streams.write_outputs(&PrintedOutputs::of(&outcome))?);
                    }
                    let (job, id) = (plain(job.as_str()).into_owned(), live.id);
                    return Err(
                        CliError::usage(format!("job {job} of run {id} is not running"))
                            .with_help(explanation.text),
                    );
                }
                // The attempt has just begun, or the next one is about to begin. Its output begins anew.
                _ if arguments.follow || explanation.state == "running" => {
                    (stdout_from, stderr_from) = (0, 0);
                }
                _ => {
                    let (job, text) = (plain(job.as_str()), plain(&explanation.text));
                    say(&format!("ratchet: {job} is not running yet: it {text}\n"));
                    return Ok(());
                }
            }
        }
        pause();
    }
}

/// Returns the outcome of a job from the record of its run, if the job has ended.
fn recorded(store: &RunStore, id: RunId, job: &JobKey) -> Result<Option<Outcome>, CliError> {
    let history = History::load(store.journal(id))?;
    if let Some(recorded) = history.find(job) {
        return Ok(Some(history.outcome(&recorded)?));
    }
    // The jobs of items are recorded by what their items are, so one of them has to be searched by its id or its item.
    for outcome in history.outcomes() {
        let outcome = outcome?;
        let item = outcome.item.as_ref().map(ItemName::as_str);
        if outcome.id == *job || item == Some(job.as_str()) {
            return Ok(Some(outcome));
        }
    }
    Ok(None)
}

/// The destination of the output of a job. On a terminal, control characters are escaped.
struct Streams {
    escapes_stdout: bool,
    escapes_stderr: bool,
}

impl Streams {
    fn new() -> Self {
        Self {
            escapes_stdout: io::stdout().is_terminal(),
            escapes_stderr: io::stderr().is_terminal(),
        }
    }

    fn write_stdout(&self, piece: &OutputPiece) -> Result<(), OutputError> {
        tell_dropped(piece.dropped);
        let bytes = shown(piece.decode().unwrap_or_default(), self.escapes_stdout);
        let mut stdout = io::stdout();
        let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        written.map_err(|error| Destination::Stdout.error(error))
    }

    /// Writes what a job that has ended had printed, as far as it was kept.
    fn write_outputs(&self, outputs: &PrintedOutputs<'_>) -> Result<(), OutputError> {
        for (_, dropped) in [&outputs.stdout, &outputs.stderr].into_iter().flatten() {
            tell_dropped(*dropped);
        }
        if let Some((text, _)) = &outputs.stdout {
            let text = shown(text.as_bytes().to_vec(), self.escapes_stdout);
            let mut stdout = io::stdout();
            let written = stdout.write_all(&text).and_then(|()| stdout.flush());
            written.map_err(|error| Destination::Stdout.error(error))?;
        }
        if let Some((text, _)) = &outputs.stderr {
            let text = shown(text.as_bytes().to_vec(), self.escapes_stderr);
            // If stderr is closed, the output is lost.
            let _ = io::stderr().write_all(&text);
        }
        Ok(())
    }

    fn write_stderr(&self, piece: &OutputPiece) {
        tell_dropped(piece.dropped);
        let bytes = shown(piece.decode().unwrap_or_default(), self.escapes_stderr);
        // If stderr is closed, the output is lost.
        let _ = io::stderr().write_all(&bytes);
    }
}

/// Reports how many bytes of a piece are left out.
fn tell_dropped(dropped: u64) {
    if dropped > 0 {
        say(&format!("ratchet: {dropped} bytes are left out\n"));
    }
}

fn say(text: &str) {
    // If stderr is closed, the message is lost.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Returns the bytes of an output, as they are written.
fn shown(bytes: Vec<u8>, escapes: bool) -> Vec<u8> {
    if !escapes {
        return bytes;
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        out.extend(plain_lines(line));
        if line.ends_with('\n') {
            out.push('\n');
        }
    }
    out.into_bytes()
}

/// Waits before the job is asked again. This process is not notified when the job has printed more.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the interval at which a question is repeated"
)]
fn pause() {
    std::thread::sleep(POLL);
}
