//! The buffers of blocks. Their number is bounded.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The capacity up to which a buffer is used again. Larger ones are freed.
const KEPT_BYTES: usize = 4 << 20;

/// The buffers of blocks. Taking one waits while all of them are in use.
#[derive(Debug)]
pub(super) struct BlockBuffers {
    state: Mutex<State>,
    /// Wakes whoever waits for a buffer.
    returned: Condvar,
    /// How many blocks there can be at once.
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The buffers that no block uses.
    free: Vec<Vec<u8>>,
    /// How many blocks exist.
    taken: usize,
}

/// A block of records. When it is dropped, its buffer is given back.
#[derive(Debug)]
pub(super) struct Block {
    /// The records.
    pub(super) bytes: Vec<u8>,
    buffers: Arc<BlockBuffers>,
}

impl BlockBuffers {
    /// Makes buffers for up to `most` blocks at once.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            returned: Condvar::new(),
            most,
        })
    }

    /// Makes an empty block. Waits while there are as many blocks as allowed.
    pub(super) fn take(self: &Arc<Self>) -> Block {
        let state = self.lock();
        let is_full = |state: &mut State| state.taken >= self.most;
        let waited = self.returned.wait_while(state, is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.taken += 1;
        Block {
            bytes: state.free.pop().unwrap_or_default(),
            buffers: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half changed, so the lock is safe to use after a panic in another thread.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut state = self.buffers.lock();
        state.taken -= 1;
        if bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            state.free.push(bytes);
        }
        drop(state);
        self.buffers.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_waits_for_a_buffer_until_a_block_is_dropped() {
        let buffers = BlockBuffers::new(1);
        let mut block = buffers.take();
        block.bytes.extend(b"abc");
        let capacity = block.bytes.capacity();
        let waiting = thread::spawn({
            let buffers = Arc::clone(&buffers);
            move || buffers.take()
        });
        drop(block);
        let block = waiting.join().unwrap();
        assert_eq!((block.bytes.len(), block.bytes.capacity()), (0, capacity));
    }
}
