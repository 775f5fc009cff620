//! Taking turns between processes.
//!
//! The index can be open in one process at a time. Opening it takes about a millisecond, which is too much for each
//! look, and holding it for good would lock everyone else out. So a process keeps it open until another one asks:
//!
//! ```text
//! queue.lock   held by the one process that is next in line
//! turn.lock    held by the process that has the index open
//! bell         a named pipe: who is next writes a byte, who has the turn reads it
//!
//! take:   lock queue -> ring the bell -> lock turn -> clear the bell -> unlock queue
//! yield:  close the index -> unlock turn
//! ```
//!
//! Only the process that has the turn reads the bell, and it clears the bell before it lets the next one into the queue,
//! so that a ring is never missed and rarely stale. The system releases the locks of a process that dies. A process that
//! is stopped (SIGSTOP) keeps its turn: others then do without the cache until it goes on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::disk::layout::{Layout, open_file};
use crate::error::CacheError;

/// The right to open the index. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Turn {
    lock: File,
    bell: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing the file would do, were it not for children that were forked and have not closed it yet.
        let _ = self.lock.unlock();
    }
}

/// Why a wait ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Woken {
    /// Another process wants the turn.
    pub(super) by_bell: bool,
}

impl Turn {
    /// Waits until this process has the turn.
    pub(super) fn take(layout: &Layout) -> Result<Self, CacheError> {
        let open =
            |path: &Path| open_file(path).map_err(|error| CacheError::io("open", path, error));
        let queue = open(&layout.queue_lock())?;
        let lock = open(&layout.turn_lock())?;
        wait_for_lock(&queue)
            .map_err(|error| CacheError::io("lock", &layout.queue_lock(), error))?;
        // Within the lock: of two who make it at once, one would ring a bell that nobody has.
        let mut bell = open_bell(&layout.bell())
            .map_err(|error| CacheError::io("open", &layout.bell(), error))?;
        // A full pipe has been rung more than enough.
        let _ = bell.write(&[1]);
        wait_for_lock(&lock).map_err(|error| CacheError::io("lock", &layout.turn_lock(), error))?;
        clear(&mut bell);
        Ok(Self { lock, bell })
    }

    /// Waits for a byte from within this process, for the bell if `listen`, or for the time to pass.
    pub(super) fn wait(
        &mut self,
        wake: &mut UnixStream,
        listen: bool,
        limit: Option<Duration>,
    ) -> Woken {
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            // Rounded up, because waking early would only mean waiting again.
            PollTimeout::try_from(limit.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = [
            PollFd::new(wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
        ];
        let count = if listen { 2 } else { 1 };
        // An interrupted wait is one that ended early: the caller looks at everything and waits again.
        let _ = poll(&mut sources[..count], timeout);
        let rung = listen && sources[1].any().unwrap_or(false);
        clear(wake);
        if rung {
            clear(&mut self.bell);
        }
        Woken { by_bell: rung }
    }
}

/// `flock` ends early when a signal is handled.
fn wait_for_lock(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn open_bell(path: &Path) -> io::Result<File> {
    if !path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
    {
        // Anything else at its place would be readable all the time.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Open for both, so that neither opening nor reading waits for another process.
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
}

/// Reads all that is there, from a source that does not block.
fn clear(source: &mut impl Read) {
    let mut bytes = [0; 256];
    while matches!(source.read(&mut bytes), Ok(count) if count == bytes.len()) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn the_first_two_who_come_hear_each_other() {
        for _ in 0..200 {
            let folder = tempfile::tempdir().unwrap();
            let layout = Layout::new(folder.path().to_path_buf());
            layout.prepare().unwrap();
            let (together, is_second) = (Barrier::new(2), AtomicBool::new(false));
            let comes = || {
                let (mut wake, _woken) = UnixStream::pair().unwrap();
                wake.set_nonblocking(true).unwrap();
                together.wait();
                let mut turn = Turn::take(&layout).unwrap();
                if !is_second.swap(true, Ordering::SeqCst) {
                    let woken = turn.wait(&mut wake, true, Some(Duration::from_mins(1)));
                    assert!(woken.by_bell, "the other one rings");
                }
            };
            std::thread::scope(|both| {
                both.spawn(comes);
                both.spawn(comes);
            });
        }
    }
}
