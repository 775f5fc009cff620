//! The errors of this crate.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use smol_str::SmolStr;

use crate::names::{InvalidName, JobName, NodeId};

/// The cause of an error of a server, as its client tells it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The errors of this crate. The failure of a job is the end of the job and not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text cannot be a name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A hint, a rate or the name of a resource is not valid.
    #[error(transparent)]
    Runtime(#[from] ratchet_runtime::Error),
    /// No queue takes such a job.
    #[error("job `{job}` {reason}")]
    InvalidJob {
        /// The name of the job.
        job: JobName,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The payload of a job is larger than the queue takes. Nothing was sent.
    #[error(
        "the payload of job `{job}` has {size} bytes, and the queue takes {most}; put it where nodes can read it, and submit its \
         place"
    )]
    TooLarge {
        /// The name of the job.
        job: JobName,
        /// How many bytes it has.
        size: u64,
        /// How many it may have.
        most: u64,
    },
    /// The result of a job cannot be read from the server any more.
    #[error(
        "the result of job `{job}` is damaged on the server: {reason}; purge the job to go on without it"
    )]
    Damaged {
        /// The name of the job.
        job: JobName,
        /// What is wrong with it.
        reason: String,
    },
    /// No queue takes such a node.
    #[error("node `{node}` {reason}")]
    InvalidNode {
        /// What people call the node.
        node: SmolStr,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting of the queue is not valid.
    #[error("{setting} {reason}")]
    InvalidSetting {
        /// The name of the setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A rate is too fine or too coarse for a queue, whose clock counts microseconds.
    #[error("rate {rate} {reason}")]
    InvalidRate {
        /// The rate and its burst.
        rate: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something is declared under a name that stands for something else already.
    #[error("`{name}` is declared already, and not as {second}")]
    Conflict {
        /// The name.
        name: SmolStr,
        /// The declaration that was refused.
        second: String,
    },
    /// The session of a node is over: it did not renew it in time, or has left.
    #[error("the session of {node} is over; end what it runs, and join again")]
    NodeLost {
        /// The node.
        node: NodeId,
    },
    /// Events after a cursor were dropped already, because they are older than events are kept.
    #[error("events after this cursor are no longer kept")]
    EventsExpired,
    /// The server does not have the queue any more: its data was deleted, or another server took its address.
    #[error("the queue is gone from the server; nothing of what it held can be continued")]
    QueueGone,
    /// The server cannot keep a queue.
    #[error("the server cannot keep a queue: {reason}")]
    UnfitServer {
        /// Why not, and what to do.
        reason: String,
    },
    /// The server does not let this user in, or not do this.
    #[error(
        "the server denies it: {reason}; check the user, the password and the rules (ACL) of the server"
    )]
    Denied {
        /// The message of the server.
        reason: String,
    },
    /// The certificate of the server is not to be trusted.
    #[error(
        "the certificate of the server is refused: {reason}; check the name of the host in the address, and if an authority of \
         your own has signed the certificate, name the file of that authority"
    )]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The variable that should hold a password is not set, or is no text.
    #[error("variable {variable} of the environment holds no password")]
    NoPassword {
        /// The name of the variable.
        variable: String,
    },
    /// The server has no memory left for this step. Jobs that end free some.
    #[error("the server has no memory left: {reason}")]
    OutOfMemory {
        /// The message of the server.
        reason: String,
    },
    /// The server cannot be reached, broke the connection, or is not ready yet. The step may have been done or not.
    #[error("no answer from the server")]
    Unreachable(#[source] BoxError),
    /// The server refused a step, or answered with something unexpected.
    #[error("the server refused a step: {reason}")]
    Server {
        /// The message of the server, or what was unexpected.
        reason: String,
    },
}
