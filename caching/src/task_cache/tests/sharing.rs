//! Tests how callers of one key share a computation.

use super::*;

#[tokio::test]
async fn a_thousand_callers_compute_once() {
    let cache = cache();
    let computed = Arc::new(AtomicUsize::new(0));
    let release = Arc::new(Notify::new());
    let mut askers = JoinSet::new();
    for _ in 0..1_000 {
        let (cache, computed, release) = (cache.clone(), computed.clone(), release.clone());
        askers.spawn(async move {
            let compute = || async {
                computed.fetch_add(1, Ordering::Relaxed);
                release.notified().await;
                success(b"result")
            };
            cache.get_or_compute(&key(), &policy(), compute).await
        });
    }
    // The runtime has one thread, so after this all callers have asked.
    yield_now().await;
    release.notify_one();
    let answers = askers.join_all().await;
    assert_eq!(computed.load(Ordering::Relaxed), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.outcome == success(b"result"))
    );
    let count = |source: &Source| {
        answers
            .iter()
            .filter(|answer| answer.source == *source)
            .count()
    };
    assert_eq!(
        (count(&Source::Computed(Ok(()))), count(&Source::Shared)),
        (1, 999)
    );
    assert_eq!(cache.core.flights.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_on_many_threads_compute_once() {
    for round in 0_u32..20 {
        let cache = cache();
        let computed = Arc::new(AtomicUsize::new(0));
        let mut askers = JoinSet::new();
        for _ in 0..1_000 {
            let (cache, computed) = (cache.clone(), computed.clone());
            askers.spawn(async move {
                let compute = || async {
                    computed.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                    success(&round.to_le_bytes())
                };
                cache.get_or_compute(&key(), &policy(), compute).await
            });
        }
        let answers = askers.join_all().await;
        assert_eq!(computed.load(Ordering::Relaxed), 1, "round {round}");
        assert!(
            answers
                .iter()
                .all(|answer| answer.outcome == success(&round.to_le_bytes()))
        );
    }
}

#[tokio::test]
async fn a_failure_reaches_every_waiter_and_is_not_stored() {
    use FailureKind::{Crashed, Permanent, Rejected, TimedOut, Transient};
    for kind in [Permanent, Transient, TimedOut, Crashed, Rejected] {
        let cache = cache();
        let permit = lead(&cache, &policy()).await;
        let waiters = [join(&cache, &policy()).await, join(&cache, &policy()).await];
        let committed = cache.commit(permit, failure(kind)).await;
        assert_eq!(committed, Err(NotStored::Failed(kind)));
        for waiter in waiters {
            assert!(
                matches!(waiter.wait().await, WaitResult::Done(outcome) if outcome == failure(kind))
            );
        }
        assert!(!is_stored(&cache, &policy()).await);
        drop(lead(&cache, &policy()).await);
    }
}

#[tokio::test]
async fn waiters_of_hundreds_of_cancelled_leaders_all_get_an_outcome() {
    const ASKERS: usize = 300;
    const CANCELLED: usize = ASKERS - 2;
    let cache = cache();
    let may_finish = Arc::new(AtomicBool::new(false));
    let (started, mut leaders) = tokio::sync::mpsc::unbounded_channel();
    let ask = |number: usize| {
        let (cache, may_finish, started) = (cache.clone(), may_finish.clone(), started.clone());
        tokio::spawn(async move {
            let compute = || async move {
                started.send(number).unwrap();
                if !may_finish.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                success(b"result")
            };
            cache.get_or_compute(&key(), &policy(), compute).await
        })
    };
    let askers: Vec<_> = (0..ASKERS).map(ask).collect();
    for count in 1..=CANCELLED {
        let leader = leaders.recv().await.unwrap();
        may_finish.store(count == CANCELLED, Ordering::Relaxed);
        askers[leader].abort();
    }
    let mut answers = Vec::new();
    for asker in askers {
        match asker.await {
            Ok(answer) => answers.push(answer),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
    assert_eq!(answers.len(), ASKERS - CANCELLED);
    assert!(
        answers
            .iter()
            .all(|answer| answer.outcome == success(b"result"))
    );
    assert_eq!(cache.core.flights.count(), 0);
}

#[tokio::test]
async fn a_panic_of_one_caller_does_not_reach_another() {
    let cache = cache();
    let started = Arc::new(Notify::new());
    let panicking = tokio::spawn({
        let (cache, started) = (cache.clone(), started.clone());
        async move {
            let compute = || async {
                started.notify_one();
                yield_now().await;
                panic!("the computation panics");
            };
            cache.get_or_compute(&key(), &policy(), compute).await
        }
    });
    started.notified().await;
    let answer = cache
        .get_or_compute(&key(), &policy(), || async { success(b"mine") })
        .await;
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(
        answer,
        Answer {
            outcome: success(b"mine"),
            source: Source::Computed(Ok(()))
        }
    );
    assert_eq!(cache.core.flights.count(), 0);
}

#[tokio::test]
async fn a_panic_before_there_is_a_future_leaves_no_waiter_behind() {
    let cache = cache();
    let asker = cache.clone();
    let panicked = tokio::spawn(async move {
        asker
            .get_or_compute(
                &key(),
                &policy(),
                || -> std::future::Ready<ComputeResult> { panic!("at once") },
            )
            .await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    drop(lead(&cache, &policy()).await);
}

#[tokio::test]
async fn a_cancelled_outcome_is_shared_with_nobody() {
    let cache = cache();
    let permit = lead(&cache, &policy()).await;
    let (first, second) = (join(&cache, &policy()).await, join(&cache, &policy()).await);
    let committed = cache.commit(permit, failure(FailureKind::Cancelled)).await;
    assert_eq!(committed, Err(NotStored::Failed(FailureKind::Cancelled)));
    let WaitResult::Lead(permit) = first.wait().await else {
        panic!("someone has to compute")
    };
    let second = tokio::spawn(second.wait());
    yield_now().await;
    cache.commit(permit, success(b"x")).await.unwrap();
    assert!(matches!(second.await.unwrap(), WaitResult::Done(outcome) if outcome == success(b"x")));
}

#[tokio::test]
async fn waiters_that_give_up_do_not_affect_the_others() {
    let cache = cache();
    let permit = lead(&cache, &policy()).await;
    let (gone, staying) = (join(&cache, &policy()).await, join(&cache, &policy()).await);
    let gone = tokio::spawn(gone.wait());
    yield_now().await;
    drop(permit);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let WaitResult::Lead(permit) = staying.wait().await else {
        panic!("the other one is gone")
    };
    assert_eq!(permit.key(), key());
}

#[tokio::test]
async fn a_permit_passes_between_jobs_and_those_that_join_get_the_outcome() {
    let cache = cache();
    let permit = lead(&cache, &policy()).await;
    let short = policy().time_to_live(MINUTE);
    let permit = permit.with_policy(short);
    let joined = [(); 2].map(|()| cache.join(&permit, &policy()));
    cache.commit(permit, success(b"result")).await.unwrap();
    for waiter in joined {
        let WaitResult::Done(outcome) = waiter.wait().await else {
            panic!("the outcome is shared");
        };
        assert_eq!(outcome, success(b"result"));
    }
    // It was stored by the policy of the job that computed it.
    let Lookup::Hit(hit) = cache.lookup(&key(), &policy()).await else {
        panic!("the outcome is stored");
    };
    let expires = Some(SystemTime::UNIX_EPOCH + MINUTE);
    assert_eq!(hit.entry.metadata().expires, expires);
}

#[tokio::test]
async fn those_that_join_a_permit_whose_outcome_cannot_be_shared_compute_for_themselves() {
    let cache = cache();
    let permit = lead(&cache, &policy()).await;
    let joined = [(); 2].map(|()| cache.join(&permit, &policy()));
    cache.abandon(permit);
    let mut permits = Vec::new();
    for waiter in joined {
        let WaitResult::Lead(permit) = waiter.wait().await else {
            panic!("each has to compute");
        };
        permits.push(permit);
    }
    assert_eq!(permits.len(), 2);
}
