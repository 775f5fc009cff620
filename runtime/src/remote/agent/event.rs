//! What the session of an agent is told by its tasks.

use tokio::sync::OwnedRwLockWriteGuard;

use crate::os::ProcessId;
use crate::remote::RemoteError;
use crate::remote::keeper::FromKeeper;
use crate::remote::message::{FromAgent, ToAgent};

/// What a task of the session reports to the session.
pub(super) enum SessionEvent {
    /// The dispatcher has sent a message.
    Message(ToAgent),
    /// The stream of messages has ended, or something other than a message came.
    NoMoreMessages(RemoteError),
    /// A process runs.
    Started { id: u64, local: ProcessId },
    /// A process has ended, or was not started. Nothing but the message of its end is sent for it from now on.
    Gone { id: u64, ended: Option<FromAgent> },
    /// No process is being started any more, and none will be before the guard is dropped.
    NoStarts(OwnedRwLockWriteGuard<()>),
    /// The keeper has sent a message.
    Keeper(FromKeeper),
}
