//! One process of an agent: the task that starts it and carries its pipes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::event::SessionEvent;
use super::run_time::{RunTime, Suspensions};
use crate::os::{LocalProcesses, ProcessConfig, ProcessHandle, ProcessManager, ProcessView};
use crate::remote::RemoteError;
use crate::remote::message::{FromAgent, Spec, StartError, line};
use crate::remote::stream::{CHUNK, SYSTEM_ID, capacity};
use crate::suspension::working_now;

/// How long the pipes of a process that has ended are still read. Only a descendant that left its group can hold them
/// open.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// How much of a process that has ended is sent although the dispatcher has no room for it yet: what a pipe can hold.
const DRAIN_BYTES: usize = 1 << 20;

/// How often to look whether a process still runs. A process that ends by itself within this time after its limit, while
/// the dispatcher cannot be heard, may pass for one that ended in time.
const RUN_CHECK_INTERVAL: Duration = Duration::from_millis(500);

type OutputPipe = Box<dyn AsyncRead + Send + Unpin>;

/// A process that is about to be started.
pub(super) struct AgentProcess {
    pub(super) id: u64,
    pub(super) local: Arc<LocalProcesses>,
    /// The work folder that was made for the process.
    pub(super) folder: Option<PathBuf>,
    /// A lock of which this holds a read guard while the process is being started.
    pub(super) starts: Arc<RwLock<()>>,
    /// The stream that brings the program, and then its stdin.
    pub(super) body: RecvStream,
    /// Sends the process's stdout, or why it was not started.
    pub(super) respond: SendResponse<Bytes>,
    /// Receives the stream for the process's stderr.
    pub(super) stderr: oneshot::Receiver<SendResponse<Bytes>>,
    pub(super) close_stdout: CancellationToken,
    pub(super) close_stderr: CancellationToken,
    /// Receives the dispatcher's questions for how much the process has printed.
    pub(super) counts: mpsc::UnboundedReceiver<()>,
    pub(super) messages: mpsc::UnboundedSender<FromAgent>,
    pub(super) news: mpsc::UnboundedSender<SessionEvent>,
    pub(super) suspensions: Suspensions,
}

impl AgentProcess {
    /// Starts the process, and carries its pipes until it has ended.
    pub(super) async fn run(mut self) {
        let mut unread = BytesMut::new();
        let started = match read_spec(&mut self.body, &mut unread).await {
            Ok(config) => self.start(config).await,
            Err(error) => Err(StartError::Other {
                message: error.to_string(),
            }),
        };
        let id = self.id;
        match started {
            Ok(handle) => self.carry(handle, unread).await,
            Err(error) => {
                let _ = self.news.send(SessionEvent::Gone { id, ended: None });
                refuse(&mut self.respond, &error);
                drain(self.body).await;
            }
        }
    }

    /// Starts the process in its work folder, and reports it to the session.
    async fn start(&self, mut config: ProcessConfig) -> Result<ProcessHandle, StartError> {
        if let Some(folder) = &self.folder {
            config.working_dir = Some(match &config.working_dir {
                Some(inner) => folder.join(inner),
                None => folder.clone(),
            });
        }
        // The guard is held until the session knows of the process, or the process would not be stopped with the
        // others.
        let _started = self.starts.read().await;
        let started = self.local.spawn_process(&config).await;
        let handle = started.map_err(|error| StartError::from(&error))?;
        let _ = self.news.send(SessionEvent::Started {
            id: self.id,
            local: handle.id(),
        });
        Ok(handle)
    }

    /// Carries the pipes of the process, and sends its end after all of its output.
    async fn carry(mut self, mut handle: ProcessHandle, unread: BytesMut) {
        let mut run_time = RunTime::new(working_now(), self.suspensions.count());
        let mut head = Response::new(());
        let system_id = HeaderValue::from(handle.system_id().unwrap_or_default());
        head.headers_mut().insert(SYSTEM_ID, system_id);
        let Some((stdin, stdout, stderr)) = handle.take_pipes() else {
            return;
        };
        let exited = CancellationToken::new();
        let stdout = OutputPump {
            pipe: Some(stdout),
            stream: self.respond.send_response(head, false).ok(),
            close: self.close_stdout,
            exited: exited.clone(),
        };
        let stderr = OutputPump {
            pipe: Some(stderr),
            stream: None,
            close: self.close_stderr,
            exited: exited.clone(),
        };
        let stderr_stream = self.stderr;
        let mut exit = handle.exit().clone();
        let (tell_broken, broken) = oneshot::channel();
        let input = pump_input(stdin, &mut self.body, unread, tell_broken);
        let mut outputs =
            Box::pin(async { tokio::join!(stdout.run(), stderr.run_on(stderr_stream)) });
        tokio::pin!(input, broken);
        let (mut is_writing, mut is_reading, mut is_open) = (true, true, true);
        let mut run_check = interval(RUN_CHECK_INTERVAL);
        run_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                biased;
                ended = exit.wait() => break ended,
                _ = &mut outputs, if is_reading => is_reading = false,
                is_broken = &mut broken, if is_open => {
                    is_open = false;
                    if is_broken.is_ok() {
                        let read = read_input(&handle);
                        let _ = self.messages.send(FromAgent::InputClosed { id: self.id, read });
                    }
                }
                () = &mut input, if is_writing => is_writing = false,
                Some(()) = self.counts.recv() => {
                    let output = handle.view().and_then(ProcessView::output);
                    let printed = output.map(|count| count.printed);
                    let _ = self.messages.send(FromAgent::OutputCounted { id: self.id, printed });
                }
                _ = run_check.tick() => {
                    // The clock is read before the system is asked, which this loop's own knowledge cannot replace:
                    // after the agent was stopped, the timer may fire before the end of the process is noticed.
                    let (now, suspensions) = (working_now(), self.suspensions.count());
                    if !handle.view().is_none_or(ProcessView::has_ended) {
                        run_time.still_runs(now, suspensions);
                    }
                }
            }
        };
        exited.cancel();
        if is_reading {
            // A descendant that has left the group may hold the pipes open. Its output is dropped.
            let _ = timeout(DRAIN_LIMIT, &mut outputs).await;
        }
        // This closes the pipes, so that such a descendant gets SIGPIPE as it would here.
        drop(outputs);
        let read = read_input(&handle);
        let ended = FromAgent::ended(self.id, ended, read, run_time.ran());
        // An error means that the session has ended.
        let _ = self.news.send(SessionEvent::Gone {
            id: self.id,
            ended: Some(ended),
        });
        if is_writing {
            // The dispatcher ends the stream of stdin when it gets the message of the end. A stream that is dropped
            // before its end would be reset, and streams that are reset count against the connection.
            input.await;
        }
    }
}

/// Returns how many bytes of its stdin the process has read.
fn read_input(handle: &ProcessHandle) -> Option<u64> {
    Some(handle.view().and_then(ProcessView::input)?.read)
}

/// Reads the program that is to be started.
async fn read_spec(
    body: &mut RecvStream,
    unread: &mut BytesMut,
) -> Result<ProcessConfig, RemoteError> {
    loop {
        if let Some(config) = Spec::decode(unread)? {
            return Ok(config);
        }
        let bytes = body.data().await.ok_or(RemoteError::Closed)??;
        unread.extend_from_slice(&bytes);
        body.flow_control().release_capacity(bytes.len())?;
    }
}

/// Copies the stream to the stdin of the process. Once the process stops reading, it signals `broken` and drops the
/// rest.
async fn pump_input(
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    body: &mut RecvStream,
    unread: BytesMut,
    broken: oneshot::Sender<()>,
) {
    let mut stdin = Some((stdin, broken));
    let mut next = Some(unread.freeze());
    let mut is_counted = true;
    while let Some(bytes) = next {
        if let Some((pipe, _)) = &mut stdin
            && !bytes.is_empty()
            && pipe.write_all(&bytes).await.is_err()
            && let Some((_, broken)) = stdin.take()
        {
            // An error means that the process has ended, so the signal is not needed.
            let _ = broken.send(());
        }
        // The first bytes came with the program, and their room in the window was given back then.
        if !is_counted {
            let _ = body.flow_control().release_capacity(bytes.len());
        }
        is_counted = false;
        // An error of the stream is one of the connection, which ends everything.
        next = body.data().await.and_then(Result::ok);
    }
}

/// Reads a stream to its end, and drops what it reads. A stream that is dropped before its end is reset, and streams
/// that are reset count against the connection.
pub(super) async fn drain(mut body: RecvStream) {
    while let Some(Ok(bytes)) = body.data().await {
        let _ = body.flow_control().release_capacity(bytes.len());
    }
}

/// Carries the output of a process from one of its pipes to a stream.
struct OutputPump {
    pipe: Option<OutputPipe>,
    stream: Option<SendStream<Bytes>>,
    /// Cancelled when the pipe is not read any more.
    close: CancellationToken,
    /// Cancelled when the process has ended. What is left in the pipe is then sent at once, whether there is room or
    /// not, so that the end of the process waits for no reader.
    exited: CancellationToken,
}

impl OutputPump {
    /// Waits for the stream, and carries the output on it.
    async fn run_on(mut self, stream: oneshot::Receiver<SendResponse<Bytes>>) {
        // The request for stderr follows that for the process at once, so this waits for no longer than the network
        // takes.
        if let Ok(mut respond) = stream.await {
            self.stream = respond.send_response(Response::new(()), false).ok();
        }
        self.run().await;
    }

    /// Carries the output until it ends, and ends the stream.
    async fn run(mut self) {
        let close = self.close.clone();
        tokio::select! {
            biased;
            () = close.cancelled() => {}
            () = self.pump() => {}
        }
    }

    /// Copies the pipe to the stream as the stream has room. Once the process has ended, up to [`DRAIN_BYTES`] are sent
    /// without waiting for room.
    async fn pump(&mut self) {
        let (Some(pipe), Some(stream)) = (&mut self.pipe, &mut self.stream) else {
            return;
        };
        let mut drained = 0;
        let mut chunk = BytesMut::new();
        loop {
            let room = tokio::select! {
                biased;
                room = capacity(stream, CHUNK) => match room {
                    Ok(room) => room,
                    Err(_) => return,
                },
                () = self.exited.cancelled() => {
                    if drained >= DRAIN_BYTES {
                        return;
                    }
                    CHUNK
                }
            };
            chunk.reserve(room);
            let read = pipe.read_buf(&mut (&mut chunk).limit(room)).await;
            match read {
                Ok(0) | Err(_) => return,
                Ok(bytes) => {
                    if self.exited.is_cancelled() {
                        drained += bytes;
                    }
                    if stream.send_data(chunk.split().freeze(), false).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Drop for OutputPump {
    fn drop(&mut self) {
        // The pipe is closed first, so that the process gets SIGPIPE as it would here.
        self.pipe = None;
        if let Some(stream) = &mut self.stream {
            // An error means that the stream has ended already.
            let _ = stream.send_data(Bytes::new(), true);
        }
    }
}

/// Answers that a program was not started, with the reason.
pub(super) fn refuse(respond: &mut SendResponse<Bytes>, error: &StartError) {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    // An error means that the dispatcher has cancelled the process.
    if let (Ok(mut stream), Ok(body)) = (respond.send_response(head, false), line(error)) {
        let _ = stream.send_data(body, true);
    }
}
