//! Tests of programs that answer each line with one line.

use super::limits::small;
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
fn a_text_is_sent_raw_and_other_json_is_sent_compact() {
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
fn answers_belong_to_items_in_order_and_empty_ones_count() {
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
fn an_answer_without_a_newline_at_the_end_is_malformed() {
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
fn a_banner_is_passed_over_before_and_after_the_first_request() {
    let lines = Lines::new(LineFormat::Text, LineFormat::Text).skip(3);
    let mut codec = Codec::new(lines, small(100));
    assert!(answers(&mut codec, b"welcome\n").is_empty());
    ask(&mut codec, 1, "\"x\"").unwrap();
    let found = answers(&mut codec, format!("{}\n\nX\n", "-".repeat(101)).as_bytes());
    assert_eq!(found, [response("1", "\"X\"")]);
    assert_eq!(answers(&mut codec, b"more\n"), [stray("more")]);
}

#[test]
fn an_answer_that_is_too_long_fails_its_own_item_only() {
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
fn an_event_to_a_filter_sends_nothing() {
    let mut codec = filter(LineFormat::Text, LineFormat::Text);
    codec.encode(&Event::Drain.into()).unwrap();
    assert!(codec.outgoing().is_empty());
}
