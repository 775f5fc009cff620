//! A process that was started, for a task that waits for it.

use std::io;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use super::exit::reap;
use super::group::ProcessGroup;
use super::handle::Pipes;
use super::pipes::{LocalView, StdinPipe, StdoutPipe};
use super::start::{PreparedProcess, StartedProcess, Stdin};
use super::{Exit, Keeper, ProcessConfig, groups, terminal};

/// Children that were dropped before they had ended. They are reaped when another one is started or dropped, so that
/// zombies do not accumulate.
static DROPPED: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A child of this process, until it is reaped.
#[derive(Debug)]
pub(super) struct Child {
    /// The id of the process. The process leads its group.
    leader: Pid,
    /// A descriptor that is readable once the child has ended.
    ended: Arc<AsyncFd<OwnedFd>>,
    /// How the child ended; `None` until it was reaped.
    exit: Option<Exit>,
}

impl Child {
    /// Starts a process that leads a group of its own.
    pub(super) fn start(
        config: &ProcessConfig,
        keeper: Option<&Keeper>,
    ) -> io::Result<(Self, ProcessGroup, Pipes, LocalView)> {
        reap_dropped(None);
        let start = groups::begin_start();
        let StartedProcess {
            leader,
            ended,
            listing,
            stdin,
            stdout,
            stderr,
        } = PreparedProcess::new(config, Stdin::Piped)?.start(keeper)?;
        let group = ProcessGroup::led_by(leader, listing);
        drop(start);
        let watched = || {
            let stdin = process::ChildStdin::from(stdin.ok_or(io::ErrorKind::BrokenPipe)?);
            let stdin = StdinPipe::new(ChildStdin::from_std(stdin)?);
            let stdout = StdoutPipe::new(ChildStdout::from_std(stdout.into())?);
            let stderr = ChildStderr::from_std(stderr.into())?;
            #[expect(
                deprecated,
                reason = "unsound only for types that do not own their descriptor; what replaces it is unsafe to call"
            )]
            let ended = Arc::new(AsyncFd::with_interest(ended, Interest::READABLE)?);
            let view = LocalView::new(&stdin, &stdout, &ended);
            let pipes: Pipes = (Box::new(stdin), Box::new(stdout), Box::new(stderr));
            Ok((ended, pipes, view))
        };
        match watched() {
            Ok((ended, pipes, view)) => {
                let child = Self {
                    leader,
                    ended,
                    exit: None,
                };
                Ok((child, group, pipes, view))
            }
            Err(error) => {
                // A process that cannot be watched must not run.
                group.kill();
                reap(leader);
                Err(error)
            }
        }
    }

    /// Whether the terminal has stopped the child. The child is not reaped yet, so its process id is still its own.
    pub(super) fn is_stopped_by_terminal(&self) -> bool {
        self.exit.is_none() && terminal::is_stopped_by_terminal(self.leader)
    }

    /// Waits until the child has ended, and reaps it; cancel safe.
    pub(super) async fn wait(&mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        if self.ended.readable().await.is_err() {
            // The runtime is shutting down, and no event is delivered any more.
            return Exit::Unknown;
        }
        *self.exit.insert(reap(self.leader))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() {
            reap_dropped(Some(self.leader));
        }
    }
}

/// Reaps those of the dropped children that have ended.
fn reap_dropped(another: Option<Pid>) {
    let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    dropped.extend(another);
    dropped.retain(|child| matches!(waitpid(Some(*child), WaitOptions::NOHANG), Ok(None)));
}
