//! How the outcomes of a run are taken and delivered.

use ratchet_runtime::{Run, Stopped};

use super::delivery::Delivery;
use super::repeated_jobs::EndedJobs;
use crate::live::LiveFigures;

/// How many outcomes are delivered together.
const BATCH: usize = 256;

/// Delivers all outcomes. Returns why the run stopped before all jobs were done, if it did.
pub(super) async fn consume(
    mut run: Run,
    delivery: &Delivery,
    (figures, ended): (&LiveFigures, Option<&EndedJobs>),
) -> Option<Stopped> {
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        if run.next_many(&mut batch, BATCH).await == 0 {
            return run.stopped().cloned();
        }
        for outcome in &batch {
            figures.ended(outcome);
        }
        if let Some(ended) = ended {
            ended.add(batch.len());
        }
        delivery.send(batch).await;
    }
}
