//! The figures of a run that has ended.

use std::time::{Duration, Instant};

use ratchet_runtime::RunHandle;
use ratchet_runtime::process::{ProcessPool, working_now};

use super::delivery::RunFigures;
use super::record::RunRecord;

/// Returns the figures of a run that has ended, as far as they do not follow from its outcomes. The time is that of
/// all its parts, because the outcomes of earlier ones are counted as well.
pub(super) async fn run_figures(
    handle: &RunHandle,
    pools: &[ProcessPool],
    (record, began): (Option<&RunRecord>, Instant),
) -> RunFigures {
    let before = record.map_or(Duration::ZERO, |record| record.worked_before);
    let status = handle.status();
    RunFigures {
        restarts: worker_restarts(pools).await,
        elapsed: before + working_now().saturating_duration_since(began),
        peak: status.peak as u64,
        slow: status.slow,
        suspects: status.suspects,
        breakers: status.breakers,
        retries_refused: status.retries_refused,
    }
}

/// Returns how many workers were started to replace one that had failed.
async fn worker_restarts(pools: &[ProcessPool]) -> u64 {
    let mut restarts = 0;
    for pool in pools {
        // A pool whose supervisor has ended has no figures; the run itself is complete all the same.
        if let Ok(metrics) = pool.metrics().await {
            let failures: u64 = metrics.failures.values().sum();
            // The first start does not replace a worker.
            restarts += failures.min(metrics.spawned.saturating_sub(1));
        }
    }
    restarts
}
