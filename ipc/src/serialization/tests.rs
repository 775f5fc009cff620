mod fields;
mod filters;
mod limits;

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
