//! The dispatcher's side of one connection to an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::remote::activity::{ActivityReader, LastActivity};
use crate::remote::fence::{BootTime, Grants};
use crate::remote::heartbeat::Heartbeats;
use crate::remote::hello::{self, DispatcherHello, PROTOCOL};
use crate::remote::loss::LossWatch;
use crate::remote::message::{FromAgent, Lines, ToAgent, grace_ms};
use crate::remote::stream::{
    CHUNK, CONNECTION_WINDOW, HEADER_BYTES, MAX_STREAMS, MESSAGES_PATH, SEND_BUFFER, STREAM_WINDOW,
    beat_interval, send_line,
};
use crate::remote::table::ProcessTable;
use crate::remote::tolerant_writer::{SendFailure, TolerantWriter};
use crate::remote::{AgentInfo, HostHealth, RemoteConfig, RemoteError};
use crate::suspension::{until, working_now};

/// The number of the next connection of this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A connection to an agent. Dropping it ends the connection and everything that was started over it.
#[derive(Debug)]
pub(super) struct AgentConnection {
    number: u64,
    agent: AgentInfo,
    requests: SendRequest<Bytes>,
    messages: mpsc::UnboundedSender<ToAgent>,
    health: watch::Receiver<HostHealth>,
    /// Records when and why the connection has ended.
    loss: LossWatch,
    /// Cancelled when the connection is not used any more.
    unwanted: CancellationToken,
}

impl AgentConnection {
    /// Exchanges hellos with an agent, and starts the task that keeps the connection.
    pub(super) async fn open(
        input: impl AsyncRead + Send + Unpin + 'static,
        mut output: impl AsyncWrite + Send + Unpin + 'static,
        config: Arc<RemoteConfig>,
        table: Arc<ProcessTable>,
    ) -> Result<Self, RemoteError> {
        let heard = LastActivity::now();
        let mut input = BufReader::with_capacity(CHUNK, ActivityReader::new(input, heard.clone()));
        let limit = config.connect_timeout;
        let send_failure = SendFailure::default();
        let opened = timeout(limit, async {
            let agent = hello::receive_agent_hello(&mut input).await?;
            let hello = DispatcherHello {
                protocol: PROTOCOL,
                max_processes: config.max_processes,
                lost_after_ms: grace_ms(config.lost_after),
                fence_after_ms: grace_ms(config.fence_after),
            };
            hello::send_dispatcher_hello(&mut output, hello).await?;
            let mut builder = client::Builder::new();
            builder
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .initial_max_send_streams(2)
                .max_concurrent_streams(MAX_STREAMS)
                // Output that is no longer wanted may arrive after its stream is forgotten, any number of times.
                .max_local_error_reset_streams(None)
                .max_header_list_size(HEADER_BYTES)
                .max_send_buffer_size(SEND_BUFFER)
                .enable_push(false);
            let output = TolerantWriter::new(output, send_failure.clone());
            let (requests, driver) = builder.handshake(tokio::io::join(input, output)).await?;
            let driver = async move { driver.await.map_err(RemoteError::from) };
            let mut driver = Box::pin(driver);
            let opening = open_messages(requests.clone());
            let messages = tokio::select! {
                opened = opening => opened.map_err(|error| send_failure.or(Some(error)))?,
                ended = &mut driver => return Err(send_failure.or(ended.err())),
            };
            Ok((agent, requests, driver, messages))
        });
        let opened = opened.await.map_err(|_| RemoteError::NoAnswer(limit))?;
        let (agent, requests, driver, (to_agent, from_agent)) = opened?;
        // An agent has started its keeper before it sends anything after its hello.
        let grants = Grants::started_before(working_now());
        let (messages, to_send) = mpsc::unbounded_channel();
        let (tell_health, health) = watch::channel(HostHealth::default());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let connection = Self {
            number,
            agent,
            requests,
            messages: messages.clone(),
            health,
            loss: LossWatch::new(config.lost_after),
            unwanted: CancellationToken::new(),
        };
        let keeping = ConnectionTask {
            number,
            is_fenced: connection.agent.is_fenced,
            grants,
            config,
            table,
            heard,
            send_failure,
            messages,
            health: tell_health,
            loss: connection.loss.clone(),
            unwanted: connection.unwanted.clone(),
        };
        tokio::spawn(keeping.run(driver, to_agent, to_send, from_agent));
        Ok(connection)
    }

    /// Returns the number of the connection, which is unique.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the agent's description of itself.
    pub(super) fn agent(&self) -> &AgentInfo {
        &self.agent
    }

    /// Returns a watch channel with the health that the heartbeat measures.
    pub(super) fn health(&self) -> watch::Receiver<HostHealth> {
        self.health.clone()
    }

    /// Returns the handle that opens streams.
    pub(super) fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// Returns the sender of messages.
    pub(super) fn messages(&self) -> mpsc::UnboundedSender<ToAgent> {
        self.messages.clone()
    }

    /// Sends a message.
    pub(super) fn send(&self, message: ToAgent) {
        // An error means that the connection has ended.
        let _ = self.messages.send(message);
    }

    /// Returns the watch for the loss of the connection.
    pub(super) fn loss(&self) -> &LossWatch {
        &self.loss
    }
}

impl Drop for AgentConnection {
    fn drop(&mut self) {
        self.unwanted.cancel();
    }
}

/// Opens the stream of messages.
#[expect(clippy::expect_used, reason = "the path is ours")]
async fn open_messages(
    requests: SendRequest<Bytes>,
) -> Result<(SendStream<Bytes>, RecvStream), RemoteError> {
    let post = Request::builder()
        .method(Method::POST)
        .uri(format!("http://agent{MESSAGES_PATH}"))
        .body(())
        .expect("the path is one of a URI");
    let (response, to_agent) = requests.ready().await?.send_request(post, false)?;
    Ok((to_agent, response.await?.into_body()))
}

/// The task that keeps a connection.
struct ConnectionTask {
    number: u64,
    /// Whether a keeper asks for time.
    is_fenced: bool,
    /// The answers to the keeper.
    grants: Grants,
    config: Arc<RemoteConfig>,
    table: Arc<ProcessTable>,
    heard: LastActivity,
    send_failure: SendFailure,
    messages: mpsc::UnboundedSender<ToAgent>,
    health: watch::Sender<HostHealth>,
    loss: LossWatch,
    unwanted: CancellationToken,
}

impl ConnectionTask {
    /// Keeps the connection until it ends, breaks, or falls silent. Then it waits until what ran there is surely dead.
    async fn run(
        mut self,
        driver: impl Future<Output = Result<(), RemoteError>>,
        to_agent: SendStream<Bytes>,
        to_send: mpsc::UnboundedReceiver<ToAgent>,
        from_agent: RecvStream,
    ) {
        let unwanted = self.unwanted.clone();
        let kept = self.run_until_lost(driver, to_agent, to_send, from_agent);
        let error = tokio::select! {
            biased;
            () = unwanted.cancelled() => {
                // The end of the processes is not awaited any more. The agent kills them when its pipe ends.
                self.loss.end();
                self.table.lose(self.number);
                return;
            }
            error = kept => error,
        };
        let reason = ratchet_ipc::error_chain(&error);
        tracing::warn!(host = self.config.host, reason, "a host is lost");
        self.loss.set_reason(reason);
        self.loss.end();
        let margin = self.config.kill_margin;
        let dead_by = if self.is_fenced {
            self.grants.over_by(self.config.fence_after, margin)
        } else {
            working_now() + self.config.lost_after + margin
        };
        tokio::select! {
            () = unwanted.cancelled() => {}
            () = until(Some(dead_by)) => {}
        }
        self.table.lose(self.number);
    }

    /// Keeps the connection, and returns the reason for which it is lost. The pipes are closed by then, and everything
    /// that came before their end is handled: this process may have been stopped for so long that its host has ended
    /// the connection, and the ends of programs wait in the pipe.
    async fn run_until_lost(
        &mut self,
        driver: impl Future<Output = Result<(), RemoteError>>,
        to_agent: SendStream<Bytes>,
        to_send: mpsc::UnboundedReceiver<ToAgent>,
        mut from_agent: RecvStream,
    ) -> RemoteError {
        let mut tasks = JoinSet::new();
        tasks.spawn(send_messages(to_send, to_agent));
        let mut beat = interval(beat_interval(self.config.lost_after));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let heard = self.heard.clone();
        let limit = self.config.lost_after;
        let silence = heard.silence(limit);
        let send_failure = self.send_failure.clone();
        // An agent that gets nothing any more ends. One that goes on to send must not keep the connection.
        let unheard = async {
            send_failure.failed().await;
            until(Some(working_now() + limit)).await;
        };
        tokio::pin!(driver, silence, unheard);
        let (mut lines, mut beats) = (Lines::default(), Heartbeats::default());
        let mut end = None;
        loop {
            tokio::select! {
                // What can be read is read before anything counts as over.
                biased;
                ended = &mut driver, if end.is_none() => {
                    // The streams hand out what came before, and then they end as well.
                    end = Some(send_failure.or(ended.err()));
                }
                _ = beat.tick(), if end.is_none() => {
                    let (now, limit) = (working_now(), self.config.answer_within);
                    if let Some(request) = self.table.overdue(self.number, limit, now) {
                        return RemoteError::Unanswered { request, limit };
                    }
                    let number = beats.send(now);
                    let measures = self.config.measures_machine;
                    drop(self.messages.send(ToAgent::Beat { number, measures }));
                }
                bytes = from_agent.data() => {
                    let error = match bytes {
                        Some(Ok(bytes)) => {
                            lines.push(&bytes);
                            // An error means that the stream has ended, which the next read reports.
                            let _ = from_agent.flow_control().release_capacity(bytes.len());
                            loop {
                                match lines.next() {
                                    Ok(Some(message)) => self.take(message, &mut beats),
                                    Ok(None) => break,
                                    Err(error) => return error,
                                }
                            }
                            continue;
                        }
                        Some(Err(error)) => Some(error.into()),
                        None => None,
                    };
                    return end.unwrap_or_else(|| send_failure.or(error));
                }
                () = &mut silence => {
                    return end.unwrap_or_else(|| send_failure.or(Some(RemoteError::Silent(limit))));
                }
                () = &mut unheard => return send_failure.or(None),
                // It ends only with the stream of messages, and the other branches report that better.
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

impl ConnectionTask {
    /// Handles a message of the agent.
    fn take(&mut self, message: FromAgent, beats: &mut Heartbeats) {
        match message {
            FromAgent::Answer { beat } => {
                let round_trip = beats.answered(beat, working_now());
                self.health.send_if_modified(|health| {
                    let before = std::mem::replace(&mut health.round_trip, round_trip);
                    before != round_trip
                });
            }
            FromAgent::TimeAsked { at } => self.grant(at),
            FromAgent::Machine(reading) => self
                .health
                .send_modify(|health| health.machine = Some(reading.into())),
            other => self.table.take(self.number, other),
        }
    }

    /// Answers a question of the keeper.
    fn grant(&mut self, asked_at: BootTime) {
        self.grants.grant(working_now());
        // An error means that the stream of messages has ended.
        let _ = self.messages.send(ToAgent::TimeGranted { asked_at });
    }
}

/// Sends messages to the agent until the stream ends.
async fn send_messages(
    mut to_send: mpsc::UnboundedReceiver<ToAgent>,
    mut stream: SendStream<Bytes>,
) {
    while let Some(message) = to_send.recv().await {
        if send_line(&mut stream, &message).await.is_err() {
            return;
        }
    }
}
