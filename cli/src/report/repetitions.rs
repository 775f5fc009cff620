//! Counts how often each job failed, if the jobs of a file are run again and again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ratchet_runtime::{Outcome, Status};
use serde::Serialize;

use crate::escape::plain;
use crate::style::{Style, Tone};

/// How many jobs are listed by name.
const NAMED: usize = 20;

/// Counts how many repetitions of each job failed.
#[derive(Debug, Default)]
pub(super) struct Repetitions {
    by_id: BTreeMap<String, Repeated>,
}

/// The repetitions of a job, as JSON has them.
#[derive(Debug, Serialize)]
pub(super) struct RepeatedJob<'a> {
    /// The id of the job without the number of a repetition.
    id: &'a str,
    /// How many repetitions ended by themselves.
    ended: u64,
    /// How many of these failed.
    failed: u64,
}

/// The repetitions of a job.
#[derive(Debug, Default, Clone, Copy)]
struct Repeated {
    /// How many ended by themselves, that is, were neither cancelled nor skipped.
    ended: u64,
    /// How many of these failed.
    failed: u64,
}

impl Repetitions {
    /// Counts the outcome of a repetition, whose id is that of its job and a number.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        let has_failed = match outcome.status() {
            Status::Succeeded => false,
            Status::Failed | Status::TimedOut | Status::Crashed => true,
            Status::Cancelled | Status::Skipped => return,
        };
        // Setup scripts have no number: they ran once.
        let Some((id, _)) = outcome.id.as_str().rsplit_once('#') else {
            return;
        };
        let repeated = match self.by_id.get_mut(id) {
            Some(repeated) => repeated,
            None => self.by_id.entry(id.to_owned()).or_default(),
        };
        repeated.ended += 1;
        repeated.failed += u64::from(has_failed);
    }

    /// Returns the counts of each job, in the order of their ids.
    pub(super) fn jobs(&self) -> Vec<RepeatedJob<'_>> {
        let jobs = self.by_id.iter();
        jobs.map(|(id, Repeated { ended, failed })| RepeatedJob {
            id,
            ended: *ended,
            failed: *failed,
        })
        .collect()
    }

    /// Appends a line for each job with failed repetitions, the one that failed most often first, and how many jobs
    /// never failed.
    pub(super) fn render(&self, style: Style, text: &mut String) {
        let mut failed: Vec<_> = self.by_id.iter().filter(|(_, it)| it.failed > 0).collect();
        failed.sort_by_key(|(_, it)| std::cmp::Reverse(it.failed));
        for (id, Repeated { ended, failed }) in failed.iter().take(NAMED) {
            let count = style
                .paint(Tone::Bad, &format!("{failed} of {ended}"))
                .into_owned();
            // Writing to a string does not fail.
            let _ = writeln!(text, "repeated: {} failed {count} times", plain(id));
        }
        if failed.len() > NAMED {
            let more = failed.len() - NAMED;
            let _ = writeln!(text, "repeated: {more} more jobs failed sometimes");
        }
        let sound = self.by_id.len() - failed.len();
        if sound > 0 {
            let jobs = if sound == 1 { "job" } else { "jobs" };
            let _ = writeln!(text, "repeated: {sound} {jobs} never failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use ratchet_runtime::{Class, Failure, Payload};

    use super::*;

    #[test]
    fn jobs_are_told_by_how_many_of_their_repetitions_failed() {
        let mut repetitions = Repetitions::default();
        let mut add = |id: &str, class: Option<Class>| {
            let result = match class {
                None => Ok(Payload::null()),
                Some(class) => Err(Failure::new(class, "why")),
            };
            repetitions.add(&Outcome::new(id, "t", result));
        };
        add("a#1", None);
        add("a#2", Some(Class::Exit));
        add("a#3", Some(Class::Need));
        add("b#x#1", None);
        for round in 1..4 {
            add(&format!("c\u{1b}#{round}"), Some(Class::Timeout));
        }
        let mut text = String::new();
        repetitions.render(Style::PLAIN, &mut text);
        assert_eq!(
            text,
            "repeated: c\\u{1b} failed 3 of 3 times\nrepeated: a failed 1 of 2 times\nrepeated: 1 job never failed\n"
        );
    }
}
