use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::messages::{
    Cancel, Event, IpcMessage, LogLevel, Nonce, Payload, Request, Response, TaskError,
};
use crate::serialization::Incoming;
use crate::transport::{MemoryTransport, memory_pair, memory_pair_with};

/// The host of a worker that runs beside it.
struct Host(MemoryTransport);

impl Host {
    async fn of(worker: Worker) -> (Self, tokio::task::JoinHandle<Result<(), IpcError>>) {
        let (host, other) = memory_pair();
        let served = tokio::spawn(worker.serve_on(other));
        let mut host = Self(host);
        assert!(matches!(host.event().await, Event::Hello(_)));
        (host, served)
    }

    async fn send(&mut self, message: impl Into<IpcMessage>) {
        self.0.send(message.into()).await.unwrap();
    }

    async fn ask(&mut self, id: u64, task: &str, input: &str) {
        self.send(Request::new(id, task, Payload::from_json(input).unwrap()))
            .await;
    }

    async fn message(&mut self) -> IpcMessage {
        match self.0.receive().await.unwrap() {
            Incoming::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    async fn event(&mut self) -> Event {
        match self.message().await {
            IpcMessage::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    async fn reply(&mut self) -> (u64, Result<String, TaskError>) {
        match self.message().await {
            IpcMessage::Response(Response { id, outcome }) => (
                id.as_counter().unwrap(),
                outcome.map(|result| result.to_string()),
            ),
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&mut self) -> (u64, String, String) {
        let (id, outcome) = self.reply().await;
        let error = outcome.unwrap_err();
        (id, error.code.into_owned(), error.message)
    }
}

fn double() -> Task {
    Task::new("double", |call: Call| async move {
        Ok(Json(call.read::<i64>()? * 2))
    })
}

fn forever(dropped: &Arc<AtomicBool>) -> Task {
    struct OnDrop(Arc<AtomicBool>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::clone(dropped);
    Task::new("forever", move |_| {
        let guard = OnDrop(Arc::clone(&dropped));
        async move {
            let _guard = guard;
            std::future::pending::<Result<(), TaskError>>().await
        }
    })
}

#[tokio::test]
async fn answers_and_ends_when_the_host_does() {
    let (mut host, served) = Host::of(Worker::new("w").task(double())).await;
    host.ask(1, "double", "21").await;
    assert_eq!(host.reply().await, (1, Ok("42".into())));
    host.ask(2, "double", "4").await;
    host.0.close().await.unwrap();
    assert_eq!(host.reply().await, (2, Ok("8".into())));
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn says_what_it_is() {
    let (mut host, other) = memory_pair();
    let task = double()
        .hint("host_exclusive")
        .cacheable()
        .description("twice as much");
    let worker = Worker::new("w")
        .version("2.1")
        .concurrency(NonZeroU32::new(3).unwrap())
        .task(task);
    tokio::spawn(worker.serve_on(other));
    let Incoming::Message(hello) = host.receive().await.unwrap() else {
        panic!()
    };
    assert_eq!(
        hello.to_string(),
        concat!(
            r#"{"type":"event","event":"hello","protocol":[1],"name":"w","version":"2.1","concurrency":3,"#,
            r#""capabilities":["cancel","progress","ping","drain"],"tasks":{"double":"#,
            r#"{"hint":"host_exclusive","cacheable":true,"description":"twice as much"}}}"#
        )
    );
}

#[tokio::test]
async fn refuses_what_it_cannot_do_and_goes_on() {
    let (mut host, _served) = Host::of(Worker::new("w").task(double())).await;
    host.ask(1, "treble", "1").await;
    let unknown = "there is no task `treble` here; known: double";
    assert_eq!(
        host.failure().await,
        (1, "unknown_task".into(), unknown.into())
    );

    host.ask(2, "double", "\"x\"").await;
    let (id, code, message) = host.failure().await;
    assert_eq!((id, code.as_str()), (2, "invalid_input"));
    assert!(message.contains("expected i64"), "{message}");

    host.ask(3, "double", "1").await;
    assert_eq!(host.reply().await, (3, Ok("2".into())));
}

fn boom() -> Result<(), TaskError> {
    panic!("boom")
}

#[tokio::test]
async fn a_panic_is_the_failure_of_one_request() {
    let worker = Worker::new("w")
        .task(double())
        .task(Task::new("now", |_| async { boom() }))
        .task(Task::new(
            "at-once",
            |_| -> std::future::Ready<Result<(), _>> { panic!("boom") },
        ))
        .task(Task::new("later", |_| async {
            tokio::task::yield_now().await;
            boom()
        }))
        .task(Task::blocking("thread", |_| boom()));
    let (mut host, _served) = Host::of(worker).await;
    for (id, task) in [(1, "now"), (2, "at-once"), (3, "later"), (5, "thread")] {
        host.ask(id, task, "1").await;
        let expected = (id, "panic".to_owned(), "the task panicked: boom".to_owned());
        assert_eq!(host.failure().await, expected);
    }
    host.ask(4, "double", "1").await;
    assert_eq!(host.reply().await, (4, Ok("2".into())));
}

#[tokio::test]
async fn answers_pings_and_cancels_while_it_works() {
    let dropped = Arc::default();
    let (mut host, _served) = Host::of(Worker::new("w").task(forever(&dropped))).await;
    host.ask(1, "forever", "1").await;
    host.ask(2, "forever", "1").await;
    host.send(Event::Ping(Nonce { nonce: 9 })).await;
    assert_eq!(host.event().await, Event::Pong(Nonce { nonce: 9 }));

    let cancel = |id: u64| {
        Event::Cancel(Cancel {
            id: id.into(),
            reason: None,
        })
    };
    host.send(cancel(2)).await;
    let waiting = (
        2,
        "cancelled".to_owned(),
        "cancelled before it began".to_owned(),
    );
    assert_eq!(host.failure().await, waiting);
    assert!(!dropped.load(Ordering::SeqCst));

    host.send(cancel(1)).await;
    assert_eq!(host.failure().await.1, "cancelled");
    assert!(dropped.load(Ordering::SeqCst), "the work itself has ended");
    host.send(cancel(1)).await;
    host.send(Event::Ping(Nonce { nonce: 10 })).await;
    assert_eq!(
        host.event().await,
        Event::Pong(Nonce { nonce: 10 }),
        "one answer a request"
    );
}

#[tokio::test]
async fn a_blocking_task_sees_its_cancel_and_answers_itself() {
    let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
    let task = Task::blocking("dig", move |call: &Call| -> Result<(), _> {
        started.send(()).unwrap();
        while !call.is_cancelled() {
            std::thread::yield_now();
        }
        Err(call.cancelled_error())
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task)).await;
    host.ask(1, "dig", "1").await;
    has_started.recv().await.unwrap();
    host.send(Event::Cancel(Cancel {
        id: 1.into(),
        reason: Some("timeout".into()),
    }))
    .await;
    assert_eq!(host.failure().await.1, "cancelled");
}

#[tokio::test]
async fn what_a_task_says_comes_before_its_reply() {
    let task = Task::new("talk", |call: Call| async move {
        call.progress(1.0, Some(2.0), Some("half"));
        call.log(LogLevel::Warn, "odd");
        Ok(())
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task)).await;
    host.ask(7, "talk", "1").await;
    let expected = [
        r#"{"type":"event","event":"progress","id":"7","done":1,"total":2,"message":"half"}"#,
        r#"{"type":"event","event":"log","id":"7","level":"warn","message":"odd"}"#,
        r#"{"type":"response","id":"7","result":null}"#,
    ];
    for line in expected {
        assert_eq!(host.message().await.to_string(), line);
    }
}

#[tokio::test]
async fn a_chatty_task_cannot_fill_the_memory() {
    let task = Task::new("talk", |call: Call| async move {
        (0..5000).for_each(|line| call.log(LogLevel::Info, line.to_string()));
        Ok(())
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task)).await;
    host.ask(7, "talk", "1").await;
    let mut lines = 0;
    let warning = loop {
        match host.event().await {
            Event::Log(log) if log.level == LogLevel::Warn => break log.message,
            _ => lines += 1,
        }
    };
    assert_eq!(
        warning,
        format!(
            "{} log lines were dropped: they came too fast",
            5000 - lines
        )
    );
    assert_eq!(host.reply().await, (7, Ok("null".into())));
}

#[tokio::test]
async fn works_on_as_many_as_it_says_and_says_which() {
    let dropped = Arc::default();
    let two = NonZeroU32::new(2).unwrap();
    let worker = Worker::new("w")
        .concurrency(two)
        .task(forever(&dropped))
        .task(double());
    let (mut host, _served) = Host::of(worker).await;
    host.ask(1, "forever", "1").await;
    assert!(matches!(host.event().await, Event::Started(started) if started.id == 1.into()));
    host.ask(2, "double", "1").await;
    assert!(matches!(host.event().await, Event::Started(started) if started.id == 2.into()));
    assert_eq!(host.reply().await, (2, Ok("2".into())), "out of order");

    host.ask(3, "forever", "1").await;
    assert!(matches!(host.event().await, Event::Started(_)));
    host.ask(4, "double", "1").await;
    host.send(Event::Ping(Nonce { nonce: 1 })).await;
    assert!(
        matches!(host.event().await, Event::Pong(_)),
        "the fourth waits for room"
    );
}

#[tokio::test]
async fn drains_before_it_ends() {
    let (mut host, served) = Host::of(Worker::new("w").task(double())).await;
    host.0
        .queue(&Request::new(1, "double", Payload::from_json("1").unwrap()).into())
        .unwrap();
    host.send(Event::Drain).await;
    assert_eq!(host.reply().await, (1, Ok("2".into())));
    served.await.unwrap().unwrap();
    assert_eq!(host.0.receive().await.unwrap(), Incoming::End);
}

#[tokio::test]
async fn gets_ready_before_it_says_so() {
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::new("w")
        .task(double())
        .prepare(async move { Ok(gone.await?) });
    let (mut host, _served) = Host::of(worker).await;
    host.ask(1, "double", "1").await;
    host.send(Event::Ping(Nonce { nonce: 1 })).await;
    assert!(matches!(host.event().await, Event::Pong(_)));
    go.send(()).unwrap();
    assert_eq!(host.event().await, Event::Ready);
    assert_eq!(host.reply().await, (1, Ok("2".into())));
}

#[tokio::test]
async fn a_worker_that_cannot_get_ready_ends_with_the_reason() {
    let worker = Worker::new("w").prepare(async { Err("no model".into()) });
    let (_host, served) = Host::of(worker).await;
    let error = served.await.unwrap().unwrap_err();
    assert!(matches!(&error, IpcError::Prepare(reason) if reason.to_string() == "no model"));
}

#[tokio::test]
async fn a_result_too_large_is_the_failure_of_its_request() {
    let task = Task::new("grow", |call: Call| async move {
        Ok(Json("x".repeat(call.read()?)))
    });
    let limits = Limits {
        max_message_bytes: 300,
        ..Limits::default()
    };
    let (mut host, other) = memory_pair_with(1 << 16, limits);
    tokio::spawn(Worker::new("w").task(task).serve_on(other));
    host.receive().await.unwrap();
    let mut host = Host(host);
    host.ask(1, "grow", "1000").await;
    let (id, code, message) = host.failure().await;
    assert_eq!((id, code.as_str()), (1, "message_too_large"));
    assert!(message.contains("no more than 300"), "{message}");
    host.ask(2, "grow", "1").await;
    assert_eq!(host.reply().await, (2, Ok("\"x\"".into())));
}

#[tokio::test]
async fn a_broken_request_is_answered_or_complained_of() {
    use tokio::io::AsyncWriteExt;
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(near);
    tokio::spawn(Worker::new("w").serve_on(StdioTransport::new(reader, writer)));
    far.write_all(b"{\"type\":\"request\",\"id\":\"7\"}\n{\"type\":\"request\"}\nnoise\n")
        .await
        .unwrap();
    let (reader, writer) = tokio::io::split(far);
    let mut host = Host(StdioTransport::new(reader, writer));
    assert!(matches!(host.event().await, Event::Hello(_)));
    let (id, code, message) = host.failure().await;
    assert_eq!((id, code.as_str()), (7, "malformed"));
    assert!(message.contains("missing field `task`"), "{message}");
    for expected in ["missing field `id`", "not a message: noise"] {
        let Event::Log(log) = host.event().await else {
            panic!()
        };
        assert!(log.message.contains(expected), "{}", log.message);
    }
}

#[tokio::test]
async fn what_is_too_large_to_say_does_not_end_the_worker() {
    let task = Task::new("talk", |call: Call| async move {
        call.log(LogLevel::Info, "x".repeat(1000));
        call.progress(1.0, None, Some(&"x".repeat(1000)));
        call.log(LogLevel::Info, "short");
        Ok(())
    });
    let limits = Limits {
        max_message_bytes: 300,
        ..Limits::default()
    };
    let (host, other) = memory_pair_with(1 << 16, limits);
    tokio::spawn(Worker::new("w").task(task).serve_on(other));
    let mut host = Host(host);
    assert!(matches!(host.event().await, Event::Hello(_)));
    host.ask(1, "talk", "1").await;
    assert!(matches!(host.event().await, Event::Log(log) if log.message == "short"));
    assert_eq!(host.reply().await, (1, Ok("null".into())));

    // An id so long that not even a refusal fits: nobody can be answered, and the worker goes on.
    let id = "i".repeat(210);
    host.send(Request::new(id.as_str(), "t", Payload::null()))
        .await;
    host.ask(2, "talk", "1").await;
    assert!(matches!(host.event().await, Event::Log(_)));
    assert_eq!(host.reply().await, (2, Ok("null".into())));
}

#[tokio::test]
async fn a_long_text_is_cut() {
    let task = Task::new("talk", |call: Call| async move {
        call.log(LogLevel::Info, "\u{e9}".repeat(20_000));
        Ok(())
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task)).await;
    host.ask(1, "talk", "1").await;
    let Event::Log(log) = host.event().await else {
        panic!()
    };
    assert_eq!(log.message.len(), 16 * 1024 + '\u{2026}'.len_utf8());
}

#[tokio::test]
async fn only_requests_are_answered() {
    use tokio::io::AsyncWriteExt;
    let dropped = Arc::default();
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(near);
    let worker = Worker::new("w").task(forever(&dropped));
    tokio::spawn(worker.serve_on(StdioTransport::new(reader, writer)));
    let request = IpcMessage::from(Request::new(7, "forever", Payload::null()));
    let broken = r#"{"type":"event","event":"cancel","id":"7","reason":5}"#;
    let cancel = r#"{"type":"event","event":"cancel","id":"7"}"#;
    far.write_all(format!("{request}\n{broken}\n{cancel}\n").as_bytes())
        .await
        .unwrap();
    let (reader, writer) = tokio::io::split(far);
    let mut host = Host(StdioTransport::new(reader, writer));
    assert!(matches!(host.event().await, Event::Hello(_)));
    assert!(
        matches!(host.event().await, Event::Log(log) if log.message.contains("reason")
        || log.message.contains("invalid type"))
    );
    assert_eq!(host.failure().await.1, "cancelled");
}

#[tokio::test]
async fn a_task_that_panics_when_it_is_dropped_is_answered() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("boom");
        }
    }
    let task = Task::new("bomb", |_| async {
        let _bomb = Bomb;
        std::future::pending::<Result<(), TaskError>>().await
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task).task(double())).await;
    host.ask(1, "bomb", "1").await;
    host.send(Event::Ping(Nonce { nonce: 1 })).await;
    assert!(matches!(host.event().await, Event::Pong(_)), "it runs");
    host.send(Event::Cancel(Cancel {
        id: 1.into(),
        reason: None,
    }))
    .await;
    assert_eq!(host.failure().await.0, 1);
    host.ask(2, "double", "1").await;
    assert_eq!(host.reply().await, (2, Ok("2".into())));
}

#[tokio::test]
async fn requests_of_one_id_are_each_answered() {
    let dropped = Arc::default();
    let two = NonZeroU32::new(2).unwrap();
    let (mut host, _served) =
        Host::of(Worker::new("w").concurrency(two).task(forever(&dropped))).await;
    for _ in 0..2 {
        host.ask(1, "forever", "1").await;
        assert!(matches!(host.event().await, Event::Started(_)));
    }
    for _ in 0..2 {
        host.send(Event::Cancel(Cancel {
            id: 1.into(),
            reason: None,
        }))
        .await;
        assert_eq!(host.failure().await.1, "cancelled");
    }
}

#[tokio::test]
async fn a_task_may_clean_up_before_it_stops() {
    let task = Task::new("tidy", |call: Call| async move {
        call.cancelled().await;
        Err::<(), _>(TaskError::new(TaskError::CANCELLED, "all tidy"))
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task.stops_itself())).await;
    host.ask(1, "tidy", "1").await;
    host.send(Event::Ping(Nonce { nonce: 1 })).await;
    assert!(matches!(host.event().await, Event::Pong(_)), "it runs");
    host.send(Event::Cancel(Cancel {
        id: 1.into(),
        reason: None,
    }))
    .await;
    assert_eq!(host.failure().await.2, "all tidy");
}

#[tokio::test]
async fn a_worker_with_its_hands_full_still_speaks() {
    let task = Task::new("talk", |call: Call| async move {
        loop {
            call.progress(1.0, None, None);
            tokio::task::yield_now().await;
        }
        #[expect(unreachable_code, reason = "it says what the task would bring")]
        Ok(())
    });
    let (mut host, _served) = Host::of(Worker::new("w").task(task)).await;
    host.ask(1, "talk", "1").await;
    assert!(matches!(host.event().await, Event::Progress(_)));
    // More than it is ready to hold: the rest waits in the pipe.
    let input = Payload::from_text(&"x".repeat(8 * 1024 * 1024));
    for id in 2..14 {
        host.0
            .queue(&Request::new(id, "talk", input.clone()).into())
            .unwrap();
    }
    for _ in 0..2000 {
        assert!(matches!(host.event().await, Event::Progress(_)));
    }
    assert!(
        host.0.unsent_bytes() > input.as_str().len(),
        "it takes no more than it can hold"
    );
}

#[test]
fn a_reply_does_not_wait_for_the_next_request_to_be_done() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let slow = Task::new("slow", |_| async {
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        Ok(())
    });
    // It blocks the whole worker until the host has the first reply.
    let stuck = Task::new("stuck", move |_| {
        gone.lock().unwrap().recv().unwrap();
        async { Ok(()) }
    });
    let worker = Worker::new("w").task(slow).task(stuck);
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let serving = std::thread::spawn(move || {
        runtime().block_on(async {
            let (reader, writer) = stream(near).into_split();
            worker.serve_on(StdioTransport::new(reader, writer)).await
        })
    });
    runtime().block_on(async {
        let (reader, writer) = stream(far).into_split();
        let mut host = StdioTransport::new(reader, writer);
        for (id, task) in [(1, "slow"), (2, "stuck")] {
            host.queue(&Request::new(id, task, Payload::null()).into())
                .unwrap();
        }
        assert!(
            matches!(host.receive().await.unwrap(), Incoming::Message(_)),
            "the hello"
        );
        let first = host.receive().await.unwrap();
        assert!(
            matches!(first, Incoming::Message(IpcMessage::Response(reply)) if reply.id == 1.into())
        );
        go.send(()).unwrap();
        let second = host.receive().await.unwrap();
        assert!(matches!(second, Incoming::Message(IpcMessage::Response(_))));
    });
    serving.join().unwrap().unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn stream(socket: std::os::unix::net::UnixStream) -> tokio::net::UnixStream {
    socket.set_nonblocking(true).unwrap();
    tokio::net::UnixStream::from_std(socket).unwrap()
}

mod with_a_mock {
    use super::*;
    use crate::mock::MockIpcTransport;

    fn broken_pipe() -> IpcError {
        IpcError::Write(std::io::ErrorKind::BrokenPipe.into())
    }

    #[tokio::test]
    async fn a_host_that_is_gone_before_the_hello_ends_the_worker() {
        let mut transport = MockIpcTransport::new();
        transport
            .expect_send()
            .times(1)
            .returning(|_| Err(broken_pipe()));
        let ended = Worker::new("w").serve_on(transport).await;
        assert!(matches!(ended, Err(IpcError::Write(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_host_that_is_gone_before_the_answer_ends_the_worker() {
        let mut transport = MockIpcTransport::new();
        transport.expect_send().times(1).returning(|_| Ok(()));
        let request = Request::new(1, "double", Payload::from_json("1").unwrap());
        let request = Incoming::Message(request.into());
        transport
            .expect_receive()
            .times(1)
            .return_once(|| Ok(request));
        transport.expect_try_receive().returning(|| None);
        transport.expect_unsent_bytes().returning(|| 0);
        transport
            .expect_queue()
            .times(1)
            .returning(|_| Err(broken_pipe()));
        let ended = Worker::new("w").task(double()).serve_on(transport).await;
        assert!(matches!(ended, Err(IpcError::Write(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_host_that_does_not_read_gets_no_more_replies_than_fill_a_pipe() {
        use std::sync::atomic::AtomicUsize;

        let unsent = Arc::new(AtomicUsize::new(0));
        let mut transport = MockIpcTransport::new();
        transport.expect_send().returning(|_| Ok(()));
        let requests =
            (1..=3).map(|id| Request::new(id, "double", Payload::from_json("1").unwrap()));
        let mut requests = requests.map(|request| Incoming::Message(request.into()));
        let first = requests.next().unwrap();
        transport
            .expect_receive()
            .times(1)
            .return_once(|| Ok(first));
        transport.expect_receive().returning(|| Ok(Incoming::End));
        transport
            .expect_try_receive()
            .returning(move || requests.next());
        let seen = Arc::clone(&unsent);
        transport
            .expect_unsent_bytes()
            .returning(move || seen.load(Ordering::SeqCst));
        let full = Arc::clone(&unsent);
        // Each reply fills the pipe, and has to have left before the next is begun.
        transport.expect_queue().times(3).returning(move |_| {
            assert_eq!(full.swap(64 * 1024, Ordering::SeqCst), 0);
            Ok(())
        });
        transport.expect_flush().returning(move || {
            unsent.store(0, Ordering::SeqCst);
            Ok(())
        });
        Worker::new("w")
            .task(double())
            .serve_on(transport)
            .await
            .unwrap();
    }
}
