//! The agent's end of the connection to its keeper.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::event::SessionEvent;
use crate::os::{Keeper, KeeperProgram};
use crate::remote::fence::BootTime;
use crate::remote::keeper::ToKeeper;
use crate::remote::message::{Lines, line};

/// The link to the keeper, with the state that a successor of the keeper has to get.
#[derive(Debug, Clone)]
pub(super) struct KeeperLink(Arc<Mutex<LinkState>>);

/// The state that a successor of the keeper has to get, and the current socket.
#[derive(Debug)]
struct LinkState {
    fence_after: Duration,
    /// The time of the last question that was answered.
    asked_at: BootTime,
    stage: GroupsStage,
    /// The socket to the current keeper.
    socket: Option<UnixStream>,
}

/// Whether the groups run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupsStage {
    Running,
    Suspended,
    /// The keeper has not yet confirmed that they may continue.
    Resuming,
}

impl KeeperLink {
    /// Starts the keeper. Its messages are forwarded to `news`.
    pub(super) fn start(
        command: Vec<OsString>,
        fence_after: Duration,
        news: mpsc::UnboundedSender<SessionEvent>,
    ) -> io::Result<(Self, Keeper)> {
        let link = Self(Arc::new(Mutex::new(LinkState {
            fence_after,
            // This holds until the first answer. The dispatcher gets no answer from this agent before this time.
            asked_at: BootTime::now(),
            stage: GroupsStage::Running,
            socket: None,
        })));
        let (tell_socket, sockets) = mpsc::unbounded_channel();
        let greeting = link.clone();
        let keeper = Keeper::start_program(KeeperProgram {
            command,
            on_start: Box::new(move |socket| {
                greeting.send_state(socket)?;
                // An error means that the session has ended.
                let _ = tell_socket.send(socket.try_clone()?);
                Ok(())
            }),
        })?;
        tokio::spawn(listen(sockets, news));
        Ok((link, keeper))
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the current state to a keeper that is being started.
    fn send_state(&self, socket: &UnixStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let mut state = self.state();
        state.socket = Some(socket.try_clone()?);
        let begin = ToKeeper::Begin {
            fence_after: state.fence_after,
            asked_at: state.asked_at,
        };
        state.send(&begin);
        if state.stage != GroupsStage::Running {
            state.send(&ToKeeper::Suspend);
        }
        if state.stage == GroupsStage::Resuming {
            state.send(&ToKeeper::Resume);
        }
        Ok(())
    }

    /// Passes an answer of the dispatcher on to the keeper.
    pub(super) fn granted(&self, asked_at: BootTime) {
        let mut state = self.state();
        state.asked_at = asked_at.max(state.asked_at);
        state.send(&ToKeeper::Granted(asked_at));
    }

    /// Makes the keeper stop all groups and suspend the fence.
    pub(super) fn suspend(&self) {
        let mut state = self.state();
        state.stage = GroupsStage::Suspended;
        state.send(&ToKeeper::Suspend);
    }

    /// Asks the keeper to find out whether the groups may continue.
    pub(super) fn resume(&self) {
        let mut state = self.state();
        state.stage = GroupsStage::Resuming;
        state.send(&ToKeeper::Resume);
    }

    /// Records that the keeper has confirmed that the groups may continue.
    pub(super) fn resumed(&self) {
        self.state().stage = GroupsStage::Running;
    }
}

impl LinkState {
    /// Sends a message to the keeper. The socket always has room: a keeper only gets answers to its questions, and one
    /// message for each Ctrl-Z.
    fn send(&self, message: &ToKeeper) {
        let Some(mut socket) = self.socket.as_ref() else {
            return;
        };
        // An error of the socket means that the keeper has ended. Its successor gets the current state.
        if let Ok(line) = line(message) {
            let _ = socket.write_all(&line);
        }
    }
}

/// Forwards the messages of one keeper after the other as events.
async fn listen(
    mut sockets: mpsc::UnboundedReceiver<UnixStream>,
    news: mpsc::UnboundedSender<SessionEvent>,
) {
    while let Some(socket) = sockets.recv().await {
        let socket = tokio::net::UnixStream::from_std(socket);
        let mut socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                // Without the socket the keeper is never granted more time, and kills everything.
                tracing::error!(%error, "the keeper cannot be heard");
                continue;
            }
        };
        let mut lines = Lines::default();
        let mut chunk = [0; 1024];
        while let Ok(bytes @ 1..) = socket.read(&mut chunk).await {
            lines.push(&chunk[..bytes]);
            while let Ok(Some(message)) = lines.next() {
                if news.send(SessionEvent::Keeper(message)).is_err() {
                    return;
                }
            }
        }
    }
}
