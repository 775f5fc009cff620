//! Tests of the transport over in-memory pipes, where a test sees every poll.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ratchet_ipc::{
    Event, Incoming, IpcError, IpcMessage, IpcTransport, Limits, Nonce, Payload, Request, Response,
    StdioTransport, memory_pair, memory_pair_with,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};

fn request(id: u64) -> IpcMessage {
    Request::new(id, "t", Payload::null()).into()
}

fn large(id: u64, bytes: usize) -> IpcMessage {
    Response {
        id: id.into(),
        outcome: Ok(Payload::from_text(&"x".repeat(bytes))),
    }
    .into()
}

/// Counts the calls that would be system calls.
struct Counting<T> {
    inner: T,
    calls: Arc<AtomicUsize>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counting<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.calls
            .fetch_add(usize::from(read.is_ready()), Ordering::Relaxed);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counting<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn many_messages_take_one_write_and_one_read() {
    let (reads, writes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (near, far) = duplex(1 << 20);
    let (near_reader, near) = tokio::io::split(near);
    let (far_reader, far) = tokio::io::split(far);
    let near = Counting {
        inner: near,
        calls: Arc::clone(&writes),
    };
    let far_reader = Counting {
        inner: far_reader,
        calls: Arc::clone(&reads),
    };
    let mut host = StdioTransport::new(near_reader, near);
    let mut worker = StdioTransport::new(far_reader, far);

    for id in 0..256 {
        host.queue(&request(id)).unwrap();
    }
    host.flush().await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed), 1);

    let mut received = vec![worker.receive().await.unwrap()];
    received.extend(std::iter::from_fn(|| worker.try_receive()));
    let expected: Vec<Incoming> = (0..256).map(|id| Incoming::Message(request(id))).collect();
    assert_eq!(received, expected);
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn both_sides_writing_more_than_the_pipes_hold_do_not_deadlock() {
    async fn exchange(mut end: impl IpcTransport, id: u64) -> Incoming {
        end.send(large(id, 50_000)).await.unwrap();
        let received = end.receive().await.unwrap();
        end.close().await.unwrap();
        received
    }
    let (host, worker) = memory_pair_with(64, Limits::default());
    let (at_host, at_worker) = tokio::join!(exchange(host, 1), exchange(worker, 2));
    assert_eq!(at_host, Incoming::Message(large(2, 50_000)));
    assert_eq!(at_worker, Incoming::Message(large(1, 50_000)));
}

#[tokio::test]
async fn receiving_writes_what_is_queued() {
    let (mut host, mut worker) = memory_pair_with(64, Limits::default());
    host.queue(&large(1, 10_000)).unwrap();
    let echo = async {
        let Incoming::Message(message) = worker.receive().await.unwrap() else {
            panic!()
        };
        worker.send(message).await.unwrap();
    };
    let (answer, ()) = tokio::join!(host.receive(), echo);
    assert_eq!(answer.unwrap(), Incoming::Message(large(1, 10_000)));
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    let (near, mut far) = duplex(1 << 16);
    let (reader, writer) = tokio::io::split(near);
    let mut host = StdioTransport::new(reader, writer);
    let line = format!("{}\n", request(7));
    for byte in line.as_bytes() {
        // Each poll reads one byte and is dropped before the message is complete.
        tokio::select! {
            biased;
            incoming = host.receive() => panic!("{incoming:?}"),
            () = std::future::ready(()) => {}
        }
        far.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(host.receive().await.unwrap(), Incoming::Message(request(7)));
}

#[tokio::test]
async fn a_cancelled_send_never_sends_half_a_message() {
    let (mut host, mut worker) = memory_pair_with(16, Limits::default());
    tokio::select! {
        biased;
        sent = host.send(large(1, 1000)) => panic!("{sent:?}"),
        () = std::future::ready(()) => {}
    }
    host.queue(&request(2)).unwrap();
    let receive = async {
        assert_eq!(
            worker.receive().await.unwrap(),
            Incoming::Message(large(1, 1000))
        );
        assert_eq!(
            worker.receive().await.unwrap(),
            Incoming::Message(request(2))
        );
    };
    let (flushed, ()) = tokio::join!(host.flush(), receive);
    flushed.unwrap();
}

#[tokio::test]
async fn after_close_the_last_answers_still_come_and_then_the_end() {
    let (mut host, mut worker) = memory_pair();
    host.queue(&request(1)).unwrap();
    host.close().await.unwrap();
    assert!(matches!(host.queue(&request(2)), Err(IpcError::Closed)));

    assert_eq!(
        worker.receive().await.unwrap(),
        Incoming::Message(request(1))
    );
    assert_eq!(worker.receive().await.unwrap(), Incoming::End);
    worker.send(large(1, 10)).await.unwrap();
    drop(worker);
    assert_eq!(
        host.receive().await.unwrap(),
        Incoming::Message(large(1, 10))
    );
    for _ in 0..2 {
        assert_eq!(host.try_receive(), None);
        assert_eq!(host.receive().await.unwrap(), Incoming::End);
    }
}

/// A reader that returns some bytes and then fails.
struct Failing(Option<Vec<u8>>);

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match self.0.take() {
            Some(bytes) => {
                buffer.put_slice(&bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }
}

fn failing() -> Failing {
    Failing(Some(format!("{}\n", request(1)).into_bytes()))
}

#[tokio::test]
async fn a_failure_to_read_differs_from_the_end() {
    let mut host = StdioTransport::new(failing(), tokio::io::sink());
    assert_eq!(host.receive().await.unwrap(), Incoming::Message(request(1)));
    assert!(matches!(host.receive().await, Err(IpcError::Read(_))));
    assert_eq!(host.receive().await.unwrap(), Incoming::End);
}

#[tokio::test]
async fn a_failure_to_read_during_a_write_is_reported_by_the_next_receive() {
    let (near, mut far) = duplex(16);
    let mut host = StdioTransport::new(failing(), near);
    host.queue(&large(2, 1000)).unwrap();
    let take = async { tokio::io::copy(&mut far, &mut tokio::io::sink()).await };
    tokio::select! {
        flushed = host.flush() => flushed.unwrap(),
        copied = take => panic!("{copied:?}"),
    }
    assert_eq!(host.receive().await.unwrap(), Incoming::Message(request(1)));
    assert!(matches!(host.receive().await, Err(IpcError::Read(_))));
    assert_eq!(host.receive().await.unwrap(), Incoming::End);
}

#[tokio::test]
async fn a_peer_that_closed_its_stdin_is_still_read() {
    let (reader, mut far_writer) = duplex(1 << 16);
    let (writer, far_reader) = duplex(1 << 16);
    let mut host = StdioTransport::new(reader, writer);
    drop(far_reader);
    host.queue(&request(1)).unwrap();
    assert!(matches!(host.receive().await, Err(IpcError::Write(_))));
    assert!(matches!(host.queue(&request(2)), Err(IpcError::Closed)));
    host.flush().await.unwrap();

    let ping: IpcMessage = Event::Ping(Nonce { nonce: 1 }).into();
    far_writer
        .write_all(format!("{ping}\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(host.receive().await.unwrap(), Incoming::Message(ping));
}

#[tokio::test]
async fn a_flush_gets_past_a_line_that_is_too_long_to_keep() {
    let limits = Limits {
        max_message_bytes: 2000,
        ..Limits::default()
    };
    let (near, far) = duplex(64);
    let (reader, writer) = tokio::io::split(near);
    let mut host = StdioTransport::with(reader, writer, ratchet_ipc::Native, limits);
    let (mut reader, mut writer) = tokio::io::split(far);
    let peer = async {
        // The peer does not read before it has written all of this.
        writer.write_all(&vec![b'x'; 100_000]).await.unwrap();
        tokio::io::copy(&mut reader, &mut tokio::io::sink())
            .await
            .unwrap();
    };
    host.queue(&large(1, 1000)).unwrap();
    tokio::select! {
        flushed = host.flush() => flushed.unwrap(),
        () = peer => panic!("the peer has no reason to end"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_keeps_no_more_than_one_message_of_its_peer() {
    let limits = Limits {
        max_message_bytes: 2000,
        ..Limits::default()
    };
    let (near, mut far) = duplex(64);
    let (reader, writer) = tokio::io::split(near);
    let mut host = StdioTransport::with(reader, writer, ratchet_ipc::Native, limits);
    host.queue(&large(1, 1000)).unwrap();
    let line = format!("{}\n", request(7));
    let mut said = 0;
    tokio::select! {
        biased;
        flushed = host.flush() => panic!("nobody reads: {flushed:?}"),
        () = async {
            while said < 100_000 {
                // The clock is paused, so this time passes only when both sides wait.
                let wrote = far.write_all(line.as_bytes());
                if tokio::time::timeout(std::time::Duration::from_secs(1), wrote).await.is_err() {
                    return;
                }
                said += line.len();
            }
        } => {}
    }
    assert!((2000..70_000).contains(&said), "{said}");
}

/// A writer that accepts all bytes and fails on flush.
struct Unflushable;

impl AsyncWrite for Unflushable {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_failed_flush_is_reported_once_and_reading_goes_on() {
    let bytes = format!("{}\n", request(1)).into_bytes();
    let mut host = StdioTransport::new(io::Cursor::new(bytes), Unflushable);
    assert!(matches!(host.receive().await, Err(IpcError::Write(_))));
    assert_eq!(host.receive().await.unwrap(), Incoming::Message(request(1)));
}

#[tokio::test(start_paused = true)]
async fn a_receive_from_a_peer_that_prints_without_end_yields_to_timers() {
    /// An endless reader, like `yes`.
    struct Chatter(usize);

    impl AsyncRead for Chatter {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0 += 1;
            assert!(self.0 < 100, "nobody ever looks up");
            buffer.put_slice(b"y\n");
            Poll::Ready(Ok(()))
        }
    }

    let limits = Limits {
        stray_lines_per_second: 1,
        ..Limits::default()
    };
    let chatter = Chatter(0);
    let mut transport =
        StdioTransport::with(chatter, tokio::io::sink(), ratchet_ipc::Native, limits);
    assert!(matches!(
        transport.receive().await.unwrap(),
        Incoming::Stray(_)
    ));
    // The second branch is ready, and the first one must not starve it.
    let first = tokio::select! {
        biased;
        incoming = transport.receive() => panic!("{incoming:?}"),
        () = std::future::ready(()) => "looked up",
    };
    assert_eq!(first, "looked up");
}
