//! Watches the memory of programs that have memory limits.
//!
//! All programs of a runner are measured at once, since each measurement reads the whole list of processes. A program
//! that allocates and frees memory between two measurements is not noticed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratchet_ipc::error_chain;
use tokio::sync::watch;

use super::program::Program;
use crate::blocking::run_blocking;
use crate::os::{ProcessError, ProcessId, ProcessManager, platform};

/// How often the memory of programs with limits is measured.
const INTERVAL: Duration = Duration::from_millis(250);

/// How much memory a program may use together with all that it has started.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ratchet_runtime::process::{
///     CommandLimits, CommandRunner, MemoryLimits, ProcessConfig, StopCause,
/// };
///
/// let limits = CommandLimits {
///     memory: MemoryLimits { soft: None, hard: Some(1) },
///     ..CommandLimits::default()
/// };
/// let sleeps = ProcessConfig::new("sleep").arg("600");
/// let output = CommandRunner::new(None).run(&sleeps, limits, &Default::default()).await?;
/// assert!(matches!(output.stopped, Some(StopCause::Memory { limit: 1, .. })));
/// # Ok::<(), ratchet_runtime::process::ProcessError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MemoryLimits {
    /// The bytes beyond which it is asked to end.
    pub soft: Option<u64>,
    /// The bytes beyond which it is killed.
    pub hard: Option<u64>,
}

/// A use of more memory than a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Excess {
    /// How many bytes were used.
    pub(super) used: u64,
    /// The limit.
    pub(super) limit: u64,
    /// Whether the program is to be killed, and not only asked to end.
    pub(super) kills: bool,
}

impl MemoryLimits {
    /// Whether any limit is set.
    pub fn are_set(&self) -> bool {
        self.soft.is_some() || self.hard.is_some()
    }

    fn exceeded_by(&self, used: u64) -> Option<Excess> {
        let over = |limit: Option<u64>, kills| {
            let limit = limit.filter(|limit| used > *limit)?;
            Some(Excess { used, limit, kills })
        };
        over(self.hard, true).or_else(|| over(self.soft, false))
    }
}

/// What is measured for a program.
#[derive(Clone)]
pub(super) enum Measured {
    /// The group of a program on a thread of this process, once it has started.
    Group(Arc<Program>),
    /// A process of the manager.
    Process(ProcessId),
}

/// Measures the programs of a runner that have memory limits.
#[derive(Default)]
pub(super) struct MemoryWatch(Mutex<Watched>);

/// The watched programs of a runner, each with the sender of its usage.
#[derive(Default)]
struct Watched {
    next: u64,
    programs: BTreeMap<u64, (Measured, watch::Sender<u64>)>,
    /// Whether a task measures them. The task ends when there is no program left.
    is_measuring: bool,
}

/// A program whose memory is measured until this is dropped.
pub(super) struct WatchedMemory {
    watch: Arc<MemoryWatch>,
    number: u64,
    used: watch::Receiver<u64>,
    limits: MemoryLimits,
}

impl MemoryWatch {
    /// Watches a program, if it has limits. `manager` is the process manager that has started it, if one has.
    pub(super) fn watch(
        self: &Arc<Self>,
        limits: MemoryLimits,
        measured: Measured,
        manager: Option<&Arc<dyn ProcessManager>>,
    ) -> Option<WatchedMemory> {
        if !limits.are_set() {
            return None;
        }
        let (tell, used) = watch::channel(0);
        let mut watched = self.lock();
        let number = watched.next;
        watched.next += 1;
        watched.programs.insert(number, (measured, tell));
        if !std::mem::replace(&mut watched.is_measuring, true) {
            tokio::spawn(measure_all(Arc::clone(self), manager.cloned()));
        }
        Some(WatchedMemory {
            watch: Arc::clone(self),
            number,
            used,
            limits,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the programs to measure. If there are none, the measuring task ends.
    fn programs(&self) -> Option<Vec<(u64, Measured)>> {
        let mut watched = self.lock();
        if watched.programs.is_empty() {
            watched.is_measuring = false;
            return None;
        }
        let programs = watched.programs.iter();
        Some(
            programs
                .map(|(number, (measured, _))| (*number, measured.clone()))
                .collect(),
        )
    }

    /// Sends each program its usage.
    fn report_usage(&self, used: impl IntoIterator<Item = (u64, u64)>) {
        let watched = self.lock();
        for (number, used) in used {
            if let Some((_, tell)) = watched.programs.get(&number) {
                tell.send_replace(used);
            }
        }
    }
}

/// Measures the programs again and again, until there are none.
async fn measure_all(watch: Arc<MemoryWatch>, manager: Option<Arc<dyn ProcessManager>>) {
    let mut has_failed = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(programs) = watch.programs() else {
            return;
        };
        match measure(programs, manager.as_ref()).await {
            Ok(used) => watch.report_usage(used),
            Err(error) if !has_failed => {
                has_failed = true;
                let error = error_chain(&error);
                tracing::warn!(error, "the memory of commands cannot be read; trying again");
            }
            Err(_) => {}
        }
    }
}

/// Measures the memory of programs, except those that have not started yet or have already ended.
async fn measure(
    programs: Vec<(u64, Measured)>,
    manager: Option<&Arc<dyn ProcessManager>>,
) -> Result<Vec<(u64, u64)>, ProcessError> {
    let mut groups: BTreeMap<u32, u64> = BTreeMap::new();
    let mut processes: BTreeMap<ProcessId, u64> = BTreeMap::new();
    for (number, measured) in programs {
        match measured {
            Measured::Group(program) => {
                groups.extend(program.number().map(|group| (group, number)));
            }
            Measured::Process(id) => {
                processes.insert(id, number);
            }
        }
    }
    let mut used = Vec::new();
    if !groups.is_empty() {
        let asked: Vec<u32> = groups.keys().copied().collect();
        let usage = run_blocking(move || platform::usage_of_groups(&asked)).await;
        let usage = usage
            .and_then(|usage| usage)
            .map_err(ProcessError::Measure)?;
        let usage = usage.into_iter();
        used.extend(usage.filter_map(|(group, usage)| Some((*groups.get(&group)?, usage.memory))));
    }
    if let Some(manager) = manager.filter(|_| !processes.is_empty()) {
        let asked: Vec<ProcessId> = processes.keys().copied().collect();
        let usage = manager.measure_processes(&asked).await?.into_iter();
        used.extend(usage.filter_map(|(id, usage)| Some((*processes.get(&id)?, usage.memory))));
    }
    Ok(used)
}

impl WatchedMemory {
    /// Waits until the program uses more than it may.
    async fn exceeded(&mut self) -> Excess {
        loop {
            if self.used.changed().await.is_err() {
                // The sender lives as long as this, so this is never reached.
                std::future::pending::<()>().await;
            }
            let used = *self.used.borrow_and_update();
            if let Some(excess) = self.limits.exceeded_by(used) {
                return excess;
            }
        }
    }

    /// Records that the program was asked to end: it needs time for that, and not another request.
    pub(super) fn asked(&mut self) {
        self.limits.soft = None;
    }
}

/// Waits until a program uses more memory than it may; forever if it has no limits.
pub(super) async fn exceeded(memory: &mut Option<WatchedMemory>) -> Excess {
    match memory {
        Some(memory) => memory.exceeded().await,
        None => std::future::pending().await,
    }
}

impl Drop for WatchedMemory {
    fn drop(&mut self) {
        self.watch.lock().programs.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{MockProcessManager, ProcessUsage};

    #[test]
    fn the_hard_limit_comes_before_the_soft_one() {
        let limits = MemoryLimits {
            soft: Some(10),
            hard: Some(20),
        };
        let excess = |used| {
            let excess = limits.exceeded_by(used);
            excess.map(|excess| (excess.limit, excess.kills))
        };
        assert_eq!(excess(10), None);
        assert_eq!(excess(11), Some((10, false)));
        assert_eq!(excess(21), Some((20, true)));
        assert_eq!(MemoryLimits::default().exceeded_by(u64::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn programs_are_measured_together_until_the_last_one_has_ended() {
        let mut manager = MockProcessManager::new();
        manager.expect_measure_processes().returning(|ids| {
            let usage = ids.iter();
            let usage = usage.map(|id| (*id, ProcessUsage::new(30, Duration::ZERO)));
            Ok(usage.collect())
        });
        let manager: Arc<dyn ProcessManager> = Arc::new(manager);
        let watch: Arc<MemoryWatch> = Arc::default();
        let add = |number, hard| {
            let limits = MemoryLimits {
                soft: None,
                hard: Some(hard),
            };
            let process = Measured::Process(ProcessId::new(number));
            watch.watch(limits, process, Some(&manager))
        };
        let (mut small, mut large) = (add(1, 20), add(2, 40));
        let excess = exceeded(&mut small).await;
        assert_eq!(
            excess,
            Excess {
                used: 30,
                limit: 20,
                kills: true
            }
        );
        let waits = tokio::time::timeout(INTERVAL * 9, exceeded(&mut large));
        assert!(waits.await.is_err());
        drop((small, large));
        tokio::time::sleep(INTERVAL * 2).await;
        assert!(!watch.lock().is_measuring);
        let none = watch.watch(
            MemoryLimits::default(),
            Measured::Process(ProcessId::new(3)),
            Some(&manager),
        );
        assert!(none.is_none());
        assert_eq!(exceeded(&mut add(4, 1)).await.limit, 1);
    }
}
