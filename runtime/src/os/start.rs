//! Starts a process in a group of its own: by Linux's `clone`, or by the standard library.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::Pid;

#[cfg(target_os = "linux")]
pub(super) use linux::PreparedProcess;
#[cfg(not(target_os = "linux"))]
pub(super) use portable::PreparedProcess;

use super::keeper::Listing;

/// The stdin of a process.
#[derive(Debug, Clone)]
pub(super) enum Stdin {
    /// Nothing: the stdin ends at once.
    Empty,
    /// The process reads from a pipe that this process writes to.
    Piped,
    /// The terminal, with the process in its foreground.
    Terminal,
    /// The process reads from this descriptor.
    Given(Arc<OwnedFd>),
}

/// A process that was just started. It leads a group of its own and prints into two pipes.
///
/// Descriptors are close-on-exec everywhere in Rust, so it got these three and no others.
#[derive(Debug)]
pub(super) struct StartedProcess {
    /// The process, whose id is also that of its group.
    pub(super) leader: Pid,
    /// A descriptor that becomes readable when the process has ended and waits to be reaped.
    pub(super) ended: OwnedFd,
    /// The line of the group on the keeper's list, if there is a keeper.
    pub(super) listing: Option<Listing>,
    /// The pipe to stdin, if this process writes to it.
    pub(super) stdin: Option<OwnedFd>,
    /// The pipe from stdout.
    pub(super) stdout: OwnedFd,
    /// The pipe from stderr.
    pub(super) stderr: OwnedFd,
}
