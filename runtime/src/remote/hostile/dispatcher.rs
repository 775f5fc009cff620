//! Tests that an agent leaves no process behind, whatever a dispatcher asks for.

use std::fs;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{Method, Request};
use proptest::prelude::*;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::{sleep, timeout};

use super::{count_panics, garbage};
use crate::os::{Environment, ProcessConfig};
use crate::remote::fence::BootTime;
use crate::remote::hello::{self, DispatcherHello, PROTOCOL};
use crate::remote::message::{OutputStream, Spec, ToAgent, line};
use crate::remote::stream::{
    CONTENT_PATH, FOLDER_PATH, MESSAGES_PATH, PROCESS_PATH, PULL_PATH, STDERR_PATH,
};
use crate::remote::{Agent, RemoteError};

/// The time within which the agent has to end, and its processes have to be gone.
const DEADLINE: Duration = Duration::from_mins(1);

/// How long a dispatcher may be silent. It is short, so that an agent that has to notice the silence does so soon.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// The variable by which the processes of a case are found.
const MARK: &str = "RATCHET_HOSTILE_DISPATCHER";

/// One step of a dispatcher.
#[derive(Debug, Clone)]
enum Step {
    /// Sends a request, its body in parts, and ends the body or not.
    Request(Target, Vec<Vec<u8>>, End),
    Message(SentMessage),
    /// Sends more on a stream that was left open.
    Data(usize, Vec<u8>),
    /// Sends nothing, and gives the agent a moment to work.
    Yield,
}

/// What a request is about.
#[derive(Debug, Clone)]
enum Target {
    /// A process that sleeps, with another one in its group.
    Sleeper(u64),
    /// A process that prints endlessly.
    Flood(u64),
    /// A process whose program is in the body.
    Process(u64),
    Stderr(u64),
    Folder(u64),
    Pull(u64),
    Remove(u64),
    Content(u64),
    Messages,
    Other(String),
}

/// How the body of a request ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    Open,
    Reset,
}

/// A message to the agent.
#[derive(Debug, Clone)]
enum SentMessage {
    Terminate(u64, u64),
    Stop(u64),
    Continue(u64),
    CloseOutput(u64, bool),
    CountOutput(u64),
    Measure(u64, Vec<u64>),
    Beat(u64, bool),
    Suspend,
    Resume,
    Granted(Duration),
    Garbage(Vec<u8>),
}

/// How the connection ends.
#[derive(Debug, Clone, Copy)]
enum Close {
    /// The pipe is closed after the last step.
    AtTheEnd,
    /// The pipe breaks after this many bytes.
    After(usize),
    /// Nothing more is sent, and the pipe stays open.
    Silent,
    /// Bytes that are not a frame are sent.
    NoFrame,
}

/// Generates the number of a process. There are few, so that most steps are about a process that exists.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 1..4_u64, 1 => any::<u64>()]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        6 => id().prop_map(Target::Sleeper),
        2 => id().prop_map(Target::Flood),
        2 => id().prop_map(Target::Process),
        3 => id().prop_map(Target::Stderr),
        1 => id().prop_map(Target::Folder),
        1 => id().prop_map(Target::Pull),
        1 => id().prop_map(Target::Remove),
        1 => any::<u64>().prop_map(Target::Content),
        1 => Just(Target::Messages),
        1 => "/[a-z0-9/.-]{0,20}".prop_map(Target::Other),
    ]
}

fn sent_message() -> impl Strategy<Value = SentMessage> {
    let grace = prop_oneof![Just(0), Just(10), any::<u64>()];
    prop_oneof![
        4 => (id(), grace).prop_map(|(id, grace)| SentMessage::Terminate(id, grace)),
        3 => id().prop_map(SentMessage::Stop),
        3 => id().prop_map(SentMessage::Continue),
        2 => (id(), any::<bool>()).prop_map(|(id, is_stderr)| SentMessage::CloseOutput(id, is_stderr)),
        3 => id().prop_map(SentMessage::CountOutput),
        2 => (any::<u64>(), proptest::collection::vec(id(), 0..9)).prop_map(|(question, ids)| SentMessage::Measure(question, ids)),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(number, measures)| SentMessage::Beat(number, measures)),
        1 => Just(SentMessage::Suspend),
        1 => Just(SentMessage::Resume),
        1 => any::<u64>().prop_map(|nanos| SentMessage::Granted(Duration::from_nanos(nanos))),
        1 => garbage().prop_map(SentMessage::Garbage),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..100);
    let bodies = prop_oneof![
        2 => Just(Vec::new()),
        1 => proptest::collection::vec(bytes(), 0..3),
        1 => Just(vec![vec![b'x'; 100_000]]),
        1 => Just(vec![br#"{"keep":null,"entries":[{"name":"../x","is":{"folder":{"mode":511}}}]}"#.to_vec()]),
        1 => Just(vec![br#"{"keep":"x","entries":[]}"#.to_vec()]),
        1 => Just(vec![br#"{"paths":[{"name":"../../..","is_folder":true}]}"#.to_vec()]),
    ];
    let end = prop_oneof![3 => Just(End::Whole), 2 => Just(End::Open), 1 => Just(End::Reset)];
    prop_oneof![
        6 => (target(), bodies, end).prop_map(|(target, body, end)| Step::Request(target, body, end)),
        5 => sent_message().prop_map(Step::Message),
        1 => (any::<usize>(), bytes()).prop_map(|(stream, bytes)| Step::Data(stream, bytes)),
        2 => Just(Step::Yield),
    ]
}

fn close() -> impl Strategy<Value = Close> {
    prop_oneof![
        Just(Close::AtTheEnd),
        (0..5000_usize).prop_map(Close::After),
        Just(Close::Silent),
        Just(Close::NoFrame),
    ]
}

/// Breaks after this many bytes.
struct Breaking<W>(W, usize);

impl<W: AsyncWrite + Unpin> AsyncWrite for Breaking<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.1 == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let most = bytes.len().min(self.1);
        let polled = Pin::new(&mut self.0).poll_write(cx, &bytes[..most]);
        if let Poll::Ready(Ok(written)) = polled {
            self.1 -= written;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The dispatcher's end of a connection.
struct HostileDispatcher {
    requests: SendRequest<Bytes>,
    messages: SendStream<Bytes>,
    responses: Vec<ResponseFuture>,
    open: Vec<SendStream<Bytes>>,
    mark: String,
}

impl HostileDispatcher {
    /// Takes all steps. What the agent no longer accepts is dropped: it may have given up the connection.
    async fn take_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Request(target, body, end) => self.request(target, body, end).await,
                Step::Message(told) => {
                    let _ = self.messages.send_data(message(told), false);
                }
                Step::Data(stream, bytes) => {
                    let most = self.open.len().max(1);
                    if let Some(stream) = self.open.get_mut(stream % most) {
                        let _ = stream.send_data(bytes.into(), false);
                    }
                }
                Step::Yield => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Sends a request with this body.
    async fn request(&mut self, target: Target, body: Vec<Vec<u8>>, end: End) {
        let program = match &target {
            Target::Sleeper(_) => Some("sleep 1000 & sleep 1000"),
            Target::Flood(_) => Some("sleep 1000 & exec yes"),
            _ => None,
        };
        let (method, path) = match target {
            Target::Sleeper(id) | Target::Flood(id) | Target::Process(id) => {
                (Method::POST, format!("{PROCESS_PATH}{id}"))
            }
            Target::Stderr(id) => (Method::GET, format!("{STDERR_PATH}{id}")),
            Target::Folder(id) => (Method::POST, format!("{FOLDER_PATH}{id}")),
            Target::Pull(id) => (Method::POST, format!("{PULL_PATH}{id}")),
            Target::Remove(id) => (Method::DELETE, format!("{FOLDER_PATH}{id}")),
            Target::Content(size) => {
                let digest = blake3::hash(b"x").to_hex();
                (Method::PUT, format!("{CONTENT_PATH}{digest}/{size}"))
            }
            Target::Messages => (Method::POST, MESSAGES_PATH.to_owned()),
            Target::Other(path) => (Method::PATCH, path),
        };
        let Ok(mut requests) = self.requests.clone().ready().await else {
            return;
        };
        let sent = requests.send_request(ask(method, &path), false);
        let Ok((response, mut stream)) = sent else {
            return;
        };
        self.responses.push(response);
        if let Some(script) = program {
            let env = Environment::inherited().set(MARK, &self.mark);
            let config = ProcessConfig::new("sh").args(["-c", script]).env(env);
            let _ = stream.send_data(Spec::encode(&config).unwrap(), false);
        }
        for part in body {
            let _ = stream.send_data(part.into(), false);
        }
        match end {
            End::Whole => drop(stream.send_data(Bytes::new(), true)),
            End::Open => self.open.push(stream),
            End::Reset => stream.send_reset(Reason::CANCEL),
        }
    }
}

fn ask(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://agent{path}");
    let request = Request::builder().method(method).uri(uri).body(());
    request.unwrap()
}

/// Encodes a message.
fn message(told: SentMessage) -> Bytes {
    let message = match told {
        SentMessage::Terminate(id, grace_ms) => ToAgent::Terminate { id, grace_ms },
        SentMessage::Stop(id) => ToAgent::Stop { id },
        SentMessage::Continue(id) => ToAgent::Continue { id },
        SentMessage::CloseOutput(id, is_stderr) => ToAgent::CloseOutput {
            id,
            output: if is_stderr {
                OutputStream::Stderr
            } else {
                OutputStream::Stdout
            },
        },
        SentMessage::CountOutput(id) => ToAgent::CountOutput { id },
        SentMessage::Measure(question, ids) => ToAgent::Measure { question, ids },
        SentMessage::Beat(number, measures) => ToAgent::Beat { number, measures },
        SentMessage::Suspend => ToAgent::Suspend,
        SentMessage::Resume => ToAgent::Resume,
        SentMessage::Granted(asked_at) => ToAgent::TimeGranted {
            asked_at: BootTime::at(asked_at),
        },
        SentMessage::Garbage(bytes) => return bytes.into(),
    };
    line(&message).unwrap()
}

/// Takes all steps over a connection, and ends it. Returns the error of the library if it fails before that.
async fn dispatch(
    stream: DuplexStream,
    steps: Vec<Step>,
    close: Close,
    mark: String,
) -> Result<(), RemoteError> {
    let (input, output) = tokio::io::split(stream);
    let most = match close {
        Close::After(bytes) => bytes,
        _ => usize::MAX,
    };
    let (mut input, mut output) = (BufReader::new(input), Breaking(output, most));
    hello::receive_agent_hello(&mut input).await?;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    let hello = DispatcherHello {
        protocol: PROTOCOL,
        max_processes: 3,
        lost_after_ms: millis(LOST_AFTER),
        fence_after_ms: millis(LOST_AFTER),
    };
    hello::send_dispatcher_hello(&mut output, hello).await?;
    if matches!(close, Close::NoFrame) {
        output.write_all(&[0xff; 1000]).await?;
    }
    let io = tokio::io::join(input, output);
    let (requests, connection) = client::handshake(io).await?;
    let mut connection = Box::pin(connection);
    let acting = async {
        let ready = requests.clone().ready().await?;
        let (_, messages) = { ready }.send_request(ask(Method::POST, MESSAGES_PATH), false)?;
        let mut dispatcher = HostileDispatcher {
            requests,
            messages,
            responses: Vec::new(),
            open: Vec::new(),
            mark,
        };
        dispatcher.take_steps(steps).await;
        // The streams are kept open.
        Ok::<_, RemoteError>(dispatcher)
    };
    let acted = tokio::select! {
        ended = &mut connection => return ended.map_err(RemoteError::from),
        acted = acting => acted?,
    };
    if matches!(close, Close::Silent) {
        // Nothing is read or sent, and the pipe stays open until the agent has given up on the dispatcher.
        sleep(LOST_AFTER * 2).await;
    } else {
        // The requests are flushed to the agent before the pipe is closed.
        let _ = timeout(Duration::from_millis(20), &mut connection).await;
    }
    drop(acted);
    Ok(())
}

/// Returns the processes of this system that have the mark.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let process = entry.ok()?;
        // The environment of a process that has just ended cannot be read.
        let environment = fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let is_marked = variables.any(|variable| variable == wanted.as_bytes());
        is_marked.then(|| process.file_name().to_string_lossy().into_owned())
    });
    processes.collect()
}

/// Makes an agent serve a dispatcher that takes these steps. Returns an error if the agent does not end, or leaves a
/// process behind.
async fn is_over_and_clean(steps: Vec<Step>, close: Close) -> Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{number}", std::process::id());
    let cache = tempfile::tempdir().unwrap();
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(there);
    let agent = Agent::new().cache_dir(cache.path());
    let serving = agent.serve(input, output);
    let dispatching = dispatch(here, steps, close, mark.clone());
    // Errors of both sides are expected on such a connection.
    let both = async { tokio::join!(serving, dispatching) };
    if timeout(DEADLINE, both).await.is_err() {
        return Err("the agent serves for ever".to_owned());
    }
    let gone = async {
        while !marked(&mark).is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(DEADLINE, gone).await.is_err() {
        return Err(format!("these processes are left: {:?}", marked(&mark)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn an_agent_leaves_no_process_whatever_a_dispatcher_asks_for(
        steps in proptest::collection::vec(step(), 0..25),
        close in close(),
    ) {
        let (over, panics) = count_panics(false, is_over_and_clean(steps, close));
        prop_assert_eq!(over, Ok(()));
        prop_assert_eq!(panics, 0);
    }
}
