//! The agent: starts processes for a dispatcher on another host, and ends them with the connection.
//!
//! One task owns the connection and the list of processes. A task for each process carries its pipes.

mod keeper_link;
mod process;
mod run_time;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use self::keeper_link::KeeperLink;
use self::process::{AgentProcess, drain};
use self::run_time::Suspensions;
use super::activity::{ActivityReader, LastActivity};
use super::config::MAX_PROCESSES;
use super::files::{FileRequest, FileService};
use super::hello::{self, DispatcherHello};
use super::keeper::FromKeeper;
use super::message::{
    FromAgent, Lines, OutputStream, StartError, ToAgent, WireReading, line, usage_to_wire,
};
use super::stream::{
    CHUNK, CONNECTION_WINDOW, HEADER_BYTES, MAX_STREAMS, MESSAGES_PATH, PROCESS_PATH, SEND_BUFFER,
    STDERR_PATH, STREAM_WINDOW, beat_interval, send_line,
};
use super::{AgentInfo, RemoteError, stdio};
use crate::blocking::run_blocking;
use crate::monitor::{Probe as _, Sampler};
use crate::os::{LocalProcesses, ProcessId, ProcessManager};

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
        let (messages, to_send) = mpsc::unbounded_channel();
        let session = DispatcherSession {
            hello,
            heard,
            local: Arc::new(local),
            files: FileService::new(self.cache.clone()),
            keeper: link,
            processes: BTreeMap::new(),
            messages,
            to_send: Some(to_send),
            tell_main,
            tasks: JoinSet::new(),
            sampler: sampler(),
            starts: Arc::default(),
            suspension: Suspension::None,
            suspensions: Suspensions::default(),
            held: Vec::new(),
        };
        session.run(connection, told).await
    }
}

/// What a task of the session reports to the session.
enum SessionEvent {
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

/// Whether everything is stopped because the dispatcher is stopped.
#[derive(Debug)]
enum Suspension {
    None,
    /// The starts that are under way have to succeed or fail before everything is stopped.
    Begins,
    /// All processes are stopped, and none is started while the guard lives.
    Holds(OwnedRwLockWriteGuard<()>),
    /// The dispatcher has resumed. The keeper has not yet confirmed that the processes may continue.
    Ends(OwnedRwLockWriteGuard<()>),
}

/// A connection to a dispatcher, with everything that was started over it.
struct DispatcherSession {
    hello: DispatcherHello,
    heard: LastActivity,
    local: Arc<LocalProcesses>,
    files: FileService,
    /// The link to the keeper, which is a fence, if there is one.
    keeper: Option<KeeperLink>,
    processes: BTreeMap<u64, AgentProcessEntry>,
    /// The messages to the dispatcher.
    messages: mpsc::UnboundedSender<FromAgent>,
    /// The receiving end of `messages`, until the dispatcher opens the stream of messages.
    to_send: Option<mpsc::UnboundedReceiver<FromAgent>>,
    tell_main: mpsc::UnboundedSender<SessionEvent>,
    tasks: JoinSet<()>,
    /// Reads memory and load, if this system can measure them.
    sampler: Option<Arc<Mutex<Sampler>>>,
    /// Each task that starts a process holds a read guard of this until it is done.
    starts: Arc<RwLock<()>>,
    suspension: Suspension,
    /// How often everything was stopped and continued, for the tasks that measure how long processes run.
    suspensions: Suspensions,
    /// The requests about processes that are done once the processes continue. A process that is asked to end would run
    /// again before that.
    held: Vec<ToAgent>,
}

/// A process as the session knows it.
struct AgentProcessEntry {
    /// The process, once it runs.
    local: Option<ProcessId>,
    /// Passes on the stream for stderr, until that stream was opened.
    stderr: Option<oneshot::Sender<SendResponse<Bytes>>>,
    /// Cancelled when the pipe is not read any more.
    close_stdout: CancellationToken,
    close_stderr: CancellationToken,
    /// The grace of a request to end the process that came before it ran.
    asked: Option<Duration>,
    /// The request to remove the work folder of the process. It is done when the process has ended.
    removal: Option<(RecvStream, SendResponse<Bytes>)>,
    is_stopped: bool,
}

type ServerConnection<I, O> = server::Connection<tokio::io::Join<I, O>, Bytes>;

impl DispatcherSession {
    /// Serves until the connection ends, breaks, or falls silent.
    async fn run<I, O>(
        mut self,
        mut connection: ServerConnection<I, O>,
        mut told: mpsc::UnboundedReceiver<SessionEvent>,
    ) -> Result<(), RemoteError>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let lost_after = self.hello.lost_after();
        let mut beat = interval(beat_interval(lost_after));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let heard = self.heard.clone();
        let silence = heard.silence(lost_after);
        tokio::pin!(silence);
        loop {
            tokio::select! {
                request = connection.accept() => match request {
                    Some(Ok((request, respond))) => self.accept(request, respond),
                    // The dispatcher has ended the connection, or its pipe has ended with it.
                    None => return Ok(()),
                    Some(Err(error)) if error.is_io() => return Ok(()),
                    Some(Err(error)) => return Err(error.into()),
                },
                Some(news) = told.recv() => self.take(news).await?,
                _ = beat.tick() => self.send(FromAgent::Beat),
                // The tasks are kept only so that they end with the session.
                Some(_) = self.tasks.join_next() => {}
                // A dispatcher that is stopped is silent.
                () = &mut silence, if !self.is_suspended() => return Err(RemoteError::Silent(lost_after)),
            }
        }
    }

    fn is_suspended(&self) -> bool {
        !matches!(self.suspension, Suspension::None)
    }

    fn send(&self, message: FromAgent) {
        // An error means that the stream of messages has ended, which the session learns by an event.
        let _ = self.messages.send(message);
    }

    /// Answers a request. Nothing here may wait, or the whole connection would wait.
    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let number = |prefix| path.strip_prefix(prefix)?.parse::<u64>().ok();
        if head.method == Method::POST && path == MESSAGES_PATH {
            match (
                self.to_send.take(),
                respond.send_response(Response::new(()), false),
            ) {
                (Some(to_send), Ok(stream)) => {
                    let news = self.tell_main.clone();
                    self.tasks.spawn(receive_messages(body, news.clone()));
                    self.tasks.spawn(send_messages(to_send, stream, news));
                }
                _ => respond.send_reset(h2::Reason::PROTOCOL_ERROR),
            }
        } else if let (&Method::POST, Some(id)) = (&head.method, number(PROCESS_PATH)) {
            self.start(id, body, respond);
        } else if let (&Method::GET, Some(id)) = (&head.method, number(STDERR_PATH))
            && let Some(stderr) = self
                .processes
                .get_mut(&id)
                .and_then(|known| known.stderr.take())
        {
            // An error means that the process was not started. The dropped sender then resets its stderr.
            let _ = stderr.send(respond);
        } else if let Some(request) = FileRequest::parse(&head.method, path) {
            if let FileRequest::Remove(id) = request
                && let Some(known) = self.processes.get_mut(&id)
            {
                known.removal = Some((body, respond));
            } else {
                self.tasks.spawn(self.files.answer(request, body, respond));
            }
        } else {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    }

    /// Starts a process in a task of its own, unless its number is in use or there are too many processes.
    fn start(&mut self, id: u64, body: RecvStream, mut respond: SendResponse<Bytes>) {
        if self.processes.contains_key(&id) {
            return respond.send_reset(h2::Reason::PROTOCOL_ERROR);
        }
        let most = self.hello.max_processes.min(MAX_PROCESSES);
        let is_full = u32::try_from(self.processes.len()).is_ok_and(|count| count >= most);
        if is_full {
            refuse(&mut respond, &StartError::TooMany { most });
            self.tasks.spawn(drain(body));
            return;
        }
        let (stderr, stderr_stream) = oneshot::channel();
        let known = AgentProcessEntry {
            local: None,
            stderr: Some(stderr),
            close_stdout: CancellationToken::new(),
            close_stderr: CancellationToken::new(),
            asked: None,
            removal: None,
            is_stopped: false,
        };
        let process = AgentProcess {
            id,
            local: Arc::clone(&self.local),
            folder: self.files.folder_of(id),
            starts: Arc::clone(&self.starts),
            body,
            respond,
            stderr: stderr_stream,
            close_stdout: known.close_stdout.clone(),
            close_stderr: known.close_stderr.clone(),
            messages: self.messages.clone(),
            news: self.tell_main.clone(),
            suspensions: self.suspensions.clone(),
        };
        self.processes.insert(id, known);
        self.tasks.spawn(process.run());
    }

    /// Handles an event from a task.
    async fn take(&mut self, news: SessionEvent) -> Result<(), RemoteError> {
        match news {
            SessionEvent::Message(message) => self.apply(message).await,
            SessionEvent::NoMoreMessages(error) => return Err(error),
            SessionEvent::Started { id, local } => {
                let Some(known) = self.processes.get_mut(&id) else {
                    return Ok(());
                };
                known.local = Some(local);
                let (asked, is_stopped) = (known.asked, known.is_stopped);
                if is_stopped {
                    self.expect_manager_alive(self.local.stop_process(local).await);
                }
                if let Some(grace) = asked {
                    self.expect_manager_alive(self.local.terminate_process(local, grace).await);
                }
            }
            SessionEvent::NoStarts(guard) => self.suspend(guard).await,
            SessionEvent::Keeper(FromKeeper::Ask(at)) => self.send(FromAgent::TimeAsked { at }),
            SessionEvent::Keeper(FromKeeper::Resumed) => {
                if matches!(self.suspension, Suspension::Ends(_)) {
                    self.resume_processes().await;
                }
            }
            SessionEvent::Gone { id, ended } => {
                // The process is removed before its end is sent, or the dispatcher's next process might find no room.
                let known = self.processes.remove(&id);
                if let Some(ended) = ended {
                    self.send(ended);
                }
                if let Some((body, respond)) = known.and_then(|known| known.removal) {
                    let request = FileRequest::Remove(id);
                    self.tasks.spawn(self.files.answer(request, body, respond));
                }
            }
        }
        Ok(())
    }

    /// Applies a message of the dispatcher. An unknown process has ended while the message was on its way.
    async fn apply(&mut self, message: ToAgent) {
        match message {
            ToAgent::Terminate { .. } | ToAgent::Stop { .. } | ToAgent::Continue { .. }
                if self.is_suspended() =>
            {
                self.held.push(message);
            }
            ToAgent::Terminate { id, grace_ms } => {
                let grace = Duration::from_millis(grace_ms);
                let Some(known) = self.processes.get_mut(&id) else {
                    return;
                };
                known.asked = Some(known.asked.map_or(grace, |asked| asked.min(grace)));
                if let Some(local) = known.local {
                    self.expect_manager_alive(self.local.terminate_process(local, grace).await);
                }
            }
            ToAgent::Stop { id } | ToAgent::Continue { id } => {
                let is_stopped = matches!(message, ToAgent::Stop { .. });
                let Some(known) = self.processes.get_mut(&id) else {
                    return;
                };
                known.is_stopped = is_stopped;
                if let Some(local) = known.local {
                    self.pause(local, is_stopped).await;
                }
            }
            ToAgent::CloseOutput { id, output } => {
                if let Some(known) = self.processes.get(&id) {
                    match output {
                        OutputStream::Stdout => known.close_stdout.cancel(),
                        OutputStream::Stderr => known.close_stderr.cancel(),
                    }
                }
            }
            ToAgent::Measure { question, ids } => self.measure(question, &ids),
            ToAgent::Suspend => match mem::replace(&mut self.suspension, Suspension::None) {
                Suspension::None => {
                    self.suspension = Suspension::Begins;
                    self.suspensions.begin();
                    let (starts, news) = (Arc::clone(&self.starts), self.tell_main.clone());
                    self.tasks.spawn(async move {
                        let _ = news.send(SessionEvent::NoStarts(starts.write_owned().await));
                    });
                }
                Suspension::Ends(guard) => self.suspend(guard).await,
                begins_or_holds => self.suspension = begins_or_holds,
            },
            ToAgent::Resume => match (
                mem::replace(&mut self.suspension, Suspension::None),
                &self.keeper,
            ) {
                (Suspension::Holds(guard), Some(keeper)) => {
                    keeper.resume();
                    self.suspension = Suspension::Ends(guard);
                }
                (ends @ Suspension::Ends(_), _) => self.suspension = ends,
                _ => self.resume_processes().await,
            },
            ToAgent::TimeGranted { asked_at } => {
                if let Some(keeper) = &self.keeper {
                    keeper.granted(asked_at);
                }
            }
            ToAgent::Beat { number, measures } => {
                self.send(FromAgent::Answer { beat: number });
                if measures {
                    self.measure_machine();
                }
            }
        }
    }

    /// Stops all processes. The guard keeps any from being started.
    async fn suspend(&mut self, guard: OwnedRwLockWriteGuard<()>) {
        if !self.is_suspended() {
            // The dispatcher has resumed before everything was stopped.
            return;
        }
        self.suspension = Suspension::Holds(guard);
        for local in self.running() {
            self.pause(local, true).await;
        }
        if let Some(keeper) = &self.keeper {
            keeper.suspend();
        }
    }

    /// Continues all processes except those that the dispatcher has stopped one by one, and applies the requests that
    /// were held back.
    async fn resume_processes(&mut self) {
        self.suspension = Suspension::None;
        if let Some(keeper) = &self.keeper {
            keeper.resumed();
        }
        for local in self.running() {
            self.pause(local, false).await;
        }
        self.suspensions.end();
        for message in mem::take(&mut self.held) {
            Box::pin(self.apply(message)).await;
        }
    }

    /// Returns the processes that run and that the dispatcher has not stopped one by one.
    fn running(&self) -> Vec<ProcessId> {
        let all = self.processes.values().filter(|known| !known.is_stopped);
        all.filter_map(|known| known.local).collect()
    }

    async fn pause(&self, local: ProcessId, is_stopped: bool) {
        self.expect_manager_alive(if is_stopped {
            self.local.stop_process(local).await
        } else {
            self.local.continue_process(local).await
        });
    }

    /// Logs a bug if the manager does not answer, because it lives as long as the session.
    #[expect(clippy::unused_self, reason = "it belongs to the session's manager")]
    fn expect_manager_alive(&self, answer: Result<(), crate::os::ProcessError>) {
        if let Err(error) = answer {
            tracing::error!(%error, "a bug in ratchet: the manager of an agent has ended before it");
        }
    }

    /// Measures the machine on a thread of its own, since that takes a while. It does nothing while another measurement
    /// is under way.
    fn measure_machine(&mut self) {
        let Some(sampler) = &self.sampler else {
            return;
        };
        let (sampler, messages) = (Arc::clone(sampler), self.messages.clone());
        self.tasks.spawn(async move {
            let measured = run_blocking(move || {
                let mut sampler = sampler.try_lock().ok()?;
                Some(WireReading::from(&sampler.read()))
            });
            match measured.await {
                Ok(Some(reading)) => drop(messages.send(FromAgent::Machine(reading))),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the machine cannot be measured"),
            }
        });
    }

    /// Measures processes in a task of its own, since that takes a while.
    fn measure(&mut self, question: u64, ids: &[u64]) {
        let known = |id: &u64| Some((self.processes.get(id)?.local?, *id));
        let locals: BTreeMap<ProcessId, u64> = ids.iter().filter_map(known).collect();
        let (local, messages) = (Arc::clone(&self.local), self.messages.clone());
        self.tasks.spawn(async move {
            let wanted: Vec<ProcessId> = locals.keys().copied().collect();
            let usage = local
                .measure_processes(&wanted)
                .await
                .unwrap_or_else(|error| {
                    tracing::warn!(
                        error = ratchet_ipc::error_chain(&error),
                        "processes cannot be measured"
                    );
                    BTreeMap::new()
                });
            let usage = usage
                .into_iter()
                .filter_map(|(local, usage)| Some(usage_to_wire(*locals.get(&local)?, usage)))
                .collect();
            let _ = messages.send(FromAgent::Measured { question, usage });
        });
    }
}

/// Returns the sampler of this machine. Without one, the dispatcher gets no readings of memory and load.
fn sampler() -> Option<Arc<Mutex<Sampler>>> {
    match Sampler::new() {
        Ok(sampler) => Some(Arc::new(Mutex::new(sampler))),
        Err(error) => {
            tracing::warn!(
                error = ratchet_ipc::error_chain(&error),
                "the memory and the load of this host are not reported"
            );
            None
        }
    }
}

/// Answers that a program was not started, with the reason.
fn refuse(respond: &mut SendResponse<Bytes>, error: &StartError) {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    // An error means that the dispatcher has cancelled the process.
    if let (Ok(mut stream), Ok(body)) = (respond.send_response(head, false), line(error)) {
        let _ = stream.send_data(body, true);
    }
}

/// Reads the dispatcher's messages until the stream ends.
async fn receive_messages(mut body: RecvStream, news: mpsc::UnboundedSender<SessionEvent>) {
    let mut lines = Lines::default();
    let error = loop {
        let bytes = match body.data().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => break error.into(),
            None => break RemoteError::Closed,
        };
        lines.push(&bytes);
        // An error means that the stream has ended, which the next read reports.
        let _ = body.flow_control().release_capacity(bytes.len());
        loop {
            match lines.next() {
                Ok(Some(message)) => drop(news.send(SessionEvent::Message(message))),
                Ok(None) => break,
                Err(error) => {
                    let _ = news.send(SessionEvent::NoMoreMessages(error));
                    return;
                }
            }
        }
    };
    let _ = news.send(SessionEvent::NoMoreMessages(error));
}

/// Sends messages to the dispatcher until the stream ends.
async fn send_messages(
    mut to_send: mpsc::UnboundedReceiver<FromAgent>,
    mut stream: SendStream<Bytes>,
    news: mpsc::UnboundedSender<SessionEvent>,
) {
    while let Some(message) = to_send.recv().await {
        if let Err(error) = send_line(&mut stream, &message).await {
            let _ = news.send(SessionEvent::NoMoreMessages(error));
            return;
        }
    }
}
