//! Explains in about ten lines why a run took as long as it did.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use ratchet_input::escape::plain;
use ratchet_input::readable::duration;
use ratchet_runtime::{Blocker, Limit, Status};

use crate::critical_path::{Link, before, critical_path};
use crate::model::{RunEnd, RunModel, shown_name};
use crate::simulation::{Change, Simulation};

/// The greatest number of jobs of the chain that are shown.
const LINKS_SHOWN: usize = 3;

/// How many changes are tried.
const CHANGES_TRIED: usize = 4;

/// How many characters of a job's name are shown.
const LONGEST_NAME: usize = 40;

/// How long a run would have taken with a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhatIf {
    /// The change.
    pub change: Change,
    /// The length of the run with the change.
    pub length: Duration,
    /// How much sooner the run would have ended.
    pub saved: Duration,
}

/// The reasons why a run took as long as it did.
#[derive(Debug)]
pub struct Explanation {
    /// The chain of jobs that set the length of the run.
    pub chain: Vec<Link>,
    /// By how much the simulation of the unchanged run differs from the record, in percent. `None` if nothing can be
    /// simulated.
    pub error: Option<f64>,
    /// The changes that would have made the run shorter, the best first.
    pub changes: Vec<WhatIf>,
}

impl Explanation {
    /// Finds the chain of a run, and simulates the run with changes that affect it.
    pub fn of(model: &RunModel) -> Self {
        let chain = critical_path(model);
        let simulation = Simulation::new(model);
        let simulated = simulation.and_then(|simulation| {
            let base = simulation.length(&Change::Nothing)?;
            let recorded = simulation.recorded().max(1);
            #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
            let error = (base as f64 - recorded as f64) * 100.0 / recorded as f64;
            let mut changes: Vec<WhatIf> = changes(model, &chain)
                .into_iter()
                .filter_map(|change| {
                    let length = simulation.length(&change)?;
                    // The simulation is compared with itself, so that its own error cancels out.
                    let saved = base.saturating_sub(length);
                    Some(WhatIf {
                        change,
                        length: Duration::from_micros(recorded.saturating_sub(saved)),
                        saved: Duration::from_micros(saved),
                    })
                })
                .collect();
            changes.sort_by_key(|change| Reverse(change.saved));
            Some((error, changes))
        });
        let (error, changes) = match simulated {
            Some((error, changes)) => (Some(error), changes),
            None => (None, Vec::new()),
        };
        Self {
            chain,
            error,
            changes,
        }
    }
}

/// Returns the changes that may shorten the run: one more slot, the longest job of the chain in half the time, and the
/// run without the limits and locks for which jobs waited most.
fn changes(model: &RunModel, chain: &[Link]) -> Vec<Change> {
    let mut changes = vec![Change::MoreSlots(1)];
    let longest = chain.iter().max_by_key(|link| link.ran);
    changes.extend(longest.map(|link| Change::Halved(link.job)));
    for (blocker, _) in model.waits_by_blocker() {
        if changes.len() >= CHANGES_TRIED {
            break;
        }
        changes.extend(match blocker {
            Blocker::Limit(name) => Some(Change::WithoutLimit(name.to_string())),
            Blocker::Host => Some(Change::WithoutHint("host_exclusive")),
            Blocker::Global => Some(Change::WithoutHint("global_exclusive")),
            Blocker::Rate if has_rate_of_starts(model) => {
                Some(Change::WithoutLimit(Limit::RATE_OF_STARTS.to_owned()))
            }
            Blocker::Rate => Some(Change::WithoutHint("rate_limited")),
            _ => None,
        });
    }
    changes
}

/// Whether a flag bounds how often the jobs of the run start.
fn has_rate_of_starts(model: &RunModel) -> bool {
    let mut limits = model.terms.iter().flat_map(|terms| &terms.limits);
    limits.any(|name| name == Limit::RATE_OF_STARTS)
}

/// Describes the figures and the chain of a run, one sentence per line.
pub(crate) fn describe_run(model: &RunModel, explanation: &Explanation) -> Vec<String> {
    let mut text = String::new();
    if model.jobs.is_empty() {
        return vec!["No job has ended yet.".to_owned()];
    }
    waits(model, &mut text);
    if !explanation.chain.is_empty() {
        links(&explanation.chain, &mut text);
    }
    text.lines().map(str::to_owned).collect()
}

/// Explains why a run took as long as it did, in some ten lines.
pub fn explain(model: &RunModel) -> String {
    let mut text = head(model);
    if model.jobs.is_empty() {
        text.push_str("No job has ended, so there is nothing to explain yet.\n");
        return text;
    }
    waits(model, &mut text);
    let explanation = Explanation::of(model);
    if explanation.chain.is_empty() {
        text.push_str("This record contains no times, so the cause of its length is unknown.\n");
        return text;
    }
    chain(model, &explanation.chain, &mut text);
    what_if(model, &explanation, &mut text);
    text
}

/// Explains what a job waited for, how its attempts ended, and which job released what it waited for last. `None` if no
/// job of this id or item has ended.
pub fn explain_job(model: &RunModel, wanted: &str) -> Option<String> {
    let mut jobs = model.jobs.iter().enumerate();
    let (index, job) = jobs
        .find(|(_, job)| job.id.as_str() == wanted)
        .or_else(|| {
            let mut jobs = model.jobs.iter().enumerate();
            jobs.find(|(_, job)| shown_name(job) == wanted)
        })?;
    let index = u32::try_from(index).ok()?;
    let shown = |micros| duration(Duration::from_micros(micros));
    let mut text = format!(
        "{} {} after {} in run {}: it came at {}, and ended at {}.\n",
        name(model, index),
        job.status.as_str().replace('_', " "),
        shown(job.ended - job.arrived),
        model.id,
        shown(job.arrived),
        shown(job.ended),
    );
    if job.cached {
        text.push_str("Its result was in the cache.\n");
    }
    for wait in model.waits_of(job) {
        let blocker = &model.blockers[wait.blocker as usize];
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  waited {:>9} for {}",
            shown(wait.time),
            meaning(blocker)
        );
    }
    for (number, attempt) in model.attempts_of(job).iter().enumerate() {
        let end = match (attempt.returned, attempt.class) {
            (true, _) => "was returned before it began".to_owned(),
            (false, Some(class)) => format!("failed ({class})"),
            (false, None) => "succeeded".to_owned(),
        };
        let row = &model.rows[attempt.row as usize];
        let _ = writeln!(
            text,
            "  attempt {} ran {:>9} from {} on {}: {end}",
            number + 1,
            shown(attempt.ran),
            shown(attempt.began),
            plain(&row.name),
        );
    }
    if let Some((giver, got)) = before(model, index) {
        let _ = writeln!(
            text,
            "It began when {} had ended, which gave it what it waited for last: {}.",
            name(model, giver),
            meaning(&got)
        );
    }
    Some(text)
}

/// Describes a blocker for people.
fn meaning(blocker: &Blocker) -> String {
    match blocker {
        Blocker::Needs => "the jobs that it needs".to_owned(),
        Blocker::Retry => "the delay of a retry".to_owned(),
        Blocker::Paused => "the end of a pause".to_owned(),
        Blocker::Breaker => "a breaker that was open".to_owned(),
        Blocker::Cache => "the cache".to_owned(),
        Blocker::Connect => "a host to be connected".to_owned(),
        Blocker::Host => "the lock of its host".to_owned(),
        Blocker::Global => "the global lock".to_owned(),
        Blocker::Limit(limit) => format!("the limit `{}`", plain(limit)),
        Blocker::Rate => "a rate".to_owned(),
        Blocker::Resource(name) => format!("the resource `{}`", plain(name)),
        Blocker::Admission => "memory or load".to_owned(),
        Blocker::Worker => "a worker".to_owned(),
        Blocker::Slot => "a slot".to_owned(),
        other => plain(&other.word()).into_owned(),
    }
}

/// Describes how the run ended, how long it took, and how many jobs ended with which status.
fn head(model: &RunModel) -> String {
    let count = |status: Status| {
        let jobs = model.jobs.iter();
        jobs.filter(|job| job.status == status).count()
    };
    let counts = Status::ALL.map(|status| (status, count(status)));
    let mut told: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| format!("{count} {}", status.as_str().replace('_', " ")))
        .collect();
    if !model.flaky.is_empty() {
        told.push(format!("{} only after a failed attempt", model.flaky.len()));
    }
    let took = match model.end {
        RunEnd::Ended => "took",
        RunEnd::Interrupted => "was interrupted after",
        RunEnd::Running => "has been running for",
    };
    let mut length = duration(Duration::from_micros(model.length));
    let stopped = model.suspended_between(0, model.length);
    if stopped > 0 {
        let stopped = duration(Duration::from_micros(stopped));
        // Writing to a string cannot fail.
        let _ = write!(length, " ({stopped} of it stopped, as by Ctrl-Z)");
    }
    let jobs = match (model.end, model.jobs.len()) {
        (RunEnd::Running, 1) => "1 job has ended".to_owned(),
        (RunEnd::Running, jobs) => format!("{jobs} jobs have ended"),
        (_, 1) => "1 job".to_owned(),
        (_, jobs) => format!("{jobs} jobs"),
    };
    let told = if told.is_empty() {
        String::new()
    } else {
        format!(" ({})", told.join(", "))
    };
    let slots = model.all_slots();
    let slots = match slots {
        // The record of a run that has just begun may not tell its slots yet.
        _ if model.plans.is_empty() && model.end == RunEnd::Running => String::new(),
        1 => " on 1 slot".to_owned(),
        slots => format!(" on {slots} slots"),
    };
    format!("Run {} {took} {length}: {jobs}{slots}{told}.\n", model.id)
}

/// Appends how long the jobs ran and waited in all, and for what they waited most.
fn waits(model: &RunModel, text: &mut String) {
    let waits = model.waits_by_blocker();
    let all: Duration = waits.iter().map(|(_, time)| *time).sum();
    let ran: u64 = model.attempts.iter().map(|attempt| attempt.ran).sum();
    let ran = duration(Duration::from_micros(ran));
    if all.is_zero() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "Together the jobs ran {ran}, and none waited.");
        return;
    }
    let told = waits.iter().take(4).map(|(blocker, time)| {
        let part = 100.0 * time.as_secs_f64() / all.as_secs_f64();
        format!(
            "{} {} ({part:.0} %)",
            plain(&blocker.word()),
            duration(*time)
        )
    });
    let told: Vec<String> = told.collect();
    let _ = writeln!(
        text,
        "Together the jobs ran {ran}, and waited {}: {}.",
        duration(all),
        told.join(", ")
    );
}

/// Appends the length of the chain and its longest jobs.
fn chain(model: &RunModel, chain: &[Link], text: &mut String) {
    links(chain, text);
    let mut longest: Vec<(usize, &Link)> = chain.iter().enumerate().collect();
    longest.sort_by_key(|(_, link)| Reverse(link.ran));
    longest.truncate(LINKS_SHOWN);
    longest.sort_by_key(|(place, _)| *place);
    for (place, link) in longest {
        let job = &model.jobs[link.job as usize];
        let _ = writeln!(
            text,
            "  {:>3}. {} ran {}{}",
            place + 1,
            name(model, link.job),
            duration(Duration::from_micros(link.ran)),
            if job.charged > 1 {
                format!(" with {} attempts", job.charged)
            } else {
                String::new()
            }
        );
    }
}

/// Appends how long the chain is, and what links it.
fn links(chain: &[Link], text: &mut String) {
    let ran: u64 = chain.iter().map(|link| link.ran).sum();
    let mut waited: BTreeMap<&Blocker, u64> = BTreeMap::new();
    for (blocker, time) in chain.iter().flat_map(|link| &link.waited) {
        *waited.entry(blocker).or_default() += time;
    }
    let mut got: BTreeMap<&Blocker, usize> = BTreeMap::new();
    for blocker in chain.iter().filter_map(|link| link.got.as_ref()) {
        *got.entry(blocker).or_default() += 1;
    }
    let (jobs, they) = match chain.len() {
        1 => ("job", "it"),
        _ => ("jobs", "they"),
    };
    let _ = write!(
        text,
        "A chain of {} {jobs} set the length: {they} ran {}",
        chain.len(),
        duration(Duration::from_micros(ran))
    );
    if !waited.is_empty() {
        let told = waited.iter().map(|(blocker, time)| {
            let time = duration(Duration::from_micros(*time));
            format!("{} {time}", plain(&blocker.word()))
        });
        let told: Vec<String> = told.collect();
        let _ = write!(text, ", and waited for {}", told.join(", "));
    }
    if !got.is_empty() {
        let mut got: Vec<_> = got.into_iter().collect();
        got.sort_by_key(|(_, count)| Reverse(*count));
        let told = got.iter().map(|(blocker, count)| {
            let word = blocker.word();
            match blocker {
                Blocker::Needs => format!("{count} by needs"),
                Blocker::Host => format!("{count} by the lock of a host"),
                Blocker::Global => format!("{count} by the global lock"),
                _ => format!("{count} by {}", plain(&word)),
            }
        });
        let told: Vec<String> = told.collect();
        let _ = write!(text, "; linked {}", told.join(", "));
    }
    text.push_str(".\n");
}

/// Appends how long the run would have taken with each change.
fn what_if(model: &RunModel, explanation: &Explanation, text: &mut String) {
    let Some(error) = explanation.error else {
        text.push_str("The record does not contain enough for a simulation.\n");
        return;
    };
    let whole = Duration::from_micros(model.length);
    for change in &explanation.changes {
        let saved = change.saved;
        let with = describe(model, &change.change);
        // A saving of less than a thousandth is noise.
        if saved * 1_000 < whole {
            let _ = writeln!(text, "{with}, it would have taken as long.");
        } else {
            let _ = writeln!(
                text,
                "{with}, it would have taken {} ({} less).",
                duration(change.length),
                duration(saved)
            );
        }
    }
    if error.abs() >= 1.0 {
        let _ = writeln!(
            text,
            "(Simulated; of the run as it was, the simulation is {:.1} % {}.)",
            error.abs(),
            if error > 0.0 { "too long" } else { "too short" }
        );
    }
}

/// Describes a change, as the beginning of a sentence.
pub fn describe(model: &RunModel, change: &Change) -> String {
    match change {
        Change::Nothing => "As it was".to_owned(),
        Change::MoreSlots(1) => "With one more slot".to_owned(),
        Change::MoreSlots(more) => format!("With {more} more slots"),
        Change::WithoutLimit(name) => format!("Without the limit `{}`", plain(name)),
        Change::WithoutHint("host_exclusive") => "Without the locks of hosts".to_owned(),
        Change::WithoutHint("global_exclusive") => "Without the global lock".to_owned(),
        Change::WithoutHint("rate_limited") => "Without the rates of hints".to_owned(),
        Change::WithoutHint(name) => format!("Without the hint {name}"),
        Change::Halved(job) => format!("With {} in half the time", name(model, *job)),
    }
}

fn name(model: &RunModel, job: u32) -> String {
    let job = &model.jobs[job as usize];
    let name = plain(shown_name(job));
    if name.chars().count() <= LONGEST_NAME {
        return format!("`{name}`");
    }
    let begin: String = name.chars().take(LONGEST_NAME).collect();
    format!("`{begin}..`")
}
