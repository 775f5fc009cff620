//! A file whose every block is checked when it is read.
//!
//! redb trusts what it reads: a page with a flipped bit may lead it to the wrong entry, into a panic, or round in circles.
//! So it is given a file of blocks that carry a seal each. A block that does not match its seal is an error of the disk
//! to redb, and a damaged index to us.
//!
//! ```text
//! physical:  | seal 16 | data 4096 | seal 16 | data 4096 | ..
//! ```
//!
//! The seal stands before the data, because redb changes its first 320 bytes in place: seal and header are then within
//! the first 512 bytes of the file, which a disk writes as one. No other page that is referred to is changed in place, so
//! that a process may be killed at any instant. Pages and the header that refers to them share a sync: after a loss of power
//! the header may be there without a page of it, which is then a damaged index and not a wrong answer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

const SEAL: usize = 16;
/// The page size of redb, so that most reads and writes are of whole blocks.
const DATA: usize = 4096;
const BLOCK: usize = SEAL + DATA;

/// A block does not match its seal.
#[derive(Debug, thiserror::Error)]
#[error("block {0} does not match its seal")]
struct DamagedBlock(u64);

/// The file, as redb sees it: without the seals.
#[derive(Debug)]
pub(super) struct SealedFile {
    file: File,
    /// Set once and never cleared. Relaxed: whoever looks at it has just been handed the error that set it.
    damaged: Arc<AtomicBool>,
    /// Whether to wait until the disk has what it was given.
    sync: bool,
}

impl SealedFile {
    /// Wraps a file that was written by one of these, or that is empty.
    pub(super) fn new(file: File, damaged: Arc<AtomicBool>, sync: bool) -> Self {
        Self {
            file,
            damaged,
            sync,
        }
    }

    fn damage(&self, block: u64) -> io::Error {
        self.damaged.store(true, Ordering::Relaxed);
        io::Error::new(io::ErrorKind::InvalidData, DamagedBlock(block))
    }

    /// Reads and checks whole blocks.
    fn read_blocks(&self, first: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut physical = vec![0; count * BLOCK];
        self.file
            .read_exact_at(&mut physical, first * BLOCK as u64)
            .map_err(|error| {
                // redb reads only what it has written: a file that ends early was cut off.
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    self.damage(first)
                } else {
                    error
                }
            })?;
        for (number, block) in (first..).zip(physical.chunks_exact(BLOCK)) {
            let (seal, data) = block.split_at(SEAL);
            let untouched = || block.iter().all(|&byte| byte == 0);
            if seal != seal_of(number, data) && !untouched() {
                return Err(self.damage(number));
            }
        }
        Ok(physical)
    }
}

/// The seal of a block: its digest, bound to its place.
fn seal_of(number: u64, data: &[u8]) -> [u8; SEAL] {
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&blake3::hash(data).as_bytes()[..SEAL]);
    for (byte, place) in seal.iter_mut().zip(number.to_le_bytes()) {
        *byte ^= place;
    }
    seal
}

/// The blocks that a range touches, and where it begins in the first of them.
fn span(offset: u64, length: usize) -> (u64, usize, usize) {
    let first = offset / DATA as u64;
    // Below 4096: it fits.
    let start = usize::try_from(offset % DATA as u64).unwrap_or_default();
    (first, (start + length).div_ceil(DATA), start)
}

impl StorageBackend for SealedFile {
    fn len(&self) -> io::Result<u64> {
        let physical = self.file.metadata()?.len();
        if physical % BLOCK as u64 != 0 {
            return Err(self.damage(physical / BLOCK as u64));
        }
        Ok(physical / BLOCK as u64 * DATA as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, count, start) = span(offset, out.len());
        let physical = self.read_blocks(first, count)?;
        let mut filled = 0;
        for (index, block) in physical.chunks_exact(BLOCK).enumerate() {
            let data = &block[SEAL..];
            let data = if index == 0 { &data[start..] } else { data };
            let length = data.len().min(out.len() - filled);
            out[filled..filled + length].copy_from_slice(&data[..length]);
            filled += length;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(DATA as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a length that is not whole blocks",
            ));
        }
        self.file.set_len(len / DATA as u64 * BLOCK as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync {
            self.file.sync_data()
        } else {
            Ok(())
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, count, start) = span(offset, data.len());
        let end = start + data.len();
        let whole = start == 0 && end.is_multiple_of(DATA);
        let mut physical = if whole {
            vec![0; count * BLOCK]
        } else {
            self.read_blocks(first, count)?
        };
        let mut taken = 0;
        for (number, block) in (first..).zip(physical.chunks_exact_mut(BLOCK)) {
            let from = if number == first { start } else { 0 };
            let length = (DATA - from).min(data.len() - taken);
            block[SEAL + from..SEAL + from + length].copy_from_slice(&data[taken..taken + length]);
            taken += length;
            let seal = seal_of(number, &block[SEAL..]);
            block[..SEAL].copy_from_slice(&seal);
        }
        // What follows the change in the last block is as it was: writing up to there keeps a change of the header
        // within one sector.
        let changed = (count - 1) * BLOCK + SEAL + end - (count - 1) * DATA;
        self.file
            .write_all_at(&physical[..changed], first * BLOCK as u64)
    }
}

#[cfg(test)]
mod tests;
