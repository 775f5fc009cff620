//! The key `t`, which prints what runs and what waits, as SIGUSR1 does.
//!
//! A terminal passes on a key at once only in non-canonical mode; otherwise it waits for a whole line. That mode is set
//! only while this process is in the foreground of the terminal, and the former mode is restored when the run ends, and
//! while Ctrl-Z stops it. If this process is killed, the shell restores its terminal by itself.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::sync::mpsc;

/// The key that asks for the state of the run.
const KEY: u8 = b't';

/// The interval at which a process in the background checks whether it is in the foreground now, and at which a
/// terminal that cannot be read is tried again.
const CHECK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// Reads the key from the terminal of this process, from [`start`](Self::start) on. Clones are the same reader.
#[derive(Clone, Default)]
pub(super) struct TerminalKeys(Arc<Mutex<State>>);

/// The terminal and its settings.
#[derive(Default)]
struct State {
    /// The terminal, and the pipe that wakes the thread which reads it. It is nothing until reading begins.
    open: Option<(File, PipeWriter)>,
    /// The former settings of the terminal, while they are changed.
    before: Option<Termios>,
    /// Whether the terminal is left alone, because this process is about to be stopped, or the run has ended.
    rests: bool,
}

/// Restores the terminal when it is dropped, however the run has ended.
pub(super) struct KeyGuard(pub(super) TerminalKeys);

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.0.lock().rest();
    }
}

impl TerminalKeys {
    /// Begins to read, on a thread of its own. The channel receives each key; none if there is no terminal.
    pub(super) fn start(&self) -> io::Result<mpsc::Receiver<()>> {
        let terminal = File::open("/dev/tty")?;
        let (woken, waker) = io::pipe()?;
        let read = terminal.try_clone()?;
        // The channel holds one key, so a key that is held down does not ask more often than is answered.
        let (send, keys) = mpsc::channel(1);
        self.lock().open = Some((terminal, waker));
        let reader = self.clone();
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || reader.read(&read, &woken, &send))?;
        Ok(keys)
    }

    /// Performs an action, such as stopping this process, while the terminal is as it was before the run.
    pub(super) fn with_terminal_restored<T>(&self, action: impl FnOnce() -> T) -> T {
        self.lock().rest();
        let done = action();
        let mut state = self.lock();
        state.rests = false;
        state.wake();
        done
    }

    /// Reads keys until the run has ended, and sends each one that asks for the state of the run.
    fn read(&self, mut terminal: &File, mut woken: &PipeReader, send: &mpsc::Sender<()>) {
        // With these signals blocked, changing a terminal that has another process in the foreground by now fails,
        // instead of stopping this process.
        let mut stops = SigSet::empty();
        stops.add(Signal::SIGTTIN);
        stops.add(Signal::SIGTTOU);
        if stops.thread_block().is_err() {
            return;
        }
        let mut bytes = [0; 64];
        loop {
            let is_taken = self.lock().take();
            let mut ends = vec![PollFd::new(woken, PollFlags::IN)];
            if is_taken {
                ends.push(PollFd::new(&terminal, PollFlags::IN));
            }
            match poll(&mut ends, (!is_taken).then_some(&CHECK_INTERVAL)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            let wants = ends.iter().map(|end| !end.revents().is_empty());
            let wants: Vec<bool> = wants.collect();
            // The pipe is closed at the end of the run.
            if wants[0] && !matches!(woken.read(&mut bytes), Ok(1..)) {
                return;
            }
            if send.is_closed() {
                return;
            }
            if wants.get(1) == Some(&true) {
                match terminal.read(&mut bytes) {
                    Ok(read @ 1..) if bytes[..read].contains(&KEY) => {
                        let _ = send.try_send(());
                    }
                    Ok(1..) => {}
                    // The terminal is gone, or another process has it. Then no event wakes this thread, so it waits
                    // before it checks again.
                    Ok(_) | Err(_) => {
                        let _ = poll(
                            &mut [PollFd::new(woken, PollFlags::IN)],
                            Some(&CHECK_INTERVAL),
                        );
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes the terminal pass on keys at once, if this process is in its foreground. Returns whether keys can be read
    /// now.
    fn take(&mut self) -> bool {
        let Some((terminal, _)) = self.open.as_ref().filter(|_| !self.rests) else {
            return false;
        };
        if !is_in_foreground(terminal) {
            // The process in the foreground has its own settings.
            self.before = None;
            return false;
        }
        if self.before.is_some() {
            return true;
        }
        let Ok(before) = tcgetattr(terminal) else {
            return false;
        };
        let whole_lines = LocalModes::ICANON | LocalModes::ECHO;
        if !before.local_modes.contains(whole_lines) {
            // Another program of the same pipeline reads keys.
            return false;
        }
        let mut changed = before.clone();
        changed.local_modes.remove(whole_lines);
        // A read must not wait: another program may have taken the input.
        changed.special_codes[SpecialCodeIndex::VMIN] = 0;
        changed.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(terminal, OptionalActions::Now, &changed).is_err() {
            return false;
        }
        self.before = Some(before);
        true
    }

    /// Restores the terminal, and leaves it alone from now on.
    fn rest(&mut self) {
        self.rests = true;
        if let (Some(before), Some((terminal, _))) = (self.before.take(), &self.open)
            && is_in_foreground(terminal)
        {
            // This fails only if the terminal is gone, and then there is nothing to restore.
            let _ = tcsetattr(terminal, OptionalActions::Now, &before);
        }
        self.wake();
    }

    /// Wakes the thread that reads keys.
    fn wake(&mut self) {
        if let Some((_, waker)) = &mut self.open {
            // Writing fails only if the thread has ended.
            let _ = waker.write_all(b".");
        }
    }
}

fn is_in_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground == getpgrp())
}
