//! Tests of dialects with a handshake and with questions of the peer.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use super::*;
use crate::protocol::{
    Handshake, HandshakeError, HandshakeKind, HandshakeState, Profile, Readiness,
};
use crate::transport::{IpcTransport, StdioTransport};

/// A small line-based protocol that is entirely different from the native one:
///
/// ```text
/// -> hi 1                the session opens
/// <- hi 1 3              the peer accepts version 1 and works on 3 requests at once
/// -> go                  and is ready from now on
/// -> 7 {"a":1}           a request
/// <- 7 2                 its response
/// <- are you there?      a question, at any time
/// -> yes
/// ```
struct Telegraph;

impl Dialect for Telegraph {
    fn handshake_kind(&self) -> HandshakeKind {
        HandshakeKind::Session
    }

    fn open(&mut self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"hi 1\n");
    }

    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        if let IpcMessage::Request(request) = message {
            line.extend_from_slice(format!("{} {}\n", request.id, request.input).as_bytes());
        }
        Ok(())
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        let words: Vec<&str> = std::str::from_utf8(line).unwrap().splitn(3, ' ').collect();
        match words[..] {
            ["are", "you", "there?"] => decoded.send(b"yes\n"),
            ["hi", "1", concurrency] => {
                decoded.send(b"go\n");
                decoded.ready(Profile {
                    concurrency: concurrency.parse().unwrap(),
                    ..Profile::minimal()
                });
            }
            ["hi", version, _] => decoded.refuse(format!("the worker speaks version {version}")),
            [id, result] => decoded.message(Response {
                id: id.into(),
                outcome: Ok(Payload::from_json(result).unwrap()),
            }),
            _ => decoded.stray(line),
        }
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        decoded.stray(line.head);
    }
}

/// Returns the host's transport, and the worker's ends of its pipes.
fn connect(
    pipe_bytes: usize,
    limits: Limits,
) -> (
    StdioTransport<DuplexStream, DuplexStream>,
    BufReader<DuplexStream>,
    DuplexStream,
) {
    let (host_reader, worker_stdout) = duplex(pipe_bytes);
    let (worker_stdin, host_writer) = duplex(pipe_bytes);
    let host = StdioTransport::with(host_reader, host_writer, Telegraph, limits);
    (host, BufReader::new(worker_stdin), worker_stdout)
}

async fn read_line(stdin: &mut BufReader<DuplexStream>) -> String {
    let mut line = String::new();
    stdin.read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn a_session_shakes_hands_and_answers_questions_by_itself() {
    let (mut host, mut stdin, mut stdout) = connect(1 << 12, Limits::default());
    let mut handshake = Handshake::by_session();
    let worker = tokio::spawn(async move {
        let mut heard = vec![read_line(&mut stdin).await];
        stdout.write_all(b"are you there?\n").await.unwrap();
        heard.push(read_line(&mut stdin).await);
        stdout.write_all(b"hi 1 3\n").await.unwrap();
        heard.push(read_line(&mut stdin).await);
        heard.push(read_line(&mut stdin).await);
        stdout.write_all(b"are you there?\n7 2\n").await.unwrap();
        heard.push(read_line(&mut stdin).await);
        heard
    });

    let Incoming::Readiness(readiness) = host.receive().await.unwrap() else {
        panic!("the session reports nothing before its handshake is done")
    };
    assert_eq!(handshake.state(), &HandshakeState::AwaitingSession);
    handshake.on_readiness(readiness);
    let HandshakeState::Ready(profile) = handshake.state() else {
        panic!("{:?}", handshake.state())
    };
    assert_eq!(profile.concurrency.get(), 3);

    let request = Request::new(7, "t", Payload::from_json("[1]").unwrap());
    host.send(request.into()).await.unwrap();
    assert_eq!(host.receive().await.unwrap(), response("7", "2"));
    assert_eq!(host.receive().await.unwrap(), Incoming::End);
    let heard = worker.await.unwrap();
    assert_eq!(heard, ["hi 1\n", "yes\n", "go\n", "7 [1]\n", "yes\n"]);
}

#[test]
fn a_session_refuses_a_peer_in_its_own_words() {
    let mut codec = Codec::new(Telegraph, Limits::default());
    codec.feed(b"hi 3 1\n");
    let reason = "the worker speaks version 3".to_owned();
    let error = HandshakeError::Dialect { reason };
    assert_eq!(
        error.to_string(),
        "the handshake failed: the worker speaks version 3"
    );
    let refused = Incoming::Readiness(Readiness::Refused(error));
    assert_eq!(read_all(&mut codec), [refused]);
    assert_eq!(
        codec.outgoing(),
        b"hi 1\n",
        "it says nothing to a peer that it refuses"
    );
}

#[tokio::test]
async fn a_question_after_the_sending_side_is_closed_does_not_cost_the_last_answer() {
    let (mut host, mut stdin, mut stdout) = connect(1 << 12, Limits::default());
    host.close().await.unwrap();
    stdout
        .write_all(b"are you there?\n7 2\nare you there?\n")
        .await
        .unwrap();
    drop(stdout);
    assert_eq!(host.receive().await.unwrap(), response("7", "2"));
    assert_eq!(host.receive().await.unwrap(), Incoming::End);
    let mut sent = String::new();
    stdin.read_to_string(&mut sent).await.unwrap();
    assert_eq!(sent, "hi 1\n");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_and_does_not_listen_is_not_read_any_further() {
    let limits = Limits {
        max_message_bytes: 100,
        ..Limits::default()
    };
    let (mut host, _stdin, mut stdout) = connect(64, limits);
    let asking = tokio::spawn(async move {
        let questions = b"are you there?\n".repeat(2000);
        stdout.write_all(&questions).await.unwrap();
        stdout
    });
    // The clock is paused, so the time passes as soon as both sides wait for each other.
    let waited = std::time::Duration::from_secs(1);
    let received = tokio::time::timeout(waited, host.receive()).await;
    assert!(received.is_err(), "{received:?}");
    assert!(!asking.is_finished());
    assert!(host.unsent_bytes() < 200, "{}", host.unsent_bytes());
    asking.abort();
}
