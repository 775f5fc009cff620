//! Shares the blocks of one input among jobs that run at the same time.
//!
//! Each job reads a pipe to which a thread writes. A thread whose pipe has taken a block gets the next one, so a job that is
//! slow gets fewer. The first block of each job is its own, so that as many jobs run as there are blocks, up to the number
//! of slots.

use std::io::{self, PipeWriter, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ratchet_runtime::process::{InputPipe, ProgramInput};

use super::buffers::Block;
use super::reader::BlockReader;
use crate::map::item::ItemError;

/// The stack of a thread that writes blocks.
const STACK_BYTES: usize = 128 * 1024;

/// Blocks that are shared by a number of jobs.
pub(crate) struct SharedBlocks {
    shared: Arc<Shared>,
    /// How many jobs there can still be.
    jobs_left: u32,
}

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    /// Wakes the threads when all jobs are made, and whoever waits for the end when a thread has ended.
    changed: Condvar,
}

struct State {
    reader: BlockReader,
    /// All jobs are made, so further blocks are shared.
    is_open: bool,
    /// How many threads write.
    writers: usize,
    /// What went wrong, until it is told.
    failed: Option<ItemError>,
}

impl SharedBlocks {
    /// Shares what a reader reads among so many jobs at most.
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

    /// The stdin of the next job. When all jobs are made, this waits until everything is read, and tells what went wrong.
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

    /// Starts the thread that writes to the next job, whose first block this is.
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
        // No more jobs come, so nobody has to wait for them.
        self.shared.lock().is_open = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// Writes blocks to one job, until there are none or the job reads no more.
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

    /// The next block, once all jobs are made.
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
        // The state is whole between two calls, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
