//! `ratchet cache stats`: how much is stored, by task.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ratchet_caching::Listing;

use super::{count_results, show_time};
use crate::escape::plain;
use crate::readable::{bytes, duration};

/// The stored results of one task: how many, how large, and how long they took to compute.
#[derive(Debug)]
struct TaskShare {
    results: u64,
    bytes: u64,
    /// How long the jobs took to compute the results.
    cost: Duration,
    oldest: SystemTime,
    newest: SystemTime,
}

fn by_task(listings: &[Listing]) -> BTreeMap<&str, TaskShare> {
    let mut shares: BTreeMap<&str, TaskShare> = BTreeMap::new();
    for listing in listings {
        let created = listing.metadata.created;
        let share = shares
            .entry(&listing.metadata.labels.task)
            .or_insert(TaskShare {
                results: 0,
                bytes: 0,
                cost: Duration::ZERO,
                oldest: created,
                newest: created,
            });
        share.results += 1;
        share.bytes += listing.size;
        share.cost = share.cost.saturating_add(listing.metadata.cost);
        share.oldest = share.oldest.min(created);
        share.newest = share.newest.max(created);
    }
    shares
}

/// Formats the statistics for programs: fields with tabs between them.
pub(super) fn lines(listings: &[Listing]) -> String {
    let mut out = String::new();
    for (task, share) in by_task(listings) {
        let task = field(task);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{task}\t{}\t{}\t{}\t{}\t{}",
            share.results,
            share.bytes,
            share.cost.as_millis(),
            show_time(share.oldest, None),
            show_time(share.newest, None)
        );
    }
    out
}

/// Formats the name of a task as a field: in one line, without tabs and control characters.
fn field(task: &str) -> String {
    plain(task).into_owned()
}

/// Formats the statistics for people. `kept` is how many bytes the whole cache takes on disk.
pub(super) fn table(folder: &Path, kept: u64, listings: &[Listing], now: SystemTime) -> String {
    let folder = folder.display().to_string();
    let count = count_results(listings.len() as u64);
    let mut out = format!("{}: {count}, {} on disk\n", plain(&folder), bytes(kept));
    let shares = by_task(listings);
    let widest = shares.keys().map(|task| task.chars().count()).max();
    let width = widest.unwrap_or_default();
    for (task, share) in shares {
        let task = field(task);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "  {task:<width$}  {}, {}, computed in {}, {} to {}",
            count_results(share.results),
            bytes(share.bytes),
            duration(share.cost),
            show_time(share.oldest, Some(now)),
            show_time(share.newest, Some(now))
        );
    }
    out
}
