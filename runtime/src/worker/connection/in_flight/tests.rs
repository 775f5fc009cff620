use std::sync::Arc;

use ratchet_ipc::Payload;
use tokio::sync::oneshot;

use super::*;
use crate::dispatch::ReplyTo;
use crate::job::{Job, Terms, Timeouts};

const SECOND: Duration = Duration::from_secs(1);

fn assignment(call: u64, timeouts: Timeouts) -> Assignment {
    let terms = Terms {
        timeouts,
        ..Terms::default()
    };
    Assignment {
        job: Arc::new(Job::task("a", "any", Payload::null()).terms(terms)),
        attempt: 1,
        ahead: false,
        slot: None,
        resources: None,
        trace: None,
        reply: ReplyTo::Caller {
            call,
            reply: oneshot::channel().0,
        },
    }
}

/// Makes attempts with the ids 1, 2 and so on that were sent to a worker with this concurrency.
fn sent(count: u64, concurrency: u32, timeouts: Timeouts) -> (InFlight, Instant) {
    let now = tokio::time::Instant::now().into_std();
    let mut jobs = InFlight::new();
    jobs.set_concurrency(NonZeroU32::new(concurrency).unwrap());
    for id in 1..=count {
        assert_eq!(jobs.next_id(), id);
        let begins = jobs.push(assignment(id, timeouts), None, now);
        assert_eq!(begins, id <= u64::from(concurrency));
    }
    (jobs, now)
}

fn begun(jobs: &InFlight) -> Vec<u64> {
    let begun = jobs.entries.iter().filter(|entry| entry.begun.is_some());
    begun.map(|entry| entry.id).collect()
}

#[test]
fn the_oldest_attempts_begin_and_the_others_begin_in_their_places() {
    let (mut jobs, now) = sent(4, 1, Timeouts::default());
    assert_eq!((begun(&jobs), jobs.oldest()), (vec![1], Some(1)));
    assert!(
        jobs.begin_next(now).is_none(),
        "a serial worker has one place"
    );
    for id in 1..=3 {
        assert_eq!(jobs.remove(id).unwrap().id, id);
        assert!(jobs.has_room());
        assert_eq!(jobs.begin_next(now).unwrap().id, id + 1);
        assert!(!jobs.has_room());
    }
    assert!(jobs.remove(4).is_some());
    assert!(jobs.begin_next(now).is_none() && jobs.is_empty());
    assert_eq!(jobs.oldest(), None);
}

#[test]
fn attempts_may_be_answered_in_any_order_and_only_once() {
    let (mut jobs, now) = sent(6, 3, Timeouts::default());
    assert!(!jobs.is_serial());
    for (answered, next) in [(2, 4), (3, 5), (5, 6)] {
        assert_eq!(
            jobs.remove(answered).unwrap().assignment.key(),
            AttemptKey::Call(answered)
        );
        assert_eq!(jobs.begin_next(now).unwrap().id, next);
        assert!(jobs.remove(answered).is_none(), "{answered} was answered");
    }
    assert_eq!(begun(&jobs), [1, 4, 6]);
    assert!(jobs.remove(0).is_none() && jobs.remove(7).is_none());
    assert!(jobs.get_mut(4).is_some() && jobs.find(AttemptKey::Call(4)).is_some());
    assert!(jobs.get_mut(5).is_none() && jobs.find(AttemptKey::Call(5)).is_none());
}

#[test]
fn an_answer_to_an_attempt_that_has_not_begun_frees_no_place() {
    let (mut jobs, now) = sent(3, 1, Timeouts::default());
    // A worker gives back a recalled attempt.
    assert!(jobs.remove(2).unwrap().begun.is_none());
    assert!(!jobs.has_room());
    assert!(jobs.begin_next(now).is_none());
    jobs.remove(1).unwrap();
    assert_eq!(jobs.begin_next(now).unwrap().id, 3);
}

#[test]
fn an_attempt_that_was_asked_back_is_not_asked_back_again() {
    let (mut jobs, _) = sent(4, 2, Timeouts::default());
    let mut asked = Vec::new();
    for entry in jobs.waiting() {
        entry.recalled = true;
        asked.push(entry.id);
    }
    assert_eq!(asked, [3, 4]);
    assert_eq!(jobs.waiting().count(), 0);
    assert_eq!(jobs.take_all().len(), 4);
    assert!(jobs.is_empty() && jobs.has_room());
}

#[test]
fn the_clock_of_an_attempt_starts_when_the_attempt_begins() {
    let timeouts = Timeouts {
        hard: Some(SECOND * 3),
        ..Timeouts::default()
    };
    let (mut jobs, now) = sent(2, 1, timeouts);
    assert_eq!(jobs.deadline(true), Some(now + SECOND * 3));
    let later = now + SECOND * 2;
    assert_eq!(jobs.remove(1).unwrap().ran(later), SECOND * 2);
    assert_eq!(jobs.deadline(true), None, "what waits has no clock");
    jobs.begin_next(later).unwrap();
    assert_eq!(jobs.deadline(true), Some(now + SECOND * 5));
    assert_eq!(jobs.due(true, now + SECOND * 4), None);
    let due = Some((2, StopAction::Kill(StopReason::Time(SECOND * 3))));
    assert_eq!(jobs.due(true, now + SECOND * 5), due);
}

#[test]
fn the_limit_that_ends_first_decides_what_is_due_and_when() {
    let limits = |soft: Option<u32>, hard: Option<u32>, idle: Option<u32>| Timeouts {
        soft: soft.map(|seconds| SECOND * seconds),
        hard: hard.map(|seconds| SECOND * seconds),
        idle: idle.map(|seconds| SECOND * seconds),
        ..Timeouts::default()
    };
    let time = |seconds: u32| StopReason::Time(SECOND * seconds);
    let silence = |seconds: u32| StopReason::Silence(SECOND * seconds);
    let (ask, kill) = (
        |why| (1, StopAction::Ask(why)),
        |why| (1, StopAction::Kill(why)),
    );
    for (limits, after, can_be_asked, after_else, cannot) in [
        (
            limits(Some(3), None, None),
            3,
            ask(time(3)),
            3,
            kill(time(3)),
        ),
        (
            limits(None, Some(5), None),
            5,
            kill(time(5)),
            5,
            kill(time(5)),
        ),
        (
            limits(None, None, Some(2)),
            2,
            ask(silence(2)),
            2,
            kill(silence(2)),
        ),
        // A worker that can be asked is asked first; one that cannot has all of its time.
        (
            limits(Some(3), Some(5), None),
            3,
            ask(time(3)),
            5,
            kill(time(5)),
        ),
        (
            limits(Some(3), Some(3), None),
            3,
            ask(time(3)),
            3,
            kill(time(3)),
        ),
        (
            limits(Some(5), Some(3), None),
            3,
            kill(time(3)),
            3,
            kill(time(3)),
        ),
        (
            limits(Some(3), Some(5), Some(2)),
            2,
            ask(silence(2)),
            2,
            kill(silence(2)),
        ),
        (
            limits(Some(3), Some(5), Some(4)),
            3,
            ask(time(3)),
            4,
            kill(silence(4)),
        ),
    ] {
        for (can_ask, after, due) in [(true, after, can_be_asked), (false, after_else, cannot)] {
            let (jobs, now) = sent(1, 1, limits);
            let at = now + SECOND * after;
            let before = now + (SECOND * after).saturating_sub(Duration::from_nanos(1));
            assert_eq!(jobs.deadline(can_ask), Some(at), "{limits:?}");
            assert_eq!(jobs.due(can_ask, before), None);
            assert_eq!(jobs.due(can_ask, at), Some(due), "{limits:?}");
        }
    }
    let (jobs, now) = sent(3, 3, Timeouts::default());
    assert_eq!((jobs.deadline(true), jobs.due(true, now)), (None, None));
}

#[test]
fn progress_puts_off_the_idle_timeout_and_no_other() {
    let timeouts = Timeouts {
        idle: Some(SECOND * 2),
        hard: Some(SECOND * 5),
        ..Timeouts::default()
    };
    let (mut jobs, now) = sent(2, 1, timeouts);
    for (sign, deadline) in [(1, 3), (3, 5), (4, 5)] {
        jobs.get_mut(1).unwrap().note_activity(now + SECOND * sign);
        assert_eq!(jobs.deadline(false), Some(now + SECOND * deadline));
    }
    // An attempt that has not begun has no clock to reset.
    jobs.get_mut(2).unwrap().note_activity(now);
    assert!(jobs.get_mut(2).unwrap().begun.is_none());
}

#[test]
fn an_attempt_that_was_asked_to_stop_is_killed_after_the_grace_or_at_its_hard_limit() {
    let kill_after = |timeouts: Timeouts, why: StopReason, asked: Duration| {
        let (mut jobs, now) = sent(1, 1, timeouts);
        let entry = jobs.get_mut(1).unwrap();
        entry.ask(why, SECOND * 10, now + asked);
        assert_eq!(entry.asked(), Some(why));
        let at = jobs.deadline(true).unwrap();
        assert_eq!(jobs.due(true, at), Some((1, StopAction::Kill(why))));
        at - now
    };
    let none = Timeouts::default();
    let hard = Timeouts {
        hard: Some(SECOND * 7),
        ..none
    };
    let time = StopReason::Time(SECOND * 3);
    assert_eq!(kill_after(none, time, SECOND * 3), SECOND * 13);
    assert_eq!(kill_after(hard, time, SECOND * 3), SECOND * 7);
    // An attempt that is asked has a moment to answer, even when it is asked at the hard limit itself.
    assert_eq!(
        kill_after(hard, time, SECOND * 7),
        SECOND * 7 + Timeouts::LAST_MOMENT
    );
    assert_eq!(
        kill_after(none, StopReason::Unwanted, SECOND * 3),
        SECOND * 13
    );
    assert_eq!(
        kill_after(hard, StopReason::Unwanted, SECOND * 3),
        SECOND * 7
    );
}

#[test]
fn an_attempt_that_is_asked_twice_keeps_the_first_reason_and_the_earlier_kill() {
    let (mut jobs, now) = sent(1, 1, Timeouts::default());
    let entry = jobs.get_mut(1).unwrap();
    entry.ask(StopReason::Unwanted, Duration::MAX, now);
    assert_eq!(jobs.deadline(true), None, "a grace without end");
    for (grace, ends) in [(9, 9), (4, 4), (6, 4)] {
        let entry = jobs.get_mut(1).unwrap();
        entry.ask(StopReason::Time(SECOND), SECOND * grace, now);
        assert_eq!(entry.asked(), Some(StopReason::Unwanted));
        assert_eq!(jobs.deadline(true), Some(now + SECOND * ends));
    }
    let (mut jobs, now) = sent(2, 1, Timeouts::default());
    let waiting = jobs.get_mut(2).unwrap();
    waiting.ask(StopReason::Unwanted, SECOND, now);
    assert_eq!(
        waiting.asked(),
        None,
        "what has not begun cannot be stopped"
    );
}

#[test]
fn an_attempt_that_is_sent_ahead_has_the_slot_of_the_one_before_it_if_that_is_known() {
    let slot = SlotNumber::new(2);
    let ahead = || Assignment {
        ahead: true,
        ..assignment(2, Timeouts::default())
    };
    for (concurrency, expected) in [(1, slot), (2, None)] {
        let (mut jobs, now) = sent(0, concurrency, Timeouts::default());
        let first = Assignment {
            slot,
            ..assignment(1, Timeouts::default())
        };
        assert_eq!(jobs.slot_of(&first), slot);
        jobs.push(first, None, now);
        assert_eq!(jobs.slot_of(&ahead()), expected);
    }
}
