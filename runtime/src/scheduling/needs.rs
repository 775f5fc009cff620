//! Orders jobs that need each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::Error;
use crate::scheduling::closest;

/// Returns an order in which every job comes after its needs, and otherwise as early as it was written.
///
/// A need that does not exist is refused by name, and so is a circle, with its members in order. The
/// [`Scheduler`](crate::Scheduler) knows no needs: an [`Executor`](crate::Executor) pushes a job once all jobs that it
/// needs have succeeded.
///
/// ```
/// use ratchet_runtime::order_by_needs;
///
/// let jobs = [("deploy", vec!["build", "test"]), ("test", vec!["build"]), ("build", vec![])];
/// assert_eq!(order_by_needs(&jobs)?, [2, 1, 0]);
///
/// let circle = [("a", vec!["c"]), ("b", vec!["a"]), ("c", vec!["b"]), ("d", vec!["a"])];
/// assert_eq!(
///     order_by_needs(&circle).unwrap_err().to_string(),
///     "these jobs wait for each other for ever: a -> c -> b -> a",
/// );
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
pub fn order_by_needs<Name: AsRef<str>>(jobs: &[(Name, Vec<Name>)]) -> Result<Vec<usize>, Error> {
    let index: HashMap<&str, usize, foldhash::fast::RandomState> = (0..)
        .zip(jobs)
        .map(|(index, (name, _))| (name.as_ref(), index))
        .collect();
    let mut needs = Vec::with_capacity(jobs.len());
    let mut dependents = vec![Vec::new(); jobs.len()];
    for (job, (name, wanted)) in jobs.iter().enumerate() {
        let mut found = Vec::with_capacity(wanted.len());
        for need in wanted {
            let need = need.as_ref();
            let Some(&other) = index.get(need) else {
                return Err(Error::UnknownNeed {
                    job: name.as_ref().to_owned(),
                    need: need.to_owned(),
                    suggestion: closest(need, index.keys().copied()).map(str::to_owned),
                });
            };
            found.push(other);
            dependents[other].push(job);
        }
        needs.push(found);
    }

    let mut left: Vec<usize> = needs.iter().map(Vec::len).collect();
    let ready = |left: &[usize], job: usize| (left[job] == 0).then_some(Reverse(job));
    let mut next: BinaryHeap<_> = (0..jobs.len())
        .filter_map(|job| ready(&left, job))
        .collect();
    let mut order = Vec::with_capacity(jobs.len());
    while let Some(Reverse(job)) = next.pop() {
        order.push(job);
        for &dependent in &dependents[job] {
            left[dependent] -= 1;
            next.extend(ready(&left, dependent));
        }
    }
    match (0..jobs.len()).find(|&job| left[job] > 0) {
        Some(stuck) => Err(Error::NeedCircle {
            names: circle(stuck, &needs, &left)
                .into_iter()
                .map(|job| jobs[job].0.as_ref().to_owned())
                .collect(),
        }),
        None => Ok(order),
    }
}

/// Finds a circle by following unmet needs, from a job that has one. Each leads to another job with an unmet need, so
/// one has to repeat.
fn circle(start: usize, needs: &[Vec<usize>], left: &[usize]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut seen = HashMap::new();
    let mut job = start;
    loop {
        if let Some(&from) = seen.get(&job) {
            let mut circle = path.split_off(from);
            circle.push(job);
            return circle;
        }
        seen.insert(job, path.len());
        path.push(job);
        match needs[job].iter().find(|&&need| left[need] > 0) {
            Some(&need) => job = need,
            None => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_missing_need_is_named_with_a_suggestion() {
        let jobs = [("build", vec![]), ("test", vec!["biuld"])];
        assert_eq!(
            order_by_needs(&jobs).unwrap_err().to_string(),
            "job `test` needs `biuld`, which does not exist, did you mean `build`?"
        );
    }

    #[test]
    fn a_job_that_needs_itself_is_a_circle_of_one() {
        let error = order_by_needs(&[("a", vec!["a"])]).unwrap_err();
        assert_eq!(
            error,
            Error::NeedCircle {
                names: vec!["a".into(), "a".into()]
            }
        );
    }

    proptest! {
        #[test]
        fn orders_what_can_be_ordered_and_names_a_true_circle_otherwise(
            edges in prop::collection::vec((0usize..12, 0usize..12), 0..25),
        ) {
            let mut jobs: Vec<(String, Vec<String>)> =
                (0..12).map(|job| (job.to_string(), Vec::new())).collect();
            for (job, need) in edges {
                jobs[job].1.push(need.to_string());
            }
            match order_by_needs(&jobs) {
                Ok(order) => {
                    let mut at = [usize::MAX; 12];
                    for (place, &job) in order.iter().enumerate() {
                        at[job] = place;
                    }
                    for (job, (_, needs)) in jobs.iter().enumerate() {
                        for need in needs {
                            prop_assert!(at[need.parse::<usize>().unwrap()] < at[job]);
                        }
                    }
                }
                Err(Error::NeedCircle { names }) => {
                    prop_assert!(names.len() > 1 && names.first() == names.last());
                    for pair in names.windows(2) {
                        let job: usize = pair[0].parse().unwrap();
                        prop_assert!(jobs[job].1.contains(&pair[1]));
                    }
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
