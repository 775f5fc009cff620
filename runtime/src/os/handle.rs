//! The handle of a process, for the tasks that communicate with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::{Ended, Ending, Exit, WorkFolder};

/// The id of a process within one manager. Unlike the system's process ids it is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(u64);

impl ProcessId {
    /// Makes the id of the process that was started as number `n`.
    pub fn new(n: u64) -> Self {
        Self(n)
    }

    /// Returns the number of the process.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.0)
    }
}

/// The description of a living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// The id of the process within its manager.
    pub id: ProcessId,
    /// The system's id of the process, which is the id of its group, too.
    pub system_id: u32,
    /// The program and its arguments.
    pub command: Arc<str>,
}

/// The handle of a process: its pipes, and a watch on its end.
///
/// Dropping it closes the pipes and does not end the process; the manager does that.
pub struct ProcessHandle {
    id: ProcessId,
    /// The id that the system gave the process, on the machine where it runs.
    system_id: Option<u32>,
    /// The pipes; `None` once they are taken.
    pipes: Option<Pipes>,
    /// Asks the system about the state of the process; `None` if the manager does not support that.
    view: Option<Box<dyn ProcessView>>,
    input: Option<InputWatch>,
    folder: Option<Arc<dyn WorkFolder>>,
    exit: ExitWatch,
}

/// Asks the operating system about a process at this moment, so that answers do not depend on what the event loop has
/// noticed.
///
/// After this process was stopped or starved, its timers can fire before its event loop notices what has happened in
/// the meantime. So code that is about to decide about an attempt by the clock has to ask here first, and handle what
/// has come.
#[async_trait]
pub trait ProcessView: Send + Sync {
    /// Returns how many bytes were written to the stdin of the process, and how many of them it has read.
    ///
    /// After the process has broken the pipe, this still returns how many it has read. `None` if that is not known, for
    /// example once the host has closed the pipe.
    fn input(&self) -> Option<InputCount>;

    /// Returns how many bytes were written to the stdin of the process. It costs no system call.
    fn written_input(&self) -> Option<u64>;

    /// Returns how many bytes the process has printed to its stdout by now.
    ///
    /// What is printed by now can be read afterwards without waiting. `None` if that is not known, for example once the
    /// pipe is closed.
    fn output(&self) -> Option<OutputCount>;

    /// Whether the process has ended, even if its [`ExitWatch`] does not report that yet.
    fn has_ended(&self) -> bool;

    /// Whether this asks the system that runs the process. Otherwise it answers from what has come from there so far, and
    /// more may wait to be read after this process was stopped.
    fn is_direct(&self) -> bool {
        true
    }

    /// Waits until this answers at least from what was true when it was called. A view that [is
    /// direct](Self::is_direct) always does.
    ///
    /// The host of the process may be late: its agent may have been stopped, or the network may have been. So this asks
    /// the host, and waits for all that the process had printed by then, or for the news that it has ended.
    async fn catch_up(&self) {}

    /// Returns for how long a process that has ended surely ran, as measured where it ran.
    ///
    /// `None` if that is not known, or not needed because [`has_ended`](Self::has_ended) knows of the end at once.
    fn ran(&self) -> Option<Duration> {
        None
    }
}

/// How many bytes were written into the pipe to the stdin of a process, and read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputCount {
    /// How many bytes were written into the pipe so far.
    pub written: u64,
    /// How many of them the process has read.
    pub read: u64,
}

/// How many bytes a process has printed to its stdout, and how many of them have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputCount {
    /// How many bytes the process has printed so far.
    pub printed: u64,
    /// How many of them have been read.
    pub read: u64,
}

/// Our ends of a process's pipes: its stdin, its stdout and its stderr.
pub type Pipes = (
    Box<dyn AsyncWrite + Send + Unpin>,
    Box<dyn AsyncRead + Send + Unpin>,
    Box<dyn AsyncRead + Send + Unpin>,
);

impl ProcessHandle {
    /// Makes a handle with pipes of any kind. In tests these are pipes in memory.
    pub fn new(id: ProcessId, pipes: Pipes, exit: ExitWatch) -> Self {
        Self {
            id,
            system_id: None,
            pipes: Some(pipes),
            view: None,
            input: None,
            folder: None,
            exit,
        }
    }

    /// Returns the id of the process within its manager.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Sets the system's id of the process.
    #[must_use]
    pub fn with_system_id(mut self, system_id: u32) -> Self {
        self.system_id = Some(system_id);
        self
    }

    /// Returns the system's id of the process, if it is a process of this system.
    pub fn system_id(&self) -> Option<u32> {
        self.system_id
    }

    /// Sets the operating system's view of the process.
    #[must_use]
    pub fn with_view(mut self, view: impl ProcessView + 'static) -> Self {
        self.view = Some(Box::new(view));
        self
    }

    /// Returns the operating system's view of the process, if there is one.
    pub fn view(&self) -> Option<&dyn ProcessView> {
        self.view.as_deref()
    }

    /// Takes the pipes to stdin, stdout and stderr. Only the first call gets them.
    pub fn take_pipes(&mut self) -> Option<Pipes> {
        self.pipes.take()
    }

    /// Sets the watch that reports when the process closes its stdin.
    #[must_use]
    pub fn with_input_watch(mut self, watch: InputWatch) -> Self {
        self.input = Some(watch);
        self
    }

    /// Waits until the process is known to have closed its stdin; cancel safe.
    ///
    /// A pipe to a process on another host accepts bytes that will never be read, so a write does not show this. On
    /// this system the next write fails at once. So a handle without a watch waits forever.
    pub async fn input_closed(&mut self) {
        match &mut self.input {
            Some(watch) => watch.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Sets the work folder of the process. It is given up when the handle is dropped, and nobody else uses it.
    #[must_use]
    pub fn with_folder(mut self, folder: impl WorkFolder + 'static) -> Self {
        self.folder = Some(Arc::new(folder));
        self
    }

    /// Returns the work folder of the process, if one was made for it.
    pub fn folder(&self) -> Option<&dyn WorkFolder> {
        self.folder.as_deref()
    }

    /// Returns the work folder of the process for somebody who uses it beside the owner of the handle.
    pub(crate) fn shared_folder(&self) -> Option<Arc<dyn WorkFolder>> {
        self.folder.clone()
    }

    /// Returns the watch on the end of the process.
    pub fn exit(&mut self) -> &mut ExitWatch {
        &mut self.exit
    }
}

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Notifies the watcher of a process that it has closed its stdin.
#[derive(Debug)]
pub struct InputNotice(watch::Sender<bool>);

/// Waits until a process has closed its stdin.
#[derive(Debug, Clone)]
pub struct InputWatch(watch::Receiver<bool>);

impl InputWatch {
    /// Makes a notice and a watch for one process.
    pub fn channel() -> (InputNotice, Self) {
        let (sender, receiver) = watch::channel(false);
        (InputNotice(sender), Self(receiver))
    }

    /// Waits until the process has closed its stdin; forever if the notice is dropped before that; cancel safe.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|is_closed| *is_closed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the process is known to have closed its stdin.
    pub fn is_closed(&self) -> bool {
        *self.0.borrow()
    }
}

impl InputNotice {
    /// Notifies all watches that the process has closed its stdin.
    pub fn send(&self) {
        self.0.send_replace(true);
    }
}

/// Notifies the watchers of a process that it has ended.
#[derive(Debug)]
pub struct ExitNotice(watch::Sender<Option<Ended>>);

/// Waits for the end of a process.
#[derive(Debug, Clone)]
pub struct ExitWatch(watch::Receiver<Option<Ended>>);

impl ExitWatch {
    /// Makes a notice and a watch for one process.
    pub fn channel() -> (ExitNotice, Self) {
        let (sender, receiver) = watch::channel(None);
        (ExitNotice(sender), Self(receiver))
    }

    /// Waits until the process and all that it had started have ended; cancel safe.
    pub async fn wait(&mut self) -> Ended {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ended)) => ended.clone(),
            // The notice was dropped with the task that watched the process, and that task has killed the process on
            // drop.
            Ok(None) | Err(_) => Ended {
                exit: Exit::Unknown,
                ending: Ending::Killed,
                left_behind: false,
                survivors: Vec::new(),
            },
        }
    }

    /// Returns how the process has ended; `None` if it has not.
    pub fn ended(&self) -> Option<Ended> {
        self.0.borrow().clone()
    }
}

impl ExitNotice {
    /// Notifies all watches that the process has ended.
    pub fn send(self, ended: Ended) {
        // The value is stored even if no watch exists any more.
        self.0.send_replace(Some(ended));
    }
}
