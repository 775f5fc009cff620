//! One semaphore between calls of `ratchet sem`, made of locks of files.
//!
//! ```text
//! NAME/turn       the call that is next, while it waits
//! NAME/quiet      shared by all commands that run; exclusive for one that has to be alone
//! NAME/exclusive  the command that runs with an exclusive hint
//! NAME/rate       the moment at which the next start is allowed, while it is read and written
//! NAME/place-1 .. one for each command that runs
//! ```
//!
//! Only locks count, and the files are empty and stay. A lock belongs to an open file, which the command inherits. So the
//! system frees it when the last process has ended that has the file open, however it ended, and nobody has to clean up
//! after a kill.
//!
//! Only the call whose turn it is waits for anything but its turn. So calls start their commands in the order in which the
//! system gives them the turn, and no call that needs more is passed for ever.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ratchet_caching::{Clock, SystemClock};
use ratchet_runtime::ParallelizationHint;

use crate::error::CliError;

/// How long the name of a semaphore is at most.
const LONGEST_NAME: usize = 100;

/// How many places a call waits for at once; each takes a thread.
const MAX_WAITED: usize = 256;

/// The stack of a thread that only waits for a lock.
const STACK: usize = 64 * 1024;

/// A semaphore that calls share by its name.
#[derive(Debug, Clone)]
pub(crate) struct Semaphore {
    folder: PathBuf,
}

/// What keeps a call waiting.
#[derive(Debug)]
pub(crate) enum Acquired<T> {
    /// It has what it wants.
    Yes(T),
    /// The time was over before.
    TooLate,
}

/// The locks of a command, which has them for as long as it runs.
#[derive(Debug)]
pub(crate) struct Held {
    /// The number of its place, from 1 on.
    pub(crate) place: u32,
    /// The files whose locks it has.
    files: Vec<File>,
}

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shared,
    Exclusive,
}

impl Semaphore {
    /// Opens the semaphore of this name, below the folder for the state of ratchet.
    pub(crate) fn open(state: &Path, name: &str) -> Result<Self, CliError> {
        let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.@:".contains(letter);
        let is_name = !name.is_empty() && !name.starts_with('.') && name.chars().all(is_allowed);
        if !is_name || name.len() > LONGEST_NAME {
            return Err(
                CliError::usage(format!("`{name}` cannot be the name of a semaphore")).with_help(
                    format!(
                        "use letters, digits and -_.@: without a dot at the beginning, and at most {LONGEST_NAME} of them"
                    ),
                ),
            );
        }
        let folder = state.join("sem").join(name);
        std::fs::create_dir_all(&folder).map_err(|error| CliError::unwritable(&folder, error))?;
        Ok(Self { folder })
    }

    /// Waits for one of the places of the semaphore, and for what the hint asks for. It gives up at the deadline.
    pub(crate) fn acquire(
        &self,
        places: NonZeroU32,
        hint: &ParallelizationHint,
        deadline: Option<Instant>,
    ) -> Result<Acquired<Held>, CliError> {
        let mut files = Vec::new();
        let turn = match self.lock("turn", Mode::Exclusive, deadline)? {
            Acquired::Yes(turn) => turn,
            Acquired::TooLate => return Ok(Acquired::TooLate),
        };
        let is_alone = *hint == ParallelizationHint::Alone;
        let quiet = if is_alone {
            Mode::Exclusive
        } else {
            Mode::Shared
        };
        let exclusive = matches!(
            hint,
            ParallelizationHint::HostExclusive | ParallelizationHint::GlobalExclusive
        );
        let wanted = [
            ("quiet", quiet, true),
            ("exclusive", Mode::Exclusive, exclusive),
        ];
        for (name, mode, _) in wanted.into_iter().filter(|(.., wanted)| *wanted) {
            match self.lock(name, mode, deadline)? {
                Acquired::Yes(file) => files.push(file),
                Acquired::TooLate => return Ok(Acquired::TooLate),
            }
        }
        let Acquired::Yes((place, file)) = self.any_place(places, deadline)? else {
            return Ok(Acquired::TooLate);
        };
        files.push(file);
        // The last, so that no start is counted that does not come.
        if let Some(Acquired::TooLate) = self.take_token(hint, deadline)? {
            return Ok(Acquired::TooLate);
        }
        drop(turn);
        Ok(Acquired::Yes(Held { place, files }))
    }

    /// Waits until every command has ended that runs now.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Acquired<()>, CliError> {
        let unreadable = |error| CliError::unreadable(&self.folder, error);
        for entry in std::fs::read_dir(&self.folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with("place-")) else {
                continue;
            };
            if let Acquired::TooLate = self.lock(name, Mode::Exclusive, deadline)? {
                return Ok(Acquired::TooLate);
            }
        }
        Ok(Acquired::Yes(()))
    }

    fn file(&self, name: &str) -> Result<File, CliError> {
        let path = self.folder.join(name);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        opened.map_err(|error| CliError::unwritable(&path, error))
    }

    /// Locks a file, and waits for the lock until the deadline.
    fn lock(
        &self,
        name: &str,
        mode: Mode,
        deadline: Option<Instant>,
    ) -> Result<Acquired<File>, CliError> {
        let file = self.file(name)?;
        let failed = |error| CliError::unwritable(&self.folder.join(name), error);
        if try_lock(&file, mode).map_err(failed)? {
            return Ok(Acquired::Yes(file));
        }
        let waits = vec![(0, file)];
        let found = wait_for_any(waits, mode, deadline).map_err(failed)?;
        Ok(found.map_or(Acquired::TooLate, |(_, file)| Acquired::Yes(file)))
    }

    /// Waits for any of this many places.
    fn any_place(
        &self,
        places: NonZeroU32,
        deadline: Option<Instant>,
    ) -> Result<Acquired<(u32, File)>, CliError> {
        let failed = |error| CliError::unwritable(&self.folder, error);
        let mut taken = Vec::new();
        for place in 1..=places.get() {
            let file = self.file(&format!("place-{place}"))?;
            if try_lock(&file, Mode::Exclusive).map_err(failed)? {
                return Ok(Acquired::Yes((place, file)));
            }
            // A place beyond these is not waited for, and one of these comes free at some time.
            if taken.len() < MAX_WAITED {
                taken.push((place, file));
            }
        }
        let found = wait_for_any(taken, Mode::Exclusive, deadline).map_err(failed)?;
        Ok(found.map_or(Acquired::TooLate, Acquired::Yes))
    }

    /// Waits for the start that a rate allows next, and takes it. Nothing without a rate.
    fn take_token(
        &self,
        hint: &ParallelizationHint,
        deadline: Option<Instant>,
    ) -> Result<Option<Acquired<()>>, CliError> {
        let ParallelizationHint::RateLimited {
            requests_per_second,
            burst,
            ..
        } = hint
        else {
            return Ok(None);
        };
        let interval = Duration::try_from_secs_f64(1.0 / requests_per_second);
        let interval = interval.unwrap_or(Duration::MAX).as_nanos();
        let interval = u64::try_from(interval).unwrap_or(u64::MAX);
        let allowed = interval.saturating_mul(u64::from(*burst).saturating_sub(1));
        let path = self.folder.join("rate");
        let failed = |error| CliError::unwritable(&path, error);
        let mut file = self.file("rate")?;
        file.lock().map_err(failed)?;
        let full = next_full(
            read_moment(&mut file).map_err(failed)?,
            now(),
            interval,
            allowed,
        );
        let wait = Duration::from_nanos(full.saturating_sub(allowed).saturating_sub(now()));
        let is_too_late = |deadline| moment() + wait > deadline;
        if !wait.is_zero() && deadline.is_some_and(is_too_late) {
            return Ok(Some(Acquired::TooLate));
        }
        sleep_for(wait);
        let full = full.max(now()).saturating_add(interval);
        file.rewind().map_err(failed)?;
        file.write_all(&full.to_le_bytes()).map_err(failed)?;
        Ok(Some(Acquired::Yes(())))
    }
}

/// Sleeps until a rate limit allows the next start.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no condition to wait for, and this call has no event loop"
)]
fn sleep_for(wait: Duration) {
    thread::sleep(wait);
}

/// Returns the moment at which a bucket is full again, as far as it can be true: no later than an empty one would be.
/// So a clock that was set back costs no more than a burst.
fn next_full(noted: u64, now: u64, interval: u64, allowed: u64) -> u64 {
    noted.min(now.saturating_add(allowed).saturating_add(interval))
}

/// Returns the moment that a file has, in nanoseconds since the epoch; 0 if it has none yet.
fn read_moment(file: &mut File) -> io::Result<u64> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(8).read_to_end(&mut bytes)?;
    let bytes = <[u8; 8]>::try_from(bytes);
    Ok(bytes.map_or(0, u64::from_le_bytes))
}

/// Returns the time of day, in nanoseconds since the epoch.
fn now() -> u64 {
    let since = SystemClock.now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Returns the present moment, by which deadlines are kept.
fn moment() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn try_lock(file: &File, mode: Mode) -> io::Result<bool> {
    let locked = match mode {
        Mode::Shared => file.try_lock_shared(),
        Mode::Exclusive => file.try_lock(),
    };
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Waits until one of these files can be locked, or until the deadline. Threads that still wait then end with this process: a
/// lock that one of them gets later is freed at once or with it.
fn wait_for_any(
    files: Vec<(u32, File)>,
    mode: Mode,
    deadline: Option<Instant>,
) -> io::Result<Option<(u32, File)>> {
    let (tell, told) = mpsc::channel();
    for (number, file) in files {
        let tell = tell.clone();
        let waits = move || {
            let locked = loop {
                let locked = match mode {
                    Mode::Shared => file.lock_shared(),
                    Mode::Exclusive => file.lock(),
                };
                match locked {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    locked => break locked,
                }
            };
            // An error means that another lock came first, and drops this one.
            let _ = tell.send(locked.map(|()| (number, file)));
        };
        thread::Builder::new().stack_size(STACK).spawn(waits)?;
    }
    drop(tell);
    let found = match deadline {
        None => told.recv().ok(),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(moment());
            told.recv_timeout(left).ok()
        }
    };
    found.transpose()
}

impl Held {
    /// Lets the command that is started next inherit the locks.
    pub(crate) fn let_inherit(&self) -> io::Result<()> {
        for file in &self.files {
            rustix::io::fcntl_setfd(file.as_fd(), rustix::io::FdFlags::empty())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_cannot_be_true_costs_no_more_than_a_burst() {
        // Two at once, then one every 10.
        let full = |noted| next_full(noted, 100, 10, 10);
        assert_eq!(full(0), 0);
        assert_eq!(full(115), 115);
        assert_eq!(full(900), 120);
    }
}
