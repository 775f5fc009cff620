//! Setup scripts, which run once before the jobs that a pattern matches. They are jobs that the others need.

use ratchet_runtime::{Job, JobKey};

use super::folders::FileFolders;
use super::job::{JobPlaces, JobReader};
use super::selection::JobPattern;
use super::spec::SetupSpec;
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::Spanned;

/// A setup script, as jobs that are added to the run meet it.
#[derive(Debug, Clone)]
pub(super) struct SetupMatcher {
    pattern: JobPattern,
    script: JobKey,
    /// Whether the script is a job of the run: it has matched a job of the file.
    is_in_run: bool,
}

/// Turns setup scripts into jobs, and adds them to the needs of the jobs that they match. A script that matches no job
/// is left out with a warning.
///
/// Returns the scripts that are left with their places, in the order of the file, and the jobs for which each script is.
pub(super) fn needed(
    setup: Vec<Spanned<SetupSpec>>,
    folders: &FileFolders,
    jobs: &mut [Job],
    places: &mut [JobPlaces],
    problems: &mut Problems,
) -> (Vec<(Job, JobPlaces)>, Vec<SetupMatcher>) {
    let (mut scripts, mut matchers) = (Vec::new(), Vec::new());
    for (number, Spanned { value: spec, span }) in (1_u64..).zip(setup) {
        let (pattern, mut spec) = spec.into_job();
        let mut reader = JobReader::new(folders.at(span).map(std::path::Path::to_path_buf));
        let (mut script, mut place) = reader.read(&mut spec, number, problems);
        if place.id.is_none() {
            script.id = JobKey::from(format!("setup-{number}"));
        }
        place.is_setup = true;
        let Some(pattern) = pattern else {
            continue;
        };
        let matcher: JobPattern = match pattern.value.parse() {
            Ok(matcher) => matcher,
            Err(message) => {
                problems.push(Diagnostic::error(pattern.span, message));
                continue;
            }
        };
        let mut is_needed = false;
        for (job, of_job) in jobs.iter_mut().zip(places.iter_mut()) {
            if !matcher.matches(job, of_job.group.as_deref()) {
                continue;
            }
            is_needed = true;
            need(job, of_job, &script.id, pattern.span);
        }
        matchers.push(SetupMatcher {
            pattern: matcher,
            script: script.id.clone(),
            is_in_run: is_needed,
        });
        if is_needed {
            scripts.push((script, place));
        } else {
            let warning =
                Diagnostic::warning(pattern.span, "this matches no job, so nothing is set up");
            problems.push(warning.help("a pattern is compared with whole ids; `*` is any text"));
        }
    }
    (scripts, matchers)
}

/// Has jobs that are added to a run need the setup scripts that are for them. A script that the run has left out cannot run any
/// more, so a job that it is for is refused.
pub(super) fn needed_by_added(
    matchers: &[SetupMatcher],
    jobs: &mut [Job],
    places: &mut [JobPlaces],
    problems: &mut Problems,
) {
    for (job, of_job) in jobs.iter_mut().zip(places) {
        for SetupMatcher {
            pattern,
            script,
            is_in_run,
        } in matchers
        {
            if !pattern.matches(job, of_job.group.as_deref()) {
                continue;
            }
            if *is_in_run {
                need(job, of_job, script, of_job.head);
                continue;
            }
            let message = format!(
                "job `{}` needs setup script `{script}`, which the run has left out",
                job.id
            );
            let error = Diagnostic::error(of_job.head, message);
            problems.push(error.help("no job of its file was matched by it; begin another run"));
        }
    }
}

/// Has a job need a setup script. `span` is where the need comes from.
fn need(job: &mut Job, places: &mut JobPlaces, script: &JobKey, span: Span) {
    if job.needs.contains(script) {
        return;
    }
    job.needs.push(script.clone());
    let mut spans = std::mem::take(&mut places.needs).into_vec();
    spans.push(span);
    places.needs = spans.into();
}
