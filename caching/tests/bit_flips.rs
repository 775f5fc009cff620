//! Checks that the cache detects flipped bits in each of its files.
//!
//! One bit is flipped at a time, in four hundred places of the index, in sixty of its log, and in three hundred of the
//! value files. Each time the whole cache is read from a copy. Nothing is synced, because no power is lost.

#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "folders/copy.rs"]
mod copy;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratchet_caching::{Cache, DiskCache, DiskOptions, Entry, Key, Metadata, Selector};

use copy::copy_folder;

const ENTRIES: u8 = 40;

fn value(number: u8) -> Vec<u8> {
    // Every fourth value is in a file.
    vec![number; if number.is_multiple_of(4) { 3_000 } else { 400 }]
}

fn open(folder: &Path) -> DiskCache {
    DiskCache::new(DiskOptions::at(folder).inline_limit(1_000).without_sync())
}

async fn fill(folder: &Path) {
    let cache = open(folder);
    put_all(&cache).await;
    cache.close().await;
}

async fn put_all(cache: &DiskCache) {
    for number in 0..ENTRIES {
        let entry = Entry::new(value(number), Metadata::new(SystemTime::UNIX_EPOCH));
        cache.put(&Key::of(&[number]), entry).await.unwrap();
    }
}

/// Reads all entries, and returns how many are intact and how many times damage was detected. A wrong value fails the
/// test.
async fn read(folder: &Path) -> (u8, u64) {
    let cache = open(folder);
    let mut whole = 0;
    for number in 0..ENTRIES {
        if let Some(entry) = cache.get(&Key::of(&[number])).await.unwrap() {
            assert!(entry.value() == value(number), "a wrong value was served");
            whole += 1;
        }
    }
    let _ = cache.list(&Selector::all()).await;
    let stats = cache.stats().await.unwrap_or_default();
    // A new put works in any case.
    let entry = Entry::new(value(0), Metadata::new(SystemTime::UNIX_EPOCH));
    cache.put(&Key::of(b"next"), entry.clone()).await.unwrap();
    assert_eq!(cache.get(&Key::of(b"next")).await.unwrap(), Some(entry));
    cache.close().await;
    (whole, stats.quarantined)
}

fn flip(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[position] ^= 1 << (position % 8);
    flipped
}

#[tokio::test]
async fn a_flipped_bit_in_the_index_causes_no_wrong_value_and_the_cache_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let index = folder.path().join("results-v2/index-1.sqlite");
    let bytes = fs::read(&index).unwrap();
    // The whole header, and offsets in all pages.
    let mut positions: Vec<usize> = (0..112).collect();
    positions.extend((0..300).map(|round| round * 1_237 % bytes.len()));
    let (mut damaged, mut missing) = (0, 0);
    for &position in &positions {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        fs::write(
            copy.path().join("results-v2/index-1.sqlite"),
            flip(&bytes, position),
        )
        .unwrap();
        // `read` checks for wrong values, and that an entry that is put afterwards is found.
        let (whole, quarantined) = read(copy.path()).await;
        damaged += u32::from(quarantined > 0);
        missing += u32::from(whole < ENTRIES && quarantined == 0);
    }
    // A key with a flipped bit is another key, so its entry is not found, which costs one run of its job. All other
    // damage is detected, or is in a page that is never read.
    assert!(damaged >= 100, "{damaged} noticed of {}", positions.len());
    assert!(missing <= 40, "{missing} missing of {}", positions.len());
    println!(
        "{damaged} noticed, {missing} missing, of {} flips",
        positions.len()
    );
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_causes_no_wrong_value_and_the_cache_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    put_all(&cache).await;
    // The state after a kill: the log was not copied to the index.
    let killed = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), killed.path());
    let log = "results-v2/index-1.sqlite-wal";
    let bytes = fs::read(killed.path().join(log)).unwrap();
    for round in 0..60 {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(killed.path(), copy.path());
        fs::write(
            copy.path().join(log),
            flip(&bytes, round * 7_919 % bytes.len()),
        )
        .unwrap();
        read(copy.path()).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_value_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    let files: Vec<_> = value_files(&folder.path().join("results-v2/files"))
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .collect();
    // One bit is flipped in each file. Every entry has its own file, so each flip has to be detected.
    let mut flips = 0;
    for round in 0..32 {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(folder.path(), copy.path());
        for (number, (bytes, path)) in files.iter().enumerate() {
            let flipped = copy.path().join(path.strip_prefix(folder.path()).unwrap());
            let position = (round * 97 + number * 13) % bytes.len();
            fs::write(flipped, flip(bytes, position)).unwrap();
            flips += 1;
        }
        let count = u8::try_from(files.len()).unwrap();
        assert_eq!(
            read(copy.path()).await,
            (ENTRIES - count, u64::from(count)),
            "round {round}"
        );
    }
    assert!(flips >= 300, "{flips}");
}

fn value_files(folder: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().path());
    items
        .flat_map(|path| {
            if path.is_dir() {
                value_files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
