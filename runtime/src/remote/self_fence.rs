//! The fence of a node: its processes end when the node has not said in time that they may go on.
//!
//! A queue gives the jobs of a node to others when the node has not renewed its session. By then nothing of the node may
//! run any more, even if the node is stopped (SIGSTOP) or hangs. So each renewal that has succeeded moves the time on at
//! which a [keeper](super::run_keeper) kills the node and all that it has started. The time counts from before the
//! renewal was asked for, by a clock that also counts while the machine sleeps.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fence::BootTime;
use super::keeper::ToKeeper;
use super::message::line;
use crate::os::{Keeper, KeeperProgram};

/// A moment from which granted time counts.
#[derive(Debug, Clone, Copy)]
pub struct FenceMoment(BootTime);

impl FenceMoment {
    /// Returns this moment.
    pub fn now() -> Self {
        Self(BootTime::now())
    }
}

/// Says until when the processes of this one may run. Its clones are one fence.
#[derive(Debug, Clone)]
pub struct SelfFence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When everything is killed; `None` while the fence does not count.
    until: Option<BootTime>,
    /// The socket to the current keeper.
    socket: Option<UnixStream>,
}

impl SelfFence {
    /// Starts the keeper, a program that calls [`run_keeper`](super::run_keeper) and does nothing else. Without a
    /// [grant](Self::grant), it only kills what this process leaves behind.
    ///
    /// **The keeper kills this process, too,** when the granted time is over.
    pub fn start(command: impl IntoIterator<Item = OsString>) -> io::Result<(Self, Keeper)> {
        let fence = Self(Arc::default());
        let greeting = fence.clone();
        let keeper = Keeper::start_program(KeeperProgram {
            command: command.into_iter().collect(),
            on_start: Box::new(move |socket| {
                socket.set_nonblocking(true)?;
                let mut state = greeting.state();
                state.socket = Some(socket.try_clone()?);
                state.tell();
                Ok(())
            }),
        })?;
        Ok((fence, keeper))
    }

    /// Lets everything run until this long after a moment. A time that is over by now changes nothing, so that the time of
    /// the last grant ends.
    pub fn grant(&self, from: FenceMoment, time: Duration) {
        let until = from.0.after(time);
        if until > BootTime::now() {
            let mut state = self.state();
            state.until = Some(until);
            state.tell();
        }
    }

    /// Lets what runs go on without a limit of time. Call this only when nothing runs that others could begin.
    pub fn suspend(&self) {
        let mut state = self.state();
        state.until = None;
        state.tell();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells the keeper until when everything may run.
    fn tell(&self) {
        let Some(mut socket) = self.socket.as_ref() else {
            return;
        };
        let message = self.until.map_or(ToKeeper::RunOn, ToKeeper::RunUntil);
        // An error of the socket means that the keeper has ended, and its successor gets the state when it starts. The
        // socket always has room, because the keeper reads a message before the next renewal.
        if let Ok(line) = line(&message) {
            let _ = socket.write_all(&line);
        }
    }
}
