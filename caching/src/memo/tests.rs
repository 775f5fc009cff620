use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::cache::MockCache;
use crate::clock::ManualClock;
use crate::map_cache::MapCache;

type Nothing = std::convert::Infallible;

fn cache() -> (TaskCache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH));
    let store = Arc::new(MapCache::default());
    (TaskCache::with_clock(store, Arc::clone(&clock) as _), clock)
}

fn key() -> CallKey {
    CallKey::new("area", &(2, 3)).unwrap()
}

#[tokio::test]
async fn a_result_is_computed_once_and_its_error_never_stored() {
    let (cache, _) = cache();
    let failed = cache.memo(&key(), async || Err::<f64, _>("broken")).await;
    assert_eq!(failed, Err("broken"));
    for _ in 0..2 {
        let calls = Cell::new(0);
        let compute = async || {
            calls.set(calls.get() + 1);
            Ok::<_, &str>(f64::INFINITY)
        };
        assert_eq!(cache.memo(&key(), compute).await, Ok(f64::INFINITY));
    }
    let stats = cache.stats().await.unwrap();
    // The failure and the first result were computed.
    assert_eq!((stats.computed, stats.stored, stats.hits), (2, 1, 1));
    assert_eq!(stats.misses.absent, 2);
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_computation() {
    let (cache, _) = cache();
    let mut callers = JoinSet::new();
    for caller in 0..10 {
        let cache = cache.clone();
        callers.spawn(async move {
            let compute = async || {
                yield_now().await;
                Ok::<_, Nothing>(caller)
            };
            cache.memo(&key(), compute).await.unwrap()
        });
    }
    let results = callers.join_all().await;
    assert!(results.iter().all(|one| *one == results[0]), "{results:?}");
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.computed, stats.shared), (1, 9));
}

#[tokio::test]
async fn callers_who_wait_for_a_failure_compute_for_themselves() {
    let (cache, _) = cache();
    let fail = async || {
        yield_now().await;
        Err::<u32, _>("broken")
    };
    let succeed = async || Ok::<_, &str>(7);
    let key = key();
    let (first, second) = tokio::join!(cache.memo(&key, fail), cache.memo(&key, succeed));
    assert_eq!((first, second), (Err("broken"), Ok(7)));
}

#[tokio::test]
async fn a_result_of_another_type_is_replaced() {
    let (cache, _) = cache();
    cache
        .memo(&key(), async || Ok::<_, Nothing>(1_u32))
        .await
        .unwrap();
    let wide = cache.memo(&key(), async || Ok::<_, Nothing>(2_u64)).await;
    assert_eq!(wide, Ok(2));
    let stored = cache.memo(&key(), async || Ok::<_, Nothing>(3_u64)).await;
    assert_eq!(stored, Ok(2));
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.misses.unreadable, stats.stored), (1, 2));
}

#[tokio::test]
async fn a_result_is_used_no_longer_than_its_key_says() {
    let (cache, clock) = cache();
    let key = key().time_to_live(Duration::from_secs(60));
    let call = async |value: u32| cache.memo(&key, async || Ok::<_, Nothing>(value)).await;
    assert_eq!(call(1).await, Ok(1));
    clock.advance(Duration::from_secs(59));
    assert_eq!(call(2).await, Ok(1));
    clock.advance(Duration::from_secs(1));
    assert_eq!(call(3).await, Ok(3));
}

#[tokio::test]
async fn a_result_that_cannot_be_serialised_is_returned_all_the_same() {
    /// A value that cannot be serialised.
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Secret(u32);
    impl Serialize for Secret {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it is secret"))
        }
    }
    let (cache, _) = cache();
    for value in [1, 2] {
        let result = cache
            .memo(&key(), async || Ok::<_, Nothing>(Secret(value)))
            .await;
        assert_eq!(result, Ok(Secret(value)));
    }
    assert_eq!(cache.stats().await.unwrap().stored, 0);
}

#[tokio::test]
async fn a_cache_that_fails_costs_a_computation_and_no_error() {
    let mut store = MockCache::new();
    let broken = || crate::CacheError::NotPerformed {
        source: Arc::new(std::io::ErrorKind::WouldBlock.into()),
    };
    store.expect_get().returning(move |_| Err(broken()));
    store.expect_put().returning(move |_, _| Err(broken()));
    store
        .expect_stats()
        .returning(|| Ok(crate::Stats::default()));
    let cache = TaskCache::new(Arc::new(store));
    assert_eq!(
        cache.memo(&key(), async || Ok::<_, Nothing>(5)).await,
        Ok(5)
    );
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.misses.failed, stats.failures), (1, 2));
}

#[tokio::test]
async fn a_call_that_is_dropped_lets_another_caller_compute() {
    let (cache, _) = cache();
    let key = key();
    let endless = cache.memo(&key, std::future::pending::<Result<u32, Nothing>>);
    tokio::select! {
        biased;
        _ = endless => unreachable!("it never ends"),
        () = yield_now() => {}
    }
    assert_eq!(cache.memo(&key, async || Ok::<_, Nothing>(1)).await, Ok(1));
}
