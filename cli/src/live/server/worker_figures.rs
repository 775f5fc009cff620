//! The workers of a run, as those who ask see them.

use std::time::Duration;

use ratchet_runtime::process::ProcessPool;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::message::WorkersNow;

/// How old the figures may be that answer another question.
const MAX_AGE: Duration = Duration::from_millis(100);

/// How long the supervisor may take to answer. It is another one than the loop, and a state without workers is one, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// The figures of the pools, which are kept for a moment so that nobody who asks too much takes the time of the supervisor.
#[derive(Debug, Default)]
pub(super) struct WorkerFigures(Mutex<Option<(Instant, Vec<WorkersNow>)>>);

impl WorkerFigures {
    /// Returns how many workers of each pool there are, and what they do.
    pub(super) async fn get(&self, pools: &[ProcessPool]) -> Vec<WorkersNow> {
        let mut last = self.0.lock().await;
        if let Some((at, workers)) = &*last
            && at.elapsed() < MAX_AGE
        {
            return workers.clone();
        }
        let mut workers = Vec::with_capacity(pools.len());
        for pool in pools {
            // A supervisor that has ended has no workers.
            let Ok(Ok(metrics)) = timeout(PATIENCE, pool.metrics()).await else {
                continue;
            };
            workers.push(WorkersNow {
                name: pool.name().to_owned(),
                size: metrics.size,
                busy: metrics.busy,
                failures: metrics.failures.values().sum(),
            });
        }
        *last = Some((Instant::now(), workers.clone()));
        workers
    }
}
