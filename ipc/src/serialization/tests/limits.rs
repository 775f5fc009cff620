//! Tests of input that is too large, too much, or broken off.

use super::*;

pub(super) fn small(max_message_bytes: usize) -> Limits {
    Limits {
        max_message_bytes,
        ..Limits::default()
    }
}

#[test]
fn a_message_that_is_too_large_is_dropped_up_to_its_newline_and_reported() {
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
fn the_id_of_a_message_that_is_too_large_is_its_own_and_complete() {
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
fn the_id_of_a_message_that_is_too_large_is_found_at_its_end() {
    let told = |head: &str, tail: &str| {
        let line = format!("{head}{}{tail}\n", "x".repeat(3000));
        match &decode_within(line.as_bytes(), small(100))[..] {
            [Incoming::TooLarge(large)] => Some((large.kind, large.id.clone())),
            [Incoming::Stray(_)] => None,
            other => panic!("{other:?}"),
        }
    };
    let response = |id: &str| Some((Some(MessageKind::Response), Some(MessageId::from(id))));
    assert_eq!(
        told(r#"{"result":""#, r#"","id":"1","type":"response"}"#),
        response("1")
    );
    assert_eq!(
        told(r#"{"result":["#, r#"1,2],"type" : "response" , "id":"1"}"#),
        response("1")
    );
    assert_eq!(
        told(
            r#"{"id":"1","result":""#,
            r#",\"id\":\"9\"","type":"response"}"#
        ),
        response("1"),
        "the quotes of a string are escaped"
    );
    assert_eq!(
        told(
            r#"{"result":{"a":""#,
            r#"","id":"9"},"id":"1","type":"response"}"#
        ),
        response("1")
    );
    assert_eq!(
        told(r#"{"rows":[{"a":""#, r#"","id":"9","type":"response"}]}"#),
        None,
        "fields of a payload do not count"
    );
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
fn dropped_stray_lines_are_reported_at_the_end_of_the_stream() {
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
    codec.mark_broken();
    assert_eq!(read_all(&mut codec), [response("7", "1")]);
}

#[test]
fn a_message_that_is_too_large_to_send_leaves_no_bytes_behind() {
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
fn written_bytes_are_removed_from_the_outgoing_bytes() {
    let mut codec = Codec::new(Native, Limits::default());
    codec.encode(&Event::Drain.into()).unwrap();
    let line = codec.outgoing().to_vec();
    codec.mark_written(5);
    codec.encode(&Event::Ready.into()).unwrap();
    assert!(codec.outgoing().starts_with(&line[5..]));
    codec.mark_written(usize::MAX);
    assert!(codec.outgoing().is_empty());
}

#[test]
fn the_carriage_return_of_a_line_break_does_not_count_for_the_limit() {
    let bytes = format!("{SEVEN}\r\n{SEVEN}\r\n");
    let found = decode_within(bytes.as_bytes(), small(SEVEN.len()));
    assert_eq!(found, [response("7", "1"), response("7", "1")]);
    let found = decode_within(bytes.as_bytes(), small(SEVEN.len() - 1));
    assert!(
        matches!(&found[..], [Incoming::TooLarge(_), Incoming::TooLarge(_)]),
        "{found:?}"
    );
}
