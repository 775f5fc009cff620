//! The details that are kept of each attempt at a job.

use std::borrow::Cow;
use std::time::Duration;

use super::{AttemptUsage, Class, Failure, Outcome, Status};
use crate::ids::{PlaceName, SlotNumber, WorkerName};
use crate::timestamp::Timestamp;

/// The greatest number of attempts of a job that are listed: half of them are the first ones, and half the last ones.
const MAX_LISTED: usize = 16;

/// An attempt at a job, after it has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptDetail {
    /// The number of the attempt; the first is 1. An attempt that was not charged has the number of the one that followed it.
    pub number: u32,
    /// The first slot that the attempt held. Records of versions without slot numbers have none.
    pub slot: Option<SlotNumber>,
    /// The worker that performed the attempt; `None` if it ran in this process or as a command.
    pub worker: Option<WorkerName>,
    /// The place where the attempt ran; `None` for the machine of the executor.
    pub place: Option<PlaceName>,
    /// When the attempt began.
    pub started: Timestamp,
    /// How long the attempt ran, by the monotonic clock.
    pub duration: Duration,
    /// The attempt's usage of the machine, as far as it is known.
    pub usage: Option<AttemptUsage>,
    /// How the attempt ended.
    pub end: AttemptEnd,
    /// The failure of the attempt with what its program had printed, if another attempt followed. The failure of the last
    /// attempt is that of the job.
    pub failure: Option<Box<Failure>>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The attempt gave a result.
    Succeeded,
    /// The attempt failed, with a failure of this class.
    Failed(Class),
    /// The attempt was sent to a worker that ended before it began the attempt. Its job is not charged with it.
    Returned,
}

impl AttemptEnd {
    /// Returns the status of the attempt in result lines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => Status::Succeeded.as_str(),
            Self::Failed(class) => class.status().as_str(),
            Self::Returned => "returned",
        }
    }

    /// Returns the class of the failure, if the attempt failed.
    pub fn class(self) -> Option<Class> {
        match self {
            Self::Failed(class) => Some(class),
            Self::Succeeded | Self::Returned => None,
        }
    }

    /// Whether the attempt counts against the retries of its job.
    pub fn is_charged(self) -> bool {
        self != Self::Returned
    }
}

/// The attempts at a job. If there are very many, only the first and the last ones are listed, so that memory stays
/// bounded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attempts {
    listed: Vec<AttemptDetail>,
    /// What was left out of the middle; `None` if everything is listed.
    left_out: Option<LeftOut>,
}

/// The attempts of a job that are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// How many attempts are listed before them.
    pub after: usize,
    /// The number of attempts left out.
    pub count: u64,
    /// The sum of their durations.
    pub duration: Duration,
}

impl Attempts {
    /// Adds the next attempt, and leaves out one from the middle if there are too many.
    pub fn push(&mut self, attempt: AttemptDetail) {
        if self.listed.len() == MAX_LISTED {
            let removed = self.listed.remove(MAX_LISTED / 2);
            let left_out = self.left_out.get_or_insert(LeftOut {
                after: MAX_LISTED / 2,
                count: 0,
                duration: Duration::ZERO,
            });
            left_out.count += 1;
            left_out.duration += removed.duration;
        }
        self.listed.push(attempt);
    }

    /// Returns the attempts that are listed, in their order.
    pub fn listed(&self) -> &[AttemptDetail] {
        &self.listed
    }

    /// Returns the attempts between the first and the last ones that are not listed.
    pub fn left_out(&self) -> Option<LeftOut> {
        self.left_out
    }

    /// Returns the sum of the durations of all attempts, also of those that are not listed.
    pub fn duration(&self) -> Duration {
        let listed: Duration = self.listed.iter().map(|attempt| attempt.duration).sum();
        listed + self.left_out.map_or(Duration::ZERO, |rest| rest.duration)
    }

    /// Makes attempts as they were read from a result line.
    pub(super) fn from_parts(listed: Vec<AttemptDetail>, left_out: Option<LeftOut>) -> Self {
        Self { listed, left_out }
    }
}

impl Outcome {
    /// Returns the attempts at the job, one by one. It is empty if the job never started, if its result is an earlier
    /// one, and for records of versions that kept no times.
    pub fn attempts_detail(&self) -> Cow<'_, Attempts> {
        if let Some(several) = &self.several {
            return Cow::Borrowed(&**several);
        }
        let only = self.started.map(|started| AttemptDetail {
            number: self.attempts,
            slot: self.slot,
            worker: self.worker.clone(),
            place: self.place.clone(),
            started,
            duration: self.duration,
            usage: self.usage.as_deref().copied(),
            end: match &self.result {
                Ok(_) => AttemptEnd::Succeeded,
                Err(failure) => AttemptEnd::Failed(failure.class),
            },
            failure: None,
        });
        Cow::Owned(Attempts::from_parts(only.into_iter().collect(), None))
    }

    /// Puts the attempts of an earlier outcome of the same job before those of this one. The job was tried again after that
    /// outcome, as by a queue that gives each attempt to any machine.
    pub fn continue_from(&mut self, earlier: &Self) {
        let earlier_attempts = earlier.attempts_detail();
        let mut listed = earlier_attempts.listed().to_vec();
        if let (Some(last), Err(failure)) = (listed.last_mut(), &earlier.result) {
            last.failure = Some(failure.clone());
        }
        self.put_before(listed, earlier_attempts.left_out());
    }

    /// Adds attempts that were made before the last one and that the outcome does not list, each in its place by its number.
    pub fn add_attempts(&mut self, added: Vec<AttemptDetail>) {
        self.put_before(added, None);
    }

    fn put_before(&mut self, mut listed: Vec<AttemptDetail>, left_out: Option<LeftOut>) {
        if listed.is_empty() {
            return;
        }
        let own = self.attempts_detail().into_owned();
        let mut all = Attempts::from_parts(Vec::new(), left_out.or(own.left_out));
        listed.extend(own.listed);
        // Attempts of one number stay in their order.
        listed.sort_by_key(|attempt| attempt.number);
        if let (Some(last), Err(failure)) = (listed.last_mut(), &self.result)
            && last.end == AttemptEnd::Failed(failure.class)
        {
            last.failure = None;
        }
        for attempt in listed {
            all.push(attempt);
        }
        self.started = all.listed.first().map(|first| first.started);
        self.several = Some(Box::new(all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32) -> AttemptDetail {
        AttemptDetail {
            number,
            slot: None,
            worker: None,
            place: None,
            started: Timestamp::from_millis(number.into()),
            duration: Duration::from_millis(number.into()),
            usage: None,
            end: AttemptEnd::Failed(Class::Exit),
            failure: None,
        }
    }

    #[test]
    fn of_very_many_attempts_the_first_and_last_are_listed_and_the_rest_are_counted() {
        let mut attempts = Attempts::default();
        for number in 1..=10_000 {
            attempts.push(attempt(number));
        }
        let numbers: Vec<u32> = attempts.listed().iter().map(|one| one.number).collect();
        let expected: Vec<u32> = (1..=8).chain(9_993..=10_000).collect();
        assert_eq!(numbers, expected);
        let left_out = attempts.left_out().unwrap();
        assert_eq!((left_out.after, left_out.count), (8, 9_984));
        let all = Duration::from_millis((1..=10_000).sum());
        assert_eq!(attempts.duration(), all);
    }

    #[test]
    fn attempts_of_several_machines_are_listed_by_their_numbers() {
        let outcome = |number: u32, class| Outcome {
            attempts: number,
            started: Some(Timestamp::from_millis(number.into())),
            ..Outcome::new(
                "a",
                "t",
                Err(Failure::new(class, format!("failure {number}"))),
            )
        };
        let mut third = outcome(3, Class::Exit);
        third.continue_from(&outcome(1, Class::Task));
        third.add_attempts(vec![attempt(2)]);
        let detail = third.attempts_detail();
        let seen: Vec<_> = (detail.listed().iter())
            .map(|one| {
                (
                    one.number,
                    one.failure.as_ref().map(|why| why.message.clone()),
                )
            })
            .collect();
        // The failure of the last one is that of the job.
        assert_eq!(
            seen,
            [(1, Some("failure 1".to_owned())), (2, None), (3, None)]
        );
        assert_eq!(third.started, Some(Timestamp::from_millis(1)));
    }

    #[test]
    fn the_detail_of_a_single_attempt_comes_from_its_outcome() {
        let outcome = Outcome {
            attempts: 1,
            slot: SlotNumber::new(3),
            started: Some(Timestamp::from_millis(7)),
            duration: Duration::from_millis(5),
            ..Outcome::new("a", "t", Ok(ratchet_ipc::Payload::null()))
        };
        let detail = outcome.attempts_detail();
        let [only] = detail.listed() else {
            panic!("{detail:?}");
        };
        assert_eq!((only.number, only.end), (1, AttemptEnd::Succeeded));
        assert_eq!(only.slot, SlotNumber::new(3));
        assert_eq!(detail.duration(), outcome.duration);

        let skipped = Outcome {
            started: None,
            ..outcome
        };
        assert!(skipped.attempts_detail().listed().is_empty());
    }
}
