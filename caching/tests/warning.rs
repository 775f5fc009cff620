//! Checks that a failing cache logs one warning.

#![cfg(feature = "disk")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ratchet_caching::{DiskCache, Key, Labels, NotStored, Policy, Source, TaskCache};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_place_that_cannot_be_used_is_warned_of_once_and_fails_no_job() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let cache = TaskCache::new(Arc::new(DiskCache::new(file.path())));
    let policy = Policy::cacheable(Labels::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for number in 0_u8..5 {
        let compute = || async move { Ok(Arc::from([number])) };
        let key = Key::of(&[number]);
        let answer = runtime.block_on(cache.get_or_compute(&key, &policy, compute));
        assert_eq!(answer.outcome, Ok(Arc::from([number])));
        assert_eq!(answer.source, Source::Computed(Err(NotStored::StoreFailed)));
    }
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}
