//! `ratchet runs tail`: shows what a running job has printed.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::live::{open, run_and_jobs};
use crate::args::runs_live::TailArguments;
use crate::error::CliError;
use crate::escape::{plain, plain_lines};
use crate::live::{AskError, Explanation, OutputPiece, Printed, Question};
use crate::output::{Destination, OutputError};

/// The interval at which a job that is followed is asked for its output.
const POLL: Duration = Duration::from_millis(100);

/// Prints what a job has printed so far, and with `--follow` also what it prints until it ends.
pub(super) fn run(arguments: &TailArguments) -> Result<(), CliError> {
    let (run, mut jobs) = run_and_jobs(&arguments.words);
    let Some(job) = jobs.pop() else {
        return Err(CliError::usage("no job is named"));
    };
    let mut live = open(&arguments.state, run)?;
    let streams = Streams::new();
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
        tell_dropped(piece);
        let bytes = shown(piece, self.escapes_stdout);
        let mut stdout = io::stdout();
        let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
        written.map_err(|error| Destination::Stdout.error(error))
    }

    fn write_stderr(&self, piece: &OutputPiece) {
        tell_dropped(piece);
        // If stderr is closed, the output is lost.
        let _ = io::stderr().write_all(&shown(piece, self.escapes_stderr));
    }
}

/// Reports how many bytes of a piece are left out.
fn tell_dropped(piece: &OutputPiece) {
    if piece.dropped > 0 {
        say(&format!("ratchet: {} bytes are left out\n", piece.dropped));
    }
}

fn say(text: &str) {
    // If stderr is closed, the message is lost.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Returns the bytes of a piece, as they are written.
fn shown(piece: &OutputPiece, escapes: bool) -> Vec<u8> {
    let bytes = piece.decode().unwrap_or_default();
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
