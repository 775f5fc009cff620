//! Processes on another host, as a process manager.

mod connection;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::connection::AgentConnection;
use super::agent_view::AgentView;
use super::files::{FileClient, RemoteFolder};
use super::message::{OutputStream, Spec, StartError, ToAgent, wire_id};
use super::pipes::{RemoteReader, RemoteWriter};
use super::stream::{Inbox, PROCESS_PATH, STDERR_PATH, SYSTEM_ID, StreamEnd};
use super::table::{ProcessEntry, ProcessTable};
use super::view::RemoteView;
use super::{AgentInfo, HostHealth, RemoteConfig, RemoteError};
use crate::os::{
    ExitWatch, InputWatch, Pipes, ProcessConfig, ProcessError, ProcessHandle, ProcessId,
    ProcessInfo, ProcessManager, ProcessUsage,
};
use crate::suspension::working_now;

/// How many bytes an agent may send to explain why a program was not started.
const ERROR_BYTES: usize = 16 * 1024;

/// Processes on another host, over one connection to its [`Agent`](super::Agent).
///
/// Dropping it ends the connection and the processes.
///
/// When nothing comes from the host for [`lost_after`](RemoteConfig::lost_after), or the connection breaks, the host is
/// lost. The agent notices that as well, and kills what it has started. An agent that is stopped or that gets no
/// processor does not; so its [keeper](super::Agent::keeper) kills, once it has been granted no more time for
/// [`fence_after`](RemoteConfig::fence_after). Here the processes end with
/// [`Ending::HostLost`](crate::process::Ending::HostLost) when both are over: `fence_after` and
/// [`kill_margin`](RemoteConfig::kill_margin) after the last time that was granted.
///
/// An agent that has no keeper and is stopped kills only once it is continued. The same is true of a whole machine that
/// was frozen, if its clock did not run in that time.
#[derive(Debug)]
pub struct RemoteProcesses {
    config: Arc<RemoteConfig>,
    table: Arc<ProcessTable>,
    connection: AgentConnection,
    /// One permit for each process, so that two streams for each are always available.
    places: Arc<Semaphore>,
    files: Arc<FileClient>,
}

impl RemoteProcesses {
    /// Connects to the agent at the other end of a pair of pipes.
    pub async fn connect(
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
        config: RemoteConfig,
    ) -> Result<Self, RemoteError> {
        let config = Arc::new(config);
        let table = Arc::<ProcessTable>::default();
        let connection =
            AgentConnection::open(input, output, Arc::clone(&config), Arc::clone(&table)).await?;
        let most = config.max_processes.min(super::config::MAX_PROCESSES);
        let (requests, loss) = (connection.requests(), connection.loss().clone());
        Ok(Self {
            files: Arc::new(FileClient::new(config.host.clone(), requests, loss)),
            places: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX))),
            config,
            table,
            connection,
        })
    }

    /// Returns the agent's description of itself and its host.
    pub fn agent(&self) -> &AgentInfo {
        self.connection.agent()
    }

    /// Returns a watch channel with the health that the heartbeat measures. It is empty until the first beat is
    /// answered.
    pub fn health(&self) -> watch::Receiver<HostHealth> {
        self.connection.health()
    }

    /// Waits until the connection has ended, and returns the reason.
    pub async fn closed(&self) -> String {
        self.connection.loss().ended().await;
        self.connection.loss().reason()
    }

    /// Whether a process that was started over the connection may still run.
    pub(super) fn has_processes(&self) -> bool {
        self.table.has_processes()
    }

    /// Stops all processes of the host, for as long as this process is stopped itself.
    ///
    /// Call it before this process stops, as by Ctrl-Z: a host that hears nothing, without having been warned, takes
    /// this process for lost.
    pub fn suspend(&self) {
        self.connection.send(ToAgent::Suspend);
    }

    /// Continues all processes of the host.
    pub fn resume(&self) {
        self.connection.send(ToAgent::Resume);
    }

    fn lost(&self, has_begun: bool) -> ProcessError {
        ProcessError::HostLost {
            host: self.config.host.clone(),
            reason: self.connection.loss().reason(),
            has_begun,
        }
    }

    /// Asks the agent to start a process. If this is dropped, a guard that the caller holds ends the process.
    async fn start(
        &self,
        id: ProcessId,
        spec: Bytes,
        view: &Arc<RemoteView>,
        input: InputWatch,
    ) -> Result<Result<(u32, RemoteWriter), StartError>, RemoteError> {
        let number = wire_id(id);
        let unfilled = UnansweredStart(view);
        let post = request(Method::POST, PROCESS_PATH, number);
        let (response, mut stdin) = self.requests().await?.send_request(post, false)?;
        stdin.send_data(spec, false)?;
        let get = request(Method::GET, STDERR_PATH, number);
        let (stderr, _) = self.requests().await?.send_request(get, true)?;
        let (head, body) = response.await?.into_parts();
        if head.status != StatusCode::OK {
            // The rest of the request is not read any more. An error means that the agent has ended it.
            let _ = stdin.send_data(Bytes::new(), true);
            return Ok(Err(read_start_error(body).await?));
        }
        let system_id = head.headers.get(SYSTEM_ID);
        let system_id = system_id.and_then(|id| id.to_str().ok()?.parse().ok());
        unfilled.are_filled();
        fill(Arc::clone(view), |view| &view.stdout, body);
        let shared = Arc::clone(view);
        tokio::spawn(async move {
            // A process that ends at once may have no stderr, or the connection may be lost.
            match stderr.await {
                Ok(response) => shared.stderr.fill(response.into_body()).await,
                Err(error) if error.is_reset() => shared.stderr.end(StreamEnd::Whole),
                Err(_) => shared.stderr.mark_broken(),
            }
        });
        let stdin = RemoteWriter::new(stdin, input, Arc::clone(&view.written));
        Ok(Ok((system_id.unwrap_or_default(), stdin)))
    }

    /// Registers a process that is about to be started, and makes its work folder. If this or its result is dropped, the
    /// process is never started.
    async fn prepare(&self, config: &ProcessConfig) -> Result<PreparedProcess<'_>, ProcessError> {
        let spec = Spec::encode(config)?;
        if self.connection.loss().has_ended() {
            return Err(self.lost(false));
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| ProcessError::Ended)?;
        let (notice, exit) = ExitWatch::channel();
        let (input_notice, input) = InputWatch::channel();
        let view = Arc::<RemoteView>::default();
        let id = self.table.add(ProcessEntry::new(
            (self.connection.number(), self.connection.messages()),
            Arc::from(config.to_string()),
            notice,
            input_notice,
            Arc::clone(&view),
        ));
        let id = id.ok_or_else(|| self.lost(false))?;
        let guard = StartGuard {
            table: &self.table,
            id: Some(id),
            is_asked: false,
        };
        let folder = match &config.files {
            None => None,
            Some(files) => {
                let made = self.files.make_folder(wire_id(id), Arc::clone(files));
                Some(made.await?)
            }
        };
        Ok(PreparedProcess {
            spec,
            place,
            id,
            guard,
            view,
            exit,
            input,
            folder,
        })
    }

    /// Makes the agent start a process.
    async fn start_prepared(
        &self,
        config: &ProcessConfig,
        prepared: PreparedProcess<'_>,
    ) -> Result<ProcessHandle, ProcessError> {
        let PreparedProcess {
            spec,
            place,
            id,
            mut guard,
            view,
            mut exit,
            input,
            folder,
        } = prepared;
        let messages = self.connection.messages();
        guard.is_asked = true;
        self.table.start_asked(id, working_now());
        let started = self.start(id, spec, &view, input.clone()).await;
        let (system_id, stdin) = match started {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => {
                guard.id = None;
                self.table.not_started(id);
                return Err(error.of(config));
            }
            Err(error) => {
                // The process may run there until the agent has killed it, so the start does not count as failed before
                // that. The loss of the connection may be noticed only a moment later.
                self.table.terminate(id, Duration::ZERO, working_now());
                let is_lost = self.connection.loss().is_lost_soon().await;
                if is_lost {
                    exit.wait().await;
                }
                guard.id = None;
                self.table.not_started(id);
                return Err(if is_lost {
                    self.lost(true)
                } else {
                    ProcessError::Spawn {
                        command: config.command.clone(),
                        source: io::Error::other(ratchet_ipc::error_chain(&error)),
                    }
                });
            }
        };
        guard.id = None;
        self.table.started(id, system_id);
        let mut waited = exit.clone();
        tokio::spawn(async move {
            waited.wait().await;
            drop(place);
        });
        let reader = |output| RemoteReader {
            view: Arc::clone(&view),
            id: wire_id(id),
            output,
            messages: messages.clone(),
        };
        let pipes: Pipes = (
            Box::new(stdin),
            Box::new(reader(OutputStream::Stdout)),
            Box::new(reader(OutputStream::Stderr)),
        );
        let view = AgentView {
            id,
            view,
            table: Arc::clone(&self.table),
        };
        let handle = ProcessHandle::new(id, pipes, exit)
            .with_view(view)
            .with_input_watch(input);
        Ok(match folder {
            Some(folder) => handle.with_folder(folder),
            None => handle,
        })
    }

    async fn requests(&self) -> Result<SendRequest<Bytes>, RemoteError> {
        Ok(self.connection.requests().ready().await?)
    }
}

/// The inboxes of a process whose start is not answered yet. If it never is, dropping this breaks them off, since
/// nothing will come into them.
struct UnansweredStart<'a>(&'a RemoteView);

impl UnansweredStart<'_> {
    /// Leaves the inboxes to the tasks that fill them.
    fn are_filled(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnansweredStart<'_> {
    fn drop(&mut self) {
        // The message of the process's end may have come before the answer, and its handling waits for what comes here.
        self.0.stdout.mark_broken();
        self.0.stderr.mark_broken();
    }
}

/// Fills an inbox in a task of its own.
fn fill(view: Arc<RemoteView>, inbox: fn(&RemoteView) -> &Inbox, body: RecvStream) {
    tokio::spawn(async move { inbox(&view).fill(body).await });
}

/// Makes a request for a process.
#[expect(
    clippy::expect_used,
    reason = "the path is ours, and a number has only digits"
)]
fn request(method: Method, path: &str, number: u64) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://agent{path}{number}"))
        .body(())
        .expect("the path is one of a URI")
}

/// Reads the reason for which a program was not started.
async fn read_start_error(mut body: RecvStream) -> Result<StartError, RemoteError> {
    let mut json = BytesMut::new();
    while let Some(bytes) = body.data().await {
        json.extend_from_slice(&bytes?);
        if json.len() > ERROR_BYTES {
            return Err(RemoteError::Malformed("an error without an end".to_owned()));
        }
    }
    serde_json::from_slice(&json)
        .map_err(|error| RemoteError::Malformed(format!("an error: {error}")))
}

/// Terminates a process on drop, unless its start was completed.
struct StartGuard<'a> {
    table: &'a ProcessTable,
    id: Option<ProcessId>,
    /// Whether the agent was asked to start it. Otherwise the agent would never report its end.
    is_asked: bool,
}

impl Drop for StartGuard<'_> {
    fn drop(&mut self) {
        match self.id {
            Some(id) if self.is_asked => {
                self.table.terminate(id, Duration::ZERO, working_now());
            }
            Some(id) => self.table.not_started(id),
            None => {}
        }
    }
}

/// A process that its agent can be asked to start.
struct PreparedProcess<'a> {
    spec: Bytes,
    /// The permit of the process among those of its connection.
    place: OwnedSemaphorePermit,
    id: ProcessId,
    guard: StartGuard<'a>,
    view: Arc<RemoteView>,
    exit: ExitWatch,
    input: InputWatch,
    folder: Option<RemoteFolder>,
}

#[async_trait]
impl ProcessManager for RemoteProcesses {
    async fn spawn_process(&self, config: &ProcessConfig) -> Result<ProcessHandle, ProcessError> {
        let prepared = self.prepare(config).await?;
        self.start_prepared(config, prepared).await
    }

    async fn spawn_unless_cancelled(
        &self,
        config: &ProcessConfig,
        cancel: &CancellationToken,
    ) -> Result<Option<ProcessHandle>, ProcessError> {
        let prepared = tokio::select! {
            biased;
            prepared = self.prepare(config) => prepared?,
            () = cancel.cancelled() => return Ok(None),
        };
        self.start_prepared(config, prepared).await.map(Some)
    }

    async fn get_process(&self, id: ProcessId) -> Result<Option<ProcessInfo>, ProcessError> {
        let mut living = self.table.list().into_iter();
        Ok(living.find(|process| process.id == id))
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>, ProcessError> {
        Ok(self.table.list())
    }

    async fn terminate_process(&self, id: ProcessId, grace: Duration) -> Result<(), ProcessError> {
        self.table.terminate(id, grace, working_now());
        Ok(())
    }

    async fn stop_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.table.send(id, ToAgent::Stop { id: wire_id(id) });
        Ok(())
    }

    async fn continue_process(&self, id: ProcessId) -> Result<(), ProcessError> {
        self.table.send(id, ToAgent::Continue { id: wire_id(id) });
        Ok(())
    }

    async fn measure_processes(
        &self,
        ids: &[ProcessId],
    ) -> Result<BTreeMap<ProcessId, ProcessUsage>, ProcessError> {
        let messages: mpsc::UnboundedSender<ToAgent> = self.connection.messages();
        let number = self.connection.number();
        let answered = self.table.measure(number, ids, &messages, working_now());
        answered.await.map_err(|_| self.lost(false))
    }
}
