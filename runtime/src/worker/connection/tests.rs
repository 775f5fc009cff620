//! Workers that speak a dialect which no pool is configured with.

use std::time::Duration;

use ratchet_ipc::{Decoded, HandshakeKind, IpcError, IpcMessage, Payload, Response};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;
use crate::dispatch::ReplyTo;
use crate::job::Job;
use crate::mock::MockProcessManager;
use crate::process::{ProcessConfig, ProcessId};

/// A dialect with a handshake of its own (`hi`, `go`) and a question that it answers by itself.
struct Telegraph;

impl Dialect for Telegraph {
    fn handshake_kind(&self) -> HandshakeKind {
        HandshakeKind::Session
    }

    fn open(&mut self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"hi\n");
    }

    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        if let IpcMessage::Request(request) = message {
            line.extend_from_slice(format!("{} {}\n", request.id, request.input).as_bytes());
        }
        Ok(())
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        match std::str::from_utf8(line).unwrap().split_once(' ') {
            None if line == b"hi" => {
                decoded.send(b"go\n");
                decoded.ready(Profile::minimal());
            }
            None if line == b"wrong" => decoded.refuse("it is no telegraph"),
            Some(("are", "you there?")) => decoded.send(b"yes\n"),
            Some((id, result)) => decoded.message(Response {
                id: id.into(),
                outcome: Ok(Payload::from_json(result).unwrap()),
            }),
            None => decoded.stray(line),
        }
    }

    fn decode_overlong(&mut self, head: &[u8], _bytes: u64, decoded: &mut Decoded<'_>) {
        decoded.stray(head);
    }
}

/// A worker whose process is played by the test.
struct Played {
    stdin: BufReader<DuplexStream>,
    stdout: DuplexStream,
    events: mpsc::UnboundedReceiver<(u64, WorkerEvent)>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Played {
    fn start() -> Self {
        let (worker_stdin, host_writer) = duplex(1 << 10);
        let (host_reader, stdout) = duplex(1 << 10);
        let (host_stderr, _) = duplex(1);
        let (notice, exit) = ExitWatch::channel();
        let pipes: crate::process::Pipes = (
            Box::new(host_writer),
            Box::new(host_reader),
            Box::new(host_stderr),
        );
        let handle = ProcessHandle::new(ProcessId::new(1), pipes, exit);
        let mut manager = MockProcessManager::new();
        manager
            .expect_spawn_process()
            .return_once(move |_| Ok(handle));
        // Dropping the notice is the end of the process.
        let mut notice = Some(notice);
        manager.expect_terminate_process().returning(move |_, _| {
            notice.take();
            Ok(())
        });
        let (event_sender, events) = mpsc::unbounded_channel();
        let (orders, order_receiver) = mpsc::unbounded_channel();
        let connection = Connection {
            name: WorkerName::new("telegraph", 1),
            config: Arc::new(PoolConfig::new(
                "telegraph",
                ProcessConfig::new("telegraph"),
            )),
            manager: Arc::new(manager),
            expect_silence: false,
            max_jobs: None,
            number: 1,
            events: event_sender,
            orders: order_receiver,
        };
        tokio::spawn(connection.run_in(Box::new(Telegraph)));
        Self {
            stdin: BufReader::new(worker_stdin),
            stdout,
            events,
            orders,
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdin.read_line(&mut line).await.unwrap();
        line
    }

    async fn print(&mut self, line: &str) {
        self.stdout.write_all(line.as_bytes()).await.unwrap();
    }

    async fn event(&mut self) -> WorkerEvent {
        let next = tokio::time::timeout(Duration::from_hours(1), self.events.recv());
        next.await.unwrap().unwrap().1
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_ready_when_the_session_of_its_dialect_says_so() {
    let mut worker = Played::start();
    assert!(matches!(worker.event().await, WorkerEvent::Started { .. }));
    assert_eq!(worker.line().await, "hi\n");
    worker.print("are you there?\n").await;
    assert_eq!(worker.line().await, "yes\n", "before it is ready, too");
    assert!(worker.events.try_recv().is_err());

    worker.print("hi\n").await;
    assert_eq!(worker.line().await, "go\n");
    let ready = worker.event().await;
    let introduced = true;
    assert!(
        matches!(&ready, WorkerEvent::Ready { profile, introduced: i } if **profile == Profile::minimal() && *i == introduced),
        "{ready:?}"
    );

    let (reply, answer) = oneshot::channel();
    let assignment = Assignment {
        job: Arc::new(Job::task("a", "t", Payload::from_text("x"))),
        attempt: 1,
        ahead: false,
        reply: ReplyTo::Caller { call: 1, reply },
    };
    worker.orders.send(Order::Perform(assignment)).unwrap();
    let request = worker.line().await;
    let (id, input) = request.split_once(' ').unwrap();
    assert_eq!(input, "\"x\"\n");
    worker.print(&format!("are you there?\n{id} 42\n")).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.result.unwrap().as_str(), "42");
    assert_eq!(worker.line().await, "yes\n");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_its_session_refuses_is_killed_with_the_reason() {
    let mut worker = Played::start();
    assert!(matches!(worker.event().await, WorkerEvent::Started { .. }));
    worker.print("wrong\n").await;
    loop {
        if let WorkerEvent::Ended(end) = worker.event().await {
            let cause = end.cause.to_string();
            assert!(
                cause.contains("the handshake failed: it is no telegraph"),
                "{cause}"
            );
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_session_never_says_that_it_is_ready_is_killed_in_time() {
    let mut worker = Played::start();
    assert!(matches!(worker.event().await, WorkerEvent::Started { .. }));
    loop {
        if let WorkerEvent::Ended(end) = worker.event().await {
            assert!(matches!(end.cause, EndCause::NotReady(_)), "{end:?}");
            return;
        }
    }
}
