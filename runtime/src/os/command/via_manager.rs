//! Runs a program once through a process manager.
//!
//! The manager starts the program and watches it. Its output is read on a thread of its own, since a sink may block
//! that for as long as it likes.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::memory::{Measured, WatchedMemory, exceeded};
use super::output_run::{OutputPipe, OutputRun};
use super::threads::ThreadRun;
use super::{CommandEnd, CommandLimits, CommandRunner, StopCause};
use crate::os::program_input::OpenedInput;
use crate::os::{
    Direction, Ended, Ending, FileError, OutputSink, ProcessConfig, ProcessError, ProcessHandle,
    ProcessId, ProcessManager, ProcessView, ProgramInput, REMOVE_LIMIT, WorkFiles, WorkFolder,
};
use crate::stop_clock::{StopAction, StopClock, StopLimits, StopMethod, StopReason};
use crate::suspension::{until, working_now};

/// How long the pipes of a program that has ended are still read while no data comes. Only a descendant that left its
/// group can hold them open.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// The size of one read of a file for stdin.
const READ_BYTES: usize = 64 * 1024;

/// Writes the stdin of a program. Its result shows whether the input could be read.
type InputWriter = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A thread that waits for the pipes of a program, or reads them.
struct Reader {
    /// Sends the pipes to the thread.
    pipes: Option<oneshot::Sender<(OutputPipe, OutputPipe)>>,
    /// Signals that everything was read. If it is dropped instead, the thread is gone, because the sink has panicked.
    all_read: oneshot::Receiver<()>,
    /// The thread has not reported yet that everything was read.
    is_reading: bool,
    /// Counts the beginnings and the ends of the sink's calls, so it is odd during a call.
    calls: Arc<AtomicUsize>,
    /// Makes the thread give up the rest of the output.
    enough: CancellationToken,
}

impl Reader {
    /// Waits until the rest of the output of a program that has ended is read, or until no more comes.
    async fn finish(mut self) {
        while self.is_reading {
            let before = self.calls.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                _ = &mut self.all_read => self.is_reading = false,
                () = sleep(DRAIN_LIMIT) => {
                    let is_in_sink = before % 2 == 1;
                    if self.calls.load(Ordering::Relaxed) == before && !is_in_sink {
                        self.enough.cancel();
                    }
                }
            }
        }
    }
}

/// A program that a manager has started. Dropping this kills the program, unless it has ended.
struct StartedProgram<'a> {
    manager: &'a Arc<dyn ProcessManager>,
    id: ProcessId,
    handle: ProcessHandle,
    /// The program has ended, so a drop kills nothing.
    has_ended: bool,
    /// Decides when the limits are reached.
    clock: StopClock,
    limits: StopLimits,
    /// The time between the request to stop the program and its kill.
    grace: Duration,
    /// The first reason for which the program was asked to stop.
    stopped: Option<StopCause>,
    /// Reports too much memory; `None` without limits.
    memory: Option<WatchedMemory>,
}

impl StartedProgram<'_> {
    /// Returns how much of a limit was left when the program ended, if it ended by itself before its limits were over.
    ///
    /// This process, the connection or the other host may have been held up in the meantime, so that the limits were over
    /// here before the end was heard of. So it is measured where the program ran. The transfer of its files is not part
    /// of that.
    fn left_of(&self, limit: Option<Duration>, ended: &Ended) -> Option<Duration> {
        let ran = self.handle.view().and_then(ProcessView::ran)?;
        let first = self.limits.soft.into_iter().chain(self.limits.hard).min()?;
        if ended.ending != Ending::ByItself || ran >= first {
            return None;
        }
        limit?.checked_sub(ran)
    }

    /// Waits for the end of the program, and asks or kills it when its limits, a cancellation or a lost reader require
    /// that.
    async fn wait(
        &mut self,
        reader: &mut Reader,
        mut input: Option<InputWriter>,
        cancel: &CancellationToken,
    ) -> Ended {
        let mut exit = self.handle.exit().clone();
        loop {
            let next = self.clock.next(self.limits, StopMethod::Signalled);
            let mut excess = None;
            let due = tokio::select! {
                biased;
                ended = exit.wait() => return ended,
                () = until(next.map(|(at, _)| at)) => next.map(|(_, due)| due),
                () = cancel.cancelled(), if self.stopped.is_none() => {
                    Some(StopAction::Ask(StopReason::Unwanted))
                }
                over = exceeded(&mut self.memory) => {
                    excess = Some(over);
                    match over.kills {
                        true => Some(StopAction::Kill(StopReason::Unwanted)),
                        false if self.stopped.is_none() => {
                            Some(StopAction::Ask(StopReason::Unwanted))
                        }
                        false => None,
                    }
                }
                written = written(&mut input), if input.is_some() => {
                    input = None;
                    if let Err(error) = written {
                        self.stopped.get_or_insert(StopCause::InputFailed(error.kind()));
                        terminate(self.manager, self.id, Duration::ZERO).await;
                    }
                    None
                }
                all = &mut reader.all_read, if reader.is_reading => {
                    reader.is_reading = false;
                    if all.is_err() {
                        terminate(self.manager, self.id, Duration::ZERO).await;
                    }
                    None
                }
            };
            // The system is asked, after the time was over, so that a program that ended in time does not count as
            // timed out.
            if self.handle.view().is_some_and(ProcessView::has_ended) {
                return exit.wait().await;
            }
            if let Some(excess) = excess {
                let (used, limit) = (excess.used, excess.limit);
                self.stopped
                    .get_or_insert(StopCause::Memory { used, limit });
                self.memory.iter_mut().for_each(WatchedMemory::asked);
            }
            match due {
                Some(StopAction::Ask(why)) => {
                    self.stopped.get_or_insert(why.into());
                    let now = working_now();
                    self.clock
                        .ask(why, self.limits, StopMethod::Signalled, self.grace, now);
                    terminate(self.manager, self.id, self.grace).await;
                }
                Some(StopAction::Kill(why)) => {
                    self.stopped.get_or_insert(why.into());
                    terminate(self.manager, self.id, Duration::ZERO).await;
                    return exit.wait().await;
                }
                None => {}
            }
        }
    }
}

/// Waits until the stdin of a program is written.
async fn written(input: &mut Option<InputWriter>) -> io::Result<()> {
    match input {
        Some(input) => input.await,
        None => std::future::pending().await,
    }
}

/// Writes the input of a program, until everything is written or the program stops reading. Then the stdin is closed.
async fn write_input(
    mut stdin: Box<dyn AsyncWrite + Send + Unpin>,
    input: OpenedInput,
) -> io::Result<()> {
    let mut file: Box<dyn Read + Send> = match input {
        OpenedInput::Nothing | OpenedInput::Terminal => return Ok(()),
        OpenedInput::Bytes(bytes) => {
            // An error means that the program has closed its stdin, or has ended.
            let _ = stdin.write_all(bytes.as_slice()).await;
            return Ok(());
        }
        OpenedInput::Whole(descriptor) => Box::new(File::from(descriptor.try_clone()?)),
        OpenedInput::Part(part) => Box::new(part),
    };
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let result = file.read(&mut chunk);
            (file, chunk, result)
        });
        let result;
        (file, chunk, result) = read.await.map_err(io::Error::other)?;
        let count = result?;
        if count == 0 || stdin.write_all(&chunk[..count]).await.is_err() {
            return Ok(());
        }
    }
}

/// Brings back what a program has made, until this time. Returns the end of the program.
async fn pull(
    folder: &dyn WorkFolder,
    files: &WorkFiles,
    end: CommandEnd,
    by: Option<Instant>,
    cancel: &CancellationToken,
) -> Result<CommandEnd, ProcessError> {
    tokio::select! {
        biased;
        pulled = folder.pull(&files.pull) => pulled.map(|()| end),
        () = cancel.cancelled() => Ok(CommandEnd {
            stopped: Some(StopCause::Cancelled),
            ..end
        }),
        () = until(by) => Err(FileError::TooSlow { direction: Direction::Pull }.into()),
    }
}

/// Returns when a limit that counts from this time is over.
fn limit_from(began: Option<Instant>, limit: Option<Duration>) -> Option<Instant> {
    began?.checked_add(limit?)
}

/// Makes a manager end a process.
async fn terminate(manager: &Arc<dyn ProcessManager>, id: ProcessId, grace: Duration) {
    // An error means that the manager has ended. Its processes have ended with it, and the exit watch reports that.
    let _ = manager.terminate_process(id, grace).await;
}

impl StartedProgram<'_> {
    /// Makes the end of the program, which its manager has reported.
    fn end(&self, mut ended: Ended, limits: CommandLimits) -> CommandEnd {
        let limit = limits.soft.or(limits.hard);
        let was_in_time = self.left_of(limit, &ended).is_some();
        let mut stopped = self.stopped;
        if was_in_time && stopped == Some(StopCause::Timeout) {
            stopped = None;
        }
        if ended.ending == Ending::WantedTerminal {
            ended.ending = Ending::Killed;
            stopped.get_or_insert(StopCause::Terminal);
        }
        CommandEnd {
            ended,
            stopped,
            cost: None,
        }
    }
}

impl Drop for StartedProgram<'_> {
    fn drop(&mut self) {
        // Without a runtime the manager has ended, and its processes with it.
        if !self.has_ended
            && let Ok(runtime) = Handle::try_current()
        {
            let (manager, id) = (Arc::clone(self.manager), self.id);
            runtime.spawn(async move { manager.terminate_process(id, Duration::ZERO).await });
        }
    }
}

impl CommandRunner {
    /// Runs a program through a manager until it ends.
    pub(super) async fn run_through(
        &self,
        manager: &Arc<dyn ProcessManager>,
        config: &ProcessConfig,
        limits: CommandLimits,
        cancel: &CancellationToken,
        sink: Arc<dyn OutputSink>,
    ) -> Result<CommandEnd, ProcessError> {
        if config.stdin == ProgramInput::Terminal {
            let command = config.command.clone();
            return Err(ProcessError::NoTerminal { command });
        }
        let input = config.stdin.open();
        let input = input.map_err(|source| ProcessError::input(&config.stdin, source))?;
        // The time of the file transfer counts, so that slots are never held for longer than the limits allow.
        let began = config.files.as_ref().map(|_| working_now());
        let push_limit = limits.soft.into_iter().chain(limits.hard).min();
        let push_by = limit_from(began, push_limit);
        let started = self.start_through(manager, config, sink, (push_by, limits.grace), cancel);
        let Some((mut reader, mut handle)) = started.await? else {
            return Ok(CommandEnd::never_started());
        };
        let mut writer: Option<InputWriter> = None;
        if let Some((stdin, stdout, stderr)) = handle.take_pipes()
            && let Some(pipes) = reader.pipes.take()
        {
            if !matches!(input, OpenedInput::Nothing) {
                writer = Some(Box::pin(write_input(stdin, input)));
            }
            // An error means that the thread is gone, which the end of `all_read` reports.
            let _ = pipes.send((stdout, stderr));
        }
        let mut program = StartedProgram {
            manager,
            memory: self
                .memory
                .watch(limits.memory, Measured::Process(handle.id()), Some(manager)),
            id: handle.id(),
            handle,
            has_ended: false,
            clock: StopClock::new(began.unwrap_or_else(working_now)),
            limits: StopLimits {
                soft: limits.soft,
                hard: limits.hard,
                idle: None,
            },
            grace: limits.grace,
            stopped: None,
        };
        let ended = program.wait(&mut reader, writer, cancel).await;
        program.has_ended = true;
        reader.finish().await;
        let end = program.end(ended, limits);
        let (Some(files), Some(folder)) = (&config.files, program.handle.folder()) else {
            return Ok(end);
        };
        let end = if end.is_success() && !files.pull.is_empty() {
            let pull_limit = limits.hard.into_iter().chain(limits.soft).max();
            let left = program.left_of(pull_limit, &end.ended);
            let pull_by = limit_from(began, pull_limit);
            // A program whose end was heard of late has the time for its files that it would have had.
            let pull_by = match left {
                Some(left) if pull_by <= Some(working_now()) => working_now().checked_add(left),
                _ => pull_by,
            };
            pull(folder, files, end, pull_by, cancel).await
        } else {
            Ok(end)
        };
        // A host that takes longer continues by itself.
        let _ = timeout(REMOVE_LIMIT, folder.remove()).await;
        end
    }

    /// Starts a program and the reader of its output. Returns nothing if the run is cancelled before the program is known
    /// to have started.
    async fn start_through(
        &self,
        manager: &Arc<dyn ProcessManager>,
        config: &ProcessConfig,
        sink: Arc<dyn OutputSink>,
        (push_by, grace): (Option<Instant>, Duration),
        cancel: &CancellationToken,
    ) -> Result<Option<(Reader, ProcessHandle)>, ProcessError> {
        // The thread is started first: a program whose output cannot be read must not be started.
        let started = async {
            let reader = self.start_reader(config, sink).await?;
            Ok((reader, manager.spawn_process(config).await?))
        };
        tokio::pin!(started);
        tokio::select! {
            biased;
            started = &mut started => return started.map(Some),
            () = cancel.cancelled() => {}
            () = until(push_by) => {
                return Err(FileError::TooSlow { direction: Direction::Push }.into());
            }
        }
        // The program may run already, although its manager has not said so yet. Then it is asked to end, as one that is
        // known to run. Files that are being pushed are not waited for.
        let answer_by = match config.files {
            Some(_) => Some(working_now()),
            None => working_now().checked_add(grace),
        };
        tokio::select! {
            biased;
            started = &mut started => started.map(Some),
            () = until(answer_by) => Ok(None),
        }
    }

    /// Starts a thread that waits for the pipes of a program. If threads are short, it waits and retries.
    async fn start_reader(
        &self,
        config: &ProcessConfig,
        sink: Arc<dyn OutputSink>,
    ) -> Result<Reader, ProcessError> {
        let calls = Arc::<AtomicUsize>::default();
        let enough = CancellationToken::new();
        let mut retry = self.starts.retry();
        loop {
            let (pipes, taken_pipes) = oneshot::channel();
            let (tell_read, all_read) = oneshot::channel();
            let run = OutputRun {
                runtime: Handle::current(),
                pipes: taken_pipes,
                sink: Arc::clone(&sink),
                calls: Arc::clone(&calls),
                enough: enough.clone(),
                all_read: tell_read,
            };
            match self.threads.take(ThreadRun::Output(run)) {
                Ok(()) => {
                    return Ok(Reader {
                        pipes: Some(pipes),
                        all_read,
                        is_reading: true,
                        calls,
                        enough,
                    });
                }
                Err(source) if retry.wait(&source).await => {}
                Err(source) => return Err(ProcessError::spawn(config, source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::io::{empty, sink};
    use tokio::sync::Notify;

    use super::*;
    use crate::os::{CommandOutput, Exit, ExitNotice, ExitWatch, Pipes, ProcessInfo, ProcessUsage};

    /// A manager that has started its process before it says so, which it does when it is notified. The process ends when
    /// it is asked to.
    struct SlowManager {
        answer: Notify,
        exit: ExitWatch,
        notice: Mutex<Option<ExitNotice>>,
        /// The graces of the requests to end the process.
        graces: Mutex<Vec<Duration>>,
    }

    impl SlowManager {
        fn new() -> Arc<Self> {
            let (notice, exit) = ExitWatch::channel();
            Arc::new(Self {
                answer: Notify::new(),
                exit,
                notice: Mutex::new(Some(notice)),
                graces: Mutex::default(),
            })
        }
    }

    #[async_trait]
    impl ProcessManager for SlowManager {
        async fn spawn_process(&self, _: &ProcessConfig) -> Result<ProcessHandle, ProcessError> {
            self.answer.notified().await;
            let pipes: Pipes = (Box::new(sink()), Box::new(empty()), Box::new(empty()));
            let id = ProcessId::new(1);
            Ok(ProcessHandle::new(id, pipes, self.exit.clone()))
        }

        async fn get_process(&self, _: ProcessId) -> Result<Option<ProcessInfo>, ProcessError> {
            Ok(None)
        }

        async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError> {
            Ok(Vec::new())
        }

        async fn terminate_process(
            &self,
            _: ProcessId,
            grace: Duration,
        ) -> Result<(), ProcessError> {
            self.graces.lock().unwrap().push(grace);
            if let Some(notice) = self.notice.lock().unwrap().take() {
                notice.send(Ended {
                    exit: Exit::Signal(15),
                    ending: Ending::Asked,
                    left_behind: false,
                    survivors: Vec::new(),
                });
            }
            Ok(())
        }

        async fn stop_process(&self, _: ProcessId) -> Result<(), ProcessError> {
            Ok(())
        }

        async fn continue_process(&self, _: ProcessId) -> Result<(), ProcessError> {
            Ok(())
        }

        async fn measure_processes(
            &self,
            _: &[ProcessId],
        ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError> {
            Ok(BTreeMap::new())
        }
    }

    /// Runs a program that is cancelled while its start is under way, with this grace. Calls `meanwhile` after that.
    async fn cancelled(
        manager: &Arc<SlowManager>,
        grace: Duration,
        meanwhile: impl FnOnce(),
    ) -> CommandOutput {
        let cancel = CancellationToken::new();
        let run = tokio::spawn({
            let (manager, cancel) = (Arc::clone(manager), cancel.clone());
            async move {
                let limits = CommandLimits {
                    grace,
                    ..CommandLimits::default()
                };
                let runner = CommandRunner::through(manager);
                let program = ProcessConfig::new("any");
                runner.run(&program, limits, &cancel).await
            }
        });
        tokio::task::yield_now().await;
        cancel.cancel();
        tokio::task::yield_now().await;
        meanwhile();
        run.await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_program_that_is_cancelled_before_its_start_is_told_is_asked_to_end() {
        let (manager, grace) = (SlowManager::new(), Duration::from_mins(1));
        let output = cancelled(&manager, grace, || manager.answer.notify_one()).await;
        assert_eq!(output.stopped, Some(StopCause::Cancelled));
        let end = (output.ended.exit, output.ended.ending);
        assert_eq!(end, (Exit::Signal(15), Ending::Asked));
        assert_eq!(*manager.graces.lock().unwrap(), [grace]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_cancelled_is_not_waited_for_longer_than_the_grace() {
        let (manager, began) = (SlowManager::new(), tokio::time::Instant::now());
        let output = cancelled(&manager, Duration::from_secs(9), || {}).await;
        assert_eq!(output.ended.exit, Exit::Unknown);
        assert_eq!(output.stopped, Some(StopCause::Cancelled));
        assert_eq!(began.elapsed().as_secs(), 9);
    }
}
