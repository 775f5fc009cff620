#![expect(
    clippy::clone_on_ref_ptr,
    reason = "`clone` also turns a concrete clock into a `dyn` one"
)]

use super::*;
use crate::clock::{ManualClock, MockClock};
use crate::entry::{EntryKind, Labels};

const MINUTE: Duration = Duration::from_secs(60);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemTime::UNIX_EPOCH))
}

fn key(name: &str) -> Key {
    Key::of(name.as_bytes())
}

fn entry(value: &[u8], metadata: Metadata) -> Entry {
    Entry::new(value, metadata)
}

fn plain(clock: &ManualClock) -> Metadata {
    Metadata::new(clock.now())
}

#[tokio::test]
async fn an_entry_is_returned_until_it_is_replaced_or_dropped() {
    let clock = clock();
    let cache = MemoryCache::new(1 << 20).clock(clock.clone());
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
    for value in [b"one", b"two"] {
        cache
            .put(&key("a"), entry(value, plain(&clock)))
            .await
            .unwrap();
        assert_eq!(cache.get(&key("a")).await.unwrap().unwrap().value(), value);
    }
    assert_eq!(cache.get(&key("b")).await.unwrap(), None);
    assert_eq!(cache.invalidate(&Selector::key(key("b"))).await.unwrap(), 0);
    assert_eq!(cache.invalidate(&Selector::key(key("a"))).await.unwrap(), 1);
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
    let Stats {
        entries,
        hits,
        misses,
        puts,
        ..
    } = cache.stats().await.unwrap();
    assert_eq!((entries, hits, misses, puts), (0, 2, 3, 2));
}

#[tokio::test]
async fn entries_expire_by_their_own_time_by_age_and_by_idleness() {
    let clock = clock();
    let plainly = MemoryCache::new(1 << 20).clock(clock.clone());
    let aging = MemoryCache::new(1 << 20)
        .clock(clock.clone())
        .time_to_live(MINUTE * 10);
    let idling = MemoryCache::new(1 << 20)
        .clock(clock.clone())
        .time_to_idle(MINUTE * 4);
    let expires = Some(clock.now() + MINUTE * 8);
    plainly
        .put(
            &key("a"),
            entry(
                b"x",
                Metadata {
                    expires,
                    ..plain(&clock)
                },
            ),
        )
        .await
        .unwrap();
    aging
        .put(&key("a"), entry(b"x", plain(&clock)))
        .await
        .unwrap();
    idling
        .put(&key("a"), entry(b"x", plain(&clock)))
        .await
        .unwrap();
    let mut lived = [0; 3];
    for minute in 0..20 {
        for (cache, lived) in [&plainly, &aging, &idling].into_iter().zip(&mut lived) {
            // The idle one is only read every third minute, until minute 9.
            let ask = !std::ptr::eq(cache, &raw const idling)
                || (minute % 3 == 0 && minute <= 9)
                || minute == 13;
            if ask && cache.get(&key("a")).await.unwrap().is_some() {
                *lived = minute;
            }
        }
        clock.advance(MINUTE);
    }
    assert_eq!(lived, [7, 9, 9]);
    assert_eq!(plainly.stats().await.unwrap().expired, 1);
    assert!(idling.list(&Selector::all()).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_limit_in_bytes_holds_and_evictions_are_counted() {
    let clock = clock();
    let cache = MemoryCache::new(100_000).clock(clock.clone());
    for number in 0..1_000 {
        cache
            .put(&key(&number.to_string()), entry(&[0; 1_000], plain(&clock)))
            .await
            .unwrap();
    }
    let stats = cache.stats().await.unwrap();
    assert!(stats.bytes <= 100_000 && stats.entries > 0, "{stats:?}");
    assert_eq!(stats.entries + stats.evicted, 1_000);
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused_and_the_old_entry_dropped() {
    let clock = clock();
    let cache = MemoryCache::new(10_000).clock(clock.clone());
    cache
        .put(&key("a"), entry(b"small", plain(&clock)))
        .await
        .unwrap();
    let refused = cache
        .put(&key("a"), entry(&[0; 10_000], plain(&clock)))
        .await;
    assert!(matches!(
        refused,
        Err(CacheError::TooLarge { limit: 10_000, .. })
    ));
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn selected_entries_are_listed_and_dropped() {
    let clock = clock();
    let cache = MemoryCache::new(1 << 20).clock(clock.clone());
    for (name, task) in [("a", "resize"), ("b", "resize"), ("c", "count")] {
        let labels = Labels {
            task: task.into(),
            ..Labels::default()
        };
        let metadata = Metadata {
            labels,
            kind: EntryKind::Success,
            ..plain(&clock)
        };
        cache
            .put(&key(name), entry(name.as_bytes(), metadata))
            .await
            .unwrap();
    }
    let listed = cache.list(&Selector::task("resize")).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|listing| listing.size == 1 && listing.metadata.labels.task == "resize")
    );
    assert_eq!(
        cache.invalidate(&Selector::task("resize")).await.unwrap(),
        2
    );
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
    assert!(cache.get(&key("c")).await.unwrap().is_some());
    assert_eq!(cache.invalidate(&Selector::all()).await.unwrap(), 1);
}

#[tokio::test]
async fn an_expired_entry_that_was_dropped_stays_away_when_the_clock_is_set_back() {
    let minutes = Arc::new(AtomicU64::new(0));
    let mut clock = MockClock::new();
    let shown = minutes.clone();
    clock.expect_now().returning(move || {
        SystemTime::UNIX_EPOCH + Duration::from_mins(shown.load(Ordering::Relaxed))
    });
    let cache = MemoryCache::new(1 << 20)
        .clock(Arc::new(clock))
        .time_to_live(MINUTE);
    let fresh = entry(b"x", Metadata::new(SystemTime::UNIX_EPOCH));
    cache.put(&key("a"), fresh).await.unwrap();
    minutes.store(20, Ordering::Relaxed);
    assert!(cache.list(&Selector::all()).await.unwrap().is_empty());
    assert_eq!(cache.invalidate(&Selector::all()).await.unwrap(), 1);
    minutes.store(0, Ordering::Relaxed);
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
}
