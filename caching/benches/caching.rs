//! Measures the time of a hit, of a put and of many concurrent callers, each compared to a reference in the same run.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails says where")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ratchet_caching::{
    Cache, DiskCache, DiskOptions, Entry, Key, Labels, MemoryCache, Metadata, Policy, TaskCache,
    TieredCache,
};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn entry(size: usize) -> Entry {
    Entry::new(vec![7; size], Metadata::new(SystemTime::UNIX_EPOCH))
}

/// Reference: a map behind a lock, without expiry, eviction or counting.
fn memory(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("memory hit");
    let keys: Vec<Key> = (0_u32..1_000)
        .map(|number| Key::of(&number.to_le_bytes()))
        .collect();
    let map: Mutex<HashMap<Key, Entry>> = keys
        .iter()
        .map(|key| (*key, entry(1_024)))
        .collect::<HashMap<_, _>>()
        .into();
    let cache = MemoryCache::new(64 << 20);
    for key in &keys {
        runtime.block_on(cache.put(key, entry(1_024))).unwrap();
    }
    let mut next = keys.iter().cycle();
    group.bench_function("reference: a locked map", |b| {
        b.iter(|| map.lock().unwrap().get(next.next().unwrap()).cloned());
    });
    group.bench_function("MemoryCache", |b| {
        b.iter_custom(|rounds| runtime.block_on(timed(rounds, || cache.get(next.next().unwrap()))));
    });
    group.finish();
}

/// Runs an operation this often within one runtime, so that entering the runtime is not measured.
async fn timed<T>(rounds: u64, mut operation: impl AsyncFnMut() -> T) -> std::time::Duration {
    let start = tokio::time::Instant::now();
    for _ in 0..rounds {
        black_box(operation().await);
    }
    start.elapsed()
}

/// Reference: one file per value, read without any check.
fn disk_hit(c: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<Key> = (0_u32..1_000)
        .map(|number| Key::of(&number.to_le_bytes()))
        .collect();
    let mut group = c.benchmark_group("disk hit");
    for size in [1 << 10, 1 << 20] {
        let keys = if size > 1 << 10 {
            &keys[..20]
        } else {
            &keys[..]
        };
        let cache = DiskCache::new(DiskOptions::at(folder.path().join(size.to_string())));
        for key in keys {
            runtime.block_on(cache.put(key, entry(size))).unwrap();
            std::fs::write(folder.path().join(key.to_string()), entry(size).value()).unwrap();
        }
        let (mut next, missing) = (keys.iter().cycle(), Key::from_bytes([1; 32]));
        group.bench_function(BenchmarkId::new("reference: reading a file", size), |b| {
            b.iter(|| std::fs::read(folder.path().join(next.next().unwrap().to_string())).unwrap());
        });
        group.bench_function(BenchmarkId::new("DiskCache", size), |b| {
            b.iter_custom(|rounds| {
                runtime.block_on(timed(rounds, || cache.get(next.next().unwrap())))
            });
        });
        group.bench_function(BenchmarkId::new("DiskCache, a miss", size), |b| {
            b.iter_custom(|rounds| runtime.block_on(timed(rounds, || cache.get(&missing))));
        });
    }
    group.finish();
}

/// Reference: writing a file and syncing it.
fn disk_put(c: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let cache = Arc::new(DiskCache::new(DiskOptions::at(folder.path().join("cache"))));
    let mut group = c.benchmark_group("put of 1 KB");
    group.sample_size(10);
    let mut number = 0_u64;
    group.bench_function("reference: a synced file", |b| {
        b.iter(|| {
            number += 1;
            let mut file = std::fs::File::create(folder.path().join(number.to_string())).unwrap();
            std::io::Write::write_all(&mut file, &[7; 1_024]).unwrap();
            file.sync_data().unwrap();
        });
    });
    group.bench_function("DiskCache", |b| {
        b.iter(|| {
            number += 1;
            runtime
                .block_on(cache.put(&Key::of(&number.to_le_bytes()), entry(1_024)))
                .unwrap();
        });
    });
    group.bench_function("DiskCache, each of 64 at once", |b| {
        b.iter_custom(|rounds| {
            runtime.block_on(async {
                let start = tokio::time::Instant::now();
                for _ in 0..rounds.div_ceil(64) {
                    let mut puts = tokio::task::JoinSet::new();
                    for _ in 0..64 {
                        number += 1;
                        let (cache, key) = (Arc::clone(&cache), Key::of(&number.to_le_bytes()));
                        puts.spawn(async move { cache.put(&key, entry(1_024)).await });
                    }
                    puts.join_all().await;
                }
                start.elapsed().mul_f64(rounds_of(rounds))
            })
        });
    });
    let memory = MemoryCache::new(64 << 20);
    group.bench_function("MemoryCache", |b| {
        b.iter(|| {
            number += 1;
            runtime
                .block_on(memory.put(&Key::of(&number.to_le_bytes()), entry(1_024)))
                .unwrap();
        });
    });
    group.finish();
}

/// Returns the share of the requested puts among those that were done, which are a multiple of 64.
#[expect(clippy::cast_precision_loss, reason = "a ratio of small counts")]
fn rounds_of(rounds: u64) -> f64 {
    rounds as f64 / (rounds.div_ceil(64) * 64) as f64
}

/// Measures a thousand tasks that request one key at once. The reference is a thousand tasks that do nothing.
fn crowd(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("1,000 askers of one key");
    group.bench_function("reference: tasks that do nothing", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..1_000 {
                    tasks.spawn(async {});
                }
                tasks.join_all().await
            })
        });
    });
    let policy = Policy::cacheable(Labels {
        task: "t".into(),
        ..Labels::default()
    });
    let cache = TaskCache::new(Arc::new(MemoryCache::new(64 << 20)));
    let mut number = 0_u64;
    group.bench_function("get_or_compute", |b| {
        b.iter(|| {
            number += 1;
            runtime.block_on(async {
                let mut askers = tokio::task::JoinSet::new();
                for _ in 0..1_000 {
                    let (cache, policy) = (cache.clone(), policy.clone());
                    askers.spawn(async move {
                        let compute = || async {
                            tokio::task::yield_now().await;
                            Ok(Arc::from(*b"result"))
                        };
                        cache
                            .get_or_compute(&Key::of(&number.to_le_bytes()), &policy, compute)
                            .await
                    });
                }
                askers.join_all().await
            })
        });
    });
    group.finish();
}

/// Reference: the store without the task cache.
fn lookup(c: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(DiskCache::new(DiskOptions::at(folder.path())));
    let near = Arc::new(MemoryCache::new(64 << 20));
    let store: Arc<dyn Cache> = Arc::new(TieredCache::new(near, disk));
    let cache = TaskCache::new(Arc::clone(&store));
    let policy = Policy::cacheable(Labels::default());
    let key = Key::of(b"k");
    runtime.block_on(store.put(&key, entry(1_024))).unwrap();
    let mut group = c.benchmark_group("hit through all layers");
    group.bench_function("reference: TieredCache::get", |b| {
        b.iter_custom(|rounds| runtime.block_on(timed(rounds, || store.get(&key))));
    });
    group.bench_function("TaskCache::lookup", |b| {
        b.iter_custom(|rounds| runtime.block_on(timed(rounds, || cache.lookup(&key, &policy))));
    });
    group.bench_function("TaskCache::begin", |b| {
        b.iter_custom(|rounds| runtime.block_on(timed(rounds, || cache.begin(&key, &policy))));
    });
    group.finish();
}

criterion_group!(benches, memory, disk_hit, disk_put, crowd, lookup);
criterion_main!(benches);
