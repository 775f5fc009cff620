//! The attempts at a job, one by one.

use std::borrow::Cow;
use std::time::Duration;

use super::{Class, Outcome, Status};
use crate::ids::{SlotNumber, WorkerName};
use crate::timestamp::Timestamp;

/// How many attempts are told one by one; half of them are the first ones, and half the last ones.
const TOLD: usize = 16;

/// One attempt at a job that has come to an end.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptDetail {
    /// Which attempt it was; the first is 1. One that was not charged has the number of the one that followed it.
    pub number: u32,
    /// The slot that it held, or the first of them; nothing in records of versions that had no numbers.
    pub slot: Option<SlotNumber>,
    /// The worker that performed it; nothing where it ran in this process or as a command.
    pub worker: Option<WorkerName>,
    /// When it began.
    pub started: Timestamp,
    /// How long it ran, by a clock that nobody sets.
    pub duration: Duration,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It gave a result.
    Succeeded,
    /// It failed, with a failure of this class.
    Failed(Class),
    /// It came back from a worker that ended before it had begun there. It is not charged to its job.
    Returned,
}

impl AttemptEnd {
    /// Its status in result lines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => Status::Succeeded.as_str(),
            Self::Failed(class) => class.status().as_str(),
            Self::Returned => "returned",
        }
    }

    /// The class of its failure, if it failed.
    pub fn class(self) -> Option<Class> {
        match self {
            Self::Failed(class) => Some(class),
            Self::Succeeded | Self::Returned => None,
        }
    }

    /// Whether it counts as an attempt of its job.
    pub fn is_charged(self) -> bool {
        self != Self::Returned
    }
}

/// The attempts at a job, of very many only the first and the last ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attempts {
    told: Vec<AttemptDetail>,
    left_out: Option<LeftOut>,
}

/// Attempts that are not told one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// How many attempts are told before them.
    pub after: usize,
    /// How many they are.
    pub count: u64,
    /// How long they ran together.
    pub duration: Duration,
}

impl Attempts {
    /// Adds the attempt that followed.
    pub fn push(&mut self, attempt: AttemptDetail) {
        if self.told.len() == TOLD {
            let removed = self.told.remove(TOLD / 2);
            let left_out = self.left_out.get_or_insert(LeftOut {
                after: TOLD / 2,
                count: 0,
                duration: Duration::ZERO,
            });
            left_out.count += 1;
            left_out.duration += removed.duration;
        }
        self.told.push(attempt);
    }

    /// The attempts that are told, in their order.
    pub fn told(&self) -> &[AttemptDetail] {
        &self.told
    }

    /// Those between them that are not.
    pub fn left_out(&self) -> Option<LeftOut> {
        self.left_out
    }

    /// How long all of them ran together.
    pub fn duration(&self) -> Duration {
        let told: Duration = self.told.iter().map(|attempt| attempt.duration).sum();
        told + self.left_out.map_or(Duration::ZERO, |rest| rest.duration)
    }

    /// Makes attempts as they were read from a result line.
    pub(super) fn from_parts(told: Vec<AttemptDetail>, left_out: Option<LeftOut>) -> Self {
        Self { told, left_out }
    }
}

impl Outcome {
    /// The attempts at the job, one by one. There are none where the job never started, where its result is an earlier
    /// one, and in records of versions that kept no times.
    pub fn attempts_detail(&self) -> Cow<'_, Attempts> {
        if let Some(several) = &self.several {
            return Cow::Borrowed(&**several);
        }
        let only = self.started.map(|started| AttemptDetail {
            number: self.attempts,
            slot: self.slot,
            worker: self.worker.clone(),
            started,
            duration: self.duration,
            end: match &self.result {
                Ok(_) => AttemptEnd::Succeeded,
                Err(failure) => AttemptEnd::Failed(failure.class),
            },
        });
        Cow::Owned(Attempts::from_parts(only.into_iter().collect(), None))
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
            started: Timestamp::from_millis(number.into()),
            duration: Duration::from_millis(number.into()),
            end: AttemptEnd::Failed(Class::Exit),
        }
    }

    #[test]
    fn of_very_many_attempts_the_first_and_last_are_listed_and_the_rest_are_counted() {
        let mut attempts = Attempts::default();
        for number in 1..=10_000 {
            attempts.push(attempt(number));
        }
        let numbers: Vec<u32> = attempts.told().iter().map(|one| one.number).collect();
        let expected: Vec<u32> = (1..=8).chain(9_993..=10_000).collect();
        assert_eq!(numbers, expected);
        let left_out = attempts.left_out().unwrap();
        assert_eq!((left_out.after, left_out.count), (8, 9_984));
        let all = Duration::from_millis((1..=10_000).sum());
        assert_eq!(attempts.duration(), all);
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
        let told = outcome.attempts_detail();
        let [only] = told.told() else {
            panic!("{told:?}");
        };
        assert_eq!((only.number, only.end), (1, AttemptEnd::Succeeded));
        assert_eq!(only.slot, SlotNumber::new(3));
        assert_eq!(told.duration(), outcome.duration);

        let skipped = Outcome {
            started: None,
            ..outcome
        };
        assert!(skipped.attempts_detail().told().is_empty());
    }
}
