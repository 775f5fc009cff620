//! The keeper: a process that outlives this one for a moment, to kill the groups that it leaves behind.
//!
//! A process that is killed with SIGKILL cannot clean up, and the kernel does not kill its descendants.
//! `PR_SET_PDEATHSIG` affects the child but not its children, and depends on the thread that started it. So a process
//! that does nothing but wait holds the read end of a pipe. When the pipe ends, it reads the list of groups that are
//! left, and kills them.
//!
//! Three facts together leave no gap, at whatever moment this process is killed:
//!
//! - A child writes its own line of the list after it has made its group and before it executes its program
//!   (`start/linux.rs`, `start/portable.rs`). This process reserves the line before.
//! - A child that has not executed its program yet holds a copy of the write end of the pipe, which closes
//!   on exec. So the pipe ends only when every child is on the list or has ended.
//! - This process takes a line off the list only when the group is empty.
//!
//! The list is a file without a name that both have open, with one line per group. If the keeper got the groups through
//! the pipe, it would wake up twice for every process that is started, which costs short commands a quarter of their
//! speed; a file is written in a microsecond and wakes no process.
//!
//! A thread waits for the end of the keeper and starts another one. The list stays the same file, so the next keeper
//! knows everything that runs.
//!
//! The keeper is a short shell script, so that a library does not need a separate program. An agent has a
//! [`KeeperProgram`] instead, which also kills when the agent is only stopped.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::time::Instant;

use super::platform;

/// The script of the keeper. Its stdin is the pipe, to which nothing is ever written, and its stdout is the list.
const SCRIPT: &str = r#"
while read -r _; do :; done
while read -r group; do
    [ -z "$group" ] || kill -s KILL -- "-$group"
done <&1 2>/dev/null
"#;

/// The length of a line: the longest number of a process, blanks, and the newline.
pub(super) const LINE_BYTES: usize = 12;

/// A line of the list that is free.
const BLANK: [u8; LINE_BYTES] = *b"           \n";

/// The first wait before a keeper is replaced that has ended soon after its start; the wait doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest wait before a keeper is replaced.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A keeper that lived this long was killed from outside. One that ends sooner may be unable to run on this system, so
/// its successor is started after a pause.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The stack size of the thread that waits for keepers and starts them.
const STACK_BYTES: usize = 256 * 1024;

/// Kills the process groups that this process leaves behind if it is killed.
///
/// Cheap to clone; all clones are one keeper. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Owner>);

/// Ends the keeper, and the thread that replaces it, on drop.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    replacer: Option<JoinHandle<()>>,
}

/// A program that is the keeper instead of the script. Its stdin is a socket to this process, which replaces the pipe
/// and carries messages in both directions. Its stdout is the [list](KeeperList).
pub(crate) struct KeeperProgram {
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// A function that is called with this process's end of the socket before each start of the program. It may write
    /// what the program is to read first.
    pub(crate) on_start: OnStart,
}

/// A function that is called before a keeper is started.
type OnStart = Box<dyn Fn(&UnixStream) -> io::Result<()> + Send + Sync>;

impl fmt::Debug for KeeperProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeeperProgram").field(&self.command).finish()
    }
}

/// What the process of a keeper runs.
#[derive(Debug)]
enum KeeperCommand {
    Script,
    Own(KeeperProgram),
}

/// The state that the handles share with the thread that replaces the keeper.
#[derive(Debug)]
struct Shared {
    program: KeeperCommand,
    /// The file with the list. Children write their own lines through a copy of its descriptor.
    file: File,
    state: Mutex<KeeperState>,
    /// Wakes the replacing thread from a pause when the last [`Keeper`] is dropped.
    closing: Condvar,
}

/// The keeper's process, and the lines of its list.
#[derive(Debug)]
struct KeeperState {
    /// The current process of the keeper.
    keeper: KeeperProcess,
    /// How many lines the file has.
    lines: usize,
    /// The lines that are not reserved.
    free: Vec<usize>,
    /// Whether the last handle was dropped, so that the keeper is not replaced.
    closing: bool,
}

/// The process of a keeper, and our end of its pipe. Closing the pipe makes the keeper kill.
#[derive(Debug)]
struct KeeperProcess {
    process: Child,
    pipe: Option<KeeperPipe>,
    since: Instant,
}

/// Our end of the pipe or socket that a keeper's process reads until it is closed.
#[derive(Debug)]
enum KeeperPipe {
    Script(#[expect(dead_code, reason = "it is only kept open")] ChildStdin),
    Socket(UnixStream),
}

/// A line of the list that is reserved for one process group. Dropping it takes the group off the list.
#[derive(Debug)]
pub(super) struct Listing {
    keeper: Keeper,
    line: usize,
}

impl Keeper {
    /// Starts a keeper.
    ///
    /// It needs `sh`, which POSIX systems have, a thread and three descriptors; if one of these is unavailable, this is
    /// an error, and the caller may continue without a keeper.
    pub fn start() -> io::Result<Self> {
        Self::run(KeeperCommand::Script)
    }

    /// Starts a program as the keeper.
    pub(crate) fn start_program(program: KeeperProgram) -> io::Result<Self> {
        Self::run(KeeperCommand::Own(program))
    }

    /// Starts the first keeper, and the thread that replaces it.
    fn run(program: KeeperCommand) -> io::Result<Self> {
        let file = platform::file_without_a_name()?;
        let keeper = KeeperProcess::start(&program, &file)?;
        let shared = Arc::new(Shared {
            program,
            file,
            state: Mutex::new(KeeperState {
                keeper,
                lines: 0,
                free: Vec::new(),
                closing: false,
            }),
            closing: Condvar::new(),
        });
        let replacing = Arc::clone(&shared);
        // If the thread cannot be started, dropping the owner ends the keeper.
        let mut owner = Owner {
            shared,
            replacer: None,
        };
        let replacer = thread::Builder::new()
            .name("keeper".into())
            .stack_size(STACK_BYTES)
            .spawn(move || replacing.replace_forever())?;
        owner.replacer = Some(replacer);
        Ok(Self(Arc::new(owner)))
    }

    /// Reserves a line of the list for a process that is about to start.
    pub(super) fn reserve(&self) -> io::Result<Listing> {
        let shared = &self.0.shared;
        let mut state = shared.state();
        let line = if let Some(line) = state.free.pop() {
            line
        } else {
            let line = state.lines;
            // The line is filled now, because a process that writes a later line first would leave a hole here, which
            // is not a line.
            shared.write(line, BLANK)?;
            state.lines += 1;
            line
        };
        drop(state);
        Ok(Listing {
            keeper: self.clone(),
            line,
        })
    }

    /// Returns the system's id of the keeper's process. It changes when the keeper is replaced.
    #[cfg(test)]
    fn process(&self) -> Pid {
        Pid::from_child(&self.0.shared.state().keeper.process)
    }
}

impl Listing {
    /// Returns the file with the list, to which the child writes.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.keeper.0.shared.file.as_fd()
    }

    /// Returns the offset in the file at which the child writes its line.
    pub(super) fn offset(&self) -> u64 {
        (self.line * LINE_BYTES) as u64
    }

    /// Writes a group on its line. On Linux the child does this itself before its exec.
    #[cfg(test)]
    pub(super) fn write(&self, leader: Pid) -> io::Result<()> {
        self.keeper
            .0
            .shared
            .write(self.line, line_of(leader.as_raw_nonzero().get()))
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        let shared = &self.keeper.0.shared;
        let mut state = shared.state();
        match shared.write(self.line, BLANK) {
            Ok(()) => state.free.push(self.line),
            // The line is not used again, so at worst the keeper kills a group that has got this number since.
            Err(error) => {
                tracing::warn!(%error, "a process group cannot be taken off the keeper's list");
            }
        }
    }
}

/// Formats the line of a group. It is called between fork and exec, so it neither allocates nor panics.
pub(super) fn line_of(leader: i32) -> [u8; LINE_BYTES] {
    let mut line = BLANK;
    let mut digits = [0; LINE_BYTES - 1];
    let mut count = 0;
    let mut rest = leader.unsigned_abs();
    for digit in &mut digits {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    for (place, digit) in line.iter_mut().zip(digits.iter().take(count).rev()) {
        *place = *digit;
    }
    line
}

impl KeeperProcess {
    /// Starts the process of a keeper, with the list as its stdout.
    fn start(program: &KeeperCommand, list: &File) -> io::Result<Self> {
        let (mut command, socket) = match program {
            KeeperCommand::Script => {
                let mut command = Command::new("sh");
                command.args(["-c", SCRIPT]).stdin(Stdio::piped());
                (command, None)
            }
            KeeperCommand::Own(program) => {
                let [name, args @ ..] = &*program.command else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                let (ours, its) = UnixStream::pair()?;
                (program.on_start)(&ours)?;
                let mut command = Command::new(name);
                command.args(args).stdin(OwnedFd::from(its));
                (command, Some(ours))
            }
        };
        let mut process = command
            .stdout(list.try_clone()?)
            .stderr(Stdio::null())
            // The keeper leads a group of its own, so that it does not get the signals that the terminal sends to the
            // group of this process.
            .process_group(0)
            .spawn()?;
        let pipe = process.stdin.take().map(KeeperPipe::Script);
        Ok(Self {
            pipe: pipe.or(socket.map(KeeperPipe::Socket)),
            process,
            since: Instant::now(),
        })
    }

    /// Ends the pipe, so that the process kills what is left and ends.
    fn end(&mut self) {
        if let Some(KeeperPipe::Socket(socket)) = self.pipe.take() {
            // Others have copies of the socket, so it is shut down. An error means that the process has ended.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The list of groups, for a [`KeeperProgram`] that reads it.
#[derive(Debug)]
pub(crate) struct KeeperList(File);

impl KeeperList {
    /// Makes the list from the file that is the stdout of the program.
    pub(crate) fn new(file: impl Into<OwnedFd>) -> Self {
        Self(File::from(file.into()))
    }

    /// Sends a signal to all groups on the list.
    ///
    /// A group is taken off the list before another can get its number.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut text = vec![0; usize::try_from(self.0.metadata()?.len()).unwrap_or(0)];
        let mut read = 0;
        while read < text.len() {
            match self.0.read_at(&mut text[read..], read as u64)? {
                0 => break,
                bytes => read += bytes,
            }
        }
        for line in text[..read].split(|byte| *byte == b'\n') {
            let group = str::from_utf8(line)
                .ok()
                .and_then(|line| line.trim().parse().ok());
            // Zero and one would mean this process's own group and all processes. They are never on the list.
            if let Some(group) = group.filter(|group| *group > 1).and_then(Pid::from_raw) {
                // An error means that no process is left in the group, or that all members have changed their user.
                let _ = kill_process_group(group, signal);
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Locks the state. Poisoning is ignored, because nothing that runs under the lock can panic half way.
    fn state(&self) -> MutexGuard<'_, KeeperState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line in one call, so that a reader never sees half of it.
    ///
    /// A limit on the size of files (`ulimit -f`) can forbid every line. Jobs run nevertheless: only a host that is
    /// killed would leave them behind.
    fn write(&self, line: usize, text: [u8; LINE_BYTES]) -> io::Result<()> {
        match self.file.write_all_at(&text, (line * LINE_BYTES) as u64) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::FBIG.raw_os_error()) => {
                Ok(())
            }
            written => written,
        }
    }

    /// Replaces the keeper whenever it ends, until the last [`Keeper`] is dropped.
    fn replace_forever(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let keeper = Pid::from_child(&self.state().keeper.process);
            // It is not reaped here: its number must stay its own until `closing` was checked under the lock, because
            // `Owner::drop` signals it.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(
                waitid(WaitId::Pid(keeper), options),
                Err(rustix::io::Errno::INTR)
            ) {}
            let mut state = self.state();
            // The keeper has ended, so this does not block.
            let _ = state.keeper.process.wait();
            if state.closing {
                return;
            }
            tracing::warn!("the keeper has ended, and is replaced");
            if state.keeper.since.elapsed() > STABLE_AFTER {
                pause = FIRST_PAUSE;
            }
            loop {
                // This is not done under the lock: a start takes milliseconds, and a task that starts a process at that
                // time would wait for it.
                drop(state);
                let started = KeeperProcess::start(&self.program, &self.file);
                state = self.state();
                match started {
                    Ok(keeper) => {
                        state.keeper = keeper;
                        if state.closing {
                            // The last handle was dropped during the start. The end of its pipe ends the new keeper.
                            state.keeper.end();
                            let _ = state.keeper.process.wait();
                            return;
                        }
                        break;
                    }
                    Err(error) => tracing::warn!(
                        %error,
                        "there is no keeper: if this process is killed now, its jobs live on"
                    ),
                }
                (state, pause) = self.pause(state, pause);
                if state.closing {
                    return;
                }
            }
            (state, pause) = self.pause(state, pause);
            drop(state);
        }
    }

    fn pause<'a>(
        &'a self,
        state: MutexGuard<'a, KeeperState>,
        pause: Duration,
    ) -> (MutexGuard<'a, KeeperState>, Duration) {
        let waited = self
            .closing
            .wait_timeout_while(state, pause, |state| !state.closing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, (pause * 2).min(LONGEST_PAUSE))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closing = true;
        if state.free.len() == state.lines {
            // It has nothing left to do. The kill ends it even if it was stopped.
            let _ = state.keeper.process.kill();
        }
        // The keeper ends when its pipe ends. Before that it kills the groups that are left, which takes almost no
        // time.
        state.keeper.end();
        if self.replacer.is_none() {
            let _ = state.keeper.process.wait();
        }
        drop(state);
        self.shared.closing.notify_all();
        if let Some(replacer) = self.replacer.take() {
            // The thread does not panic, and ends once the keeper has.
            let _ = replacer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn listed(keeper: &Keeper) -> String {
        let shared = &keeper.0.shared;
        let mut text = vec![0; shared.state().lines * LINE_BYTES];
        shared.file.read_exact_at(&mut text, 0).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn list(keeper: &Keeper, leader: i32) -> Listing {
        let listing = keeper.reserve().unwrap();
        listing.write(Pid::from_raw(leader).unwrap()).unwrap();
        listing
    }

    #[test]
    fn the_list_holds_the_groups_that_live_and_uses_the_lines_of_dead_ones_again() {
        let keeper = Keeper::start().unwrap();
        let first = list(&keeper, 7);
        let second = list(&keeper, i32::MAX);
        assert_eq!(listed(&keeper), "7          \n2147483647 \n");
        drop(first);
        assert_eq!(listed(&keeper), "           \n2147483647 \n");
        let third = list(&keeper, 90);
        drop(second);
        assert_eq!(listed(&keeper), "90         \n           \n");
        drop(third);
        assert_eq!(keeper.0.shared.state().lines, 2);
    }

    #[tokio::test]
    async fn a_keeper_that_is_killed_is_replaced_and_its_successor_has_the_list() {
        let keeper = Keeper::start().unwrap();
        let mut sleeper = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        let listing = list(&keeper, Pid::from_child(&sleeper).as_raw_nonzero().get());
        for _ in 0..2 {
            let first = keeper.process();
            rustix::process::kill_process(first, Signal::KILL).unwrap();
            let deadline = Instant::now() + Duration::from_mins(1);
            while keeper.process() == first {
                assert!(Instant::now() < deadline, "it was not replaced");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // The pipe ends while the group is on the list, as it does when this process dies.
        keeper.0.shared.state().keeper.pipe = None;
        assert!(!sleeper.wait().unwrap().success());
        drop(listing);
    }
}
