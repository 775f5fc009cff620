//! Tests the disk cache with several processes, some of which are killed or stopped.
//!
//! The other processes run this test binary, with an environment variable that makes it run [`child`].

#![cfg(feature = "disk")]
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use ratchet_caching::{Cache, CacheError, DiskCache, DiskOptions, Entry, Key, Metadata, Selector};

const FOLDER: &str = "RATCHET_CACHING_TEST_FOLDER";
const INLINE: u64 = 1_000;
/// A deadline that no test should reach, even on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes options without sync, because a kill of the process loses nothing that it wrote.
fn open(folder: &Path) -> DiskCache {
    DiskCache::new(options(folder).without_sync())
}

fn options(folder: &Path) -> DiskOptions {
    DiskOptions::at(folder)
        .inline_limit(INLINE)
        .busy_timeout(PATIENCE)
}

/// Derives the value of an entry from its name, so that every process can check that it is complete.
fn value(name: &str, version: u32) -> Vec<u8> {
    let digest = *blake3::hash(format!("{name} {version}").as_bytes()).as_bytes();
    // Half of the values are inline, and half are in files.
    let size = usize::from(digest[0]) * 8;
    let mut value = version.to_le_bytes().to_vec();
    value.extend(digest.iter().cycle().take(size));
    value
}

async fn put(cache: &DiskCache, name: &str, version: u32) -> Result<(), CacheError> {
    let entry = Entry::new(value(name, version), Metadata::new(SystemTime::UNIX_EPOCH));
    cache.put(&Key::of(name.as_bytes()), entry).await
}

/// Returns the stored version, after a check that the value is complete.
async fn get(cache: &DiskCache, name: &str) -> Option<u32> {
    let entry = cache.get(&Key::of(name.as_bytes())).await.unwrap()?;
    let version = u32::from_le_bytes(entry.value()[..4].try_into().unwrap());
    assert!(entry.value() == value(name, version), "{name} is not whole");
    Some(version)
}

/// Another process that uses the cache.
struct Other {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            input,
            output,
        }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.input, "{command}").unwrap();
    }

    /// Returns the next answer. The test harness prints to the same stream, so answers are marked.
    fn answer(&mut self) -> Option<String> {
        loop {
            let line = self.output.next()?.unwrap();
            if let Some((_, answer)) = line.split_once('#') {
                return Some(answer.to_owned());
            }
        }
    }

    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer().unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The main function of the other process: it reads commands, and answers each with a line.
#[tokio::test]
#[ignore = "the other process of the tests in this file"]
async fn child() {
    let folder = std::env::var_os(FOLDER).expect("only the other tests start this one");
    let folder = Path::new(&folder);
    let mut cache = open(folder);
    let mut writing = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["put", name, version] => {
                put(&cache, name, version.parse().unwrap()).await.unwrap();
                println!("#put");
            }
            ["get", name] => println!("#{:?}", get(&cache, name).await),
            ["clear"] => println!("#{}", cache.invalidate(&Selector::all()).await.unwrap()),
            // Holds the write lock, as in the middle of a put.
            ["begin"] => {
                let index = folder.join("results-v2/index-1.sqlite");
                let connection = rusqlite::Connection::open(index).unwrap();
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                writing = Some(connection);
                println!("#begun");
            }
            ["end"] => {
                drop(writing.take());
                println!("#ended");
            }
            ["sync"] => {
                cache = DiskCache::new(options(folder));
                println!("#syncing");
            }
            // Puts until it is killed, and prints what was stored.
            ["write", round] => {
                for number in 0_u32.. {
                    put(&cache, &format!("{round}-{number}"), number)
                        .await
                        .unwrap();
                    println!("#{number}");
                    put(&cache, "replaced", number).await.unwrap();
                }
            }
            // Puts and gets, so that both processes write all the time.
            ["share", name, count] => {
                for number in 0..count.parse().unwrap() {
                    put(&cache, &format!("{name}-{number}"), number)
                        .await
                        .unwrap();
                    put(&cache, "contended", number).await.unwrap();
                    get(&cache, "contended").await;
                    assert_eq!(get(&cache, &format!("{name}-{number}")).await, Some(number));
                }
                println!("#shared");
            }
            _ => panic!("unknown command {line:?}"),
        }
    }
}

#[tokio::test]
async fn two_processes_see_the_changes_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (Other::start(folder.path()), Other::start(folder.path()));
    for version in 0..10 {
        for name in ["x", "y", "z"] {
            assert_eq!(a.ask(&format!("put {name} {version}")), "put");
            assert_eq!(b.ask(&format!("get {name}")), format!("Some({version})"));
        }
    }
    assert_eq!(b.ask("clear"), "3");
    assert_eq!(a.ask("get x"), "None");
}

#[tokio::test]
async fn two_processes_share_a_cache_without_losing_anything() {
    const COUNT: u32 = 60;
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (Other::start(folder.path()), Other::start(folder.path()));
    a.tell(&format!("share a {COUNT}"));
    b.tell(&format!("share b {COUNT}"));
    assert_eq!(
        (a.answer().as_deref(), b.answer().as_deref()),
        (Some("shared"), Some("shared"))
    );
    // Both processes still run, and the third one can read.
    let cache = open(folder.path());
    for name in ["a", "b"] {
        for number in 0..COUNT {
            assert_eq!(get(&cache, &format!("{name}-{number}")).await, Some(number));
        }
    }
    assert_eq!(get(&cache, "contended").await, Some(COUNT - 1));
    assert_eq!(
        cache.stats().await.unwrap().entries,
        u64::from(2 * COUNT + 1)
    );
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_every_entry_whole_or_absent() {
    kill_writers(0..70, false).await;
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_syncs_leaves_every_entry_whole_or_absent() {
    kill_writers(70..100, true).await;
}

async fn kill_writers(rounds: std::ops::Range<u32>, sync: bool) {
    let folder = tempfile::tempdir().unwrap();
    let cache = open(folder.path());
    let mut stored = 0;
    for round in rounds {
        let mut writer = Other::start(folder.path());
        if sync {
            assert_eq!(writer.ask("sync"), "syncing");
        }
        writer.tell(&format!("write {round}"));
        // The writer never waits, so the kill happens at any point of a put or between two puts.
        for _ in 0..=round * 7 % 19 {
            writer.answer().unwrap();
        }
        writer.child.kill().unwrap();
        writer.child.wait().unwrap();
        let mut acknowledged = round * 7 % 19;
        while let Some(number) = writer.answer() {
            acknowledged = number.parse().unwrap();
        }
        for number in 0..=acknowledged {
            assert_eq!(
                get(&cache, &format!("{round}-{number}")).await,
                Some(number),
                "it was acknowledged"
            );
        }
        let next = get(&cache, &format!("{round}-{}", acknowledged + 1)).await;
        assert!(next.is_none() || next == Some(acknowledged + 1));
        let replaced = get(&cache, "replaced").await;
        assert!(
            acknowledged == 0 || replaced.is_some_and(|number| number + 1 >= acknowledged),
            "{replaced:?}"
        );
        stored += u64::from(acknowledged) + 1 + u64::from(next.is_some());
    }
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.entries, stats.quarantined), (stored + 1, 0));
    cache.close().await;
    // Every file belongs to an entry.
    let cache = open(folder.path());
    let listed = cache.list(&Selector::all()).await.unwrap();
    cache.close().await;
    let large = listed
        .iter()
        .filter(|listing| listing.size > INLINE)
        .count();
    let count = |name: &str| count_files(&folder.path().join("results-v2").join(name));
    assert_eq!(
        (count("files"), count("incoming"), count("quarantine")),
        (large, 0, 0)
    );
}

/// Counts the files in a folder and in the folders below it.
fn count_files(folder: &Path) -> usize {
    let items = std::fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().path());
    items
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}

#[tokio::test]
async fn a_process_that_is_stopped_does_not_block_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(folder.path());
    assert_eq!(other.ask("put x 1"), "put");
    other.signal("STOP");
    let cache = open(folder.path());
    assert_eq!(get(&cache, "x").await, Some(1));
    put(&cache, "x", 2).await.unwrap();
    other.signal("CONT");
    assert_eq!(other.ask("get x"), "Some(2)");
}

#[tokio::test]
async fn a_process_that_is_stopped_while_it_writes_costs_puts_but_no_hits_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(folder.path());
    assert_eq!(other.ask("put x 1"), "put");
    assert_eq!(other.ask("begin"), "begun");
    other.signal("STOP");
    let cache = DiskCache::new(options(folder.path()).busy_timeout(Duration::from_millis(20)));
    assert_eq!(get(&cache, "x").await, Some(1));
    let busy = put(&cache, "x", 2).await;
    assert!(matches!(busy, Err(CacheError::Busy { .. })), "{busy:?}");
    other.signal("CONT");
    assert_eq!(other.ask("end"), "ended");
    put(&cache, "x", 2).await.unwrap();
    assert_eq!(get(&cache, "x").await, Some(2));
}

#[tokio::test]
async fn a_full_disk_fails_puts_and_keeps_the_stored_entries() {
    let folder = tempfile::tempdir().unwrap();
    let run = |limit: &str, command: &str| {
        // A limit of the file size replaces a full disk: in both cases the system refuses a write.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" --exact full_disk --ignored --nocapture"))
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{command}").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("unlimited", "fill").contains("#200 stored"));
    let full = run("256", "fill");
    assert!(full.contains("#0 stored"), "{full}");
    let after = run("unlimited", "check");
    assert!(after.contains("#200 whole"), "{after}");
}

#[tokio::test]
#[ignore = "the other process of the test above"]
async fn full_disk() {
    let folder = std::env::var_os(FOLDER).expect("only the other tests start this one");
    let cache = open(Path::new(&folder));
    let mut command = String::new();
    std::io::stdin().read_line(&mut command).unwrap();
    let mut count = 0;
    for number in 0_u32..200 {
        let name = number.to_string();
        if command == "check\n" {
            count += u32::from(get(&cache, &name).await.is_some());
            continue;
        }
        let entry = Entry::new(vec![1; 300_000], Metadata::new(SystemTime::UNIX_EPOCH));
        let large = cache.put(&Key::of(b"large"), entry).await;
        let small = put(&cache, &name, number).await;
        count += u32::from(large.is_ok() && small.is_ok());
    }
    println!(
        "#{count} {}",
        if command == "check\n" {
            "whole"
        } else {
            "stored"
        }
    );
}
