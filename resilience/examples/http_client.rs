//! An HTTP client with retries, a breaker, a retry budget and a shutdown, against a server that fails on purpose.
//!
//! `cargo run -p ratchet-resilience --example http_client`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use ratchet_resilience::circuit_breaker::CircuitBreaker;
use ratchet_resilience::retry::{BackoffPolicy, Fault, RetryBudget, RetryExecutor};
use ratchet_resilience::shutdown::{Phase, ShutdownCoordinator, Signals};
use ratchet_resilience::tower::RetryLayer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_layer::Layer as _;
use tower_service::Service as _;

/// Returns which responses are failures, and which of those are the server's fault.
fn classify<B, E>(result: &Result<Response<B>, E>) -> Result<(), Fault<&'static str>> {
    match result.as_ref().map(|answer| answer.status().as_u16()) {
        Ok(429) => Err(Fault::transient("throttled").ignored_by_breakers()),
        Ok(500..) => Err(Fault::transient("server error")),
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::transient("no answer")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(serve(listener));

    let executor = RetryExecutor::new(BackoffPolicy::builder().max_attempts(5).build()?)
        .attempt_timeout(Duration::from_secs(2))?
        .circuit_breaker(CircuitBreaker::builder().build()?)
        .budget(Arc::new(RetryBudget::builder().build()?))
        .on_retry(|retry| println!("attempt {}: {}", retry.attempt, retry.error));
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<&'static [u8]>>();
    let mut client = RetryLayer::new(executor, classify).layer(client);

    let shutdown = ShutdownCoordinator::new();
    let mut signals = Signals::install()?;
    let listener = shutdown.clone();
    tokio::spawn(async move { listener.signalled(signals.recv().await) });

    for _ in 0..3 {
        poll_fn(|cx| client.poll_ready(cx)).await?;
        tokio::select! {
            answer = client.call(Request::get(&uri).body(Empty::new())?) => println!("{}", answer?.status()),
            () = shutdown.reached(Phase::Draining) => break,
        }
    }
    Ok(())
}

/// Fails two of three requests.
async fn serve(listener: tokio::net::TcpListener) -> std::io::Result<Infallible> {
    for status in [503, 429, 200].into_iter().cycle() {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await?;
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
    unreachable!("the statuses are endless")
}
