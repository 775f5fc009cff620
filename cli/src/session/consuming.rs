//! How the outcomes of a run are taken and delivered.

use ratchet_runtime::summary::Counts;
use ratchet_runtime::{Run, Stopped};

use super::delivery::Delivery;
use super::repeated_jobs::EndedJobs;
use crate::live::LiveFigures;
use crate::map::{HaltDecision, HaltRule};

/// How many outcomes are delivered together.
const BATCH: usize = 256;

/// Delivers all outcomes. Returns why the run stopped before all jobs were done, if it did, and whether it stopped
/// because enough jobs succeeded.
pub(super) async fn consume(
    mut run: Run,
    delivery: &Delivery,
    goal: Option<HaltRule>,
    (figures, ended): (&LiveFigures, Option<&EndedJobs>),
) -> (Option<Stopped>, bool) {
    let mut counts = Counts::default();
    let mut reached_goal = false;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        if run.next_many(&mut batch, BATCH).await == 0 {
            return (run.stopped().cloned(), reached_goal);
        }
        if let Some(rule) = goal.filter(|_| !reached_goal) {
            for outcome in &batch {
                counts.add(outcome.status());
            }
            if rule.decide(&counts) == HaltDecision::EnoughSuccesses {
                reached_goal = true;
                if rule.now {
                    run.handle().cancel();
                } else {
                    run.handle().drain();
                }
            }
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
