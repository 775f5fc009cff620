//! Real processes on this machine. One actor owns them, and all other tasks send it orders.
//!
//! ```text
//! LocalProcesses --ProcessOrder--> actor --owns--> one watch task per process --Ended--> actor, ExitWatch
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinSet};

use super::child::Child;
use super::lifecycle::{self, Pause};
use super::shortage::RunningProcesses;
use super::{
    ExitWatch, Keeper, ProcessConfig, ProcessError, ProcessHandle, ProcessId, ProcessInfo,
    ProcessManager, ProcessUsage, platform,
};
use crate::blocking::run_blocking;
use crate::suspension::working_now;

/// The capacity of the channel of orders. Orders are few and answered at once, and a caller waits while the channel is
/// full.
const ORDER_CAPACITY: usize = 64;

/// Processes on this machine.
///
/// Dropping it kills them all, with everything that they started.
#[derive(Debug)]
pub struct LocalProcesses {
    orders: mpsc::Sender<ProcessOrder>,
    starts: Arc<RunningProcesses>,
}

/// An order to the actor that owns the processes.
enum ProcessOrder {
    /// Start a process, and answer with its handle.
    Spawn(
        ProcessConfig,
        oneshot::Sender<Result<UnclaimedProcess, ProcessError>>,
    ),
    /// Answer with the processes that run.
    List(oneshot::Sender<Vec<ProcessInfo>>),
    /// Ask a process to end, and kill it after this grace.
    Terminate(ProcessId, Duration),
    Pause(ProcessId, Pause),
}

impl LocalProcesses {
    /// Starts the actor, and a keeper for its processes.
    ///
    /// Call it within a tokio runtime. If a keeper cannot be started, it continues without one and logs that once.
    pub fn start() -> Self {
        let keeper = Keeper::start().inspect_err(|error| {
            tracing::warn!(%error, "there is no keeper: if this process is killed, its workers live on");
        });
        Self::with_keeper(keeper.ok())
    }

    /// Starts the actor with an existing keeper, or with none.
    pub fn with_keeper(keeper: Option<Keeper>) -> Self {
        let (orders, received) = mpsc::channel(ORDER_CAPACITY);
        let starts = Arc::<RunningProcesses>::default();
        let actor = ProcessActor {
            keeper,
            starts: Arc::clone(&starts),
            next: 1,
            living: BTreeMap::new(),
            watches: JoinSet::new(),
        };
        tokio::spawn(actor.run(received));
        Self { orders, starts }
    }

    /// Sends an order to the actor and waits for the answer.
    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> ProcessOrder + Send,
    ) -> Result<T, ProcessError> {
        let (answer, answered) = oneshot::channel();
        self.orders
            .send(order(answer))
            .await
            .map_err(|_| ProcessError::Ended)?;
        answered.await.map_err(|_| ProcessError::Ended)
    }

    async fn pause(&self, id: ProcessId, pause: Pause) -> Result<(), ProcessError> {
        let order = ProcessOrder::Pause(id, pause);
        self.orders
            .send(order)
            .await
            .map_err(|_| ProcessError::Ended)
    }
}

#[async_trait]
impl ProcessManager for LocalProcesses {
    async fn spawn_process(&self, config: &ProcessConfig) -> Result<ProcessHandle, ProcessError> {
        if let Some(files) = &config.files {
            files.check_pushed()?;
        }
        let mut retry = self.starts.retry();
        loop {
            let order = |answer| ProcessOrder::Spawn(config.clone(), answer);
            match self.order(order).await? {
                Err(ProcessError::Spawn { source, .. }) if retry.wait(&source).await => {}
                started => return started.map(UnclaimedProcess::claim),
            }
        }
    }

    async fn get_process(&self, id: ProcessId) -> Result<Option<ProcessInfo>, ProcessError> {
        Ok(self
            .list_processes()
            .await?
            .into_iter()
            .find(|process| process.id == id))
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError> {
        self.order(ProcessOrder::List).await
    }

    async fn terminate_process(&self, id: ProcessId, grace: Duration) -> Result<(), ProcessError> {
        self.orders
            .send(ProcessOrder::Terminate(id, grace))
            .await
            .map_err(|_| ProcessError::Ended)
    }

    async fn stop_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.pause(id, Pause::Stop).await
    }

    async fn continue_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.pause(id, Pause::Continue).await
    }

    async fn measure_processes(
        &self,
        ids: &[ProcessId],
    ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError> {
        let living = self.list_processes().await?;
        let wanted = living
            .into_iter()
            .filter(|process| ids.contains(&process.id));
        let groups: BTreeMap<ProcessId, u32> = wanted
            .map(|process| (process.id, process.system_id))
            .collect();
        let numbers: Vec<u32> = groups.values().copied().collect();
        // The whole list of processes is read, which takes a while on a machine that has many.
        let usage = run_blocking(move || platform::usage_of_groups(&numbers)).await;
        let usage = usage
            .and_then(|usage| usage)
            .map_err(ProcessError::Measure)?;
        Ok(groups
            .into_iter()
            .filter_map(|(id, group)| Some((id, *usage.get(&group)?)))
            .collect())
    }
}

/// Owns the processes of a manager, and handles the orders to it one by one.
struct ProcessActor {
    keeper: Option<Keeper>,
    /// Notified of each end, so that starts that failed because of a shortage are retried.
    starts: Arc<RunningProcesses>,
    /// The number of the next process.
    next: u64,
    living: BTreeMap<ProcessId, LiveProcess>,
    /// One task for each living process. It ends with the process.
    watches: JoinSet<ProcessId>,
}

/// A process whose handle is on its way to the caller. Dropping this kills the process: the caller may stop waiting at
/// any moment, even after the answer was sent.
struct UnclaimedProcess {
    /// The handle, until it is claimed.
    handle: Option<ProcessHandle>,
    /// When the process is killed, for its watch task.
    kill_at: watch::Sender<Option<Instant>>,
}

impl UnclaimedProcess {
    /// Takes the handle. From now on its owner decides when the process ends.
    #[expect(
        clippy::expect_used,
        reason = "only this takes the handle, and it takes `self`"
    )]
    fn claim(mut self) -> ProcessHandle {
        self.handle.take().expect("the handle was not claimed")
    }
}

impl Drop for UnclaimedProcess {
    fn drop(&mut self) {
        if self.handle.is_some() {
            lifecycle::move_kill_earlier(&self.kill_at, working_now());
        }
    }
}

/// A living process, and the means to have it killed or stopped.
struct LiveProcess {
    info: ProcessInfo,
    /// The task that watches it.
    watch: task::Id,
    /// When the process is killed, for its watch task; `None` if it was not asked to end.
    kill_at: watch::Sender<Option<Instant>>,
    /// Whether the process is to be stopped, for its watch task.
    pause: watch::Sender<Pause>,
}

impl ProcessActor {
    /// Handles orders until all handles of the manager are gone.
    async fn run(mut self, mut orders: mpsc::Receiver<ProcessOrder>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(order),
                    // No task is left to give orders. Dropping the watches kills the processes that they watch.
                    None => return,
                },
                Some(watched) = self.watches.join_next() => {
                    match watched {
                        Ok(process) => drop(self.living.remove(&process)),
                        // This is a panic, and a bug in this crate. Dropping the group has killed the process.
                        Err(error) => self.living.retain(|_, living| living.watch != error.id()),
                    }
                    self.starts.ended();
                }
            }
        }
    }

    /// Handles one order.
    fn handle_order(&mut self, order: ProcessOrder) {
        // The receiver of an answer may have been dropped. A process that nobody claims is killed.
        match order {
            ProcessOrder::Spawn(config, answer) => drop(answer.send(self.spawn(&config))),
            ProcessOrder::List(answer) => {
                let _ = answer.send(
                    self.living
                        .values()
                        .map(|living| living.info.clone())
                        .collect(),
                );
            }
            ProcessOrder::Terminate(id, grace) => self.terminate(id, grace),
            ProcessOrder::Pause(id, pause) => {
                if let Some(living) = self.living.get(&id) {
                    living.pause.send_replace(pause);
                }
            }
        }
    }

    /// Starts a process and the task that watches it.
    fn spawn(&mut self, config: &ProcessConfig) -> Result<UnclaimedProcess, ProcessError> {
        let (child, group, pipes, view) = Child::start(config, self.keeper.as_ref())
            .map_err(|source| ProcessError::spawn(config, source))?;
        let system_id = group.number();
        let id = ProcessId::new(self.next);
        self.next += 1;
        let (notice, exit) = ExitWatch::channel();
        let (kill_at, kill_time) = watch::channel(None);
        let (pause, paused) = watch::channel(Pause::Continue);
        let info = ProcessInfo {
            id,
            system_id,
            command: Arc::from(config.to_string()),
        };
        self.starts.started();
        let watch = self.watches.spawn(async move {
            notice.send(lifecycle::watch(child, group, kill_time, paused).await);
            id
        });
        let living = LiveProcess {
            info,
            watch: watch.id(),
            kill_at: kill_at.clone(),
            pause,
        };
        self.living.insert(id, living);
        let handle = ProcessHandle::new(id, pipes, exit)
            .with_system_id(system_id)
            .with_view(view);
        Ok(UnclaimedProcess {
            handle: Some(handle),
            kill_at,
        })
    }

    fn terminate(&self, id: ProcessId, grace: Duration) {
        if let Some(living) = self.living.get(&id) {
            let now = working_now();
            // A grace beyond the clock's range is unlimited, and an hour is as good.
            let time = now
                .checked_add(grace)
                .unwrap_or(now + Duration::from_hours(1));
            lifecycle::move_kill_earlier(&living.kill_at, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_whose_caller_left_after_the_answer_was_sent_is_killed() {
        let manager = LocalProcesses::with_keeper(None);
        let config = ProcessConfig::new("sleep").arg("1000");
        let (answer, answered) = oneshot::channel();
        let order = ProcessOrder::Spawn(config, answer);
        manager.orders.send(order).await.unwrap();
        assert_eq!(manager.list_processes().await.unwrap().len(), 1);
        drop(answered);
        let emptied = async {
            while !manager.list_processes().await.unwrap().is_empty() {
                task::yield_now().await;
            }
        };
        let limit = Duration::from_mins(1);
        tokio::time::timeout(limit, emptied).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_whose_watch_panicked_is_off_the_list() {
        let mut actor = ProcessActor {
            keeper: None,
            starts: Arc::default(),
            next: 1,
            living: BTreeMap::new(),
            watches: JoinSet::new(),
        };
        actor.starts.started();
        let watch = actor.watches.spawn(async { panic!("a bug") });
        let id = ProcessId::new(1);
        let info = ProcessInfo {
            id,
            system_id: 1,
            command: Arc::from("true"),
        };
        let living = LiveProcess {
            info,
            watch: watch.id(),
            kill_at: watch::channel(None).0,
            pause: watch::channel(Pause::Continue).0,
        };
        actor.living.insert(id, living);
        let (orders, received) = mpsc::channel(ORDER_CAPACITY);
        let starts = Arc::clone(&actor.starts);
        tokio::spawn(actor.run(received));
        let manager = LocalProcesses { orders, starts };
        let emptied = async {
            while !manager.list_processes().await.unwrap().is_empty() {
                task::yield_now().await;
            }
        };
        let limit = Duration::from_mins(1);
        tokio::time::timeout(limit, emptied).await.unwrap();
    }
}
