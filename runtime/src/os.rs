//! Processes of the operating system: each is started in a group of its own, watched, and ended with all that it
//! started.
//!
//! This module knows nothing about jobs, workers or pools.
//!
//! Starting a program is easy, but ending it is not. Its children live on and hold its pipes, a killed shell leaves
//! behind the programs that it has started, and a host that is killed leaves everything behind. So:
//!
//! - Every process leads a **group** of its own. Signals go to the group, and a process counts as ended
//!   when it is reaped and its group is empty.
//! - The **exit** of a process is noticed at once, without polling, by a task that owns only this process.
//! - A process is ended by **TERM, the grace, and KILL**. KILL is repeated until no member of the group is left. A
//!   process that survives even that, because it is stuck in the kernel, is reported with its id.
//! - A small **keeper** process holds a pipe to this one. When the pipe ends because this process was killed, the
//!   keeper kills the groups that are left. On Linux a process is on the keeper's list before it runs its program.
//! - A start that fails because the system is **short** of descriptors, processes or memory is retried, until the
//!   shortage has lasted for half a minute in which no process of this runtime ran.
//! - [`suspend_while`] **stops** every group while this process is stopped itself, as by Ctrl-Z.
//! - Every process begins with the **default signals**, but an ignored SIGHUP stays ignored (Linux; elsewhere only
//!   SIGPIPE is reset).
//!
//! A process that leaves its group on purpose, with `setsid` as daemons do, is out of reach.
//!
//! [`ProcessManager`] is the trait that tests replace: [`LocalProcesses`] starts real processes, and tests use a mock
//! or [`ProcessHandle::new`] instead. [`CommandRunner`] runs a program once and returns its output.

mod child;
mod command;
mod config;
mod descriptors;
mod error;
mod exit;
mod group;
mod groups;
mod handle;
mod keeper;
mod lifecycle;
mod manager;
mod output;
mod pipes;
mod platform;
mod program_input;
mod shortage;
mod start;
mod terminal;
mod usage;
mod work_files;
mod work_folder;

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use command::{
    CommandEnd, CommandLimits, CommandOutput, CommandRunner, MemoryLimits, StopCause,
};
pub use config::{Environment, ProcessConfig};
pub use descriptors::raise_descriptor_limit;
pub use error::ProcessError;
pub use exit::{Ended, Ending, Exit};
pub use groups::suspend_while;
pub use handle::{
    ExitNotice, ExitWatch, InputCount, InputNotice, InputWatch, OutputCount, Pipes, ProcessHandle,
    ProcessId, ProcessInfo, ProcessView,
};
pub use keeper::Keeper;
pub(crate) use keeper::{KeeperList, KeeperProgram};
pub use manager::LocalProcesses;
pub use output::{Captured, HeadTail, OutputExcerpt, OutputSink, Stream, Tail};
pub(crate) use platform::{BootTimer, boot_time, umask};
pub use program_input::{EarlierOutput, InputBytes, InputPipe, ProgramInput};
pub use usage::{ProcessCost, ProcessUsage};
pub(crate) use work_files::check_made;
pub use work_files::{Direction, FileError, WorkFiles, WorkPath, WorkPathError};
pub(crate) use work_folder::REMOVE_LIMIT;
pub use work_folder::WorkFolder;

/// Starts processes, and ends them with everything that they have started.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ratchet_runtime::process::{Ending, LocalProcesses, ProcessConfig, ProcessManager};
///
/// let processes = LocalProcesses::start();
/// let mut sleeper = processes.spawn_process(&ProcessConfig::new("sleep").arg("1000")).await?;
/// assert_eq!(processes.list_processes().await?.len(), 1);
///
/// processes.terminate_process(sleeper.id(), Duration::from_secs(5)).await?;
/// assert_eq!(sleeper.exit().wait().await.ending, Ending::Asked);
/// # Ok::<(), ratchet_runtime::process::ProcessError>(())
/// # }).unwrap();
/// ```
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait ProcessManager: Send + Sync {
    /// Starts a process.
    async fn spawn_process(&self, config: &ProcessConfig) -> Result<ProcessHandle, ProcessError>;

    /// Starts a process as [`spawn_process`](Self::spawn_process) does, unless this is cancelled before all files that it
    /// gets are on its host. Then it returns `None`, and no process was started.
    ///
    /// After that the host may have started the process, although its answer is still on its way. So a later cancellation
    /// has no effect, and the caller ends the process as any other one.
    async fn spawn_unless_cancelled(
        &self,
        config: &ProcessConfig,
        cancel: &CancellationToken,
    ) -> Result<Option<ProcessHandle>, ProcessError> {
        let _ = cancel; // A process of this system gets no files.
        self.spawn_process(config).await.map(Some)
    }

    /// Describes a living process; returns `None` if it has ended.
    async fn get_process(&self, id: ProcessId) -> Result<Option<ProcessInfo>, ProcessError>;

    /// Describes every living process, oldest first.
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError>;

    /// Asks a process and its group to end, and kills them when the grace is over. It does not wait for that.
    ///
    /// If it is called again, the shorter grace counts. A process that has ended is not an error.
    async fn terminate_process(
        &self,
        id: ProcessId,
        grace: std::time::Duration,
    ) -> Result<(), ProcessError>;

    /// Stops a process and its group until they are continued. A process that has ended is not an error.
    ///
    /// A stopped process can still be terminated.
    async fn stop_process(&self, id: ProcessId) -> Result<(), ProcessError>;

    /// Continues a process and its group. A process that has ended is not an error.
    async fn continue_process(&self, id: ProcessId) -> Result<(), ProcessError>;

    /// Measures the usage of these processes, each together with its group. Processes that have ended are left out.
    async fn measure_processes(
        &self,
        ids: &[ProcessId],
    ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError>;
}
