//! The relations of the jobs of a file: their ids, and which needs which.

use std::collections::{HashMap, HashSet};

use ratchet_runtime::{Error, Job, JobKey, order_by_needs};

use super::expand::SectionExpansion;
use super::job::JobPlaces;
use crate::diagnostic::{Diagnostic, Problems};

/// Replaces each need of a section that makes several jobs by needs of all these jobs.
pub(super) fn name_each(expanded: &SectionExpansion, jobs: &mut [Job], places: &mut [JobPlaces]) {
    if expanded.is_empty() {
        return;
    }
    let ids: HashSet<JobKey> = jobs.iter().map(|job| job.id.clone()).collect();
    for (job, places) in jobs.iter_mut().zip(places) {
        let is_of_several =
            |need: &JobKey| !ids.contains(need) && expanded.of(need.as_str()).is_some();
        if !job.needs.iter().any(is_of_several) {
            continue;
        }
        let (mut needs, mut spans, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (need, span) in job.needs.iter().zip(&places.needs) {
            let each = expanded.of(need.as_str()).filter(|_| is_of_several(need));
            for need in each.unwrap_or(std::slice::from_ref(need)) {
                if seen.insert(need.clone()) {
                    needs.push(need.clone());
                    spans.push(*span);
                }
            }
        }
        job.needs = needs;
        places.needs = spans.into();
    }
}

/// The indexes of jobs by their ids. There may be hundreds of thousands, and the standard hash takes three times as
/// long.
pub(super) type ById<'a> = HashMap<&'a str, usize, foldhash::fast::RandomState>;

/// Indexes the jobs by their ids, and reports ids that are used twice.
pub(super) fn by_id<'a>(
    jobs: &'a [Job],
    places: &[JobPlaces],
    problems: &mut Problems,
) -> ById<'a> {
    let mut used =
        ById::with_capacity_and_hasher(jobs.len(), foldhash::fast::RandomState::default());
    for (at, (job, place)) in jobs.iter().zip(places).enumerate() {
        let id = &job.id;
        let Some(first) = used.insert(id.as_str(), at) else {
            continue;
        };
        let first = &places[first];
        // If an id equals the number of a job without an id, the error is placed at the id, because only the id can be
        // changed.
        let (here, other) = match (place.id, first.id) {
            (Some(here), other) => (here, other.unwrap_or(first.head)),
            (None, Some(here)) => (here, place.head),
            (None, None) => continue,
        };
        let (message, label) = if place.id.is_some() && first.id.is_some() {
            (format!("id `{id}` is used twice"), "first used here")
        } else {
            let message = format!("id `{id}` is the number of another job, which has no `id`");
            (message, "this one")
        };
        problems.push(Diagnostic::error(here, message).other(other, label));
    }
    used
}

/// Returns an order of the jobs in which each comes after its needs. If there is none because needs form circles, these
/// are reported.
pub(super) fn order(
    all: &[Job],
    places: &[JobPlaces],
    known: ById<'_>,
    problems: &mut Problems,
) -> Vec<usize> {
    /// The number of problems after which no similar names are suggested. Finding them takes time, and nobody reads so
    /// many.
    const SUGGESTED: usize = 50;
    let mut names: Option<Vec<&str>> = None;
    let mut jobs = Vec::with_capacity(all.len());
    for (job, place) in all.iter().zip(places) {
        let mut needs = Vec::with_capacity(job.needs.len());
        for (need, place) in job.needs.iter().zip(&place.needs) {
            if known.contains_key(need.as_str()) {
                needs.push(need.as_str());
                continue;
            }
            let message = format!("job `{}` needs `{need}`, which does not exist", job.id);
            let error = Diagnostic::error(*place, message);
            problems.push(if problems.len() < SUGGESTED {
                let names = names.get_or_insert_with(|| {
                    let mut names: Vec<_> = known.keys().copied().collect();
                    names.sort_unstable();
                    names
                });
                error.did_you_mean(need.as_str(), names.iter().copied(), "known ids")
            } else {
                error
            });
        }
        jobs.push((job.id.as_str(), needs));
    }
    drop(known);
    in_order(jobs, all, places, problems)
}

/// Returns an order of named jobs in which each comes after the needs that are listed with it. Circles are reported.
pub(super) fn in_order(
    mut jobs: Vec<(&str, Vec<&str>)>,
    all: &[Job],
    places: &[JobPlaces],
    problems: &mut Problems,
) -> Vec<usize> {
    // At most five circles are reported. One need of each is taken away, so that the next round finds another circle.
    for _ in 0..5 {
        let names = match order_by_needs(&jobs) {
            Ok(order) => return order,
            Err(Error::NeedCircle { names }) => names,
            Err(_) => break,
        };
        let [first, second, ..] = &names[..] else {
            break;
        };
        let Some(at) = jobs.iter().position(|(name, _)| name == first) else {
            break;
        };
        let mut needs = all[at].needs.iter().zip(&places[at].needs);
        let place = needs.find(|(need, _)| need.as_str() == second);
        let message = format!(
            "these jobs need each other in a circle: {}",
            names.join(" -> ")
        );
        problems.push(
            Diagnostic::error(place.map_or(places[at].head, |(_, place)| *place), message)
                .help("each needs the next one; remove one of the needs"),
        );
        jobs[at].1.retain(|need| need != second);
    }
    Vec::new()
}
