//! Property tests of messages and of streams of bytes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test builds itself is right, or the test fails"
)]

use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use ratchet_ipc::{
    Cancel, Capability, Codec, Event, Hello, Incoming, IpcMessage, Limits, LineFormat, Lines, Log,
    LogLevel, MessageId, Native, Nonce, Payload, Progress, ProtocolVersion, Request, Response,
    Started, TaskDeclaration, TaskError,
};

/// Generates any JSON value, a few levels deep.
fn json() -> impl Strategy<Value = Payload> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((any::<String>(), inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
    .prop_map(|value| Payload::from_value(&value).unwrap())
}

fn id() -> impl Strategy<Value = MessageId> {
    prop_oneof![
        any::<u64>().prop_map(MessageId::from),
        any::<String>().prop_map(|text| MessageId::from(text.as_str())),
        any::<i64>().prop_map(|number| serde_json::from_str(&number.to_string()).unwrap()),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let optional = (
        proptest::option::of(any::<u64>()),
        proptest::option::of(any::<String>()),
        proptest::option::of(any::<String>()),
        proptest::option::of(any::<u32>()),
        proptest::option::of(any::<String>()),
    );
    (
        id(),
        any::<String>(),
        json(),
        any::<u32>(),
        optional,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(id, task, input, attempt, (timeout_ms, host, key, slot, trace), check, diff)| {
                Request {
                    attempt,
                    timeout_ms,
                    host: host.map(Into::into),
                    key: key.map(Into::into),
                    slot,
                    traceparent: trace.map(String::into_boxed_str),
                    check,
                    diff,
                    ..Request::new(id, task, input)
                }
            },
        )
}

fn error() -> impl Strategy<Value = TaskError> {
    let optional = (
        proptest::option::of(any::<bool>()),
        proptest::option::of(any::<u64>()),
        proptest::option::of(json().prop_filter("null is absent", |data| data.as_str() != "null")),
    );
    (any::<String>(), any::<String>(), optional).prop_map(
        |(code, message, (retryable, retry_after_ms, data))| TaskError {
            retryable,
            retry_after_ms,
            data,
            ..TaskError::new(code, message)
        },
    )
}

fn hello() -> impl Strategy<Value = Hello> {
    let capability = prop_oneof![
        Just(Capability::Ready),
        Just(Capability::Drain),
        "[a-z]{1,3}x".prop_map(Capability::Other),
    ];
    let declaration = (
        proptest::option::of(json()),
        any::<bool>(),
        proptest::option::of(any::<String>()),
    )
        .prop_filter("null is absent", |(hint, ..)| {
            hint.as_ref().is_none_or(|hint| hint.as_str() != "null")
        })
        .prop_map(|(hint, cacheable, description)| TaskDeclaration {
            hint,
            cacheable,
            description,
        });
    let tasks =
        proptest::collection::btree_map(any::<String>().prop_map(Into::into), declaration, 0..3);
    let name = proptest::option::of(any::<String>());
    (
        vec(any::<u32>(), 0..3),
        name,
        1..u32::MAX,
        vec(capability, 0..4),
        proptest::option::of(tasks),
    )
        .prop_map(|(versions, name, concurrency, capabilities, tasks)| Hello {
            version: name.clone(),
            name,
            concurrency: concurrency.try_into().unwrap(),
            capabilities: capabilities.into_iter().collect(),
            tasks,
            ..Hello::new(versions.into_iter().map(ProtocolVersion))
        })
}

fn event() -> impl Strategy<Value = Event> {
    let level = prop_oneof![
        Just(LogLevel::Trace),
        Just(LogLevel::Warn),
        Just(LogLevel::Error)
    ];
    let number = || proptest::option::of(-1e15..1e15_f64);
    prop_oneof![
        Just(Event::Ready),
        Just(Event::Drain),
        hello().prop_map(Event::Hello),
        id().prop_map(|id| Event::Started(Started { id })),
        any::<u64>().prop_map(|nonce| Event::Ping(Nonce { nonce })),
        any::<u64>().prop_map(|nonce| Event::Pong(Nonce { nonce })),
        (id(), proptest::option::of(any::<String>()))
            .prop_map(|(id, reason)| Event::Cancel(Cancel { id, reason })),
        (proptest::option::of(id()), level, any::<String>())
            .prop_map(|(id, level, message)| Event::Log(Log { id, level, message })),
        (
            id(),
            number(),
            number(),
            proptest::option::of(any::<String>())
        )
            .prop_map(|(id, done, total, message)| Event::Progress(Progress {
                id,
                done,
                total,
                message
            })),
    ]
}

fn message() -> impl Strategy<Value = IpcMessage> {
    prop_oneof![
        request().prop_map(IpcMessage::Request),
        (
            id(),
            prop_oneof![json().prop_map(Ok), error().prop_map(Err)]
        )
            .prop_map(|(id, outcome)| Response { id, outcome }.into()),
        event().prop_map(IpcMessage::Event),
    ]
}

/// Generates bytes that resemble a stream: messages, halves of messages, noise and line breaks.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => message().prop_map(|message| format!("{message}\n").into_bytes()),
        1 => message().prop_map(|message| message.to_string().into_bytes()),
        1 => (message(), any::<proptest::sample::Index>()).prop_map(|(message, at)| {
            let line = message.to_string().into_bytes();
            line[..at.index(line.len())].to_vec()
        }),
        1 => vec(any::<u8>(), 0..40),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(br#"{"type":"response","id":"#.to_vec()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn limits(max_message_bytes: usize) -> Limits {
    Limits {
        max_message_bytes,
        stray_lines_per_second: u32::MAX,
        ..Limits::default()
    }
}

/// Feeds these pieces to a codec, and returns its results.
fn read(mut codec: Codec, cuts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Incoming> {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do: nothing is rate capped"
    )]
    let now = Instant::now();
    let mut found = Vec::new();
    for cut in cuts {
        codec.feed(cut.as_ref());
        found.extend(std::iter::from_fn(|| codec.next(now)));
    }
    codec.finish();
    loop {
        match codec.next(now) {
            Some(Incoming::End) => return found,
            Some(incoming) => found.push(incoming),
            None => panic!("a finished stream has an end"),
        }
    }
}

fn pieces(bytes: &[u8], cuts: &[proptest::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|ends| bytes[ends[0]..ends[1]].to_vec())
        .collect()
}

fn filter() -> Codec {
    let mut codec = Codec::new(Lines::new(LineFormat::Text, LineFormat::Json), limits(64));
    for id in 0..4_u64 {
        codec
            .encode(&Request::new(id, "t", Payload::null()).into())
            .unwrap();
    }
    codec
}

proptest! {
    #[test]
    fn any_messages_round_trip(messages in vec(message(), 0..8)) {
        let mut codec = Codec::new(Native, limits(usize::MAX));
        for message in &messages {
            codec.encode(message).unwrap();
        }
        let bytes = codec.outgoing().to_vec();
        let expected: Vec<Incoming> = messages.into_iter().map(Incoming::Message).collect();
        prop_assert_eq!(read(codec, [bytes]), expected);
    }

    #[test]
    fn cuts_change_nothing(
        bytes in stream(),
        cuts in vec(any::<proptest::sample::Index>(), 0..20),
        max_message_bytes in prop_oneof![Just(80), Just(1_000_000)],
    ) {
        let native = || Codec::new(Native, limits(max_message_bytes));
        prop_assert_eq!(read(native(), pieces(&bytes, &cuts)), read(native(), [&bytes]));
        prop_assert_eq!(read(filter(), pieces(&bytes, &cuts)), read(filter(), [&bytes]));
    }

    #[test]
    fn messages_survive_noise_on_lines_of_its_own(
        messages in vec(message(), 1..6),
        noise in vec("[^{\n]*", 1..6),
    ) {
        let lines = messages.iter().zip(noise.iter().cycle());
        let lines: Vec<String> =
            lines.map(|(message, noise)| format!("{noise}\n{message}\n")).collect();
        let bytes = lines.concat();
        let found = read(Codec::new(Native, limits(usize::MAX)), [bytes]);
        let kept: Vec<IpcMessage> = found
            .into_iter()
            .filter_map(|incoming| match incoming {
                Incoming::Message(message) => Some(message),
                _ => None,
            })
            .collect();
        prop_assert_eq!(kept, messages);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400)) {
        read(Codec::new(Native, limits(50)), [&bytes]);
        read(filter(), [&bytes]);
    }
}
