//! The threads of a runner: one for each program that runs. They wait for further programs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::output_run::OutputRun;
use super::program::ProgramRun;

/// How long a thread waits for another program before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// The stack size of a thread. The thread reads into a buffer on the heap, so little is enough, and there is a thread
/// for each program.
const STACK_BYTES: usize = 256 * 1024;

/// The size of one read: as much as a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a thread does for one program.
pub(super) enum ThreadRun {
    /// The thread starts the program, and reads and reaps it.
    Program(ProgramRun),
    /// A process manager starts the program, and the thread takes its output.
    Output(OutputRun),
}

impl ThreadRun {
    /// Performs it, and returns whether the program was started.
    fn carry_out(self, chunk: &mut [u8]) -> bool {
        match self {
            Self::Program(run) => run.carry_out(chunk),
            Self::Output(run) => run.carry_out(chunk),
        }
    }
}

/// The threads of a runner. After this is dropped, each thread finishes its current program and then ends.
#[derive(Default)]
pub(super) struct Threads(Arc<Shared>);

/// The state that the threads share with the runner.
#[derive(Default)]
struct Shared {
    queue: Mutex<RunQueue>,
    /// Wakes threads when a program waits, or when the runner is dropped.
    news: Condvar,
}

/// The programs that wait for a thread.
#[derive(Default)]
struct RunQueue {
    /// The waiting programs, never more than there are idle threads.
    runs: VecDeque<ThreadRun>,
    /// How many threads wait for a program.
    idle: usize,
    /// Whether the threads have to end.
    closed: bool,
}

impl Threads {
    /// Hands a program to a thread, which is started if none is idle.
    pub(super) fn take(&self, run: ThreadRun) -> io::Result<()> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.idle > queue.runs.len() {
            queue.runs.push_back(run);
            drop(queue);
            self.0.news.notify_one();
            return Ok(());
        }
        drop(queue);
        let shared = Arc::clone(&self.0);
        thread::Builder::new()
            .name("command".into())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.work(run))?;
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        drop(queue);
        self.0.news.notify_all();
    }
}

impl Shared {
    /// Runs one program after another until none comes within [`IDLE`].
    fn work(&self, first: ThreadRun) {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut next = Some(first);
        while let Some(run) = next {
            if !run.carry_out(&mut chunk) {
                // The system counts threads and processes together. A thread that stayed after a failed start would
                // take the place of the process that could not be started.
                return;
            }
            next = self.next();
        }
    }

    /// Waits for the next program. Returns `None`, so that the thread ends, if none comes within [`IDLE`] or the queue
    /// is closed.
    fn next(&self) -> Option<ThreadRun> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.idle += 1;
        let waiting = |queue: &mut RunQueue| queue.runs.is_empty() && !queue.closed;
        let (mut queue, _) = self
            .news
            .wait_timeout_while(queue, IDLE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
        queue.runs.pop_front()
    }
}
