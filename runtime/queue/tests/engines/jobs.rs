//! The life of a job: needs, retries, cancellations, ends, and what is told of them.

use std::sync::Arc;
use std::time::Duration;

use ratchet_queue::{
    AttemptEnd, Cancelled, Cursor, Error, EventKind, FinalStatus, FinishResult, JobSpec, JobState,
    Renewal, Submitted,
};

use crate::bench::{Bench, again, exclusive, job, name, over};

crate::on_every_engine!(
    submitting_twice_runs_once,
    a_full_queue_says_so,
    a_job_waits_for_its_needs,
    what_needs_a_failed_job_is_skipped,
    a_need_has_to_be_there,
    a_delayed_job_waits_and_keeps_its_place,
    a_retry_waits_and_keeps_its_place,
    what_an_attempt_hands_over_reaches_the_next_one,
    an_end_is_recorded_once,
    an_attempt_that_has_not_begun_does_not_count,
    a_waiting_job_is_cancelled_at_once,
    a_running_job_is_cancelled_by_its_node,
    a_cancelled_job_is_not_tried_again,
    events_tell_what_happened_in_order,
    progress_of_the_current_attempt_is_told,
    ends_and_events_are_forgotten_after_a_time,
    a_payload_of_any_bytes_arrives,
);

/// Returns a job that needs another one.
fn needing(name_: &str, needs: &[&str]) -> JobSpec {
    JobSpec {
        needs: needs.iter().map(|need| name(need)).collect(),
        ..job(name_)
    }
}

async fn submitting_twice_runs_once(bench: Bench) {
    bench.submit([job("a")]).await;
    let known = |state| Submitted::Known(state);
    assert_eq!(bench.try_submit(job("a")).await, known(JobState::Waiting));
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(bench.try_submit(job("a")).await, known(JobState::Running));
    bench.succeed(node, &claims).await;
    let ended = JobState::Ended(FinalStatus::Succeeded);
    assert_eq!(bench.try_submit(job("a")).await, known(ended));
    assert!(bench.claim(node, 8).await.is_empty());
    // Twice in one call, too.
    let answers = bench.engine.submit(&[job("b"), job("b")]).await.unwrap();
    assert_eq!(answers, [Submitted::Accepted, known(JobState::Waiting)]);
}

async fn a_full_queue_says_so(bench: Bench) {
    let many = (0..1000).map(|number| job(&format!("job{number}")));
    bench.submit(many).await;
    assert_eq!(bench.try_submit(job("one more")).await, Submitted::Full);
    let node = bench.join(1).await;
    let claims = bench.claim(node, 1).await;
    assert_eq!(bench.try_submit(job("one more")).await, Submitted::Full);
    bench.succeed(node, &claims).await;
    assert_eq!(bench.try_submit(job("one more")).await, Submitted::Accepted);
}

async fn a_job_waits_for_its_needs(bench: Bench) {
    bench
        .submit([job("a"), job("b"), needing("c", &["a", "b", "a"]), job("d")])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 2).await;
    bench.succeed(node, &claims[..1]).await;
    assert_eq!(bench.names(node, 8).await, ["d"]);
    bench.succeed(node, &claims[1..]).await;
    assert_eq!(bench.names(node, 8).await, ["c"]);
    // A need that has succeeded already holds up nothing.
    bench.submit([needing("e", &["a"])]).await;
    assert_eq!(bench.names(node, 8).await, ["e"]);
}

async fn what_needs_a_failed_job_is_skipped(bench: Bench) {
    bench
        .submit([
            job("a"),
            job("b"),
            needing("c", &["a", "b"]),
            needing("d", &["c"]),
            needing("e", &["b"]),
        ])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.end(node, &claims[0], over(FinalStatus::Failed)).await;
    bench.succeed(node, &claims[1..]).await;
    assert_eq!(bench.names(node, 8).await, ["e"]);
    bench.submit([needing("f", &["d"])]).await;
    let skipped = FinalStatus::Skipped;
    let expected = [
        ("a".to_owned(), FinalStatus::Failed, 1),
        ("c".to_owned(), skipped, 0),
        ("d".to_owned(), skipped, 0),
        ("b".to_owned(), FinalStatus::Succeeded, 1),
        ("f".to_owned(), skipped, 0),
    ];
    assert_eq!(bench.ends().await, expected);
}

async fn a_need_has_to_be_there(bench: Bench) {
    let answer = bench.try_submit(needing("a", &["nothing"])).await;
    assert!(matches!(answer, Submitted::Refused(_)), "{answer:?}");
    assert_eq!(bench.state("a").await, None);
    assert!(bench.engine.submit(&[needing("a", &["a"])]).await.is_err());
}

async fn a_delayed_job_waits_and_keeps_its_place(bench: Bench) {
    let delayed = JobSpec {
        delay: Duration::from_secs(10),
        ..exclusive("first", "a")
    };
    bench.submit([delayed, exclusive("second", "a")]).await;
    let node = bench.join(8).await;
    let second = bench.claim(node, 8).await;
    assert_eq!(second[0].job.as_str(), "second");
    bench.submit([exclusive("third", "a")]).await;
    bench.pass(9_999);
    bench.succeed(node, &second).await;
    bench.pass(1);
    assert_eq!(bench.names(node, 8).await, ["first"]);
}

async fn a_retry_waits_and_keeps_its_place(bench: Bench) {
    bench
        .submit([
            exclusive("a", "h"),
            exclusive("b", "h"),
            exclusive("c", "h"),
        ])
        .await;
    let node = bench.join(8).await;
    let a = bench.claim(node, 8).await;
    bench.end(node, &a[0], again(1000)).await;
    assert_eq!(bench.state("a").await, Some(JobState::Waiting));
    let b = bench.claim(node, 8).await;
    assert_eq!(b[0].job.as_str(), "b");
    bench.pass(1000);
    bench.succeed(node, &b).await;
    let a = bench.claim(node, 8).await;
    assert_eq!((a[0].job.as_str(), a[0].attempt), ("a", 2));
}

async fn what_an_attempt_hands_over_reaches_the_next_one(bench: Bench) {
    bench.submit([job("a")]).await;
    let (first, second) = (bench.join(1).await, bench.join(1).await);
    let handing = |text: &[u8]| AttemptEnd::Again {
        delay: Duration::ZERO,
        handover: text.into(),
    };
    let claim = bench.claim(first, 1).await.remove(0);
    assert!(claim.handover.is_empty());
    bench.end(first, &claim, handing(b"one")).await;
    // A node that is lost hands nothing over, and takes nothing away.
    let claim = bench.claim(first, 1).await.remove(0);
    assert_eq!(&*claim.handover, b"one");
    bench.engine.leave(first).await.unwrap();
    let long = vec![7; 50_000];
    let claim = bench.claim(second, 1).await.remove(0);
    assert_eq!(&*claim.handover, b"one");
    bench.end(second, &claim, handing(&long)).await;
    let claim = bench.claim(second, 1).await.remove(0);
    assert_eq!(&*claim.handover, long);
    bench.end(second, &claim, over(FinalStatus::Failed)).await;
    let told: Vec<_> = (bench.events().await.into_iter())
        .filter_map(|event| match event.kind {
            EventKind::Retried { handover, .. } => Some(handover.len()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [3, 50_000]);
    // Whoever asks for the job again begins anew.
    bench.engine.requeue(&[name("a")]).await.unwrap();
    let claim = bench.claim(second, 1).await.remove(0);
    assert!(claim.handover.is_empty());
    let too_long = bench.end(second, &claim, handing(&vec![7; 100_001])).await;
    assert_eq!(too_long, FinishResult::TooLarge { most: 100_000 });
}

async fn an_end_is_recorded_once(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let first = bench.claim(node, 8).await.remove(0);
    // The answer was lost on its way, so the node tells it again.
    for _ in 0..2 {
        let told = bench.end(node, &first, again(0)).await;
        assert_eq!(told, FinishResult::Committed);
    }
    let second = bench.claim(node, 8).await.remove(0);
    assert!(second.fence > first.fence);
    let failed = over(FinalStatus::Failed);
    bench.pass(100_000);
    let other = bench.join(8).await;
    let third = bench.claim(other, 8).await.remove(0);
    assert_eq!(
        bench.end(node, &second, failed.clone()).await,
        FinishResult::Stale
    );
    bench.succeed(other, std::slice::from_ref(&third)).await;
    bench.succeed(other, &[third]).await;
    assert_eq!(bench.end(node, &second, failed).await, FinishResult::Stale);
    assert_eq!(
        bench.ends().await,
        [("a".to_owned(), FinalStatus::Succeeded, 3)]
    );
}

async fn an_attempt_that_has_not_begun_does_not_count(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let claim = bench.claim(node, 8).await.remove(0);
    bench.end(node, &claim, AttemptEnd::NotBegun).await;
    let claim = bench.claim(node, 8).await.remove(0);
    assert_eq!(claim.attempt, 1);
}

async fn a_waiting_job_is_cancelled_at_once(bench: Bench) {
    let delayed = JobSpec {
        delay: Duration::from_secs(10),
        ..job("delayed")
    };
    bench
        .submit([
            job("a"),
            needing("b", &["a"]),
            delayed,
            exclusive("c", "h"),
            exclusive("d", "h"),
        ])
        .await;
    let names = ["a", "delayed", "c", "nobody"].map(name);
    let answers = bench.engine.cancel(&names).await.unwrap();
    let ended = Cancelled::Ended;
    assert_eq!(answers, [ended, ended, ended, Cancelled::Unknown]);
    let answers = bench.engine.cancel(&names[..1]).await.unwrap();
    assert_eq!(answers, [Cancelled::TooLate(FinalStatus::Cancelled)]);
    let skipped = JobState::Ended(FinalStatus::Skipped);
    assert_eq!(bench.state("b").await, Some(skipped));
    bench.pass(20_000);
    let node = bench.join(8).await;
    assert_eq!(bench.names(node, 8).await, ["d"]);
}

async fn a_running_job_is_cancelled_by_its_node(bench: Bench) {
    bench
        .submit([exclusive("a", "h"), exclusive("b", "h")])
        .await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    let answers = bench.engine.cancel(&[name("a")]).await.unwrap();
    assert_eq!(answers, [Cancelled::Asked]);
    let cancelled = vec![name("a")];
    let valid_for = crate::bench::SESSION;
    let expected = Renewal::Valid {
        valid_for,
        cancelled,
    };
    assert_eq!(bench.renew(node, &claims).await, expected);
    // It holds its host until the node says that it has ended.
    assert!(bench.claim(node, 8).await.is_empty());
    bench
        .end(node, &claims[0], over(FinalStatus::Cancelled))
        .await;
    assert_eq!(bench.names(node, 8).await, ["b"]);
}

async fn a_cancelled_job_is_not_tried_again(bench: Bench) {
    bench.submit([job("a"), job("b"), job("c")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    let names = ["a", "b", "c"].map(name);
    bench.engine.cancel(&names).await.unwrap();
    bench.end(node, &claims[0], again(0)).await;
    bench.end(node, &claims[1], AttemptEnd::NotBegun).await;
    bench.pass(60_000);
    let other = bench.join(8).await;
    assert!(bench.claim(other, 8).await.is_empty());
    for job in ["a", "b", "c"] {
        let cancelled = JobState::Ended(FinalStatus::Cancelled);
        assert_eq!(bench.state(job).await, Some(cancelled), "{job}");
    }
}

async fn events_tell_what_happened_in_order(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let claim = bench.claim(node, 8).await.remove(0);
    bench.pass(5);
    bench.end(node, &claim, again(7)).await;
    bench.pass(7);
    let claim = bench.claim(node, 8).await.remove(0);
    let result: Arc<[u8]> = b"{\"rows\":3}".as_slice().into();
    let end = AttemptEnd::Over {
        status: FinalStatus::Succeeded,
        result: Arc::clone(&result),
    };
    bench.end(node, &claim, end).await;
    bench.engine.leave(node).await.unwrap();
    let started = |attempt| EventKind::Started {
        job: name("a"),
        node,
        attempt,
    };
    let joined = EventKind::NodeJoined {
        node,
        name: "node".into(),
    };
    let retried = EventKind::Retried {
        job: name("a"),
        delay: Duration::from_millis(7),
        handover: [].into(),
    };
    let ended = EventKind::Ended {
        job: name("a"),
        status: FinalStatus::Succeeded,
        attempts: 2,
        result,
    };
    let left = EventKind::NodeLeft { node };
    let expected = [joined, started(1), retried, started(2), ended, left];
    let events = bench.events().await;
    assert!(events.is_sorted_by(|one, next| one.cursor < next.cursor));
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(kinds, expected);

    // From any place on, a few at a time.
    let mut cursor = Cursor::START;
    for pair in events.chunks(2) {
        assert_eq!(bench.engine.events(cursor, 2).await.unwrap(), pair);
        cursor = pair[1].cursor;
    }
    assert!(bench.engine.events(cursor, 2).await.unwrap().is_empty());
}

async fn progress_of_the_current_attempt_is_told(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let first = bench.claim(node, 8).await.remove(0);
    bench.end(node, &first, again(0)).await;
    let second = bench.claim(node, 8).await.remove(0);
    let report = |fence, text: &str| (name("a"), fence, text.as_bytes().into());
    let reports = [report(first.fence, "late"), report(second.fence, "half")];
    bench.engine.progress(node, &reports).await.unwrap();
    let kinds = bench.events().await.into_iter().map(|event| event.kind);
    let told: Vec<_> = kinds
        .filter_map(|kind| match kind {
            EventKind::Progress { message, .. } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(told, [b"half".as_slice().into()]);
}

async fn ends_and_events_are_forgotten_after_a_time(bench: Bench) {
    bench.submit([job("a")]).await;
    let node = bench.join(8).await;
    let claims = bench.claim(node, 8).await;
    bench.succeed(node, &claims).await;
    bench.engine.leave(node).await.unwrap();
    let middle = bench.events().await[1].cursor;
    bench.pass(24 * 3_600_000 - 1);
    assert!(bench.state("a").await.is_some());
    bench.submit([job("late")]).await;
    bench.pass(1000);
    assert_eq!(bench.state("a").await, None);
    assert!(bench.events().await.is_empty());
    let expired = bench.engine.events(middle, 10).await;
    assert!(matches!(expired, Err(Error::EventsExpired)), "{expired:?}");
    // The name is free again.
    bench.submit([job("a")]).await;
    assert_eq!(bench.state("late").await, Some(JobState::Waiting));
}

async fn a_payload_of_any_bytes_arrives(bench: Bench) {
    let payload: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let with_payload = JobSpec {
        payload: payload.clone().into(),
        ..job("a")
    };
    bench.submit([with_payload]).await;
    let node = bench.join(8).await;
    assert_eq!(*bench.claim(node, 8).await[0].payload, *payload);
}
