//! The key `t`: asks on a terminal what runs and what waits, as SIGUSR1 does.
//!
//! A terminal hands over a key at once only while it is told not to wait for a whole line. It is told so only while this
//! process is in its foreground, and is as it was before when the run ends, and while Ctrl-Z stops it. A shell sets its
//! terminal right by itself after a program that was killed.

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

/// The key that asks.
const KEY: u8 = b't';

/// How often it is looked whether this process is in the foreground, while it is not, or whether the terminal can be read.
const CHECK_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// Reads the key from the terminal of this process, from [`start`](Self::start) on. Clones are the same reader.
#[derive(Clone, Default)]
pub(super) struct TerminalKeys(Arc<Mutex<State>>);

/// What was done to the terminal.
#[derive(Default)]
struct State {
    /// The terminal and what wakes the thread that reads it, once it is read.
    open: Option<(File, PipeWriter)>,
    /// The settings that the terminal had, while it has others.
    before: Option<Termios>,
    /// This process is about to be stopped, or the run has ended: the terminal is left alone.
    rests: bool,
}

/// Leaves the terminal as it was when the run has ended, in whatever way.
pub(super) struct KeyGuard(pub(super) TerminalKeys);

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.0.lock().rest();
    }
}

impl TerminalKeys {
    /// Begins to read, on a thread of its own. Each key comes out of the channel; never one if there is no terminal.
    pub(super) fn start(&self) -> io::Result<mpsc::Receiver<()>> {
        let terminal = File::open("/dev/tty")?;
        let (woken, waker) = io::pipe()?;
        let read = terminal.try_clone()?;
        // Whoever holds a key down asks no more often than can be answered.
        let (send, keys) = mpsc::channel(1);
        self.lock().open = Some((terminal, waker));
        let reader = self.clone();
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || reader.read(&read, &woken, &send))?;
        Ok(keys)
    }

    /// Does something, such as stopping this process, while the terminal is as it was before.
    pub(super) fn while_resting<T>(&self, action: impl FnOnce() -> T) -> T {
        self.lock().rest();
        let done = action();
        let mut state = self.lock();
        state.rests = false;
        state.wake();
        done
    }

    fn read(&self, mut terminal: &File, mut woken: &PipeReader, send: &mpsc::Sender<()>) {
        // With these blocked, a terminal that somebody else has in the foreground by now refuses what is done to it,
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
            // The pipe ends with the run.
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
                    // It is gone, or somebody else has it. Nothing wakes this thread then, so it waits before it looks again.
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
    /// Has the terminal hand over keys at once, if this process is in its foreground. Returns whether it does.
    fn take(&mut self) -> bool {
        let Some((terminal, _)) = self.open.as_ref().filter(|_| !self.rests) else {
            return false;
        };
        if !is_in_foreground(terminal) {
            // Whoever has it has its own settings.
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
        // A read never waits: another program may take what was there.
        changed.special_codes[SpecialCodeIndex::VMIN] = 0;
        changed.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(terminal, OptionalActions::Now, &changed).is_err() {
            return false;
        }
        self.before = Some(before);
        true
    }

    /// Leaves the terminal as it was, and alone from now on.
    fn rest(&mut self) {
        self.rests = true;
        if let (Some(before), Some((terminal, _))) = (self.before.take(), &self.open)
            && is_in_foreground(terminal)
        {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(terminal, OptionalActions::Now, &before);
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some((_, waker)) = &mut self.open {
            // The thread may have ended.
            let _ = waker.write_all(b".");
        }
    }
}

fn is_in_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground == getpgrp())
}
