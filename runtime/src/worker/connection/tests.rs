//! Tests of workers that speak a dialect for which no pool has a setting.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ratchet_ipc::{Decoded, HandshakeKind, IpcError, IpcMessage, OverlongLine, Payload, Response};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::oneshot;

use super::*;
use crate::dispatch::ReplyTo;
use crate::job::{Job, Terms, Timeouts};
use crate::os::InputCount;
use crate::os::{MockProcessManager, ProcessError, WorkFolder, WorkPath};
use crate::outcome::Class;
use crate::process::{
    Ended, Ending, Exit, ExitNotice, InputNotice, InputWatch, ProcessConfig, ProcessId,
};
use crate::worker::Reply;

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

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        decoded.stray(line.head);
    }
}

/// A worker whose process is played by the test.
struct Played {
    stdin: BufReader<DuplexStream>,
    stdout: DuplexStream,
    events: mpsc::UnboundedReceiver<(u64, WorkerEvent)>,
    orders: mpsc::UnboundedSender<Order>,
    system: Arc<System>,
    /// Announces that the process has closed its stdin, however much can still be written.
    input: InputNotice,
    /// Dropping it is the end of the process.
    notice: Arc<Mutex<Option<ExitNotice>>>,
}

/// What the system reports of a worker although the event loop has not noticed it.
#[derive(Default)]
struct System {
    /// Whether the event loop notices none of the worker's output.
    is_deaf: AtomicBool,
    /// Whether the worker is on another host, so that the system knows only what has come from there.
    is_remote: AtomicBool,
    /// What the worker has printed is still on its host, until this side has caught up with it.
    is_behind: AtomicBool,
    /// Whether the worker prints without a pause until it is killed.
    is_endless: AtomicBool,
    /// How many bytes were written to the worker's stdin.
    input_written: AtomicU64,
    /// How many of them the worker has read.
    input_read: AtomicU64,
    printed: AtomicU64,
    read: AtomicU64,
    /// How many bytes the system has reported as printed.
    shown: AtomicU64,
    has_ended: AtomicBool,
}

#[async_trait::async_trait]
impl ProcessView for Arc<System> {
    fn input(&self) -> Option<InputCount> {
        Some(InputCount {
            written: self.written_input()?,
            read: self.input_read.load(Ordering::SeqCst),
        })
    }

    fn written_input(&self) -> Option<u64> {
        Some(self.input_written.load(Ordering::SeqCst))
    }

    fn output(&self) -> Option<OutputCount> {
        let mut printed = self.printed.load(Ordering::SeqCst);
        if self.is_endless.load(Ordering::SeqCst) {
            printed = self.read.load(Ordering::SeqCst) + 1000;
        }
        if self.is_behind.load(Ordering::SeqCst) {
            printed = self.read.load(Ordering::SeqCst);
        }
        self.shown.store(printed, Ordering::SeqCst);
        let read = self.read.load(Ordering::SeqCst);
        Some(OutputCount { printed, read })
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    fn is_direct(&self) -> bool {
        !self.is_remote.load(Ordering::SeqCst)
    }

    async fn catch_up(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.is_behind.store(false, Ordering::SeqCst);
    }
}

/// The stdout of a worker. Like a pipe that the event loop watches, it is read only after the event loop has reported
/// data, or the system has.
struct Watched(DuplexStream, Arc<System>);

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self(pipe, system) = self.get_mut();
        let read = system.read.load(Ordering::SeqCst);
        let is_shown = read < system.shown.load(Ordering::SeqCst);
        if system.is_deaf.load(Ordering::SeqCst) && !is_shown {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = if system.is_endless.load(Ordering::SeqCst) {
            buffer.put_slice(b"noise\n");
            Poll::Ready(Ok(()))
        } else {
            Pin::new(pipe).poll_read(cx, buffer)
        };
        let bytes = (buffer.filled().len() - before) as u64;
        system.read.fetch_add(bytes, Ordering::SeqCst);
        polled
    }
}

impl Played {
    fn start() -> Self {
        Self::start_in(None)
    }

    fn start_in(folder: Option<SlowFolder>) -> Self {
        let (worker_stdin, host_writer) = duplex(1 << 10);
        let (host_reader, stdout) = duplex(1 << 10);
        let (host_stderr, _) = duplex(1);
        let system = Arc::<System>::default();
        let (notice, exit) = ExitWatch::channel();
        let pipes: crate::process::Pipes = (
            Box::new(host_writer),
            Box::new(Watched(host_reader, Arc::clone(&system))),
            Box::new(host_stderr),
        );
        let handle = ProcessHandle::new(ProcessId::new(1), pipes, exit);
        let (input, input_watch) = InputWatch::channel();
        let handle = handle
            .with_view(Arc::clone(&system))
            .with_input_watch(input_watch);
        let handle = match folder {
            Some(folder) => handle.with_folder(folder),
            None => handle,
        };
        let mut manager = MockProcessManager::new();
        manager
            .expect_spawn_process()
            .return_once(move |_| Ok(handle));
        let notice = Arc::new(Mutex::new(Some(notice)));
        let (known, to_end) = (Arc::clone(&notice), Arc::clone(&system));
        manager.expect_terminate_process().returning(move |_, _| {
            to_end.is_endless.store(false, Ordering::SeqCst);
            known.lock().unwrap().take();
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
            replace_after: None,
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
            system,
            input,
            notice,
        }
    }

    /// Performs the handshake.
    async fn introduce(&mut self) {
        assert!(matches!(self.event().await, WorkerEvent::Started { .. }));
        assert_eq!(self.line().await, "hi\n");
        self.print("hi\n").await;
        assert_eq!(self.line().await, "go\n");
    }

    /// Sends the worker an attempt, and reads the request. Returns the id of the request and the receiver of the reply.
    async fn asked(&mut self, timeouts: Timeouts) -> (String, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let job = Job::task("a", "t", Payload::from_text("x"));
        let assignment = Assignment {
            job: Arc::new(job.terms(Terms {
                timeouts,
                ..Terms::default()
            })),
            attempt: 1,
            ahead: false,
            slot: None,
            resources: None,
            trace: None,
            reply: ReplyTo::Caller { call: 1, reply },
        };
        self.orders.send(Order::Perform(assignment)).unwrap();
        let request = self.line().await;
        let (id, input) = request.split_once(' ').unwrap();
        assert_eq!(input, "\"x\"\n");
        (id.to_owned(), answer)
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdin.read_line(&mut line).await.unwrap();
        line
    }

    async fn print(&mut self, line: &str) {
        let bytes = line.len() as u64;
        self.system.printed.fetch_add(bytes, Ordering::SeqCst);
        self.stdout.write_all(line.as_bytes()).await.unwrap();
    }

    /// Ends the process by itself.
    fn end(&self, exit: Exit) {
        let notice = self.notice.lock().unwrap().take().unwrap();
        notice.send(Ended {
            exit,
            ending: Ending::ByItself,
            left_behind: false,
            survivors: Vec::new(),
        });
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

    let (id, answer) = worker.asked(Timeouts::default()).await;
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

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_answered_in_time_has_not_timed_out_however_late_that_is_heard() {
    // The answer is noticed at the timeout, a little later, and much later.
    for late in [
        Duration::ZERO,
        Duration::from_millis(50),
        Duration::from_hours(1),
    ] {
        let mut worker = Played::start();
        worker.introduce().await;
        let (id, answer) = worker.asked(Timeouts::after(Duration::from_secs(9))).await;
        worker.system.is_deaf.store(true, Ordering::SeqCst);
        worker.print(&format!("{id} 42\n")).await;
        tokio::time::advance(Duration::from_secs(9) + late).await;
        let answer = answer.await.unwrap();
        assert_eq!(answer.result.unwrap().as_str(), "42");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_prints_without_a_pause_meets_its_deadlines() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (_id, answer) = worker.asked(Timeouts::after(Duration::from_secs(9))).await;
    worker.system.is_endless.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(10)).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.result.unwrap_err().class, Class::Timeout);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_charged_with_the_end_of_its_worker_only_if_its_request_was_read() {
    for (read, is_charged) in [(100, false), (101, true)] {
        let mut worker = Played::start();
        worker.introduce().await;
        assert!(matches!(worker.event().await, WorkerEvent::Ready { .. }));
        let (id, answer) = worker.asked(Timeouts::default()).await;
        worker.print(&format!("{id} 42\n")).await;
        answer.await.unwrap();
        worker.system.input_written.store(100, Ordering::SeqCst);
        let (_id, mut answer) = worker.asked(Timeouts::default()).await;
        worker.system.input_read.store(read, Ordering::SeqCst);
        worker.end(Exit::Code(5));
        let returned = loop {
            match worker.event().await {
                WorkerEvent::CallReturned { begun, .. } => break Some(begun),
                WorkerEvent::Ended(_) => break None,
                _ => {}
            }
        };
        assert_eq!(returned, (!is_charged).then_some(true));
        let failure = answer
            .try_recv()
            .ok()
            .map(|reply| reply.result.unwrap_err());
        let class = failure.map(|failure| failure.class);
        assert_eq!(class, is_charged.then_some(Class::Crash));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_request_that_has_not_begun_counts_when_it_begins() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (first, first_answer) = worker.asked(Timeouts::default()).await;
    let (second, mut second_answer) = worker.asked(Timeouts::default()).await;
    let (third, third_answer) = worker.asked(Timeouts::default()).await;
    worker
        .print(&format!("{third} 3\n{second} 2\n{second} 9\n"))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(second_answer.try_recv().is_err(), "the first one runs");
    worker.print(&format!("{first} 1\n")).await;
    for (answer, result) in [
        (first_answer, "1"),
        (second_answer, "2"),
        (third_answer, "3"),
    ] {
        let answer = answer.await.unwrap();
        assert_eq!(answer.result.unwrap().as_str(), result);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_request_that_has_not_begun_survives_the_end_of_its_worker() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (_first, first_answer) = worker.asked(Timeouts::default()).await;
    let (second, second_answer) = worker.asked(Timeouts::default()).await;
    worker.print(&format!("{second} 2\n")).await;
    // It has read both requests, so it has crashed on the first one.
    worker.system.input_read.store(100, Ordering::SeqCst);
    worker.end(Exit::Code(5));
    let failure = first_answer.await.unwrap().result.unwrap_err();
    assert_eq!(failure.class, Class::Crash);
    let answer = second_answer.await.unwrap();
    assert_eq!(answer.result.unwrap().as_str(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_answers_and_ends_has_given_its_early_answers_too() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (first, first_answer) = worker.asked(Timeouts::default()).await;
    let (second, second_answer) = worker.asked(Timeouts::default()).await;
    worker.system.is_deaf.store(true, Ordering::SeqCst);
    worker.print(&format!("{second} 2\n{first} 1\n")).await;
    worker.end(Exit::Code(0));
    for (answer, result) in [(first_answer, "1"), (second_answer, "2")] {
        let answer = answer.await.unwrap();
        assert_eq!(answer.result.unwrap().as_str(), result);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_answers_is_charged_with_a_request_that_it_did_not_read() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (_id, answer) = worker.asked(Timeouts::default()).await;
    worker.end(Exit::Code(5));
    let answer = answer.await.unwrap();
    assert_eq!(answer.result.unwrap_err().class, Class::Crash);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_printed_before_the_end_counts_however_late_it_is_heard() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (id, answer) = worker.asked(Timeouts::default()).await;
    worker.system.is_deaf.store(true, Ordering::SeqCst);
    worker.print(&format!("{id} 42\n")).await;
    worker.end(Exit::Code(5));
    let answer = answer.await.unwrap();
    assert_eq!(answer.result.unwrap().as_str(), "42");
}

/// A work folder that is removed when this is notified.
#[derive(Debug)]
struct SlowFolder(Arc<tokio::sync::Notify>);

#[async_trait::async_trait]
impl WorkFolder for SlowFolder {
    async fn pull(&self, _: &[WorkPath]) -> Result<(), ProcessError> {
        Ok(())
    }

    async fn remove(&self) {
        self.0.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_work_folder_of_a_worker_is_removed_before_its_end_is_told() {
    let removed = Arc::<tokio::sync::Notify>::default();
    let mut worker = Played::start_in(Some(SlowFolder(Arc::clone(&removed))));
    worker.introduce().await;
    assert!(matches!(worker.event().await, WorkerEvent::Ready { .. }));
    worker.end(Exit::Code(0));
    assert!(matches!(worker.event().await, WorkerEvent::Withdrawn));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(worker.events.try_recv().is_err(), "its folder is there");
    removed.notify_one();
    assert!(matches!(worker.event().await, WorkerEvent::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_on_another_host_goes_on_after_a_deadline_that_an_answer_has_moved() {
    let mut worker = Played::start();
    worker.system.is_remote.store(true, Ordering::SeqCst);
    worker.introduce().await;
    for _ in 0..2 {
        let (id, answer) = worker.asked(Timeouts::after(Duration::from_secs(9))).await;
        worker.print(&format!("{id} 42\n")).await;
        // The timeout is over when the answer is noticed, which leaves no deadline.
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(answer.await.unwrap().result.unwrap().as_str(), "42");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_on_the_host_when_its_time_is_over_counts_as_in_time() {
    let mut worker = Played::start();
    for flag in [&worker.system.is_remote, &worker.system.is_deaf] {
        flag.store(true, Ordering::SeqCst);
    }
    worker.introduce().await;
    let (id, answer) = worker.asked(Timeouts::after(Duration::from_secs(9))).await;
    worker.system.is_behind.store(true, Ordering::SeqCst);
    worker.print(&format!("{id} 42\n")).await;
    assert_eq!(answer.await.unwrap().result.unwrap().as_str(), "42");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ended_in_time_has_crashed_however_late_that_is_heard() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (_id, answer) = worker.asked(Timeouts::after(Duration::from_secs(9))).await;
    worker.system.has_ended.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    worker.end(Exit::Code(3));
    let answer = answer.await.unwrap();
    assert_eq!(answer.result.unwrap_err().class, Class::Crash);
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_ended_when_it_is_known_to_have_closed_its_stdin_without_another_write() {
    let mut worker = Played::start();
    worker.introduce().await;
    let (_id, answer) = worker.asked(Timeouts::default()).await;
    worker.input.send();
    let grace = PoolConfig::new("telegraph", ProcessConfig::new("telegraph")).grace;
    let start = tokio::time::Instant::now();
    let failure = answer.await.unwrap().result.unwrap_err();
    assert_eq!(failure.class, Class::Crash);
    assert_eq!(
        failure.message,
        "worker telegraph/1 closed its stdin, so it could get no more jobs and was ended"
    );
    // The worker may answer within its grace, and its stdout is read for a moment after its end.
    let waited = start.elapsed();
    assert!(
        waited >= grace && waited < grace + Duration::from_secs(1),
        "{waited:?}"
    );
}
