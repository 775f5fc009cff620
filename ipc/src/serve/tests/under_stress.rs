//! Tests of hosts and tasks that send too much, or fail in the middle of something.

use super::*;

#[tokio::test]
async fn a_message_that_is_too_large_does_not_end_the_worker() {
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

    // With an id this long, not even a refusal fits into a message. The request gets no answer, and the worker
    // continues.
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
    host.cancel(1).await;
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
        host.cancel(1).await;
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
    host.cancel(1).await;
    assert_eq!(host.failure().await.2, "all tidy");
}

#[tokio::test]
async fn a_worker_with_a_full_queue_still_sends_events() {
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
    // More than the worker is willing to hold, so the rest stays in the pipe.
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
    // This task blocks the whole worker until the host has the first reply.
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
