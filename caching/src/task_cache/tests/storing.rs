//! Tests which outcomes are stored.

use std::path::Path;

use super::*;
use crate::fingerprint::InputFiles;

#[tokio::test]
async fn permanent_failures_are_stored_and_used_only_by_policies_that_ask_for_them() {
    let clock = clock();
    let cache = TaskCache::with_clock(Arc::new(MapCache::default()), clock.clone());
    let asking = policy().store_permanent_failures(MINUTE);
    let permit = lead(&cache, &asking).await;
    assert_eq!(
        cache.commit(permit, failure(FailureKind::Permanent)).await,
        Ok(())
    );
    assert!(!is_stored(&cache, &policy()).await);
    let Lookup::Hit(hit) = cache.lookup(&key(), &asking).await else {
        panic!("it is stored")
    };
    assert_eq!(hit.outcome(), failure(FailureKind::Permanent));
    clock.advance(MINUTE);
    assert!(!is_stored(&cache, &asking).await);
}

#[tokio::test]
async fn a_stored_result_has_its_metadata_and_expires() {
    let clock = clock();
    let cache = TaskCache::with_clock(Arc::new(MapCache::default()), clock.clone());
    let fingerprint = Fingerprint::builder().task("resize").build();
    let policy = policy()
        .time_to_live(MINUTE)
        .fingerprint(fingerprint.clone());
    let permit = lead(&cache, &policy).await;
    clock.advance(MINUTE / 2);
    cache.commit(permit, success(b"x")).await.unwrap();
    let Lookup::Hit(hit) = cache.lookup(&key(), &policy).await else {
        panic!("it is stored")
    };
    let expected = Metadata {
        kind: EntryKind::Success,
        created: clock.now(),
        expires: Some(clock.now() + MINUTE),
        labels: labels(),
        cost: MINUTE / 2,
        fingerprint: Some(fingerprint),
    };
    assert_eq!(*hit.entry.metadata(), expected);
    clock.advance(MINUTE);
    assert!(!is_stored(&cache, &policy).await);
}

#[tokio::test]
async fn a_result_that_is_not_declared_cacheable_is_neither_shared_nor_stored() {
    let cache = cache();
    let permit = lead(&cache, &policy()).await;
    cache.commit(permit, success(b"stored")).await.unwrap();
    let never = Policy::never();
    let (first, second) = (lead(&cache, &never).await, lead(&cache, &never).await);
    assert_eq!(
        cache.commit(first, success(b"1")).await,
        Err(NotStored::NotCacheable)
    );
    assert_eq!(
        cache.commit(second, success(b"2")).await,
        Err(NotStored::NotCacheable)
    );
    let Lookup::Hit(hit) = cache.lookup(&key(), &policy()).await else {
        panic!("it was stored before")
    };
    assert_eq!(hit.entry.value(), b"stored");
    assert!(!is_stored(&cache, &never).await);
}

#[tokio::test]
async fn a_refresh_computes_once_more_and_replaces() {
    let cache = cache();
    let compute = |value: &'static [u8]| move || async move { success(value) };
    cache
        .get_or_compute(&key(), &policy(), compute(b"old"))
        .await;
    let fresh = cache
        .get_or_compute(&key(), &policy().refresh(), compute(b"new"))
        .await;
    assert_eq!(
        fresh,
        Answer {
            outcome: success(b"new"),
            source: Source::Computed(Ok(()))
        }
    );
    let after = cache
        .get_or_compute(&key(), &policy(), compute(b"never"))
        .await;
    assert_eq!(
        after,
        Answer {
            outcome: success(b"new"),
            source: Source::Stored
        }
    );
}

#[tokio::test]
async fn a_refresh_does_not_join_callers_who_take_stored_results() {
    let cache = cache();
    let _plain = lead(&cache, &policy()).await;
    let _fresh = lead(&cache, &policy().refresh()).await;
    join(&cache, &policy().refresh()).await;
}

/// Makes the policy of a job that reads the file `in`, which exists.
fn with_input(folder: &Path) -> Policy {
    std::fs::write(folder.join("in"), "before").unwrap();
    let hasher = Arc::new(FileHasher::default());
    let inputs = InputFiles::read(&hasher, folder, ["in"]).unwrap();
    policy().verify_inputs(inputs, hasher)
}

#[tokio::test]
async fn a_result_whose_inputs_changed_is_neither_shared_nor_stored() {
    let folder = tempfile::tempdir().unwrap();
    let policy = with_input(folder.path());
    let cache = cache();
    let permit = lead(&cache, &policy).await;
    let (first, second) = (join(&cache, &policy).await, join(&cache, &policy).await);
    std::fs::write(folder.path().join("in"), "after!").unwrap();
    assert_eq!(
        cache.commit(permit, success(b"?")).await,
        Err(NotStored::InputsChanged("in".into()))
    );
    assert!(!is_stored(&cache, &policy).await);
    // Both compute for themselves at the same time.
    let (WaitResult::Lead(first), WaitResult::Lead(second)) =
        (first.wait().await, second.wait().await)
    else {
        panic!("nobody may have the result")
    };
    assert_eq!(cache.core.flights.count(), 2);
    drop((first, second));
    assert_eq!(cache.core.flights.count(), 0);
}

#[tokio::test]
async fn a_result_whose_inputs_did_not_change_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let policy = with_input(folder.path());
    let cache = cache();
    let permit = lead(&cache, &policy).await;
    assert_eq!(cache.commit(permit, success(b"x")).await, Ok(()));
}

#[tokio::test]
async fn a_computation_that_is_invalidated_is_neither_stored_nor_joined() {
    let selectors = [
        Selector::all(),
        Selector::key(key()),
        Selector::task("resize"),
        Selector::worker("w"),
        Selector::tag("t"),
    ];
    for selector in selectors {
        let cache = cache();
        let permit = lead(&cache, &policy()).await;
        let before = join(&cache, &policy()).await;
        assert_eq!(cache.invalidate(&Selector::task("other")).await.unwrap(), 0);
        cache.invalidate(&selector).await.unwrap();
        let next = lead(&cache, &policy()).await;
        assert_eq!(
            cache.commit(permit, success(b"old")).await,
            Err(NotStored::Invalidated),
            "{selector:?}"
        );
        assert!(
            matches!(before.wait().await, WaitResult::Done(_)),
            "who asked before may have it"
        );
        assert!(!is_stored(&cache, &policy()).await);
        join(&cache, &policy()).await;
        assert_eq!(cache.commit(next, success(b"new")).await, Ok(()));
    }
}

/// A store whose puts wait until the test releases them.
#[derive(Default)]
struct SlowPuts {
    map: MapCache,
    begun: Notify,
    may_end: Notify,
}

#[async_trait::async_trait]
impl Cache for SlowPuts {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, CacheError> {
        self.map.get(key).await
    }

    async fn put(&self, key: &Key, entry: Entry) -> Result<(), CacheError> {
        self.begun.notify_one();
        self.may_end.notified().await;
        self.map.put(key, entry).await
    }

    async fn invalidate(&self, selector: &Selector) -> Result<u64, CacheError> {
        self.map.invalidate(selector).await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<crate::Listing>, CacheError> {
        self.map.list(selector).await
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        self.map.stats().await
    }
}

#[tokio::test]
async fn an_invalidation_during_the_put_drops_the_entry_even_if_nobody_waits_for_the_put() {
    for asker_goes_away in [false, true] {
        let store = Arc::new(SlowPuts::default());
        let cache = TaskCache::new(store.clone());
        let permit = lead(&cache, &policy()).await;
        let committing = tokio::spawn({
            let cache = cache.clone();
            async move { cache.commit(permit, success(b"old")).await }
        });
        store.begun.notified().await;
        if asker_goes_away {
            committing.abort();
            assert!(committing.await.unwrap_err().is_cancelled());
        }
        let invalidating = tokio::spawn({
            let cache = cache.clone();
            async move { cache.invalidate(&Selector::all()).await }
        });
        yield_now().await;
        store.may_end.notify_one();
        assert_eq!(invalidating.await.unwrap().unwrap(), 1);
        // By now, anything still in progress has had the chance to put.
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(!is_stored(&cache, &policy()).await);
        assert_eq!(cache.core.flights.count(), 0);
    }
}

#[tokio::test]
async fn a_private_flight_is_invalidated_like_any_other() {
    let cache = cache();
    let permit = lead(&cache, &policy()).await;
    let waiter = join(&cache, &policy()).await;
    permit.leader.refuse_to_share();
    let WaitResult::Lead(permit) = waiter.wait().await else {
        panic!("there is no outcome")
    };
    cache.invalidate(&Selector::task("resize")).await.unwrap();
    assert_eq!(
        cache.commit(permit, success(b"old")).await,
        Err(NotStored::Invalidated)
    );
}

#[tokio::test]
async fn a_stored_failure_does_not_reach_a_waiter_who_did_not_ask_for_failures() {
    let mut store = MockCache::new();
    let cache: Arc<std::sync::OnceLock<TaskCache>> = Arc::default();
    let (inner, waiter) = (cache.clone(), Arc::new(std::sync::Mutex::new(None)));
    let joined = waiter.clone();
    let failed = Metadata {
        kind: EntryKind::PermanentFailure,
        ..Metadata::new(SystemTime::UNIX_EPOCH)
    };
    store.expect_get().returning(move |_| {
        // Another caller joins while the leader looks up the key.
        joined.lock().unwrap().get_or_insert_with(|| {
            let cache = inner.get().unwrap();
            let mut joining = Box::pin(async { join(cache, &policy()).await });
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match joining.as_mut().poll(&mut context) {
                std::task::Poll::Ready(waiter) => waiter,
                std::task::Poll::Pending => panic!("joining takes no time"),
            }
        });
        Ok(Some(Entry::new(*b"why", failed.clone())))
    });
    let cache = cache.get_or_init(|| TaskCache::with_clock(Arc::new(store), clock()));
    let asking = policy().store_permanent_failures(MINUTE);
    assert!(matches!(
        cache.begin(&key(), &asking).await,
        Begin::Hit(hit) if hit.outcome() == failure(FailureKind::Permanent)
    ));
    let waiter = waiter.lock().unwrap().take().unwrap();
    assert!(matches!(waiter.wait().await, WaitResult::Lead(_)));
}

#[tokio::test]
async fn a_failing_store_causes_misses_and_nothing_else() {
    let mut store = MockCache::new();
    store.expect_get().returning(|_| Err(broken()));
    store.expect_put().returning(|_, _| Err(broken()));
    store.expect_stats().returning(|| Ok(Stats::default()));
    store.expect_invalidate().returning(|_| Err(broken()));
    let cache = TaskCache::new(Arc::new(store));
    for _ in 0..3 {
        let answer = cache
            .get_or_compute(&key(), &policy(), || async { success(b"x") })
            .await;
        assert_eq!(
            answer,
            Answer {
                outcome: success(b"x"),
                source: Source::Computed(Err(NotStored::StoreFailed))
            }
        );
    }
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.failures, stats.computed, stats.stored), (6, 3, 0));
    assert!(cache.core.has_warned.load(Ordering::Relaxed));
    assert!(
        matches!(
            cache.invalidate(&Selector::all()).await,
            Err(CacheError::NotPerformed { .. })
        ),
        "who clears must know"
    );
}

#[tokio::test]
async fn what_was_stored_between_the_look_and_the_begin_is_not_computed_again() {
    let cache = cache();
    assert!(!is_stored(&cache, &policy()).await);
    let permit = lead(&cache, &policy()).await;
    cache.commit(permit, success(b"x")).await.unwrap();
    assert!(
        matches!(cache.begin(&key(), &policy()).await, Begin::Hit(hit) if hit.outcome() == success(b"x"))
    );
}

#[tokio::test]
async fn an_expired_entry_that_a_store_returns_is_a_miss() {
    let mut store = MockCache::new();
    let expired = Metadata {
        expires: Some(SystemTime::UNIX_EPOCH),
        ..Metadata::new(SystemTime::UNIX_EPOCH)
    };
    store
        .expect_get()
        .returning(move |_| Ok(Some(Entry::new(*b"old", expired.clone()))));
    let cache = TaskCache::with_clock(Arc::new(store), clock());
    assert!(!is_stored(&cache, &policy()).await);
}

#[tokio::test]
async fn explain_names_the_nearest_entry_and_what_differs() {
    let cache = cache();
    let base = Fingerprint::builder().task("resize");
    let input = |text: &str| base.clone().input(text);
    let unknown = input("1").build();
    assert_eq!(
        cache.explain("resize", &unknown).await.unwrap(),
        Explanation::Unknown
    );
    let far = input("1").salt("s").environment("LANG", Some("C")).build();
    let near = input("2").build();
    for fingerprint in [&far, &near] {
        let policy = policy().fingerprint(fingerprint.clone());
        let Begin::Lead(permit) = cache.begin(&fingerprint.key(), &policy).await else {
            panic!("nothing is stored")
        };
        cache.commit(permit, success(b"x")).await.unwrap();
    }
    let Explanation::Stored(listing) = cache.explain("resize", &near).await.unwrap() else {
        panic!("it is stored")
    };
    assert_eq!(listing.key, near.key());
    let Explanation::Differs {
        nearest,
        differences,
    } = cache.explain("resize", &input("3").build()).await.unwrap()
    else {
        panic!("something comparable is stored")
    };
    assert_eq!(nearest.key, near.key());
    assert_eq!(
        differences
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["the input changed"]
    );
}
