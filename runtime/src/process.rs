//! Pools of worker processes, the supervisor that keeps them, and the processes themselves.
//!
//! A [`ProcessPool`] keeps workers of one kind; a [`ProcessSupervisor`] starts, watches, replaces and ends the workers
//! of all pools. Both start their processes through a [`ProcessManager`], which is the seam for tests:
//! [`LocalProcesses`] starts real ones.

mod pool;
mod programs;
mod restart_limiter;
mod supervisor;

pub use crate::os::{
    Captured, CommandEnd, CommandLimits, CommandOutput, CommandRunner, Direction, EarlierOutput,
    Ended, Ending, Environment, Exit, ExitNotice, ExitWatch, FileError, HeadTail, InputBytes,
    InputCount, InputNotice, InputPipe, InputWatch, Keeper, LocalProcesses, MemoryLimits,
    OutputCount, OutputSink, Pipes, ProcessConfig, ProcessCost, ProcessError, ProcessHandle,
    ProcessId, ProcessInfo, ProcessManager, ProcessUsage, ProcessView, ProgramInput, StopCause,
    Stream, Tail, WorkFiles, WorkFolder, WorkPath, WorkPathError, raise_descriptor_limit,
    suspend_while,
};
pub use crate::suspension::working_now;
pub use crate::worker::config::{
    PoolConfig, Prefetch, Recycling, RestartPolicy, Size, WorkerProtocol,
};
pub use pool::{Lease, ProcessPool};
pub(crate) use pool::{SeatId, Seats};
pub(crate) use programs::{CommandLine, StartedPrograms, absolute};
pub(crate) use supervisor::Attachment;
pub use supervisor::{PoolMetrics, ProcessSupervisor};
