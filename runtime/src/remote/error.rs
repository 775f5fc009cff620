//! The errors of connections to other hosts.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// The reason for which a connection to an agent was not made, or has ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The launcher could not be started.
    #[error("the launcher `{launcher}` could not be started")]
    Launcher {
        /// The program that was to make the connection.
        launcher: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The program that answered is not an agent. The error holds its output, without control characters.
    #[error("no agent answered{}", said(.0))]
    NoHello(String),
    /// The host has no agent, and none could be copied to it. The error holds the output from there, without control
    /// characters.
    #[error("no agent could be put on the host: {0}")]
    NoAgent(String),
    /// The program that was copied to the host does not run there. The error holds the folder of the copy and the
    /// output from there, without control characters.
    #[error(
        "{0} (name another program by `agent: PATH`, such as a static one, or set XDG_CACHE_HOME there to another folder)"
    )]
    AgentBroken(String),
    /// Others could replace the agent in its folder on the host, so it is not run. The error names the folder, without
    /// control characters.
    #[error(
        "{0}, or others could replace the agent: remove it there, or set XDG_CACHE_HOME there to another folder"
    )]
    AgentFolder(String),
    /// The program that was to be copied to the host cannot be read.
    #[error("the agent {} cannot be read", path.display())]
    AgentFile {
        /// The program.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The host has no agent, and is of another platform, so this program cannot be copied there.
    #[error(
        "the host is {theirs} and this machine is {ours}, so ratchet cannot copy itself there: name a ratchet for {theirs} by `agent: PATH` of the host"
    )]
    Platform {
        /// The platform of this machine.
        ours: String,
        /// The platform of the host.
        theirs: String,
    },
    /// The other side speaks different versions of the protocol.
    #[error(
        "the other side{} speaks version {} of the agent's protocol, and this is version {ours}: use the same ratchet on both hosts",
        with_ratchet(ratchet),
        numbers(theirs)
    )]
    Version {
        /// The version that this side speaks.
        ours: u32,
        /// The versions that the other side speaks.
        theirs: Vec<u32>,
        /// The version of the other side's ratchet, if it is known.
        ratchet: String,
    },
    /// The other side broke the protocol.
    #[error("the other side broke the agent's protocol: {0}")]
    Malformed(String),
    /// Nothing came from the other side for too long.
    #[error("nothing came from the other side for {0:?}")]
    Silent(Duration),
    /// The agent has sent signs of life, and has not answered a request in time.
    #[error(
        "the agent there is alive, and has not answered within {limit:?} when it was to {request}"
    )]
    Unanswered {
        /// What the agent was to do.
        request: &'static str,
        /// How long it could have taken.
        limit: Duration,
    },
    /// The agent could not start its keeper.
    #[error("the agent could not start its keeper")]
    Keeper(#[source] io::Error),
    /// The agent did not answer in time.
    #[error("no agent answered within {0:?}")]
    NoAnswer(Duration),
    /// The other side has ended the connection.
    #[error("the other side has ended the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The streams within the connection broke.
    #[error("the connection broke: {0}")]
    Streams(String),
}

fn said(banner: &str) -> String {
    if banner.is_empty() {
        ", and it printed nothing".to_owned()
    } else {
        format!("; it printed this instead: {banner}")
    }
}

fn with_ratchet(version: &str) -> String {
    if version.is_empty() {
        String::new()
    } else {
        format!(" (ratchet {version})")
    }
}

fn numbers(versions: &[u32]) -> String {
    if versions.is_empty() {
        return "no".to_owned();
    }
    let numbers: Vec<String> = versions.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

impl From<h2::Error> for RemoteError {
    fn from(error: h2::Error) -> Self {
        if error.is_io() {
            return match error.into_io() {
                Some(error) => Self::Io(error),
                None => Self::Closed,
            };
        }
        Self::Streams(error.to_string())
    }
}
