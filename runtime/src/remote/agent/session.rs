//! The session of an agent with its dispatcher: one task that owns the connection and the list of processes.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::event::SessionEvent;
use super::keeper_link::KeeperLink;
use super::measuring::{Measuring, measure_processes};
use super::message_stream::{receive_messages, send_messages};
use super::process::{AgentProcess, drain, refuse};
use super::run_time::Suspensions;
use crate::os::{LocalProcesses, ProcessId, ProcessManager};
use crate::remote::RemoteError;
use crate::remote::activity::LastActivity;
use crate::remote::config::MAX_PROCESSES;
use crate::remote::files::{FileRequest, FileService};
use crate::remote::hello::DispatcherHello;
use crate::remote::keeper::FromKeeper;
use crate::remote::message::{FromAgent, OutputStream, StartError, ToAgent};
use crate::remote::stream::{MESSAGES_PATH, PROCESS_PATH, STDERR_PATH, beat_interval};

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
pub(super) struct DispatcherSession {
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
    measuring: Measuring,
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
    /// Asks the task of the process to report how much it has printed.
    ask_count: mpsc::UnboundedSender<()>,
}

type ServerConnection<I, O> = server::Connection<tokio::io::Join<I, O>, Bytes>;

impl DispatcherSession {
    /// Makes the session of a dispatcher that has said hello. `local` starts its processes.
    pub(super) fn new(
        (hello, heard): (DispatcherHello, LastActivity),
        (local, keeper): (LocalProcesses, Option<KeeperLink>),
        files: FileService,
        tell_main: mpsc::UnboundedSender<SessionEvent>,
    ) -> Self {
        let (messages, to_send) = mpsc::unbounded_channel();
        Self {
            hello,
            heard,
            local: Arc::new(local),
            files,
            keeper,
            processes: BTreeMap::new(),
            messages,
            to_send: Some(to_send),
            tell_main,
            tasks: JoinSet::new(),
            measuring: Measuring::new(),
            starts: Arc::default(),
            suspension: Suspension::None,
            suspensions: Suspensions::default(),
            held: Vec::new(),
        }
    }

    /// Serves until the connection ends, breaks, or falls silent.
    pub(super) async fn run<I, O>(
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
        let (ask_count, counts) = mpsc::unbounded_channel();
        let known = AgentProcessEntry {
            local: None,
            stderr: Some(stderr),
            close_stdout: CancellationToken::new(),
            close_stderr: CancellationToken::new(),
            asked: None,
            removal: None,
            is_stopped: false,
            ask_count,
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
            counts,
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
            ToAgent::CountOutput { id } => {
                if let Some(known) = self.processes.get(&id) {
                    // An error means that the process has ended, which the dispatcher is about to hear.
                    let _ = known.ask_count.send(());
                }
            }
            ToAgent::Measure { question, ids } => {
                let known = |id: &u64| Some((self.processes.get(id)?.local?, *id));
                let processes = ids.iter().filter_map(known).collect();
                let messages = self.messages.clone();
                self.tasks.spawn(measure_processes(
                    Arc::clone(&self.local),
                    question,
                    processes,
                    messages,
                ));
            }
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
                if measures && let Some(task) = self.measuring.machine(self.messages.clone()) {
                    self.tasks.spawn(task);
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
}
