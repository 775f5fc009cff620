use std::time::Duration;

use super::*;
use crate::messages::{Capability, Event, Hello, IpcMessage, ProtocolVersion, Response};
use crate::serialization::Incoming;
use crate::transport::IpcTransport;

type Worker = StdioTransport<
    tokio::io::ReadHalf<tokio::io::DuplexStream>,
    tokio::io::WriteHalf<tokio::io::DuplexStream>,
>;

/// Returns a client, and the other end of its connection.
fn connected() -> (WorkerClient, Worker) {
    let (host, worker) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(host);
    let client = WorkerClient::connect(reader, writer, Native);
    let (reader, writer) = tokio::io::split(worker);
    (client, StdioTransport::new(reader, writer))
}

async fn next(worker: &mut Worker) -> IpcMessage {
    match worker.receive().await.unwrap() {
        Incoming::Message(message) => message,
        other => panic!("not a message: {other:?}"),
    }
}

async fn answer(worker: &mut Worker, outcome: Result<Payload, TaskError>) {
    let IpcMessage::Request(request) = next(worker).await else {
        panic!("not a request");
    };
    let id = request.id;
    worker.send(Response { id, outcome }.into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_returns_the_result_or_the_error_of_the_task() {
    let (client, mut worker) = connected();
    let told = tokio::join!(client.call::<u32>("double", &21), async {
        answer(
            &mut worker,
            Payload::from_value(&42).map_err(TaskError::from),
        )
        .await;
    });
    assert_eq!(told.0.unwrap(), 42);
    let failed = tokio::join!(client.call::<u32>("double", &21), async {
        answer(&mut worker, Err(TaskError::new("full", "no room"))).await;
    });
    assert_eq!(failed.0.unwrap_err().to_string(), "no room (full)");
}

#[tokio::test(start_paused = true)]
async fn a_worker_gets_as_many_calls_at_once_as_its_hello_says() {
    let (client, mut worker) = connected();
    let hello = Hello {
        concurrency: 2.try_into().unwrap(),
        ..Hello::new([ProtocolVersion::V1])
    };
    worker.send(Event::Hello(hello).into()).await.unwrap();
    let calls: Vec<_> = (0..3).map(|n| client.begin("t", &n).unwrap()).collect();
    let first = next(&mut worker).await;
    let _second = next(&mut worker).await;
    let third = tokio::time::timeout(Duration::from_secs(5), worker.receive()).await;
    assert!(third.is_err(), "the third call waits");
    let IpcMessage::Request(request) = first else {
        panic!("not a request");
    };
    let outcome = Ok(Payload::null());
    let response = Response {
        id: request.id,
        outcome,
    };
    worker.send(response.into()).await.unwrap();
    assert!(
        matches!(next(&mut worker).await, IpcMessage::Request(third) if third.input.as_str() == "2")
    );
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_worker_that_understands_it_and_ends_a_call_that_waits() {
    let (client, mut worker) = connected();
    let hello = Hello {
        capabilities: [Capability::Cancel].into_iter().collect(),
        ..Hello::new([ProtocolVersion::V1])
    };
    worker.send(Event::Hello(hello).into()).await.unwrap();
    let running = client.begin("t", &1).unwrap();
    let waiting = client.begin("t", &2).unwrap();
    let IpcMessage::Request(request) = next(&mut worker).await else {
        panic!("not a request");
    };
    waiting.cancel();
    let ended = waiting.answer().await.unwrap_err();
    assert_eq!(ended.to_string(), "the call was cancelled (cancelled)");
    drop(running);
    let IpcMessage::Event(Event::Cancel(cancel)) = next(&mut worker).await else {
        panic!("not a cancel");
    };
    assert_eq!(cancel.id, request.id);
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_worker_that_ends_or_cannot_be_used_fail() {
    let (client, mut worker) = connected();
    worker
        .send(Event::Hello(Hello::new([ProtocolVersion(9)])).into())
        .await
        .unwrap();
    let refused = client.call::<u32>("t", &1).await.unwrap_err();
    assert!(matches!(refused, WorkerError::Refused(_)), "{refused}");
    drop(worker);

    let (client, worker) = connected();
    let call = client.begin("t", &1).unwrap();
    drop(worker);
    assert!(matches!(call.answer().await, Err(WorkerError::Ended)));
    // The conversation has ended, so a later call fails, at once or as soon as the client notices.
    let later = client.call::<u32>("t", &1).await;
    assert!(matches!(later, Err(WorkerError::Ended)));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_the_answers_and_then_ends_the_input() {
    let (client, mut worker) = connected();
    let call = client.begin("t", &1).unwrap();
    let serve = async {
        answer(&mut worker, Ok(Payload::from_text("done"))).await;
        assert_eq!(worker.receive().await.unwrap(), Incoming::End);
    };
    let (closed, answer, ()) = tokio::join!(client.close(), call.answer(), serve);
    closed.unwrap();
    assert_eq!(answer.unwrap().as_str(), "\"done\"");
}
