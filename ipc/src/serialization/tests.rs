use super::decode::SALVAGE_TRIES;
use super::*;
use crate::messages::{Event, Hello, Payload, Request, Response};
use crate::protocol::ProtocolVersion;

#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as a starting point"
)]
fn now() -> Instant {
    Instant::now()
}

fn read_all(codec: &mut Codec) -> Vec<Incoming> {
    let now = now();
    std::iter::from_fn(|| {
        codec
            .next(now)
            .filter(|incoming| *incoming != Incoming::End)
    })
    .collect()
}

/// What a native codec makes of these bytes, the end of the stream included.
fn decode_within(bytes: &[u8], limits: Limits) -> Vec<Incoming> {
    let mut codec = Codec::new(Native, limits);
    codec.feed(bytes);
    codec.finish();
    read_all(&mut codec)
}

fn decode(bytes: impl AsRef<[u8]>) -> Vec<Incoming> {
    decode_within(bytes.as_ref(), Limits::default())
}

fn response(id: &str, result: &str) -> Incoming {
    let outcome = Ok(Payload::from_json(result).unwrap());
    Incoming::Message(
        Response {
            id: id.into(),
            outcome,
        }
        .into(),
    )
}

fn stray_line(text: &str) -> StrayLine {
    StrayLine {
        text: text.to_owned(),
        truncated: false,
        suppressed: 0,
        mode: StrayMode::Log,
    }
}

fn stray(text: &str) -> Incoming {
    Incoming::Stray(stray_line(text))
}

fn malformed_reason(incoming: &[Incoming]) -> (Option<MessageId>, &str) {
    match incoming {
        [Incoming::Malformed(malformed)] => (malformed.id.clone(), &malformed.reason),
        other => panic!("{other:?}"),
    }
}

const SEVEN: &str = r#"{"type":"response","id":"7","result":1}"#;

#[test]
fn blank_lines_and_carriage_returns_are_nothing() {
    let bytes = format!("\n\r\n  \t\n{SEVEN}\r\n\n");
    assert_eq!(decode(bytes), [response("7", "1")]);
}

#[test]
fn the_last_line_needs_no_newline() {
    assert_eq!(decode(SEVEN), [response("7", "1")]);
    assert_eq!(decode(&SEVEN[..20]), [stray(&SEVEN[..20])]);
}

#[test]
fn keys_come_in_any_order_and_spacing_and_unknown_ones_are_ignored() {
    for line in [
        r#"{"result":1,"id":"7","type":"response"}"#,
        r#"{ "type" : "response" , "id" : "7" , "result" : 1 }"#,
        r#"{"id":"7","trace":{"type":"request"},"type":"response","result":1,"x":[[]]}"#,
        r#"{"type":"\u0072esponse","id":"\u0037","result":1}"#,
        r#"{"type":"response","id":"7","result":1,"error":null}"#,
        r#"{"id":"7","type":"response","result":1,"event":null,"attempt":"x"}"#,
    ] {
        assert_eq!(decode(line), [response("7", "1")], "{line}");
    }
}

#[test]
fn a_print_without_newline_is_cut_off() {
    assert_eq!(
        decode(format!("50 % {SEVEN}\n")),
        [stray("50 %"), response("7", "1")]
    );
    let cut = format!("{}{SEVEN}\n", r#"{"type":"response","id":"6","res"#);
    assert_eq!(
        decode(cut),
        [
            stray(r#"{"type":"response","id":"6","res"#),
            response("7", "1")
        ]
    );
}

#[test]
fn several_messages_on_one_line_all_count() {
    let line = format!("{SEVEN}{SEVEN} {SEVEN}tail\n{SEVEN}");
    let seven = || response("7", "1");
    assert_eq!(
        decode(line),
        [seven(), seven(), seven(), stray("tail"), seven()]
    );
}

#[test]
fn what_only_looks_like_a_message_is_stray() {
    for line in [
        "hello",
        "{",
        "[1,2]",
        "null",
        "7",
        r#"{"a":1}"#,
        r#"{"type":"reply","id":"7"}"#,
        r#"{"type":7}"#,
        "{\"type\":\"response\",\"id\":\"7\",\"result\":\"\0\"}",
    ] {
        assert_eq!(decode(line), [stray(line)], "{line}");
    }
    // A print of something that contains a message is no message.
    for line in [
        format!("[{SEVEN}]"),
        format!("sent {{\"a\":{SEVEN}}}"),
        format!("{{\"a\":{SEVEN}}}"),
        format!("sent [{SEVEN}, 1]"),
    ] {
        assert_eq!(decode(&line), [stray(&line)], "{line}");
    }
}

#[test]
fn noise_on_both_sides_of_a_message_is_cut_off() {
    let line = format!("50 % {SEVEN} tail");
    assert_eq!(
        decode(line),
        [stray("50 %"), response("7", "1"), stray("tail")]
    );
    let line = [b"\xff caf\xe9 ", SEVEN.as_bytes()].concat();
    assert_eq!(
        decode(line),
        [stray("\u{fffd} caf\u{fffd}"), response("7", "1")]
    );
}

#[test]
fn a_line_full_of_beginnings_is_not_searched_for_ever() {
    let opening = r#"{"type":"response","id":"6" "#;
    let near = format!("{}{SEVEN}", opening.repeat(SALVAGE_TRIES - 1));
    assert!(decode(near).contains(&response("7", "1")));
    let far = format!("{}{SEVEN}", opening.repeat(SALVAGE_TRIES + 2));
    assert!(matches!(&decode(far)[..], [Incoming::Stray(_)]));
}

#[test]
fn invalid_utf8_is_stray() {
    let mut line = SEVEN.as_bytes().to_vec();
    line.insert(1, 0xff);
    assert!(
        matches!(&decode(&line)[..], [Incoming::Stray(stray)] if stray.text.contains('\u{fffd}'))
    );
}

#[test]
fn a_broken_message_names_what_is_wrong_and_whose_it_is() {
    for (line, id, reason) in [
        (
            r#"{"type":"response","result":1}"#,
            None,
            "missing field `id`",
        ),
        (
            r#"{"type":"response","id":"7"}"#,
            Some("7"),
            "neither result nor error",
        ),
        (
            r#"{"type":"response","id":"7","result":1,"error":{}}"#,
            Some("7"),
            "both a result and an error",
        ),
        (
            r#"{"type":"response","id":"7","error":"x"}"#,
            Some("7"),
            "expected struct TaskError",
        ),
        (
            r#"{"type":"response","id":"7","result":1,"result":2}"#,
            Some("7"),
            "duplicate field",
        ),
        (
            r#"{"type":"response","id":[7],"result":1}"#,
            None,
            "a string or a number",
        ),
        (
            r#"{"type":"event","id":"7"}"#,
            Some("7"),
            "missing field `event`",
        ),
        (
            r#"{"type":"event","event":"pong","nonce":-1}"#,
            None,
            "invalid value",
        ),
        (
            r#"{"type":"event","event":null}"#,
            None,
            "invalid type: null",
        ),
        (
            r#"{"type":"event","event":"hello","protocol":[1],"concurrency":0}"#,
            None,
            "nonzero",
        ),
        (
            r#"{"type":"request","id":"7"}"#,
            Some("7"),
            "missing field `task`",
        ),
    ] {
        let incoming = decode(line);
        let (found, text) = malformed_reason(&incoming);
        assert_eq!(found, id.map(MessageId::from), "{line}");
        assert!(text.contains(reason), "{line}: {text}");
    }
}

#[test]
fn a_failure_may_leave_out_what_it_does_not_know() {
    let line = r#"{"type":"response","id":"7","result":null,"error":{"message":"no"}}"#;
    let [Incoming::Message(IpcMessage::Response(response))] = &decode(line)[..] else {
        panic!()
    };
    let error = response.outcome.as_ref().unwrap_err();
    assert_eq!(
        (&*error.code, error.message.as_str(), error.retryable),
        ("error", "no", None)
    );
}

#[test]
fn null_is_absent_and_milliseconds_are_rounded() {
    let hello =
        r#"{"type":"event","event":"hello","protocol":[1],"name":null,"capabilities":null}"#;
    let expected = Event::Hello(Hello::new([ProtocolVersion::V1]));
    assert_eq!(decode(hello), [Incoming::Message(expected.into())]);

    let retry_after = |value: &str| {
        let error = format!(r#"{{"code":"x","message":null,"retry_after_ms":{value}}}"#);
        let line = format!(r#"{{"type":"response","id":"7","error":{error}}}"#);
        match &decode(&line)[..] {
            [Incoming::Message(IpcMessage::Response(response))] => {
                response.outcome.clone().unwrap_err().retry_after_ms
            }
            [Incoming::Malformed(_)] => Some(u64::MAX - 1),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(retry_after("1500.6"), Some(1501));
    assert_eq!(retry_after("1e30"), Some(u64::MAX));
    assert_eq!(retry_after("null"), None);
    assert_eq!(retry_after("-1"), Some(u64::MAX - 1), "malformed");
}

#[test]
fn an_unknown_event_is_kept_whole() {
    let line = r#"{"type":"event","event":"tea","message":{"sugar":2}}"#;
    let [Incoming::Message(message @ IpcMessage::Event(Event::Unknown(event)))] = &decode(line)[..]
    else {
        panic!()
    };
    assert_eq!((event.name(), event.body().as_str()), ("tea", line));
    assert_eq!(message.to_string(), line);
}

#[test]
fn numbers_and_depth_are_carried_as_they_came() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for result in ["123456789012345678901234567890.5e-400", "-0", &deep] {
        let line = format!(r#"{{"type":"response","id":1e99,"result":{result}}}"#);
        let [Incoming::Message(message)] = &decode(&line)[..] else {
            panic!("{line}")
        };
        assert_eq!(message.to_string(), line);
    }
    let event = format!(r#"{{"type":"event","event":"log","message":"x","deep":{deep}}}"#);
    assert!(matches!(
        &decode(event)[..],
        [Incoming::Message(IpcMessage::Event(Event::Log(_)))]
    ));
}

fn small(max_message_bytes: usize) -> Limits {
    Limits {
        max_message_bytes,
        ..Limits::default()
    }
}

#[test]
fn a_message_too_large_is_dropped_to_its_newline_and_named() {
    let large = format!(
        r#"{{"type":"response","id":"6","result":"{}"}}"#,
        "x".repeat(5000)
    );
    let too_large = |id| {
        Incoming::TooLarge(TooLarge {
            kind: Some(MessageKind::Response),
            id,
            bytes: large.len() as u64,
            limit: SEVEN.len(),
        })
    };
    let bytes = format!("{large}\n{SEVEN}\n{large}");
    let found = decode_within(bytes.as_bytes(), small(SEVEN.len()));
    let six = Some(MessageId::from("6"));
    assert_eq!(
        found,
        [too_large(six.clone()), response("7", "1"), too_large(six)]
    );
}

#[test]
fn the_id_of_a_message_too_large_is_its_own_and_whole() {
    let told = |head: &str| {
        let line = format!("{head}{}", "x".repeat(2000));
        match &decode_within(line.as_bytes(), small(100))[..] {
            [Incoming::TooLarge(large)] => (large.kind, large.id.clone()),
            other => panic!("{other:?}"),
        }
    };
    let id_of = |head: &str| told(head).1;
    let sorted = told(r#"{"id":"2","result":""#);
    assert_eq!(
        sorted,
        (None, Some("2".into())),
        "its type stands at the lost end"
    );
    let log = told(r#"{"type":"event","event":"log","id":"7","message":""#);
    assert_eq!(log, (Some(MessageKind::Event), Some("7".into())));
    assert_eq!(
        id_of(r#"{"type":"response","id":42,"result":""#)
            .unwrap()
            .as_counter(),
        Some(42)
    );
    assert_eq!(
        id_of(r#"{"result":{"id":"1"},"id":"2","x":""#),
        Some("2".into())
    );
    assert_eq!(
        id_of(r#"noise {"type":"response", "id" : "a\"b" ,"x":""#),
        Some("a\"b".into())
    );
    assert_eq!(
        id_of(r#"{"type":"response","result":{"id":"1"},"x":""#),
        None
    );
    assert_eq!(id_of(r#"{"type":"response","id":"12"#), None);
    assert_eq!(id_of(r#"{"type":"response","x":"\"id\":\"1\""#), None);
}

#[test]
fn a_long_line_of_noise_is_stray_not_a_message() {
    let found = decode_within(&[b'#'; 10_000], small(100));
    assert!(matches!(&found[..], [Incoming::Stray(line)] if line.text.starts_with("###")));
    let print = format!("{{\"rows\":\"{}\"}}", "x".repeat(1000));
    assert!(matches!(
        &decode_within(print.as_bytes(), small(100))[..],
        [Incoming::Stray(_)]
    ));
}

#[test]
fn strays_that_nobody_could_be_told_of_are_told_of_at_the_end() {
    let limits = Limits {
        stray_lines_per_second: 2,
        ..Limits::default()
    };
    let mut codec = Codec::new(Native, limits);
    codec.feed(b"a\nb\nc\n{\"type\":\"response\"}\n");
    codec.finish();
    let now = now();
    let found: Vec<Incoming> = std::iter::from_fn(|| codec.next(now)).take(4).collect();
    let last = StrayLine {
        suppressed: 2,
        ..stray_line("")
    };
    let expected = [stray("a"), stray("b"), Incoming::Stray(last), Incoming::End];
    assert_eq!(found, expected);
}

#[test]
fn a_stream_that_breaks_off_leaves_no_half_message() {
    let mut codec = Codec::new(Native, Limits::default());
    codec.feed(format!("{SEVEN}\n{SEVEN}").as_bytes());
    codec.break_off();
    assert_eq!(read_all(&mut codec), [response("7", "1")]);
}

#[test]
fn a_dialect_may_open_the_conversation_and_answer_by_itself() {
    /// A tenth of JSON-RPC: the host greets, and a question of the peer is none of anybody's business.
    struct Greeting;
    impl Dialect for Greeting {
        fn open(&mut self, line: &mut Vec<u8>) {
            line.extend_from_slice(b"initialize\n");
        }
        fn encode(&self, _: &IpcMessage, _: &mut Vec<u8>) -> Result<(), IpcError> {
            Ok(())
        }
        fn decode(&mut self, line: &[u8], found: &mut Found<'_>) {
            match line {
                b"hello" => {
                    found.message(Event::Hello(Hello::new([ProtocolVersion::V1])));
                    found.answer(b"initialized\n");
                }
                other => found.stray(other),
            }
        }
        fn decode_overlong(&mut self, head: &[u8], _: u64, found: &mut Found<'_>) {
            found.stray(head);
        }
    }
    let mut codec = Codec::new(Greeting, Limits::default());
    assert_eq!(codec.outgoing(), b"initialize\n");
    codec.wrote(usize::MAX);
    codec.feed(b"hello\n");
    assert!(matches!(
        &read_all(&mut codec)[..],
        [Incoming::Message(IpcMessage::Event(_))]
    ));
    assert_eq!(codec.outgoing(), b"initialized\n");
}

#[test]
fn what_is_too_large_to_send_leaves_nothing_behind() {
    let mut codec = Codec::new(Native, small(200));
    let request = |size: usize| Request::new(1, "t", Payload::from_text(&"x".repeat(size))).into();
    codec.encode(&request(1)).unwrap();
    let before = codec.outgoing().to_vec();
    let error = codec.encode(&request(200)).unwrap_err();
    assert!(
        matches!(error, IpcError::TooLarge { bytes, limit: 200 } if bytes > 200),
        "{error}"
    );
    assert_eq!(codec.outgoing(), before);
}

#[test]
fn written_bytes_leave_the_queue() {
    let mut codec = Codec::new(Native, Limits::default());
    codec.encode(&Event::Drain.into()).unwrap();
    let line = codec.outgoing().to_vec();
    codec.wrote(5);
    codec.encode(&Event::Ready.into()).unwrap();
    assert!(codec.outgoing().starts_with(&line[5..]));
    codec.wrote(usize::MAX);
    assert!(codec.outgoing().is_empty());
}

mod filters {
    use super::*;

    fn filter(input: LineFormat, output: LineFormat) -> Codec {
        Codec::new(Lines::new(input, output), small(100))
    }

    fn ask(codec: &mut Codec, id: u64, input: &str) -> Result<(), IpcError> {
        codec.encode(&Request::new(id, "t", Payload::from_json(input).unwrap()).into())
    }

    fn answers(codec: &mut Codec, bytes: &[u8]) -> Vec<Incoming> {
        codec.feed(bytes);
        read_all(codec)
    }

    #[test]
    fn text_goes_out_raw_and_the_rest_compact() {
        let mut codec = filter(LineFormat::Text, LineFormat::Text);
        ask(&mut codec, 1, r#""a \"b\" \u00e9""#).unwrap();
        ask(&mut codec, 2, r#"{ "a b": [1, 2] }"#).unwrap();
        assert_eq!(codec.outgoing(), "a \"b\" é\n{\"a b\":[1,2]}\n".as_bytes());

        let mut codec = filter(LineFormat::Json, LineFormat::Text);
        ask(&mut codec, 1, r#""a\nb""#).unwrap();
        assert_eq!(codec.outgoing(), b"\"a\\nb\"\n");
    }

    #[test]
    fn a_line_break_in_a_text_is_an_error_of_that_item() {
        let mut codec = filter(LineFormat::Text, LineFormat::Text);
        assert!(matches!(
            ask(&mut codec, 1, r#""a\nb""#),
            Err(IpcError::LineBreakInText)
        ));
        ask(&mut codec, 2, r#""c""#).unwrap();
        assert_eq!(codec.outgoing(), b"c\n");
        assert_eq!(answers(&mut codec, b"C\n"), [response("2", "\"C\"")]);
    }

    #[test]
    fn answers_come_in_order_and_empty_ones_count() {
        let mut codec = filter(LineFormat::Text, LineFormat::Text);
        for id in 1..=3 {
            ask(&mut codec, id, "\"x\"").unwrap();
        }
        let found = answers(&mut codec, b"a\r\n\n{\"type\":1}\nmore\n");
        let expected = [
            response("1", "\"a\\r\""),
            response("2", "\"\""),
            response("3", r#""{\"type\":1}""#),
            stray("more"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn json_answers_are_checked() {
        let mut codec = filter(LineFormat::Json, LineFormat::Json);
        for id in 1..=3 {
            ask(&mut codec, id, "[1, 2]").unwrap();
        }
        assert_eq!(
            answers(&mut codec, b"{\"n\": 1e3}\n"),
            [response("1", "{\"n\": 1e3}")]
        );
        let found = answers(&mut codec, b"oops\n");
        let (id, reason) = malformed_reason(&found);
        assert_eq!(id, Some(2.into()));
        assert!(reason.starts_with("the answer is not JSON"), "{reason}");
        let found = answers(&mut codec, b"\"\xff\"\n");
        assert_eq!(
            malformed_reason(&found),
            (Some(3.into()), "the answer is not UTF-8")
        );
    }

    #[test]
    fn half_an_answer_is_none() {
        let mut codec = filter(LineFormat::Text, LineFormat::Text);
        ask(&mut codec, 1, "\"x\"").unwrap();
        codec.finish();
        let found = answers(&mut codec, b"hal");
        let (id, reason) = malformed_reason(&found);
        assert_eq!(
            (id, reason),
            (
                Some(1.into()),
                "the filter ended in the middle of its answer"
            )
        );
    }

    #[test]
    fn an_answer_too_long_fails_its_own_item_only() {
        let mut codec = filter(LineFormat::Text, LineFormat::Text);
        ask(&mut codec, 1, "\"x\"").unwrap();
        ask(&mut codec, 2, "\"y\"").unwrap();
        let found = answers(&mut codec, format!("{}\nY\n", "x".repeat(101)).as_bytes());
        let kind = Some(MessageKind::Response);
        let large = TooLarge {
            kind,
            id: Some(1.into()),
            bytes: 101,
            limit: 100,
        };
        assert_eq!(found, [Incoming::TooLarge(large), response("2", "\"Y\"")]);
    }

    #[test]
    fn has_no_words_for_events() {
        let mut codec = filter(LineFormat::Text, LineFormat::Text);
        codec.encode(&Event::Drain.into()).unwrap();
        assert!(codec.outgoing().is_empty());
    }
}
