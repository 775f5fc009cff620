//! The figures of a run that `-v` adds to the summary.

use std::fmt::Write as _;

use ratchet_runtime::Summary;
use ratchet_runtime::summary::DurationStats;

use crate::readable::duration;

/// Formats a line for each kind of time, and a line with the figures that the short summary leaves out.
pub(crate) fn statistics(summary: &Summary) -> String {
    let mut text = String::new();
    for (name, spread) in [("run", &summary.run), ("queue", &summary.queue)] {
        if let Some(spread) = spread {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} time: {}", times(spread));
        }
    }
    let _ = writeln!(
        text,
        "success rate {:.1}%, peak concurrency {}, worker restarts {}, retries {}, cached {}",
        summary.success_rate,
        summary.peak_concurrency,
        summary.worker_restarts,
        summary.retries,
        summary.cached
    );
    text
}

fn times(spread: &DurationStats) -> String {
    let named = [
        ("min", spread.min),
        ("avg", spread.average),
        ("p50", spread.p50),
        ("p95", spread.p95),
        ("p99", spread.p99),
        ("max", spread.max),
    ];
    named
        .map(|(name, time)| format!("{name} {}", duration(time)))
        .join(", ")
}
