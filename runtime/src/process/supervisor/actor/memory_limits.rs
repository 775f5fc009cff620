//! Measures the memory of workers, and kills or replaces those that use too much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Command;
use super::super::pool_state::PoolState;
use super::Actor;
use crate::dispatch::{Kill, Order};
use crate::os::{ProcessId, ProcessUsage};

/// How often the memory of workers is measured if there is a limit.
const INTERVAL: Duration = Duration::from_millis(250);

impl Actor {
    /// Starts a measurement of the workers' memory if a limit is set and the last measurement is old.
    pub(super) fn measure_memory(&mut self, now: Instant) {
        let limited = |pool: &&PoolState| {
            pool.config.hard_memory.is_some() || pool.config.recycling.soft_memory.is_some()
        };
        let limited = self.pools.iter().filter(limited);
        let workers = limited.flat_map(|pool| &pool.workers);
        let processes: Vec<ProcessId> = workers.filter_map(|worker| worker.process).collect();
        if processes.is_empty() {
            self.measure_at = None;
            return;
        }
        let due = *self.measure_at.get_or_insert(now);
        if self.is_measuring || due > now {
            return;
        }
        self.is_measuring = true;
        self.measure_at = now.checked_add(INTERVAL);
        let (manager, commands) = (Arc::clone(&self.manager), self.commands.clone());
        let is_logged = self.has_failed_to_measure;
        tokio::spawn(async move {
            let usage = manager.measure_processes(&processes).await;
            let usage = usage.inspect_err(|error| {
                if !is_logged {
                    let error = ratchet_ipc::error_chain(error);
                    tracing::warn!(
                        error,
                        "the memory of the workers cannot be read; trying again"
                    );
                }
            });
            if let Some(commands) = commands.upgrade() {
                // An error means that the supervisor has ended, and then no measurement is needed.
                let _ = commands.send(Command::Measured(usage.ok()));
            }
        });
    }

    /// Handles a measurement: kills workers over the hard limit, and marks those over the soft one.
    pub(super) fn measured(&mut self, usage: Option<&BTreeMap<ProcessId, ProcessUsage>>) {
        self.is_measuring = false;
        self.has_failed_to_measure = usage.is_none();
        let Some(usage) = usage else { return };
        for pool in &mut self.pools {
            let (soft, hard) = (pool.config.recycling.soft_memory, pool.config.hard_memory);
            for worker in &mut pool.workers {
                let measured = worker.process.and_then(|process| usage.get(&process));
                let Some(&ProcessUsage { memory: used, .. }) = measured else {
                    continue;
                };
                worker.rss = used;
                if let Some(limit) = hard.filter(|limit| used > *limit) {
                    worker.order(Order::Kill(Kill::Memory { used, limit }));
                } else if soft.is_some_and(|limit| used > limit) {
                    worker.is_over_memory = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::super::worker::SupervisedWorker;
    use super::*;
    use crate::dispatch::{WorkerLink, WorkerNumber};
    use crate::ids::WorkerName;
    use crate::os::{MockProcessManager, ProcessConfig, ProcessError};
    use crate::process::{PoolConfig, Size};

    /// Adds a pool with one worker and a memory limit.
    fn add_limited_worker(actor: &mut Actor, now: Instant) {
        let config = PoolConfig {
            size: Size::between(0, 1),
            hard_memory: Some(1),
            ..PoolConfig::new("echo", ProcessConfig::new("echo-worker"))
        };
        actor.add(config).unwrap();
        let (link, _received) = WorkerLink::channel();
        let name = WorkerName::new("echo", 1);
        let mut worker = SupervisedWorker::new(WorkerNumber(1), name, link, now);
        worker.process = Some(ProcessId::new(1));
        actor.pools[0].workers.push(worker);
    }

    #[tokio::test]
    async fn the_next_check_does_not_poll_for_a_slow_measurement() {
        let (commands, mut received) = mpsc::unbounded_channel();
        let mut manager = MockProcessManager::new();
        // The measurement is answered in the event loop's next turn.
        manager
            .expect_measure_processes()
            .times(2)
            .returning(|_| Ok(BTreeMap::new()));
        let (news, _told) = mpsc::unbounded_channel();
        let mut actor = Actor::new(Arc::new(manager), None, commands.downgrade(), news);
        let now = tokio::time::Instant::now().into_std();
        add_limited_worker(&mut actor, now);

        assert_eq!(actor.maintain(now), None);
        let late = now + INTERVAL * 2;
        assert_eq!(actor.maintain(late), None);

        let Some(Command::Measured(usage)) = received.recv().await else {
            panic!("there is a reading");
        };
        actor.measured(usage.as_ref());
        // The next one is due, begins at once, and can be awaited in the same way.
        assert_eq!(actor.maintain(late), None);
        assert!(received.recv().await.is_some());
    }

    #[tokio::test]
    async fn a_measurement_that_fails_is_tried_again() {
        let (commands, mut received) = mpsc::unbounded_channel();
        let mut manager = MockProcessManager::new();
        manager
            .expect_measure_processes()
            .returning(|_| Err(ProcessError::Ended));
        let (news, _told) = mpsc::unbounded_channel();
        let mut actor = Actor::new(Arc::new(manager), None, commands.downgrade(), news);
        let mut now = tokio::time::Instant::now().into_std();
        add_limited_worker(&mut actor, now);
        for _ in 0..3 {
            actor.maintain(now);
            let Some(Command::Measured(None)) = received.recv().await else {
                panic!("it says that there is none");
            };
            actor.measured(None);
            now += INTERVAL;
        }
        assert!(!actor.pools[0].workers[0].is_over_memory);
    }
}
