//! Setup scripts, which run once before the jobs that a pattern matches. They are jobs that the others need.

use ratchet_runtime::{Job, JobKey};

use super::folders::FileFolders;
use super::job::{JobPlaces, JobReader};
use super::selection::JobPattern;
use super::spec::SetupSpec;
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::Spanned;

/// Turns setup scripts into jobs, and adds them to the needs of the jobs that they match. A script that matches no job
/// is left out with a warning.
///
/// Returns the scripts with their places, in the order of the file.
pub(super) fn needed(
    setup: Vec<Spanned<SetupSpec>>,
    folders: &FileFolders,
    jobs: &mut [Job],
    places: &mut [JobPlaces],
    problems: &mut Problems,
) -> (Vec<Job>, Vec<JobPlaces>) {
    let (mut scripts, mut script_places) = (Vec::new(), Vec::new());
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
            if !job.needs.contains(&script.id) {
                job.needs.push(script.id.clone());
                let mut spans = std::mem::take(&mut of_job.needs).into_vec();
                spans.push(pattern.span);
                of_job.needs = spans.into();
            }
        }
        if is_needed {
            scripts.push(script);
            script_places.push(place);
        } else {
            let warning =
                Diagnostic::warning(pattern.span, "this matches no job, so nothing is set up");
            problems.push(warning.help("a pattern is compared with whole ids; `*` is any text"));
        }
    }
    (scripts, script_places)
}
