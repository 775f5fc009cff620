//! Compares every message with its recorded text. A difference is a change of the protocol.
#![expect(
    clippy::unwrap_used,
    reason = "what a test builds itself is right, or the test fails"
)]

use std::num::NonZeroU32;
use std::time::Instant;

use ratchet_ipc::{
    Cancel, Capability, Codec, Event, Hello, Incoming, IpcMessage, Limits, Log, LogLevel,
    MessageId, Native, Nonce, Payload, Progress, ProtocolVersion, Request, Response, Started,
    TaskDeclaration, TaskError,
};

fn json(text: &str) -> Payload {
    Payload::from_json(text).unwrap()
}

fn requests() -> Vec<IpcMessage> {
    let whole = Request {
        attempt: 2,
        timeout_ms: Some(30_000),
        host: Some("web1".into()),
        key: Some("job-17".into()),
        slot: Some(3),
        check: true,
        diff: true,
        ..Request::new(7, "resize", json(r#"{"path":"a.png","n":1.50}"#))
    };
    vec![
        Request::new(MessageId::number(7), "t", Payload::null()).into(),
        Request::new("a \"b\"", "t\u{e9}", Payload::null()).into(),
        whole.into(),
    ]
}

fn responses() -> Vec<IpcMessage> {
    let whole = TaskError::new("not_found", "no such file\n")
        .retryable(false)
        .retry_after(std::time::Duration::from_millis(1500))
        .data(json("[1e400]"));
    [
        Ok(json("null")),
        Ok(json(r#"{"b":1, "a":2}"#)),
        Err(TaskError::new("x", "")),
        Err(whole),
    ]
    .map(|outcome| {
        Response {
            id: 7.into(),
            outcome,
        }
        .into()
    })
    .into()
}

fn events() -> Vec<IpcMessage> {
    let hint = Some(json(r#"{"rate_limited":{"requests_per_second":5}}"#));
    let declaration = TaskDeclaration {
        hint,
        cacheable: true,
        description: Some("..".into()),
    };
    let hello = Hello {
        name: Some("resizer".into()),
        version: Some("2.1".into()),
        concurrency: NonZeroU32::new(4).unwrap(),
        capabilities: [
            Capability::Cancel,
            Capability::Progress,
            Capability::Ping,
            Capability::Ready,
            Capability::Drain,
            Capability::Other("tea".into()),
        ]
        .into_iter()
        .collect(),
        tasks: Some(
            [
                ("resize".into(), declaration),
                ("x".into(), TaskDeclaration::default()),
            ]
            .into(),
        ),
        ..Hello::new([ProtocolVersion::V1])
    };
    let progress = Progress {
        id: 7.into(),
        done: Some(3.0),
        total: Some(10.0),
        message: Some("..".into()),
    };
    let bare = Progress {
        id: 7.into(),
        done: Some(0.5),
        total: None,
        message: None,
    };
    let log = Log {
        id: Some(7.into()),
        level: LogLevel::Warn,
        message: "odd".into(),
    };

    [
        Event::Hello(hello),
        Event::Hello(Hello::new([ProtocolVersion::V1])),
        Event::Ready,
        Event::Started(Started { id: 7.into() }),
        Event::Progress(progress),
        Event::Progress(bare),
        Event::Log(log),
        Event::Log(Log {
            id: None,
            level: LogLevel::Info,
            message: String::new(),
        }),
        Event::Pong(Nonce { nonce: u64::MAX }),
        Event::Cancel(Cancel {
            id: 7.into(),
            reason: Some("timeout".into()),
        }),
        Event::Cancel(Cancel {
            id: 7.into(),
            reason: None,
        }),
        Event::Ping(Nonce { nonce: 1 }),
        Event::Drain,
    ]
    .map(IpcMessage::Event)
    .into()
}

#[test]
fn every_message_is_written_as_recorded() {
    let messages: Vec<IpcMessage> = [requests(), responses(), events()].concat();
    let mut codec = Codec::new(Native, Limits::default());
    for message in &messages {
        codec.encode(message).unwrap();
    }
    let written = String::from_utf8(codec.outgoing().to_vec()).unwrap();
    assert_eq!(
        written,
        include_str!("golden/messages.jsonl"),
        "the wire format has changed"
    );

    codec.feed(include_bytes!("golden/messages.jsonl"));
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do: nothing here is stray"
    )]
    let now = Instant::now();
    for message in messages {
        assert_eq!(codec.next(now), Some(Incoming::Message(message)));
    }
    assert_eq!(codec.next(now), None);
}
