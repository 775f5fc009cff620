//! The agent: starts processes for a dispatcher on another host, and ends them with the connection.
//!
//! One task owns the connection and the list of processes. A task for each process carries its pipes.

mod event;
mod keeper_link;
mod measuring;
mod message_stream;
mod process;
mod run_time;
mod session;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use h2::server;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::keeper_link::KeeperLink;
use self::session::DispatcherSession;
use super::activity::{ActivityReader, LastActivity};
use super::files::FileService;
use super::hello;
use super::stream::{
    CHUNK, CONNECTION_WINDOW, HEADER_BYTES, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW,
};
use super::{AgentInfo, RemoteError, stdio};
use crate::os::LocalProcesses;

/// How long a dispatcher may take to answer the hello. The dispatcher's machine may be busy with many hosts.
const HELLO_LIMIT: Duration = Duration::from_mins(1);

/// Starts processes for a dispatcher on another host. The dispatcher reaches the agent over a pair of pipes.
///
/// When the connection ends, or nothing comes from the dispatcher for too long, the agent kills all processes that it
/// has started. With a [`keeper`](Self::keeper), they are killed even when the agent is stopped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ratchet_runtime::process::{CommandLimits, CommandRunner, ProcessConfig};
/// use ratchet_runtime::remote::{Agent, RemoteConfig, RemoteProcesses};
/// use std::sync::Arc;
///
/// // The pipes are mostly those of `ssh host ratchet agent`.
/// let (here, there) = tokio::io::duplex(64 * 1024);
/// let (input, output) = tokio::io::split(there);
/// tokio::spawn(Agent::new().serve(input, output));
///
/// let (input, output) = tokio::io::split(here);
/// let processes = RemoteProcesses::connect(input, output, RemoteConfig::new("web1")).await?;
/// let runner = CommandRunner::through(Arc::new(processes));
/// let hello = ProcessConfig::new("echo").arg("hello");
/// let output = runner.run(&hello, CommandLimits::default(), &Default::default()).await?;
/// assert_eq!(output.stdout.to_text(), "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct Agent {
    cache: Option<PathBuf>,
    keeper: Option<Vec<OsString>>,
}

impl Agent {
    /// Makes an agent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the folder in which `ratchet/files` and `ratchet/work` are. The default is the cache folder of the user:
    /// `XDG_CACHE_HOME`, or `.cache` in the home folder.
    #[must_use]
    pub fn cache_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Sets the command of the keeper: a program that calls [`run_keeper`](super::run_keeper) and does nothing else.
    ///
    /// The keeper asks the dispatcher for time again and again, and **kills this process** with all that it has started
    /// once it has been granted none for [`fence_after`](super::RemoteConfig::fence_after). So a dispatcher never takes
    /// a process for dead that still runs. Without a keeper, all that was started lives on while this process is
    /// stopped.
    #[must_use]
    pub fn keeper(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.keeper = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// Serves a dispatcher on the stdin and the stdout of this process, which have to be pipes or sockets.
    ///
    /// Nothing else may read or print there.
    pub async fn serve_stdio(self) -> Result<(), RemoteError> {
        let (input, output) = stdio::open()?;
        // With this handler, a file that would exceed the size limit of the host is an error. Otherwise the signal
        // would end the agent.
        let _too_large = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        self.serve(input, output).await
    }

    /// Serves a dispatcher until the connection ends, then ends everything that was started.
    ///
    /// The end of the connection is not an error.
    pub async fn serve(
        self,
        input: impl AsyncRead + Send + Unpin,
        mut output: impl AsyncWrite + Send + Unpin,
    ) -> Result<(), RemoteError> {
        let heard = LastActivity::now();
        let mut input = BufReader::with_capacity(CHUNK, ActivityReader::new(input, heard.clone()));
        let info = AgentInfo {
            is_fenced: self.keeper.is_some(),
            ..AgentInfo::of_this_host()
        };
        hello::send_agent_hello(&mut output, &info).await?;
        let hello = timeout(HELLO_LIMIT, hello::receive_dispatcher_hello(&mut input)).await;
        let hello = hello.map_err(|_| RemoteError::NoAnswer(HELLO_LIMIT))??;
        let (tell_main, told) = mpsc::unbounded_channel();
        // The keeper is started before the dispatcher hears more than the hello: the dispatcher assumes that the
        // keeper's time has begun by then.
        let (link, local) = match self.keeper {
            Some(command) => {
                let news = tell_main.clone();
                let (link, keeper) = KeeperLink::start(command, hello.fence_after(), news)
                    .map_err(RemoteError::Keeper)?;
                (Some(link), LocalProcesses::with_keeper(Some(keeper)))
            }
            None => (None, LocalProcesses::start()),
        };
        let mut builder = server::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            // A dispatcher may cancel many starts at once. It is not an attacker: it may run what it likes here.
            .max_pending_accept_reset_streams(usize::MAX)
            .max_local_error_reset_streams(None)
            .max_header_list_size(HEADER_BYTES)
            .max_send_buffer_size(SEND_BUFFER);
        let connection = builder.handshake(tokio::io::join(input, output)).await?;
        let files = FileService::new(self.cache);
        let session = DispatcherSession::new((hello, heard), (local, link), files, tell_main);
        session.run(connection, told).await
    }
}
