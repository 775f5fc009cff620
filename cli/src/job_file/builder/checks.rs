//! The checks of one job whose terms are settled.

use ratchet_runtime::{CacheTerms, Job, ResourceNeed, Work};

use super::shared_terms::NoPull;
use crate::diagnostic::{Diagnostic, Problems};
use crate::job_file::job::JobPlaces;
use crate::job_file::resources::Resources;

/// Reports a variable that names a resource of which the job takes nothing.
pub(super) fn check_shares(
    job: &Job,
    known: &Resources,
    places: &JobPlaces,
    problems: &mut Problems,
) {
    let Work::Command(process) = &job.work else {
        return;
    };
    if known.is_empty() {
        return;
    }
    let takes = |name: &str| job.terms.resources.iter().any(|need| need.name == name);
    for (variable, value) in process.env.declared() {
        let Some(value) = value.to_str() else {
            continue;
        };
        let lacks = |name: &&str| value.contains(&format!("${{{name}}}")) && !takes(name);
        let mut names = known.iter().map(|(name, _)| name.as_str());
        if let Some(name) = names.find(lacks) {
            let variable = variable.to_string_lossy();
            let message = format!(
                "`{variable}` refers to `${{{name}}}`, but the job takes none of this resource"
            );
            let help = format!("add `resources: {{{name}: 1}}` to the job");
            problems.push(Diagnostic::error(places.work, message).help(help));
        }
    }
}

/// Refuses a job that is to bring files back from a worker that cannot, for this reason.
pub(super) fn check_pull(reason: Option<NoPull>, places: &JobPlaces, problems: &mut Problems) {
    if let Some(reason) = reason {
        let (message, help) = match reason {
            NoPull::NoFolder => (
                "`pull` takes files from the work folder of the worker, and it has none on its host",
                "add `push` to the worker",
            ),
            NoPull::Filter => (
                "`pull` is not possible with `protocol: lines`: an answer may turn out to be that of another job",
                "let the worker speak JSON, or use `run`",
            ),
        };
        problems.push(Diagnostic::error(places.work, message).help(help));
    }
}

/// Refuses a cached result of a job that makes files.
pub(super) fn check_cached_files(job: &Job, places: &JobPlaces, problems: &mut Problems) {
    let is_cached = matches!(job.terms.cache, Some(CacheTerms::On { .. }));
    let makes_files = match &job.work {
        Work::Command(process) => process.files.is_some(),
        Work::Task { pull, .. } => pull.is_some(),
        _ => false,
    };
    if is_cached && makes_files {
        let message = "the result of a job with files cannot be reused, because reusing a result makes no files";
        let help = "leave out `cache`, or leave out `push` and `pull`";
        problems.push(Diagnostic::error(places.head, message).help(help));
    }
}

/// Warns of a growth of memory that has no effect, because the job takes none.
pub(super) fn check_memory_growth(job: &Job, places: &JobPlaces, problems: &mut Problems) {
    let own = places.terms.as_ref();
    let mut needs = job.terms.resources.iter();
    if let Some(own) = own
        && own.terms.retry.memory.is_some()
        && !needs.any(|need| need.name == ResourceNeed::MEMORY)
        && !job.terms.memory.are_set()
    {
        let message = "`memory` of `retry` has no effect on a job that has no limit `memory` and takes no `memory`";
        let help = "write how much memory the job may use, as in `memory: 4GiB`, or takes, as in `resources: {memory: 4GiB}`";
        let place = own.retry.unwrap_or(places.head);
        problems.push(Diagnostic::warning(place, message).help(help));
    }
}
