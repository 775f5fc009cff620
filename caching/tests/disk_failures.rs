//! Tests the disk cache when the disk, the folder or another process fails.

#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "folders/cache.rs"]
mod cache;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use ratchet_caching::{Cache, CacheError, Clock, DiskCache, Labels, Policy, Selector, TaskCache};

use cache::{entry, files, folder, key, options, schema_folder};

#[tokio::test]
async fn a_damaged_value_file_is_a_miss_and_set_aside() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage, u64); 4] = [
        (
            "a flipped bit",
            |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[2_500] ^= 4;
                fs::write(path, bytes).unwrap();
            },
            1,
        ),
        (
            "cut off",
            |path| {
                fs::OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(4_999)
                    .unwrap();
            },
            1,
        ),
        ("empty", |path| fs::write(path, "").unwrap(), 1),
        ("gone", |path| fs::remove_file(path).unwrap(), 0),
    ];
    for (what, damage, set_aside) in damages {
        let folder = folder();
        let cache = DiskCache::new(options(&folder));
        cache.put(&key("a"), entry(&[7; 5_000])).await.unwrap();
        damage(&files(&schema_folder(&folder).join("files"))[0]);
        assert_eq!(cache.get(&key("a")).await.unwrap(), None, "{what}");
        let stats = cache.stats().await.unwrap();
        assert_eq!(
            (stats.quarantined, stats.entries, stats.misses),
            (set_aside, 0, 1),
            "{what}"
        );
        assert_eq!(
            files(&schema_folder(&folder).join("quarantine")).len() as u64,
            set_aside,
            "{what}"
        );
        cache.put(&key("a"), entry(&[8; 5_000])).await.unwrap();
        assert_eq!(
            cache.get(&key("a")).await.unwrap().unwrap().value(),
            [8; 5_000],
            "{what}"
        );
    }
}

#[tokio::test]
async fn an_index_that_is_no_database_is_set_aside() {
    for content in ["", "not an index", &"x".repeat(100_000)] {
        let folder = folder();
        fs::create_dir_all(schema_folder(&folder)).unwrap();
        fs::write(schema_folder(&folder).join("index-1.sqlite"), content).unwrap();
        owner_only(&folder);
        let cache = DiskCache::new(options(&folder));
        assert_eq!(cache.get(&key("a")).await.unwrap(), None);
        cache.put(&key("a"), entry(b"value")).await.unwrap();
        assert_eq!(
            cache.get(&key("a")).await.unwrap().unwrap().value(),
            b"value"
        );
        let set_aside = u64::from(!content.is_empty());
        assert_eq!(cache.stats().await.unwrap().quarantined, set_aside);
        assert_eq!(
            files(&schema_folder(&folder).join("quarantine")).len() as u64,
            set_aside
        );
    }
}

#[tokio::test]
async fn the_quarantine_does_not_grow_without_end() {
    let folder = folder();
    let cache = DiskCache::new(options(&folder));
    for number in 0..40 {
        cache.put(&key("a"), entry(&[number; 5_000])).await.unwrap();
        fs::write(
            &files(&schema_folder(&folder).join("files"))[0],
            [255; 5_000],
        )
        .unwrap();
        assert_eq!(cache.get(&key("a")).await.unwrap(), None);
    }
    assert_eq!(files(&schema_folder(&folder).join("quarantine")).len(), 16);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_of_each_operation() {
    let folder = folder();
    fs::write(
        folder.path().join("cache"),
        "a file where the folder should be",
    )
    .unwrap();
    let cache = DiskCache::new(options(&folder));
    for _ in 0..2 {
        let error = cache.get(&key("a")).await.unwrap_err();
        assert!(
            matches!(
                error,
                CacheError::Io {
                    action: "create",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(cache.put(&key("a"), entry(b"small")).await.is_err());
        assert!(cache.put(&key("a"), entry(&[0; 5_000])).await.is_err());
        assert!(cache.invalidate(&Selector::all()).await.is_err());
    }
    // The cache uses the folder as soon as that is possible.
    fs::remove_file(folder.path().join("cache")).unwrap();
    cache.put(&key("a"), entry(b"small")).await.unwrap();
    assert!(cache.get(&key("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_folder_removed_under_a_running_cache_costs_entries_and_nothing_else() {
    let folder = folder();
    let cache = DiskCache::new(options(&folder));
    cache.put(&key("a"), entry(&[0; 5_000])).await.unwrap();
    fs::remove_dir_all(folder.path().join("cache")).unwrap();
    assert_eq!(cache.get(&key("a")).await.unwrap(), None);
    cache.put(&key("a"), entry(&[1; 5_000])).await.unwrap();
    assert_eq!(
        cache.get(&key("a")).await.unwrap().unwrap().value(),
        [1; 5_000]
    );
}

#[tokio::test]
async fn folders_of_older_schemas_are_removed_and_nothing_else() {
    let folder = folder();
    let root = folder.path().join("cache");
    for name in ["results-v1", "results-v3", "results-vx", "documents"] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("turn.lock"), "").unwrap();
    }
    owner_only(&folder);
    DiskCache::new(options(&folder)).stats().await.unwrap();
    let mut left: Vec<_> = fs::read_dir(&root)
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "CACHEDIR.TAG",
            "documents",
            "results-v2",
            "results-v3",
            "results-vx"
        ]
    );
}

#[tokio::test]
async fn a_folder_of_an_older_schema_in_use_stays() {
    let folder = folder();
    let old = folder.path().join("cache/results-v1");
    fs::create_dir_all(&old).unwrap();
    let lock = fs::File::create(old.join("turn.lock")).unwrap();
    lock.lock().unwrap();
    owner_only(&folder);
    DiskCache::new(options(&folder)).stats().await.unwrap();
    assert!(old.exists());
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_unless_somebody_is_writing_them() {
    let folder = folder();
    DiskCache::new(options(&folder)).stats().await.unwrap();
    let schema = schema_folder(&folder);
    fs::create_dir_all(schema.join("files/ab")).unwrap();
    fs::write(schema.join("files/ab/orphan"), "x").unwrap();
    fs::write(schema.join("incoming/dead"), "x").unwrap();
    let writing = fs::File::create(schema.join("incoming/alive")).unwrap();
    writing.lock().unwrap();
    DiskCache::new(options(&folder)).stats().await.unwrap();
    assert!(!schema.join("files/ab/orphan").exists());
    assert!(!schema.join("incoming/dead").exists());
    assert!(schema.join("incoming/alive").exists());
}

/// Creates the folders with the modes that a cache gives them, regardless of the umask of this process.
fn owner_only(folder: &tempfile::TempDir) {
    let (root, schema) = (folder.path().join("cache"), schema_folder(folder));
    for path in files(&root).into_iter().chain([root, schema]) {
        if path.exists() {
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// Acts as another process in the middle of a transaction. It is a connection of this process, which `SQLite` locks in
/// the same way.
fn writer_at_work(folder: &tempfile::TempDir) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(schema_folder(folder).join("index-1.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_does_not_end_costs_puts_but_no_hits() {
    let folder = folder();
    let busy_timeout = Duration::from_millis(50);
    let cache = DiskCache::new(options(&folder).busy_timeout(busy_timeout));
    cache.put(&key("a"), entry(b"value")).await.unwrap();
    let other = writer_at_work(&folder);
    for number in 0..100 {
        // Only the first put waits. A hundred waits would exceed the deadline.
        let error = cache.put(&key("b"), entry(b"value")).await.unwrap_err();
        let expected = if number == 0 {
            busy_timeout
        } else {
            Duration::ZERO
        };
        assert!(
            matches!(error, CacheError::Busy { waited, .. } if waited == expected),
            "{error:?}"
        );
        assert!(cache.get(&key("a")).await.unwrap().is_some());
    }
    other.execute_batch("ROLLBACK").unwrap();
    // Once the other process has ended its transaction, puts work again.
    cache.put(&key("b"), entry(b"value")).await.unwrap();
    assert!(cache.get(&key("b")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_job_whose_result_cannot_be_stored_in_time_succeeds_all_the_same() {
    let folder = folder();
    let disk = DiskCache::new(options(&folder).busy_timeout(Duration::from_millis(20)));
    disk.put(&key("a"), entry(b"value")).await.unwrap();
    let _other = writer_at_work(&folder);
    let cache = TaskCache::new(Arc::new(disk));
    let policy = Policy::cacheable(Labels::default());
    let compute = || async { Ok(Arc::from(*b"result")) };
    let answer = cache.get_or_compute(&key("b"), &policy, compute).await;
    assert_eq!(answer.outcome, Ok(Arc::from(*b"result")));
    assert_eq!(cache.stats().await.unwrap().failures, 1);
}

#[tokio::test]
async fn a_cache_that_other_users_may_write_is_refused_with_its_path() {
    for (number, exposed) in [
        "",
        "results-v2",
        "results-v2/index-1.sqlite",
        "results-v2/files",
    ]
    .into_iter()
    .enumerate()
    {
        let folder = folder();
        let cache = DiskCache::new(options(&folder));
        cache.put(&key("a"), entry(&[1; 5_000])).await.unwrap();
        cache.close().await;
        let path = folder.path().join("cache").join(exposed);
        let mode = path.metadata().unwrap().permissions().mode();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o020)).unwrap();
        let cache = DiskCache::new(options(&folder));
        for _ in 0..2 {
            let error = cache.get(&key("a")).await.unwrap_err();
            assert!(
                matches!(&error, CacheError::WritableByOthers { path: found, .. } if found.ends_with(exposed)),
                "{number} {error:?}"
            );
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(cache.get(&key("a")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_cache_of_another_user_is_refused_with_its_path() {
    // Only root can change the owner of a file. For other users, a unit test of `ownership` covers the decision.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for foreign in [
        "",
        "results-v2",
        "results-v2/index-1.sqlite",
        "results-v2/files/*",
    ] {
        let folder = folder();
        let cache = DiskCache::new(options(&folder));
        cache.put(&key("a"), entry(&[1; 5_000])).await.unwrap();
        cache.close().await;
        let path = match foreign.strip_suffix("/*") {
            Some(parent) => files(&folder.path().join("cache").join(parent)).remove(0),
            None => folder.path().join("cache").join(foreign),
        };
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let cache = DiskCache::new(options(&folder));
        let error = cache.get(&key("a")).await.unwrap_err();
        assert!(
            matches!(&error, CacheError::WrongOwner { owner: 12_345, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("uid 12345"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        assert!(cache.get(&key("a")).await.unwrap().is_some());
    }
}

/// A clock that panics on request.
struct BreakingClock(Arc<AtomicBool>);

impl Clock for BreakingClock {
    fn now(&self) -> SystemTime {
        assert!(!self.0.load(Ordering::Relaxed), "the clock is broken");
        SystemTime::UNIX_EPOCH
    }
}

#[tokio::test]
async fn a_panic_within_a_transaction_rolls_it_back_and_blocks_nobody() {
    let folder = folder();
    let broken = Arc::new(AtomicBool::new(false));
    let clock = BreakingClock(Arc::clone(&broken));
    let cache = DiskCache::new(options(&folder).clock(Arc::new(clock)));
    cache.put(&key("a"), entry(b"value")).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let put = cache.put(&key("b"), entry(b"value")).await;
        assert!(
            matches!(put, Err(CacheError::NotPerformed { .. })),
            "{put:?}"
        );
    }
    // Neither another cache nor this one is blocked, and the stored entries are still there.
    broken.store(false, Ordering::Relaxed);
    cache.put(&key("b"), entry(b"value")).await.unwrap();
    let other = DiskCache::new(options(&folder));
    assert!(other.get(&key("a")).await.unwrap().is_some());
    other.close().await;
    cache.close().await;
}

#[test]
fn a_disk_cache_works_without_an_async_runtime() {
    let folder = folder();
    let cache = TaskCache::new(Arc::new(DiskCache::new(options(&folder))));
    let policy = Policy::cacheable(Labels::default());
    for value in [&b"small"[..], &[0; 5_000]] {
        let compute = || async { Ok(Arc::from(value)) };
        let key = ratchet_caching::Key::of(value);
        let answer = block_on(cache.get_or_compute(&key, &policy, compute));
        assert_eq!(answer.source, ratchet_caching::Source::Computed(Ok(())));
        let answer = block_on(cache.get_or_compute(&key, &policy, compute));
        assert_eq!(answer.source, ratchet_caching::Source::Stored);
        assert_eq!(answer.outcome, Ok(Arc::from(value)));
    }
}

/// Runs a future without an async runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
