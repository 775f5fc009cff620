//! Measures the memory of workers, and kills or replaces those that use too much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::super::pool_state::PoolState;
use super::super::{Command, memory};
use super::Actor;
use crate::dispatch::{Kill, Order};

impl Actor {
    /// Starts a measurement of the workers' memory if a limit is set and the last measurement is old.
    pub(super) fn measure_memory(&mut self, now: Instant) {
        let limited = |pool: &&PoolState| {
            pool.config.hard_memory.is_some() || pool.config.recycling.soft_memory.is_some()
        };
        let limited = self.pools.iter().filter(limited);
        let workers = limited.flat_map(|pool| &pool.workers);
        let groups: Vec<u32> = workers.filter_map(|worker| worker.system_id).collect();
        if groups.is_empty() {
            self.measure_at = None;
            return;
        }
        let due = *self.measure_at.get_or_insert(now);
        if self.is_measuring || due > now {
            return;
        }
        self.is_measuring = true;
        self.measure_at = now.checked_add(memory::INTERVAL);
        let (probe, commands) = (Arc::clone(&self.probe), self.commands.clone());
        let reading = std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || {
                let usage = probe(&groups).unwrap_or_else(|error| {
                    tracing::warn!(%error, "the memory of the workers cannot be read");
                    BTreeMap::new()
                });
                if let Some(commands) = commands.upgrade() {
                    // A supervisor that has just ended needs no measurement.
                    let _ = commands.send(Command::MemoryMeasured(usage));
                }
            });
        if let Err(error) = reading {
            tracing::debug!(%error, "the memory of the workers is read later: there is no thread for it");
            self.is_measuring = false;
        }
    }

    /// Takes in a measurement: kills workers over the hard limit, and marks those over the soft one.
    pub(super) fn memory_measured(&mut self, usage: &BTreeMap<u32, u64>) {
        self.is_measuring = false;
        for pool in &mut self.pools {
            let (soft, hard) = (pool.config.recycling.soft_memory, pool.config.hard_memory);
            for worker in &mut pool.workers {
                let weight = worker.system_id.and_then(|id| usage.get(&id));
                let Some(&used) = weight else { continue };
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
    use std::sync::Mutex;

    use tokio::sync::mpsc;

    use super::super::super::worker::SupervisedWorker;
    use super::*;
    use crate::dispatch::{WorkerLink, WorkerNumber};
    use crate::ids::WorkerName;
    use crate::os::{MockProcessManager, ProcessConfig};
    use crate::process::{PoolConfig, Size};

    #[tokio::test]
    async fn the_next_check_does_not_poll_for_a_slow_measurement() {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let probe = move |_: &[u32]| {
            gone.lock().unwrap().recv().unwrap();
            Ok(BTreeMap::new())
        };
        let (commands, mut received) = mpsc::unbounded_channel();
        let manager = Arc::new(MockProcessManager::new());
        let (news, _told) = mpsc::unbounded_channel();
        let mut actor = Actor::new(manager, None, Arc::new(probe), commands.downgrade(), news);
        let config = PoolConfig {
            size: Size::between(0, 1),
            hard_memory: Some(1),
            ..PoolConfig::new("echo", ProcessConfig::new("echo-worker"))
        };
        actor.add(config).unwrap();
        let now = tokio::time::Instant::now().into_std();
        let (link, _received) = WorkerLink::channel();
        let name = WorkerName::new("echo", 1);
        let mut worker = SupervisedWorker::new(WorkerNumber(1), name, link, now);
        worker.system_id = Some(1);
        actor.pools[0].workers.push(worker);

        assert_eq!(actor.maintain(now), None);
        let late = now + memory::INTERVAL * 2;
        assert_eq!(actor.maintain(late), None);

        go.send(()).unwrap();
        let Some(Command::MemoryMeasured(usage)) = received.recv().await else {
            panic!("there is a reading");
        };
        actor.memory_measured(&usage);
        // The next one is due, begins at once, and can be waited for in the same way.
        assert_eq!(actor.maintain(late), None);
        go.send(()).unwrap();
    }
}
