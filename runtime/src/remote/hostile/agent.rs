//! Tests that a dispatcher ends everything that it has begun in due time, whatever an agent answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Response, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::{sleep, timeout};

use super::{count_panics, garbage};
use crate::os::{ProcessConfig, ProcessManager};
use crate::remote::fence::BootTime;
use crate::remote::hello;
use crate::remote::message::{FromAgent, WireEnding, WireExit, line};
use crate::remote::stream::{MESSAGES_PATH, SYSTEM_ID};
use crate::remote::{AgentInfo, RemoteConfig, RemoteProcesses};

/// How many processes the dispatcher starts.
const PROCESSES: usize = 4;

/// How many bytes it writes to each of them.
const WRITTEN: usize = 100_000;

/// How long the agent acts before it closes the connection.
const LIFE: Duration = Duration::from_mins(1);

/// The time within which the dispatcher has to be done: the life of the agent, and the time until the processes of a
/// lost host are surely dead.
const DEADLINE: Duration = Duration::from_mins(3);

/// The answer of an agent to one request.
#[derive(Debug, Clone)]
struct Answer {
    /// The messages before the answer.
    before: Vec<Message>,
    head: Head,
    body: Vec<u8>,
    end: End,
    /// The messages after the answer.
    after: Vec<Message>,
}

/// The head of an agent's answer.
#[derive(Debug, Clone)]
enum Head {
    /// No answer comes while the connection is open.
    Never,
    Reset,
    Status(u16, Option<Vec<u8>>),
}

/// How the stream of an answer ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    Open,
    Reset,
}

/// What an agent sends on the stream of messages.
#[derive(Debug, Clone)]
enum Message {
    /// The end of the process whose number is this far from the last one that was asked for.
    Ended(u64, WireExit, Option<u64>),
    InputClosed(u64, Option<u64>),
    OutputCounted(u64, Option<u64>),
    Measured(u64, Vec<(u64, u64, u64)>),
    Beat,
    Answer(u64),
    Asked(Duration),
    Garbage(Vec<u8>),
}

/// How an agent ends the connection.
#[derive(Debug, Clone, Copy)]
enum Close {
    /// It sends beats until the end of its life.
    Late,
    /// It sends nothing more once it has answered everything.
    Silent,
    /// It closes the connection after this many answers.
    After(usize),
}

/// Generates a message of an agent.
fn message() -> impl Strategy<Value = Message> {
    let id = || prop_oneof![4 => 0..4_u64, 1 => any::<u64>()];
    let exit = prop_oneof![
        any::<i32>().prop_map(WireExit::Code),
        any::<i32>().prop_map(WireExit::Signal),
        Just(WireExit::Unknown),
    ];
    let read = || proptest::option::of(any::<u64>());
    let usage = proptest::collection::vec((id(), any::<u64>(), any::<u64>()), 0..5);
    prop_oneof![
        6 => (id(), exit, read()).prop_map(|(id, exit, read)| Message::Ended(id, exit, read)),
        2 => (id(), read()).prop_map(|(id, read)| Message::InputClosed(id, read)),
        2 => (id(), read()).prop_map(|(id, printed)| Message::OutputCounted(id, printed)),
        2 => (id(), usage).prop_map(|(question, usage)| Message::Measured(question, usage)),
        2 => Just(Message::Beat),
        1 => any::<u64>().prop_map(Message::Answer),
        1 => any::<u64>().prop_map(|nanos| Message::Asked(Duration::from_nanos(nanos))),
        1 => garbage().prop_map(Message::Garbage),
    ]
}

/// Generates an answer of an agent.
fn answer() -> impl Strategy<Value = Answer> {
    let messages = || proptest::collection::vec(message(), 0..3);
    let system_id = proptest::option::of(prop_oneof![
        Just(b"7".to_vec()),
        proptest::collection::vec(0x20..0x7f_u8, 0..20),
    ]);
    let status = prop_oneof![5 => Just(200), 2 => Just(422), 1 => 100..1000_u16];
    let head = prop_oneof![
        1 => Just(Head::Never),
        1 => Just(Head::Reset),
        8 => (status, system_id).prop_map(|(status, id)| Head::Status(status, id)),
    ];
    let body = prop_oneof![
        2 => Just(Vec::new()),
        2 => Just(b"{\"error\":\"not_found\"}".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        // This is more than a process has room for here, and the next one is less.
        1 => Just(vec![b'x'; 1 << 20]),
        1 => Just(vec![b'x'; 150_000]),
    ];
    let end = prop_oneof![3 => Just(End::Whole), 1 => Just(End::Open), 1 => Just(End::Reset)];
    (messages(), head, body, end, messages()).prop_map(|(before, head, body, end, after)| Answer {
        before,
        head,
        body,
        end,
        after,
    })
}

fn close() -> impl Strategy<Value = Close> {
    prop_oneof![
        Just(Close::Late),
        Just(Close::Silent),
        (0..10_usize).prop_map(Close::After),
    ]
}

/// The agent's end of a connection.
struct HostileAgent {
    answers: std::vec::IntoIter<Answer>,
    messages: Option<SendStream<Bytes>>,
    /// The process that was asked for last.
    last: u64,
    /// The streams that are left open.
    open: Vec<SendStream<Bytes>>,
    requests: Vec<RecvStream>,
    unanswered: Vec<SendResponse<Bytes>>,
}

impl HostileAgent {
    /// Serves a dispatcher until the agent closes the connection.
    async fn serve(mut self, stream: DuplexStream, close: Close) {
        let (input, mut output) = tokio::io::split(stream);
        let mut input = BufReader::new(input);
        let info = AgentInfo {
            is_fenced: self.answers.len().is_multiple_of(2),
            ..AgentInfo::of_this_host()
        };
        hello::send_agent_hello(&mut output, &info).await.unwrap();
        hello::receive_dispatcher_hello(&mut input).await.unwrap();
        let connection = server::handshake(tokio::io::join(input, output)).await;
        let mut connection = connection.unwrap();
        let life = sleep(LIFE);
        tokio::pin!(life);
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        let mut count = 0;
        loop {
            tokio::select! {
                accepted = connection.accept() => {
                    // An error means that the dispatcher has given the connection up.
                    let Some(Ok((request, respond))) = accepted else { return };
                    self.answer(request, respond);
                    count += 1;
                    if matches!(close, Close::After(most) if count > most) {
                        // The messages are sent before the connection is closed.
                        let _ = timeout(Duration::from_secs(1), connection.accept()).await;
                        return;
                    }
                }
                _ = beat.tick(), if !matches!(close, Close::Silent) => self.send_message(&Message::Beat),
                () = &mut life => return,
            }
        }
    }

    fn answer(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, body) = request.into_parts();
        self.requests.push(body);
        let path = head.uri.path();
        if path == MESSAGES_PATH {
            let stream = respond.send_response(Response::new(()), false);
            self.messages = Some(stream.unwrap());
            return;
        }
        let number = path.rsplit('/').next().unwrap();
        self.last = number.parse().unwrap();
        let Some(answer) = self.answers.next() else {
            self.unanswered.push(respond);
            return;
        };
        for message in &answer.before {
            self.send_message(message);
        }
        match answer.head {
            Head::Never => self.unanswered.push(respond),
            Head::Reset => respond.send_reset(Reason::CANCEL),
            Head::Status(status, system_id) => {
                let mut head = Response::new(());
                *head.status_mut() = StatusCode::from_u16(status).unwrap();
                if let Some(id) = system_id {
                    let id = HeaderValue::from_bytes(&id).unwrap();
                    head.headers_mut().insert(SYSTEM_ID, id);
                }
                // The dispatcher may have given the process up. A status of 1xx is refused by the library.
                if let Ok(mut stream) = respond.send_response(head, false) {
                    let _ = stream.send_data(answer.body.into(), false);
                    match answer.end {
                        End::Whole => drop(stream.send_data(Bytes::new(), true)),
                        End::Open => self.open.push(stream),
                        End::Reset => stream.send_reset(Reason::INTERNAL_ERROR),
                    }
                }
            }
        }
        for message in &answer.after {
            self.send_message(message);
        }
    }

    fn send_message(&mut self, message: &Message) {
        let last = self.last;
        let id = |distance: u64| last.wrapping_sub(distance);
        let message = match message.clone() {
            Message::Garbage(bytes) => return self.send(bytes.into()),
            Message::Ended(distance, exit, read) => FromAgent::Ended {
                id: id(distance),
                exit,
                ending: WireEnding::ByItself,
                left_behind: true,
                survivors: vec![7; 2000],
                read,
                ran_ms: read.unwrap_or(u64::MAX),
            },
            Message::InputClosed(distance, read) => FromAgent::InputClosed {
                id: id(distance),
                read,
            },
            Message::OutputCounted(distance, printed) => FromAgent::OutputCounted {
                id: id(distance),
                printed,
            },
            Message::Measured(distance, usage) => FromAgent::Measured {
                // The numbers of questions come from the same sequence.
                question: last.wrapping_add(distance),
                usage,
            },
            Message::Beat => FromAgent::Beat,
            Message::Answer(beat) => FromAgent::Answer { beat },
            Message::Asked(at) => FromAgent::TimeAsked {
                at: BootTime::at(at),
            },
        };
        self.send(line(&message).unwrap());
    }

    fn send(&mut self, bytes: Bytes) {
        if let Some(stream) = &mut self.messages {
            // An error means that the dispatcher has given the connection up.
            let _ = stream.send_data(bytes, false);
        }
    }
}

/// Starts a process, writes to it, reads its output, stops it, measures it, and ends it.
async fn use_process(processes: &RemoteProcesses) {
    let started = processes.spawn_process(&ProcessConfig::new("cat")).await;
    let Ok(mut handle) = started else { return };
    let id = handle.id();
    let (mut stdin, mut stdout, mut stderr) = handle.take_pipes().unwrap();
    let mut exit = handle.exit().clone();
    let catch_up = handle.view().unwrap().catch_up();
    let bytes = vec![b'x'; WRITTEN];
    let write = async {
        let written = tokio::select! {
            written = stdin.write_all(&bytes) => written,
            _ = exit.wait() => Ok(()),
        };
        // The process may have closed its stdin.
        drop(written);
        drop(stdin);
    };
    // The streams may be cut.
    let read = async {
        let mut bytes = Vec::new();
        let _ = stdout.read_to_end(&mut bytes).await;
    };
    let read_errors = async {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes).await;
    };
    let control = async {
        processes.stop_process(id).await.unwrap();
        processes.continue_process(id).await.unwrap();
        let _ = processes.measure_processes(&[id]).await;
        processes
            .terminate_process(id, Duration::ZERO)
            .await
            .unwrap();
    };
    tokio::join!(write, read, read_errors, catch_up, control);
    handle.exit().wait().await;
}

/// Makes a dispatcher use processes over an agent. Returns whether it was done in time, and left nothing behind.
async fn is_over_in_time(answers: Vec<Answer>, close: Close) -> Result<(), &'static str> {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let agent = HostileAgent {
        answers: answers.into_iter(),
        messages: None,
        last: 0,
        open: Vec::new(),
        requests: Vec::new(),
        unanswered: Vec::new(),
    };
    tokio::spawn(agent.serve(there, close));
    let (input, output) = tokio::io::split(here);
    let config = RemoteConfig::new("hostile");
    // The agent may close the connection before it is set up.
    let Ok(processes) = RemoteProcesses::connect(input, output, config).await else {
        return Ok(());
    };
    let processes = Arc::new(processes);
    let uses = (0..PROCESSES).map(|_| {
        let processes = Arc::clone(&processes);
        tokio::spawn(async move { use_process(&processes).await })
    });
    let uses: Vec<_> = uses.collect();
    let all = async {
        for done in uses {
            // A panic is counted elsewhere.
            let _ = done.await;
        }
    };
    timeout(DEADLINE, all)
        .await
        .map_err(|_| "something never ends")?;
    let closed = timeout(DEADLINE, processes.closed()).await;
    closed.map_err(|_| "the connection never ends")?;
    let emptied = async {
        while processes.has_processes() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(DEADLINE, emptied)
        .await
        .map_err(|_| "a process is left in the table")
}

/// Serves a dispatcher as an agent that is alive for ever: it says that it has started each process unless it is to start
/// none, and answers nothing else.
async fn serve_without_answers(stream: DuplexStream, starts: bool) {
    let (input, mut output) = tokio::io::split(stream);
    let mut input = BufReader::new(input);
    let info = AgentInfo::of_this_host();
    hello::send_agent_hello(&mut output, &info).await.unwrap();
    hello::receive_dispatcher_hello(&mut input).await.unwrap();
    let connection = server::handshake(tokio::io::join(input, output)).await;
    let mut connection = connection.unwrap();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    let (mut messages, mut kept) = (None, Vec::new());
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, mut respond))) = accepted else { return };
                let (head, mut body) = request.into_parts();
                // Dropping it would reset the stream, and too many unread frames break the connection.
                tokio::spawn(async move {
                    while let Some(Ok(bytes)) = body.data().await {
                        let _ = body.flow_control().release_capacity(bytes.len());
                    }
                });
                let is_messages = head.uri.path() == MESSAGES_PATH;
                if is_messages || starts {
                    let stream = respond.send_response(Response::new(()), false).unwrap();
                    if is_messages {
                        messages = Some(stream);
                    } else {
                        kept.push((None, Some(stream)));
                    }
                } else {
                    kept.push((Some(respond), None));
                }
            }
            _ = beat.tick() => {
                if let Some(messages) = &mut messages {
                    let _ = messages.send_data(line(&FromAgent::Beat).unwrap(), false);
                }
            }
        }
    }
}

/// Connects to an agent that is alive and answers nothing, or only starts.
async fn unanswered(starts: bool) -> RemoteProcesses {
    let (here, there) = tokio::io::duplex(64 * 1024);
    tokio::spawn(serve_without_answers(there, starts));
    let (input, output) = tokio::io::split(here);
    let config = RemoteConfig::new("stuck");
    RemoteProcesses::connect(input, output, config)
        .await
        .unwrap()
}

/// Checks that a host is lost because its agent did not answer, in the time for answers and not much before.
async fn is_lost_for(processes: &RemoteProcesses, begun: tokio::time::Instant, request: &str) {
    let reason = timeout(DEADLINE, processes.closed()).await.unwrap();
    assert!(reason.contains(request), "{reason}");
    assert!(reason.contains("has not answered within 120s"), "{reason}");
    assert!(begun.elapsed() >= Duration::from_mins(2));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_no_measurement_is_lost_although_it_is_alive() {
    let processes = unanswered(true).await;
    let cat = processes.spawn_process(&ProcessConfig::new("cat")).await;
    let mut cat = cat.unwrap();
    // What runs for long is no request.
    let lost = timeout(Duration::from_mins(30), processes.closed()).await;
    assert!(lost.is_err(), "{lost:?}");
    let begun = tokio::time::Instant::now();
    let measured = timeout(DEADLINE * 2, processes.measure_processes(&[cat.id()])).await;
    assert!(measured.unwrap().is_err());
    is_lost_for(&processes, begun, "measure processes").await;
    assert_eq!(cat.exit().wait().await.ending, crate::os::Ending::HostLost);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_no_start_is_lost_although_it_is_alive() {
    let processes = unanswered(false).await;
    let begun = tokio::time::Instant::now();
    let cat = ProcessConfig::new("cat");
    let started = processes.spawn_process(&cat);
    assert!(timeout(DEADLINE * 2, started).await.unwrap().is_err());
    is_lost_for(&processes, begun, "start a process").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_no_process_is_lost_although_it_is_alive() {
    let processes = unanswered(true).await;
    let cat = processes.spawn_process(&ProcessConfig::new("cat")).await;
    let mut cat = cat.unwrap();
    let begun = tokio::time::Instant::now();
    let grace = Duration::from_secs(10);
    processes.terminate_process(cat.id(), grace).await.unwrap();
    let ended = timeout(DEADLINE * 2, cat.exit().wait()).await.unwrap();
    assert_eq!(ended.ending, crate::os::Ending::HostLost);
    is_lost_for(&processes, begun + grace, "end a process").await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_dispatcher_is_done_in_time_whatever_an_agent_answers(
        answers in proptest::collection::vec(answer(), 0..9),
        close in close(),
    ) {
        let (over, panics) = count_panics(true, is_over_in_time(answers, close));
        prop_assert_eq!(over, Ok(()));
        prop_assert_eq!(panics, 0);
    }
}
