//! Tests the tower layer around a real HTTP client, with a server that fails on purpose.
#![cfg(feature = "tower")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use ratchet_resilience::circuit_breaker::{CircuitBreaker, State};
use ratchet_resilience::retry::{BackoffPolicy, Delay, Fault, GiveUpReason, RetryExecutor};
use ratchet_resilience::tower::{RequestError, RetryLayer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer as _;
use tower_service::Service as _;

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Step {
    /// It responds with this status.
    Status(u16),
    /// It closes the connection without a response.
    HangUp,
    /// It keeps the connection open and never responds.
    Silence,
}

/// Reads one request. Returns whether there was one.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Serves requests by these steps, one connection each, and returns how many requests arrived.
async fn serve(listener: TcpListener, steps: Vec<Step>) -> usize {
    let mut silent = Vec::new();
    let mut served = 0;
    for step in steps {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_request(&mut stream).await, "a request came");
        served += 1;
        match step {
            Step::HangUp => {}
            Step::Silence => silent.push(stream),
            Step::Status(status) => {
                let answer = format!(
                    "HTTP/1.1 {status} as told\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{status}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }
    served
}

type Answer = hyper_util::client::legacy::ResponseFuture;
type Body = <Answer as Future>::Output;

fn classify(result: &Body) -> Result<(), Fault<&'static str>> {
    match result.as_ref().map(|answer| answer.status().as_u16()) {
        Ok(429) => Err(Fault::transient("throttled").ignored_by_breakers()),
        Ok(500..) => Err(Fault::transient("server error")),
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::transient("no answer")),
    }
}

fn executor(max_attempts: u32) -> RetryExecutor {
    let policy = BackoffPolicy::builder()
        .max_attempts(max_attempts)
        .delay(Delay::Fixed(Duration::ZERO));
    RetryExecutor::new(policy.build().unwrap())
}

/// Sends one request to a server with these steps. Returns the response, and how many requests the server received.
async fn fetch(
    executor: RetryExecutor,
    steps: &[Step],
) -> (Result<String, RequestError<Error>>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener, steps.to_vec()));

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&'static [u8]>>();
    let mut client = RetryLayer::new(executor, classify).layer(client);
    let request = Request::get(&uri).body(Empty::new()).unwrap();
    std::future::poll_fn(|cx| client.poll_ready(cx))
        .await
        .unwrap();
    let answer = match client.call(request).await {
        Ok(answer) => {
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            Ok(String::from_utf8(body.to_vec()).unwrap())
        }
        Err(error) => Err(error),
    };
    let requests = match answer {
        // The server waits for a request that never comes.
        Err(RequestError::GivenUp(GiveUpReason::Rejected)) => {
            server.abort();
            0
        }
        _ => server.await.unwrap(),
    };
    (answer, requests)
}

#[tokio::test]
async fn a_request_is_retried_until_the_server_answers() {
    let steps = [
        Step::HangUp,
        Step::Status(503),
        Step::Status(429),
        Step::Status(200),
    ];
    let (answer, served) = fetch(executor(9), &steps).await;
    assert_eq!((answer.unwrap(), served), ("200".to_owned(), 4));
}

#[tokio::test]
async fn the_last_answer_or_error_is_returned_when_the_attempts_are_used_up() {
    let steps = [Step::HangUp, Step::Status(503)];
    let (answer, served) = fetch(executor(2), &steps).await;
    assert_eq!((answer.unwrap(), served), ("503".to_owned(), 2));

    let steps = [Step::Status(503), Step::HangUp];
    let (answer, served) = fetch(executor(2), &steps).await;
    assert!(matches!(answer, Err(RequestError::Failed(_))), "{answer:?}");
    assert_eq!(served, 2);
}

#[tokio::test]
async fn an_answer_that_is_no_failure_is_not_retried() {
    let (answer, served) = fetch(executor(9), &[Step::Status(404)]).await;
    assert_eq!((answer.unwrap(), served), ("404".to_owned(), 1));
}

#[tokio::test]
async fn a_silent_server_times_out_and_is_asked_again() {
    let executor = executor(2)
        .attempt_timeout(Duration::from_millis(300))
        .unwrap();
    let (answer, served) = fetch(executor, &[Step::Silence, Step::Status(200)]).await;
    assert_eq!((answer.unwrap(), served), ("200".to_owned(), 2));
}

#[tokio::test]
async fn a_breaker_refuses_requests_of_the_layer_and_ignores_429() {
    let breaker = CircuitBreaker::builder()
        .consecutive_failures(2)
        .build()
        .unwrap();
    let throttled = executor(3).circuit_breaker(breaker.clone());
    let (answer, _) = fetch(throttled, &[Step::Status(429); 3]).await;
    assert_eq!(answer.unwrap(), "429");
    assert_eq!(breaker.state(), State::Closed);

    let failing = executor(2).circuit_breaker(breaker.clone());
    let (answer, _) = fetch(failing, &[Step::Status(500), Step::HangUp]).await;
    assert!(answer.is_err());
    let refused = executor(2).circuit_breaker(breaker);
    let (answer, served) = fetch(refused, &[Step::Status(200)]).await;
    let error = answer.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request has no answer: the circuit breaker rejects calls"
    );
    assert_eq!(served, 0);
}
