mod fields;
mod filters;
mod limits;
mod sessions;

use std::time::Instant;

use super::decode::READS;
use super::*;
use crate::error::IpcError;
use crate::messages::{
    Event, Hello, IpcMessage, MessageId, MessageKind, Payload, ProtocolVersion, Request, Response,
};

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

/// Decodes these bytes with a native codec, including the end of the stream.
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
fn blank_lines_and_carriage_returns_are_ignored() {
    let bytes = format!("\n\r\n  \t\n{SEVEN}\r\n\n");
    let mut found = decode(bytes);
    found.retain(|incoming| *incoming != Incoming::Blank);
    assert_eq!(found, [response("7", "1")]);
}

#[test]
fn a_blank_line_is_told_apart_from_silence() {
    assert_eq!(
        decode(format!("\n{SEVEN}\n\r\n")),
        [Incoming::Blank, response("7", "1"), Incoming::Blank]
    );
}

#[test]
fn an_object_of_another_type_is_stray() {
    for line in [
        r#"{"type":"reply","id":"7","result":1,"took":3}"#,
        r#"{"type":null,"id":7,"error":{"message":"x"}}"#,
        r#"{"id":"7","result":null}"#,
        r#"{"jsonrpc":"2.0","id":"7","result":1}"#,
        r#"{"type":"log","id":"7","message":"x"}"#,
        r#"{"id":"7"}"#,
    ] {
        assert_eq!(decode(line), [stray(line)]);
    }
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
}

/// Returns the id and the line of each broken response, and the texts of stray lines.
fn broken(bytes: impl AsRef<[u8]>) -> (Vec<(String, String)>, Vec<String>) {
    let mut found = (Vec::new(), Vec::new());
    for incoming in decode(bytes) {
        match incoming {
            Incoming::Malformed(malformed) if malformed.kind == MessageKind::Response => {
                let id = malformed.id.unwrap().to_string();
                assert!(!malformed.reason.is_empty());
                found.0.push((id, malformed.line));
            }
            Incoming::Stray(line) => found.1.push(line.text),
            other => panic!("{other:?}"),
        }
    }
    found
}

#[test]
fn a_broken_response_whose_id_can_be_read_fails_its_attempt() {
    let lines: [&[u8]; 11] = [
        br#"{"type":"response","id":"7","result":NaN}"#,
        br#"{"type":"response","id":"7","result":{"a":1}},"b":2}"#,
        br#"{"type":"response","id":"7","result":{"a":[1,-Infinity]}}"#,
        br#"{"type":"response","result":NaN,"id":"7"}"#,
        br#"{"id":"7","result":NaN,"type":"response"}"#,
        br#" { "type" : "response" , "id" : "7" , "result" : nan } "#,
        br#"{"type":"response","id":"7","result":'x'}"#,
        br#"{"type":"response","id":"7","result":"cut"#,
        br#"{"type":"response","id":"7","result":1}}"#,
        b"{\"type\":\"response\",\"id\":\"7\",\"result\":\"caf\xe9\"}",
        b"{\"type\":\"response\",\"id\":\"7\",\"result\":\"\0\"}",
    ];
    for line in lines {
        let shown = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        let (responses, strays) = broken([line, b"\n"].concat());
        assert_eq!(responses, [("7".to_owned(), shown)]);
        assert!(strays.is_empty(), "{strays:?}");
    }
    let number = br#"{"type":"response","id":7,"result":NaN}"#;
    assert_eq!(broken([&number[..], b"\n"].concat()).0[0].0, "7");
}

#[test]
fn a_broken_response_is_found_beside_other_output() {
    let nan = r#"{"type":"response","id":"6","result":NaN}"#;
    let (responses, strays) = broken(format!("50 % {nan}\n"));
    assert_eq!(
        (responses.len(), &strays[..]),
        (1, &["50 %".to_owned()][..])
    );

    let found = decode(format!("{SEVEN}{nan}\n"));
    assert!(
        matches!(&found[..], [Incoming::Message(_), Incoming::Malformed(_)]),
        "{found:?}"
    );
    for cut in [nan, r#"{"type":"response","id":"6","res"#] {
        let found = decode(format!("{cut}{SEVEN}\n"));
        let [Incoming::Malformed(malformed), seven] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (malformed.id.clone(), malformed.line.as_str()),
            (Some("6".into()), cut)
        );
        assert_eq!(*seven, response("7", "1"));
    }
}

#[test]
fn a_response_inside_of_other_text_fails_no_attempt() {
    let nan = r#"{"type":"response","id":"7","result":NaN}"#;
    for line in [
        format!("sent [{nan}]"),
        format!("sent \"{nan}\""),
        format!("{{\"a\":{nan}}}"),
        format!("sent {{\"a\":{nan}}}"),
        nan.replace("response", "reply"),
        nan.replace("response", "event"),
        nan.replace("\"7\"", "[7]"),
        nan.replace("id", "to"),
    ] {
        assert_eq!(decode(format!("{line}\n")), [stray(&line)], "{line}");
    }
    // The stream ends in the middle of it, because its worker has crashed.
    assert_eq!(decode(nan), [stray(nan)]);
}

#[test]
fn all_messages_of_one_line_are_read() {
    let line = format!("{SEVEN}{SEVEN} {SEVEN}tail\n{SEVEN}");
    let seven = || response("7", "1");
    assert_eq!(
        decode(line),
        [seven(), seven(), seven(), stray("tail"), seven()]
    );
}

#[test]
fn a_line_that_only_looks_like_a_message_is_stray() {
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
    // A print of a value that contains a message is not a message.
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
fn a_message_is_found_behind_many_beginnings_of_others() {
    let line = format!("{}{SEVEN}", r#"{"type":"response","id":"6" "#.repeat(100));
    assert!(decode(&line).contains(&response("7", "1")));
    let line = [b"\xff", line.as_bytes()].concat();
    assert!(decode(line).contains(&response("7", "1")));
}

#[test]
fn no_byte_of_a_line_is_read_without_end() {
    // What begins here goes to the end of the line each time.
    let line = format!("{}{SEVEN}", r#"{"type":["#.repeat(READS * 3));
    assert!(matches!(&decode(line)[..], [Incoming::Stray(_)]));
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
fn numbers_and_nesting_are_passed_on_unchanged() {
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
