//! Processes on other hosts: an agent there, and a process manager here that uses it.
//!
//! ```text
//!   RemoteProcesses                  ssh, docker exec ..                 Agent
//!   a stream of messages  <======== one connection: HTTP/2 ========>  a stream of messages
//!   two streams per process          over a pair of pipes             a task per process --> LocalProcesses
//! ```
//!
//! A host is a [`ProcessManager`](crate::process::ProcessManager). Pools, their supervisor and the
//! [`CommandRunner`](crate::process::CommandRunner) work on one as they do on this system.
//!
//! - **A process** is a request. It begins with the program, and the rest of it is the stdin. The response is the
//!   stdout, and the response to a second request the stderr. So each pipe has a window of its own, and a process that
//!   floods one of them holds up nobody else.
//! - **Messages** in both directions are lines of JSON on a stream of their own: that a process has ended, that it is
//!   to be stopped, what it uses. The message of a process's end is sent last, after all that it printed.
//! - **Files** are streams of their own, too. They are copied to a work folder before a process starts, and copied back
//!   when it has succeeded.
//! - **A stream that was cut** ends with an error, and one that has ended does not. So a broken connection is never
//!   taken for the end of an output.
//! - **Nothing from the other side is trusted:** sizes, numbers and texts are bounded, and control characters are
//!   replaced.
//! - **A host without an agent** is a bare prefix before each command, as in `docker exec -i box`:
//!   [`PrefixedProcesses`].
//! - **A host is lost** when its connection breaks or nothing comes for `lost_after`. What ran there counts as ended
//!   only when it is surely dead: a [keeper](Agent::keeper) kills it, even if the agent is stopped, when the dispatcher
//!   has granted it no more time.

mod activity;
mod agent;
mod agent_view;
mod config;
mod error;
mod fence;
mod files;
mod heartbeat;
mod hello;
mod host;
#[cfg(test)]
mod hostile;
mod info;
mod keeper;
mod launch;
mod loss;
mod message;
mod pipes;
mod prefix;
mod probe;
mod processes;
mod reconnect_backoff;
mod self_fence;
mod stdio;
mod stream;
mod table;
mod text;
mod tolerant_writer;
mod view;

pub use agent::Agent;
pub use config::RemoteConfig;
pub use error::RemoteError;
pub use heartbeat::HostHealth;
pub use host::{HostConfig, LaunchLimit, RemoteHost};
pub use info::AgentInfo;
pub use keeper::run_keeper;
pub use launch::{AgentProgram, content_hash};
pub use prefix::{PrefixWords, PrefixedProcesses};
pub use probe::{HostReport, Unreachable, probe};
pub use processes::RemoteProcesses;
pub use self_fence::{FenceMoment, SelfFence};
