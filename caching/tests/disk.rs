//! Tests the disk cache within one process.

#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(
    clippy::clone_on_ref_ptr,
    reason = "`clone` also turns a concrete clock into a `dyn` one"
)]

#[path = "folders/cache.rs"]
mod cache;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ratchet_caching::{
    Cache, CacheError, Clock, DiskCache, Entry, EntryKind, Fingerprint, Labels, ManualClock,
    Metadata, Selector,
};

use cache::{entry, files, folder, key, options, schema_folder};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
    ))
}

#[tokio::test]
async fn small_and_large_values_are_returned_even_after_a_restart() {
    let folder = folder();
    let labels = Labels {
        task: "t".into(),
        worker: "w".into(),
        tags: vec!["x".into()],
    };
    let metadata = Metadata {
        kind: EntryKind::PermanentFailure,
        created: SystemTime::UNIX_EPOCH + Duration::from_nanos(123_456_789),
        expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33)),
        labels,
        cost: Duration::from_millis(7),
        fingerprint: Some(Fingerprint::builder().task("t").build()),
    };
    let values = [
        ("empty", vec![]),
        ("small", vec![1; 1_000]),
        ("large", vec![2; 1_001]),
        ("huge", vec![3; 3_000_000]),
    ];
    for restart in [false, true] {
        let cache = DiskCache::new(options(&folder));
        for (name, value) in &values {
            let entry = Entry::new(value.clone(), metadata.clone());
            if !restart {
                assert_eq!(cache.get(&key(name)).await.unwrap(), None);
                cache.put(&key(name), entry.clone()).await.unwrap();
            }
            assert_eq!(cache.get(&key(name)).await.unwrap(), Some(entry), "{name}");
        }
        let stats = cache.stats().await.unwrap();
        assert_eq!((stats.entries, stats.hits, stats.quarantined), (4, 4, 0));
        assert!(stats.bytes > 3_002_001);
        assert_eq!(cache.list(&Selector::tag("x")).await.unwrap().len(), 4);
        cache.close().await;
    }
    assert_eq!(files(&schema_folder(&folder).join("files")).len(), 2);
}

#[tokio::test]
async fn replacing_and_dropping_an_entry_leaves_no_file_behind() {
    let folder = folder();
    let cache = DiskCache::new(options(&folder));
    let value_files = || files(&schema_folder(&folder).join("files")).len();
    for (value, expected) in [
        (vec![1; 5_000], 1),
        (vec![1; 5_000], 1),
        (vec![2; 5_000], 1),
        (vec![3; 10], 0),
        (vec![4; 5_000], 1),
    ] {
        cache.put(&key("a"), entry(&value)).await.unwrap();
        assert_eq!(cache.get(&key("a")).await.unwrap().unwrap().value(), value);
        assert_eq!(value_files(), expected);
    }
    cache.put(&key("b"), entry(&[4; 5_000])).await.unwrap();
    assert_eq!(value_files(), 2);
    assert_eq!(cache.invalidate(&Selector::key(key("a"))).await.unwrap(), 1);
    assert_eq!(
        cache.get(&key("b")).await.unwrap().unwrap().value(),
        [4; 5_000]
    );
    assert_eq!(cache.invalidate(&Selector::all()).await.unwrap(), 1);
    let stats = cache.stats().await.unwrap();
    assert_eq!((value_files(), stats.entries, stats.bytes), (0, 0, 0));
}

#[tokio::test]
async fn entries_expire_by_the_given_clock() {
    let (folder, clock) = (folder(), clock());
    let cache = DiskCache::new(options(&folder).clock(clock.clone()));
    for (name, size) in [("small", 10), ("large", 5_000)] {
        let metadata = Metadata {
            expires: Some(clock.now() + Duration::from_secs(60)),
            ..Metadata::new(clock.now())
        };
        cache
            .put(&key(name), Entry::new(vec![1; size], metadata))
            .await
            .unwrap();
    }
    clock.advance(Duration::from_secs(59));
    assert!(cache.get(&key("small")).await.unwrap().is_some());
    assert!(cache.get(&key("large")).await.unwrap().is_some());
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get(&key("small")).await.unwrap(), None);
    assert_eq!(cache.get(&key("large")).await.unwrap(), None);
    // A lookup removes an expired entry before it returns.
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.expired, stats.entries, stats.bytes), (2, 0, 0));
}

#[tokio::test]
async fn an_invalidation_drops_the_selected_entries_only() {
    let (folder, clock) = (folder(), clock());
    let cache = DiskCache::new(options(&folder).clock(clock.clone()));
    for (name, task, worker, tag) in [
        ("a", "resize", "w1", "x"),
        ("b", "resize", "w2", "y"),
        ("c", "count", "w1", "y"),
        ("d", "count", "w2", "z"),
    ] {
        let labels = Labels {
            task: task.into(),
            worker: worker.into(),
            tags: vec![tag.into()],
        };
        let metadata = Metadata {
            labels,
            ..Metadata::new(clock.now())
        };
        cache
            .put(&key(name), Entry::new(vec![1; 2_000], metadata))
            .await
            .unwrap();
        clock.advance(Duration::from_secs(10));
    }
    let mut dropped = Vec::new();
    for selector in [
        Selector::task("missing"),
        Selector::task("resize").and_worker("w2"),
        Selector::tag("z"),
        Selector::older_than(Duration::from_secs(30), clock.now()),
        Selector::worker("w1"),
    ] {
        dropped.push(cache.invalidate(&selector).await.unwrap());
    }
    assert_eq!(dropped, [0, 1, 1, 1, 1]);
    assert_eq!(cache.stats().await.unwrap().entries, 0);
}

#[tokio::test]
async fn the_limit_holds_and_the_least_recently_used_entries_go_first() {
    let (folder, clock) = (folder(), clock());
    let cache = DiskCache::new(options(&folder).clock(clock.clone()).max_bytes(100_000));
    let tick = || clock.advance(Duration::from_secs(1));
    cache.put(&key("kept"), entry(&[0; 5_000])).await.unwrap();
    let gone = Metadata {
        expires: Some(clock.now() + Duration::from_secs(1)),
        ..Metadata::new(clock.now())
    };
    cache
        .put(&key("expired"), Entry::new(vec![0; 50_000], gone))
        .await
        .unwrap();
    for number in 0..100 {
        tick();
        cache
            .put(&key(&number.to_string()), entry(&[0; 5_000]))
            .await
            .unwrap();
        tick();
        assert!(
            cache.get(&key("kept")).await.unwrap().is_some(),
            "it is used all the time ({number})"
        );
        let stats = cache.stats().await.unwrap();
        assert!(stats.bytes <= 100_000, "{stats:?}");
        // Expired entries are dropped before any other entry.
        assert!(
            number > 7 || cache.get(&key("0")).await.unwrap().is_some(),
            "{number}"
        );
    }
    let stats = cache.stats().await.unwrap();
    assert_eq!(stats.entries + stats.evicted, 102);
    assert!(cache.get(&key("99")).await.unwrap().is_some());
    assert_eq!(cache.get(&key("50")).await.unwrap(), None);
    assert_eq!(
        files(&schema_folder(&folder).join("files")).len() as u64,
        stats.entries
    );
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused_and_the_old_entry_dropped() {
    let folder = folder();
    let cache = DiskCache::new(options(&folder).max_bytes(10_000));
    cache.put(&key("a"), entry(b"old")).await.unwrap();
    let refused = cache.put(&key("a"), entry(&[0; 10_000])).await;
    assert!(matches!(
        refused,
        Err(CacheError::TooLarge { limit: 10_000, .. })
    ));
    cache.stats().await.unwrap();
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let folder = folder();
    let cache = DiskCache::new(options(&folder));
    cache.put(&key("a"), entry(b"small")).await.unwrap();
    cache.put(&key("b"), entry(&[0; 5_000])).await.unwrap();
    let root = folder.path().join("cache");
    let mut checked = 0;
    let mut pending = vec![root.clone()];
    while let Some(path) = pending.pop() {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            mode,
            if path.is_dir() { 0o700 } else { 0o600 },
            "{}",
            path.display()
        );
        checked += 1;
        if path.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|item| item.unwrap().path()),
            );
        }
    }
    assert!(checked >= 12, "{checked}");
}

#[tokio::test]
async fn two_caches_of_one_folder_see_the_changes_of_each_other() {
    let folder = folder();
    let (first, second) = (
        DiskCache::new(options(&folder)),
        DiskCache::new(options(&folder)),
    );
    for number in 0_u32..20 {
        let (name, value) = (number.to_string(), vec![1; 500 * number as usize]);
        first.put(&key(&name), entry(&value)).await.unwrap();
        assert_eq!(
            second.get(&key(&name)).await.unwrap().unwrap().value(),
            value
        );
        second.invalidate(&Selector::key(key(&name))).await.unwrap();
        assert_eq!(first.get(&key(&name)).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_and_gets_at_the_same_time_do_not_disturb_each_other() {
    let folder = folder();
    let cache = Arc::new(DiskCache::new(options(&folder)));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0_u8..8 {
        let cache = cache.clone();
        tasks.spawn(async move {
            for number in 0_u8..50 {
                let name = format!("{task}-{number}");
                let value = vec![task; usize::from(number) * 40];
                cache.put(&key(&name), entry(&value)).await.unwrap();
                assert_eq!(
                    cache.get(&key(&name)).await.unwrap().unwrap().value(),
                    value
                );
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(cache.stats().await.unwrap().entries, 400);
}
