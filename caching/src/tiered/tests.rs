#![expect(
    clippy::clone_on_ref_ptr,
    reason = "every clone in a test is of a pointer"
)]

use std::sync::Mutex;
use std::time::SystemTime;

use mockall::Sequence;
use tokio::sync::Notify;

use super::*;
use crate::cache::MockCache;
use crate::entry::Metadata;
use crate::map_cache::MapCache;

/// Returns the error of a failing cache.
fn broken() -> CacheError {
    CacheError::NotPerformed {
        source: Arc::new(std::io::ErrorKind::WouldBlock.into()),
    }
}

fn key() -> Key {
    Key::of(b"k")
}

fn entry() -> Entry {
    Entry::new(*b"value", Metadata::new(SystemTime::UNIX_EPOCH))
}

fn tiered(near: MockCache, far: MockCache) -> TieredCache {
    TieredCache::new(Arc::new(near), Arc::new(far))
}

#[tokio::test]
async fn a_hit_in_the_near_cache_does_not_read_the_far_one() {
    let mut near = MockCache::new();
    near.expect_get().once().returning(|_| Ok(Some(entry())));
    assert_eq!(
        tiered(near, MockCache::new()).get(&key()).await.unwrap(),
        Some(entry())
    );
}

#[tokio::test]
async fn a_hit_in_the_far_cache_is_copied_to_the_near_one() {
    let (mut near, mut far) = (MockCache::new(), MockCache::new());
    near.expect_get().once().returning(|_| Ok(None));
    far.expect_get().once().returning(|_| Ok(Some(entry())));
    near.expect_put()
        .once()
        .withf(|_, kept| *kept == entry())
        .returning(|_, _| Ok(()));
    assert_eq!(tiered(near, far).get(&key()).await.unwrap(), Some(entry()));
}

#[tokio::test]
async fn a_near_cache_that_fails_does_not_prevent_hits_in_the_far_one() {
    let (mut near, mut far) = (MockCache::new(), MockCache::new());
    near.expect_get().returning(|_| Err(broken()));
    near.expect_put().returning(|_, _| Err(broken()));
    far.expect_get().once().returning(|_| Ok(Some(entry())));
    far.expect_get().once().returning(|_| Ok(None));
    let cache = tiered(near, far);
    assert_eq!(cache.get(&key()).await.unwrap(), Some(entry()));
    assert!(
        matches!(
            cache.get(&key()).await,
            Err(CacheError::NotPerformed { .. })
        ),
        "a miss of one and a failure of the other"
    );
}

#[tokio::test]
async fn a_put_reaches_both_and_failures_are_reported() {
    let too_large = || CacheError::TooLarge { size: 2, limit: 1 };
    let put = async |near_result: Result<(), CacheError>, far_result: Result<(), CacheError>| {
        let (mut near, mut far) = (MockCache::new(), MockCache::new());
        near.expect_put()
            .once()
            .returning(move |_, _| near_result.clone());
        far.expect_put()
            .once()
            .returning(move |_, _| far_result.clone());
        tiered(near, far).put(&key(), entry()).await
    };
    assert!(put(Ok(()), Ok(())).await.is_ok());
    assert!(
        put(Err(too_large()), Ok(())).await.is_ok(),
        "the far cache has it"
    );
    assert!(matches!(
        put(Err(broken()), Ok(())).await,
        Err(CacheError::NotPerformed { .. })
    ));
    assert!(matches!(
        put(Ok(()), Err(too_large())).await,
        Err(CacheError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn an_invalidation_reaches_the_far_cache_first_and_the_near_one_in_any_case() {
    for far_fails in [false, true] {
        let (mut near, mut far, mut order) = (MockCache::new(), MockCache::new(), Sequence::new());
        far.expect_invalidate()
            .once()
            .in_sequence(&mut order)
            .returning(move |_| if far_fails { Err(broken()) } else { Ok(3) });
        near.expect_invalidate()
            .once()
            .in_sequence(&mut order)
            .returning(|_| Ok(1));
        let dropped = tiered(near, far).invalidate(&Selector::all()).await;
        assert_eq!(dropped.ok(), (!far_fails).then_some(3));
    }
}

/// A cache whose `get` returns only when the test allows it, with what it found before.
#[derive(Default)]
struct SlowFar {
    asked: Notify,
    answer: Notify,
    kept: Mutex<Option<Entry>>,
}

#[async_trait]
impl Cache for SlowFar {
    async fn get(&self, _: &Key) -> Result<Option<Entry>, CacheError> {
        let found = self.kept.lock().unwrap().clone();
        self.asked.notify_one();
        self.answer.notified().await;
        Ok(found)
    }

    async fn put(&self, _: &Key, entry: Entry) -> Result<(), CacheError> {
        *self.kept.lock().unwrap() = Some(entry);
        Ok(())
    }

    async fn invalidate(&self, _: &Selector) -> Result<u64, CacheError> {
        Ok(self.kept.lock().unwrap().take().into_iter().count() as u64)
    }

    async fn list(&self, _: &Selector) -> Result<Vec<Listing>, CacheError> {
        unreachable!("nothing is listed in this test")
    }

    async fn stats(&self) -> Result<Stats, CacheError> {
        unreachable!("nothing is counted in this test")
    }
}

#[tokio::test]
async fn an_entry_found_before_an_invalidation_is_not_copied_after_it() {
    let mut near = MockCache::new();
    near.expect_get().returning(|_| Ok(None));
    near.expect_invalidate().once().returning(|_| Ok(0));
    near.expect_put().never();
    let far = Arc::new(SlowFar {
        kept: Mutex::new(Some(entry())),
        ..SlowFar::default()
    });
    let cache = Arc::new(TieredCache::new(Arc::new(near), far.clone()));
    let asker = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&key()).await }
    });
    far.asked.notified().await;
    assert_eq!(cache.invalidate(&Selector::all()).await.unwrap(), 1);
    far.answer.notify_one();
    assert_eq!(
        asker.await.unwrap().unwrap(),
        Some(entry()),
        "it was there when it was asked for"
    );
}

#[tokio::test]
async fn an_entry_found_before_a_put_does_not_replace_the_new_one() {
    let new = Entry::new(*b"new", Metadata::new(SystemTime::UNIX_EPOCH));
    let near = Arc::new(MapCache::default());
    let far = Arc::new(SlowFar {
        kept: Mutex::new(Some(entry())),
        ..SlowFar::default()
    });
    let cache = Arc::new(TieredCache::new(near.clone(), far.clone()));
    let asker = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&key()).await }
    });
    far.asked.notified().await;
    cache.put(&key(), new.clone()).await.unwrap();
    far.answer.notify_one();
    assert_eq!(asker.await.unwrap().unwrap(), Some(entry()));
    assert_eq!(cache.get(&key()).await.unwrap(), Some(new));
}
