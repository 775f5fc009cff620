//! Connects jobs with the jobs whose output they read.

use std::collections::HashMap;
use std::sync::Arc;

use ratchet_runtime::process::{EarlierOutput, ProgramInput};
use ratchet_runtime::{Job, JobKey, Work};

use super::expand::SectionExpansion;
use super::job::JobPlaces;
use crate::diagnostic::{Diagnostic, Problems};

/// Makes the output of a job the stdin of the jobs that read it.
pub(super) fn connect(
    jobs: &mut [Job],
    places: &[JobPlaces],
    expanded: &SectionExpansion,
    problems: &mut Problems,
) {
    let mut outputs: HashMap<JobKey, EarlierOutput> = HashMap::new();
    for (job, place) in jobs.iter_mut().zip(places) {
        let Some(of) = place.stdin.as_deref() else {
            continue;
        };
        if let Some([_, _, ..]) = expanded.of(of.value.as_str()) {
            let message = format!(
                "`{}` makes several jobs, and a program has one stdin",
                of.value
            );
            let error = Diagnostic::error(of.span, message);
            problems.push(error.help("name one of them, as `--list` prints them"));
            continue;
        }
        let output = outputs.entry(of.value.clone());
        let output = output.or_insert_with(|| EarlierOutput::of(of.value.as_str()));
        if let Work::Command(process) = &mut job.work {
            Arc::make_mut(process).stdin = ProgramInput::Output(output.clone());
        }
    }
    if outputs.is_empty() {
        return;
    }
    for job in jobs {
        job.kept_output = outputs.get(&job.id).cloned();
    }
}
