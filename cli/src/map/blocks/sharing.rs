//! The blocks of one input, which are shared by jobs that run at the same time.
//!
//! Each job reads a pipe to which a thread writes. A thread whose pipe has taken a block gets the next one, so a slow
//! job gets fewer blocks. The first block of each job is reserved for it, so that as many jobs run as there are blocks,
//! up to the number of slots.

use std::io::{self, PipeWriter, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ratchet_runtime::process::{InputPipe, ProgramInput};

use super::buffers::Block;
use super::reader::BlockReader;
use crate::map::item::ItemError;

/// The size of the stack of a thread that writes blocks.
const STACK_BYTES: usize = 128 * 1024;

/// The blocks that are shared by a number of jobs.
pub(crate) struct SharedBlocks {
    shared: Arc<Shared>,
    /// How many more jobs may be made.
    jobs_left: u32,
}

/// The state that the threads share.
struct Shared {
    state: Mutex<State>,
    /// Notified when all jobs are made, for which the threads wait, and when a thread has ended, for which
    /// `SharedBlocks::next` waits.
    changed: Condvar,
}

struct State {
    reader: BlockReader,
    /// Whether all jobs are made, so that further blocks are shared.
    is_open: bool,
    /// How many threads are writing.
    writers: usize,
    /// An error of a thread, until it is returned.
    failed: Option<ItemError>,
}

impl SharedBlocks {
    /// Shares the blocks of a reader among up to `jobs` jobs.
    pub(super) fn new(reader: BlockReader, jobs: u32) -> Self {
        let state = State {
            reader,
            is_open: false,
            writers: 0,
            failed: None,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
            jobs_left: jobs,
        }
    }

    /// Returns the stdin of the next job. When all jobs are made, this waits until all blocks are written, and returns
    /// the error of a thread if there was one.
    pub(super) fn next(&mut self) -> Option<Result<ProgramInput, ItemError>> {
        if self.jobs_left > 0 {
            self.jobs_left -= 1;
            let block = self.shared.lock().reader.next();
            match block {
                Some(Ok(block)) => {
                    return Some(self.start_writer(block).map_err(|error| {
                        self.jobs_left = 0;
                        ItemError(format!("a pipe for a job cannot be made: {error}"))
                    }));
                }
                Some(Err(error)) => {
                    self.jobs_left = 0;
                    return Some(Err(error));
                }
                None => self.jobs_left = 0,
            }
        }
        let mut state = self.shared.lock();
        state.is_open = true;
        self.shared.changed.notify_all();
        let ended = self
            .shared
            .changed
            .wait_while(state, |state| state.writers > 0);
        let failed = ended.unwrap_or_else(PoisonError::into_inner).failed.take();
        failed.map(Err)
    }

    /// Starts the thread that writes to the next job, beginning with this block.
    fn start_writer(&self, first: Block) -> io::Result<ProgramInput> {
        let (reader, writer) = io::pipe()?;
        let shared = Arc::clone(&self.shared);
        self.shared.lock().writers += 1;
        let started = thread::Builder::new()
            .name("blocks".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                shared.write(first, writer);
                shared.lock().writers -= 1;
                shared.changed.notify_all();
            });
        if let Err(error) = started {
            self.shared.lock().writers -= 1;
            return Err(error);
        }
        Ok(ProgramInput::Pipe(InputPipe::new(reader)))
    }
}

impl Drop for SharedBlocks {
    fn drop(&mut self) {
        // No more jobs are made, and threads that wait for them would wait for ever.
        self.shared.lock().is_open = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// Writes blocks to one job, until there are no more or the job stops reading.
    fn write(&self, first: Block, mut writer: PipeWriter) {
        let mut next = Some(first);
        while let Some(block) = next {
            // An error means that the job has read what it wanted, or has ended.
            if writer.write_all(block.as_ref()).is_err() {
                return;
            }
            drop(block);
            next = self.next();
        }
    }

    /// Waits until all jobs are made, and returns the next block.
    fn next(&self) -> Option<Block> {
        let state = self.changed.wait_while(self.lock(), |state| !state.is_open);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        match state.reader.next()? {
            Ok(block) => Some(block),
            Err(error) => {
                state.failed = Some(error);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half changed, so the lock is safe to use after a panic in another thread.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
