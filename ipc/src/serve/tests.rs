mod under_stress;
mod with_a_mock;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::messages::{
    Cancel, Event, IpcMessage, LogLevel, Nonce, Payload, Request, Response, TaskError,
};
use crate::serialization::Incoming;
use crate::transport::{MemoryTransport, memory_pair, memory_pair_with};

/// The host of a worker that runs in the same process.
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

    async fn cancel(&mut self, id: u64) {
        let cancel = Cancel {
            id: id.into(),
            reason: None,
        };
        self.send(Event::Cancel(cancel)).await;
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
async fn a_worker_answers_and_ends_when_the_host_closes_its_side() {
    let (mut host, served) = Host::of(Worker::new("w").task(double())).await;
    host.ask(1, "double", "21").await;
    assert_eq!(host.reply().await, (1, Ok("42".into())));
    host.ask(2, "double", "4").await;
    host.0.close().await.unwrap();
    assert_eq!(host.reply().await, (2, Ok("8".into())));
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_says_hello_with_all_that_was_declared() {
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
async fn a_worker_refuses_an_unknown_task_or_a_wrong_input_and_goes_on() {
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
async fn a_worker_answers_pings_and_cancels_while_it_works() {
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
async fn the_events_of_a_task_come_before_its_reply() {
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
async fn a_worker_works_on_as_many_requests_as_it_declares_and_reports_each_start() {
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
async fn a_worker_that_drains_answers_before_it_ends() {
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
async fn a_worker_prepares_before_it_says_that_it_is_ready() {
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
async fn a_worker_whose_preparation_fails_ends_with_the_reason() {
    let worker = Worker::new("w").prepare(async { Err("no model".into()) });
    let (_host, served) = Host::of(worker).await;
    let error = served.await.unwrap().unwrap_err();
    assert!(matches!(&error, IpcError::Prepare(reason) if reason.to_string() == "no model"));
}

#[tokio::test]
async fn a_result_that_is_too_large_fails_its_request_only() {
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
async fn a_broken_request_is_answered_or_logged() {
    use tokio::io::AsyncWriteExt;
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(near);
    tokio::spawn(Worker::new("w").serve_on(StdioTransport::new(reader, writer)));
    far.write_all(b"{\"type\":\"request\",\"id\":\"7\"}\n{\"type\":\"request\"}\nnoise\n")
        .await
        .unwrap();
    far.write_all(b"{\"type\":\"request\",\"id\":\"8\",\"task\":\"w\",\"input\":NaN}\n")
        .await
        .unwrap();
    far.write_all(b"{\"type\":\"request\",\"id\":\"9\",\"task\":\"w\",\"input\":\"\xe9\"}\n")
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
    for expected in [8, 9] {
        let (id, code, message) = host.failure().await;
        assert_eq!((id, code.as_str()), (expected, "malformed"), "{message}");
    }
}
