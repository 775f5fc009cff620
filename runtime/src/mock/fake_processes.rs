//! Fake processes that are workers in memory, for tests of code that has a pool.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ratchet_ipc::serve::{Call, IntoReply, Task, Worker};
use ratchet_ipc::{Limits, Native, StdioTransport, TaskError, TaskName};
use tokio::io::{duplex, empty};
use tokio::sync::oneshot;

use crate::os::{
    Ended, Ending, Exit, ExitWatch, ProcessConfig, ProcessError, ProcessHandle, ProcessId,
    ProcessInfo, ProcessManager, ProcessUsage,
};

/// How many bytes a pipe holds at most: as many as a pipe of Linux.
const PIPE: usize = 1 << 16;

/// A [`ProcessManager`] without processes: each process that it starts is a worker in memory, whose tasks are closures
/// of the test.
///
/// The workers speak the protocol with the pool as real workers do. They end when they are terminated, when their pool
/// closes their stdin, or by [`crash_all`](Self::crash_all). Clones are the same manager.
///
/// ```
/// use std::sync::Arc;
/// use ratchet_ipc::serve::{Call, Json};
/// use ratchet_runtime::mock::FakeProcesses;
/// use ratchet_runtime::process::{PoolConfig, ProcessConfig, ProcessPool};
/// use ratchet_runtime::{Job, Payload};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let processes = FakeProcesses::of_task("double", |call: Call| async move { Ok(Json(2 * call.read::<u32>()?)) });
/// let pool = ProcessPool::new(Arc::new(processes), PoolConfig::new("double", ProcessConfig::new("any"))).await?;
///
/// let reply = pool.run(Job::task("a", "double", Payload::from_value(&21)?)).await;
/// assert_eq!(reply.result.unwrap().read::<u32>()?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FakeProcesses {
    /// Makes the worker of a process.
    worker: Arc<dyn Fn(&ProcessConfig) -> Worker + Send + Sync>,
    state: Arc<Mutex<State>>,
}

/// The processes of a manager.
#[derive(Default)]
struct State {
    /// How many processes were started.
    started: u64,
    /// The processes that have not ended.
    living: BTreeMap<ProcessId, Living>,
}

/// A process that has not ended.
struct Living {
    info: ProcessInfo,
    /// Ends the process.
    end: oneshot::Sender<(Exit, Ending)>,
}

impl FakeProcesses {
    /// Makes a manager whose workers perform one task with this closure.
    pub fn of_task<F, Fut, R>(task: impl Into<TaskName>, work: F) -> Self
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
        R: IntoReply,
    {
        let (task, work) = (task.into(), Arc::new(work));
        Self::of_workers(move |_config| {
            let work = Arc::clone(&work);
            Worker::new(task.as_str()).task(Task::new(task.clone(), move |call| work(call)))
        })
    }

    /// Makes a manager that calls `worker` for the worker of each process that it starts.
    pub fn of_workers(worker: impl Fn(&ProcessConfig) -> Worker + Send + Sync + 'static) -> Self {
        Self {
            worker: Arc::new(worker),
            state: Arc::default(),
        }
    }

    /// Returns how many processes were started so far.
    pub fn started(&self) -> u64 {
        self.state().started
    }

    /// Ends all processes as if each had crashed. With this, a test can check that work survives crashes.
    pub fn crash_all(&self) {
        for (_, process) in std::mem::take(&mut self.state().living) {
            // An error means that the process has ended by itself in the meantime.
            let _ = process.end.send((Exit::Signal(9), Ending::ByItself));
        }
    }

    /// Locks the state. A poisoned lock is used all the same, because each change is one call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a process. Returns its id, and the receiver of the request to end it.
    fn add(&self, config: &ProcessConfig) -> (ProcessId, oneshot::Receiver<(Exit, Ending)>) {
        let mut state = self.state();
        state.started += 1;
        let id = ProcessId::new(state.started);
        let info = ProcessInfo {
            id,
            system_id: u32::try_from(state.started).unwrap_or(u32::MAX),
            command: config.command.display().to_string().into(),
        };
        let (end, ended) = oneshot::channel();
        state.living.insert(id, Living { info, end });
        (id, ended)
    }
}

#[async_trait]
impl ProcessManager for FakeProcesses {
    async fn spawn_process(&self, config: &ProcessConfig) -> Result<ProcessHandle, ProcessError> {
        let (stdin, requests) = duplex(PIPE);
        let (answers, stdout) = duplex(PIPE);
        let transport = StdioTransport::with(requests, answers, Native, Limits::default());
        let worker = (self.worker)(config);
        let (notice, exit) = ExitWatch::channel();
        let (id, ended) = self.add(config);
        let manager = self.clone();
        let mut served = tokio::spawn(worker.serve_on(transport));
        tokio::spawn(async move {
            let (exit, ending) = tokio::select! {
                result = &mut served => {
                    let is_well = matches!(result, Ok(Ok(())));
                    (Exit::Code(i32::from(!is_well)), Ending::ByItself)
                }
                Ok(end) = ended => {
                    served.abort();
                    end
                }
            };
            manager.state().living.remove(&id);
            notice.send(Ended {
                exit,
                ending,
                left_behind: false,
                survivors: Vec::new(),
            });
        });
        let pipes = (
            Box::new(stdin) as _,
            Box::new(stdout) as _,
            Box::new(empty()) as _,
        );
        Ok(ProcessHandle::new(id, pipes, exit))
    }

    async fn get_process(&self, id: ProcessId) -> Result<Option<ProcessInfo>, ProcessError> {
        let state = self.state();
        Ok(state.living.get(&id).map(|process| process.info.clone()))
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError> {
        let state = self.state();
        Ok(state
            .living
            .values()
            .map(|process| process.info.clone())
            .collect())
    }

    /// Ends a process at once, because a fake process needs no grace.
    async fn terminate_process(&self, id: ProcessId, _grace: Duration) -> Result<(), ProcessError> {
        if let Some(process) = self.state().living.remove(&id) {
            // An error means that the process has ended by itself in the meantime.
            let _ = process.end.send((Exit::Signal(15), Ending::Asked));
        }
        Ok(())
    }

    /// Does nothing: there is no process to stop.
    async fn stop_process(&self, _id: ProcessId) -> Result<(), ProcessError> {
        Ok(())
    }

    /// Does nothing: no process is ever stopped.
    async fn continue_process(&self, _id: ProcessId) -> Result<(), ProcessError> {
        Ok(())
    }

    /// Reports that the living processes among these use nothing.
    async fn measure_processes(
        &self,
        ids: &[ProcessId],
    ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError> {
        let state = self.state();
        let living = ids.iter().filter(|id| state.living.contains_key(*id));
        Ok(living.map(|id| (*id, ProcessUsage::default())).collect())
    }
}

impl fmt::Debug for FakeProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("FakeProcesses")
            .field("started", &state.started)
            .field("living", &state.living.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ratchet_ipc::Payload;
    use ratchet_ipc::serve::Json;

    use super::*;
    use crate::process::{PoolConfig, ProcessPool};
    use crate::{Executor, Job, Status, Terms};
    use ratchet_resilience::retry::BackoffPolicy;

    async fn pool(processes: &FakeProcesses) -> ProcessPool {
        let config = PoolConfig::new("echo", ProcessConfig::new("echo"));
        let pool = ProcessPool::new(Arc::new(processes.clone()), config).await;
        pool.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fake_process_does_tasks_and_ends_with_its_pool() {
        let processes = FakeProcesses::of_task("echo", |call: Call| async move {
            Ok(Json(call.read::<String>()?))
        });
        let pool = pool(&processes).await;
        let executor = Executor::builder().pool(pool.clone(), []).build().unwrap();
        let jobs = (0..3).map(|n| Job::task(n.to_string(), "echo", Payload::from_text("hello")));
        for outcome in executor.run_all(jobs).await.unwrap() {
            assert_eq!(outcome.read::<String>().unwrap(), "hello");
        }
        assert!(processes.started() >= 1);
        assert_eq!(
            processes.list_processes().await.unwrap().len() as u64,
            processes.started()
        );
        drop(executor);
        drop(pool);
        tokio::time::timeout(Duration::from_mins(1), async {
            while !processes.list_processes().await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("all end");
    }

    #[tokio::test(start_paused = true)]
    async fn work_survives_the_crash_of_a_fake_process() {
        let processes = FakeProcesses::of_task("slow", |_call: Call| async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(Json(()))
        });
        let executor = Executor::builder()
            .pool(pool(&processes).await, [])
            .build()
            .unwrap();
        let again = Terms {
            retry: Some(Arc::new(
                BackoffPolicy::builder().max_attempts(2).build().unwrap(),
            )),
            ..Terms::default()
        };
        let job = Job::task("a", "slow", Payload::null()).terms(again);
        let crashing = processes.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            crashing.crash_all();
        });
        let outcomes = executor.run_all([job]).await.unwrap();
        assert_eq!(
            (outcomes[0].status(), outcomes[0].attempts),
            (Status::Succeeded, 2)
        );
        assert_eq!(processes.started(), 2);
    }
}
