//! The text that is printed on SIGUSR1 and on the key `t`: what runs, and what waits for what.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ratchet_runtime::process::ProcessConfig;
use ratchet_runtime::{Job, RunStatus, Snapshot, Work};

use crate::escape::plain;
use crate::readable::{duration, job_name};
use crate::shell_quote::shell_line;

/// How many waiting jobs are named. The others are counted by what they wait for.
const NAMED: usize = 20;

/// How many causes are listed for the waiting jobs that are not named.
const CAUSES: usize = 10;

/// How many characters of a command, a host or an input are shown.
const SHOWN: usize = 100;

/// Describes what runs, and what waits for what.
pub(crate) fn describe(snapshot: &Snapshot, status: &RunStatus) -> String {
    let mut text = format!(
        "ratchet: {} running, {} waiting, {} ended",
        snapshot.running.len(),
        snapshot.waiting.len(),
        status.ended
    );
    if let Some(reason) = &status.held {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "; held back: {}", plain(reason));
    }
    text.push('\n');
    for running in &snapshot.running {
        let mut parts = vec![name(&running.job), duration(running.age)];
        if running.attempt > 1 {
            parts.push(format!("attempt {}", running.attempt));
        }
        if let Some(host) = &running.job.host {
            parts.push(format!("host {}", shortened(host.as_str())));
        }
        if let Some(place) = &running.place {
            parts.push(format!("at {}", shortened(place.as_str())));
        }
        for share in &running.resources {
            parts.push(format!("{} {}", share.name(), share.value()));
        }
        parts.push(command(&running.job));
        let _ = writeln!(text, "  running  {}", parts.join("  "));
    }
    for waiting in snapshot.waiting.iter().take(NAMED) {
        let (name, age, cause) = (
            name(&waiting.job),
            duration(waiting.age),
            waiting.cause.to_string(),
        );
        let _ = writeln!(text, "  waiting  {name}  {age}  {}", plain(&cause));
    }
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    for waiting in snapshot.waiting.iter().skip(NAMED) {
        *others.entry(waiting.cause.to_string()).or_default() += 1;
    }
    let mut others: Vec<_> = others.into_iter().collect();
    others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (cause, count) in others.iter().take(CAUSES) {
        let _ = writeln!(text, "  waiting  {count} more, each {}", plain(cause));
    }
    let rest: u64 = others.iter().skip(CAUSES).map(|(_, count)| count).sum();
    if rest > 0 {
        let _ = writeln!(text, "  waiting  {rest} more, for other things");
    }
    text
}

/// Returns the name of a job for people: its id, and its item if it has one.
fn name(job: &Job) -> String {
    job_name(&job.id, job.item.as_ref().map(|item| &item.name))
}

/// Returns what a job does: its command, or its task with the input. The input of a job with an item is left out,
/// because it is the item.
pub(crate) fn command(job: &Job) -> String {
    match &job.work {
        Work::Command(config) => shortened(&String::from_utf8_lossy(&line(config))),
        Work::Task { task, input, .. } if job.item.is_none() => {
            format!(
                "{}  {}",
                shortened(task.as_str()),
                shortened(input.as_str())
            )
        }
        _ => shortened(job.task_name()),
    }
}

fn line(config: &ProcessConfig) -> Vec<u8> {
    let words = std::iter::once(config.command.clone().into_os_string());
    let words: Vec<_> = words.chain(config.args.iter().cloned()).collect();
    shell_line(&words)
}

/// Returns a text on one line, cut to a length that people read.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    plain(&shown).into_owned()
}
