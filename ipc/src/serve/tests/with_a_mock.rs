//! Tests with hosts that behave as no process could.

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
async fn a_host_that_does_not_read_gets_at_most_a_pipe_full_of_replies() {
    use std::sync::atomic::AtomicUsize;

    let unsent = Arc::new(AtomicUsize::new(0));
    let mut transport = MockIpcTransport::new();
    transport.expect_send().returning(|_| Ok(()));
    let requests = (1..=3).map(|id| Request::new(id, "double", Payload::from_json("1").unwrap()));
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
    // Each reply fills the pipe, and has to be sent before the next request is started.
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
