//! Checks that a disk cache behaves like a map in any sequence of operations.
//!
//! There are sixty sequences of up to sixty steps. Nothing is synced, because a crash here is that of a process, and
//! what it wrote stays.

#![cfg(all(feature = "disk", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(
    clippy::clone_on_ref_ptr,
    reason = "`clone` also turns a concrete clock into a `dyn` one"
)]

#[path = "folders/copy.rs"]
mod copy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use ratchet_caching::{
    Cache, Clock, DiskCache, DiskOptions, Entry, Key, Labels, ManualClock, MemoryCache, Metadata,
    Selector, TieredCache,
};

use copy::copy_folder;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u8,
        size: usize,
        task: u8,
        ttl: Option<u8>,
    },
    Get {
        key: u8,
    },
    Wait {
        seconds: u8,
    },
    DropKey {
        key: u8,
    },
    DropTask {
        task: u8,
    },
    DropOlder {
        seconds: u8,
    },
    DropAll,
    /// Closes and opens the cache.
    Reopen,
    /// Continues with a copy of the folder, as if the process had been killed at this moment.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_u8..6;
    prop_oneof![
        8 => (key.clone(), prop_oneof![0_usize..300, 2_000_usize..9_000], 0_u8..3, prop::option::of(1_u8..20))
            .prop_map(|(key, size, task, ttl)| Step::Put { key, size, task, ttl }),
        8 => key.clone().prop_map(|key| Step::Get { key }),
        2 => (1_u8..10).prop_map(|seconds| Step::Wait { seconds }),
        1 => key.prop_map(|key| Step::DropKey { key }),
        1 => (0_u8..3).prop_map(|task| Step::DropTask { task }),
        1 => (1_u8..15).prop_map(|seconds| Step::DropOlder { seconds }),
        1 => Just(Step::DropAll),
        2 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

/// The map that the cache is compared with.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u8, Entry>,
}

impl Model {
    fn get(&self, key: u8, now: SystemTime) -> Option<Entry> {
        self.entries
            .get(&key)
            .filter(|entry| !entry.metadata().is_expired(now))
            .cloned()
    }

    /// Drops the selected entries. Returns how many live ones there were, and how many in total.
    fn drop_selected(
        &mut self,
        selector: &Selector,
        now: SystemTime,
    ) -> std::ops::RangeInclusive<u64> {
        let (mut live, mut all) = (0, 0);
        self.entries.retain(|key, entry| {
            let metadata = entry.metadata();
            let selected = selector.matches(&Key::of(&[*key]), &metadata.labels, metadata.created);
            all += u64::from(selected);
            live += u64::from(selected && !metadata.is_expired(now));
            !selected
        });
        // An expired entry may or may not have been cleaned up already.
        live..=all
    }
}

struct Subject {
    folders: tempfile::TempDir,
    generation: u32,
    clock: Arc<ManualClock>,
    tiered: bool,
    cache: Option<Box<dyn Cache>>,
}

impl Subject {
    fn new(tiered: bool) -> Self {
        let clock = Arc::new(ManualClock::at(
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        ));
        let mut subject = Self {
            folders: tempfile::tempdir().unwrap(),
            generation: 0,
            clock,
            tiered,
            cache: None,
        };
        subject.open();
        subject
    }

    fn folder(&self) -> PathBuf {
        self.folders.path().join(self.generation.to_string())
    }

    fn open(&mut self) {
        let disk = DiskCache::new(
            DiskOptions::at(self.folder())
                .inline_limit(1_000)
                .without_sync()
                .clock(self.clock.clone()),
        );
        self.cache = Some(if self.tiered {
            let memory = MemoryCache::new(20_000).clock(self.clock.clone());
            Box::new(TieredCache::new(Arc::new(memory), Arc::new(disk)))
        } else {
            Box::new(disk)
        });
    }

    fn cache(&self) -> &dyn Cache {
        self.cache.as_deref().unwrap()
    }

    fn reopen(&mut self) {
        self.cache = None;
        self.open();
    }

    fn crash(&mut self) {
        let before = self.folder();
        self.generation += 1;
        // The copy is made while the old cache is still open.
        copy_folder(&before, &self.folder());
        self.reopen();
    }
}

async fn run(steps: Vec<Step>, tiered: bool) {
    let mut subject = Subject::new(tiered);
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        let now = subject.clock.now();
        let mut drop_selected = async |selector: Selector| {
            let dropped = subject.cache().invalidate(&selector).await.unwrap();
            let expected = model.drop_selected(&selector, now);
            assert!(
                expected.contains(&dropped),
                "step {number}: dropped {dropped}, expected {expected:?}"
            );
        };
        match step {
            Step::Put {
                key,
                size,
                task,
                ttl,
            } => {
                let labels = Labels {
                    task: task.to_string(),
                    ..Labels::default()
                };
                let expires = ttl.map(|ttl| now + Duration::from_secs(ttl.into()));
                let value = vec![u8::try_from(number % 251).unwrap(); size];
                let entry = Entry::new(
                    value,
                    Metadata {
                        labels,
                        expires,
                        ..Metadata::new(now)
                    },
                );
                subject
                    .cache()
                    .put(&Key::of(&[key]), entry.clone())
                    .await
                    .unwrap();
                model.entries.insert(key, entry);
            }
            Step::Get { key } => {
                assert_eq!(
                    subject.cache().get(&Key::of(&[key])).await.unwrap(),
                    model.get(key, now),
                    "step {number}"
                );
            }
            Step::Wait { seconds } => subject.clock.advance(Duration::from_secs(seconds.into())),
            Step::DropKey { key } => drop_selected(Selector::key(Key::of(&[key]))).await,
            Step::DropTask { task } => drop_selected(Selector::task(task.to_string())).await,
            Step::DropOlder { seconds } => {
                drop_selected(Selector::older_than(
                    Duration::from_secs(seconds.into()),
                    now,
                ))
                .await;
            }
            Step::DropAll => drop_selected(Selector::all()).await,
            Step::Reopen => subject.reopen(),
            Step::Crash => subject.crash(),
        }
    }
    let now = subject.clock.now();
    for key in 0..6 {
        assert_eq!(
            subject.cache().get(&Key::of(&[key])).await.unwrap(),
            model.get(key, now),
            "at the end"
        );
    }
    let listed = subject.cache().list(&Selector::all()).await.unwrap().len();
    assert_eq!(
        listed,
        (0..6).filter(|key| model.get(*key, now).is_some()).count()
    );
    assert_eq!(subject.cache().stats().await.unwrap().quarantined, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_cache_is_a_map(steps in prop::collection::vec(step(), 1..60), tiered: bool) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps, tiered));
    }
}
