//! Valid fields, and the errors for wrong ones.

use super::*;
use crate::messages::{Log, LogLevel, TaskDeclaration, TaskError};

#[test]
fn a_malformed_message_is_reported_with_its_fault_and_its_request() {
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
            r#"`error` is not an object: "x""#,
        ),
        (
            r#"{"type":"response","id":"7","error":{"code":404,"message":"x"}}"#,
            Some("7"),
            "`code` is 404, and has to be a text",
        ),
        (
            r#"{"type":"response","id":"7","error":{"retryable":"no"}}"#,
            Some("7"),
            r#"`retryable` is "no", and has to be true or false"#,
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
fn a_malformed_hello_is_reported_as_one_with_the_field_that_is_wrong() {
    for (fields, reason) in [
        (
            r#""protocol":[1],"concurrency":0"#,
            "`concurrency` is 0, and has to be a whole number from 1",
        ),
        (
            r#""protocol":1"#,
            "`protocol` is 1, and has to be a list of version numbers, as in [1]",
        ),
        (
            r#""protocol":[1,"2"]"#,
            r#"`protocol` is [1,"2"], and has to be a list of version numbers, as in [1]"#,
        ),
        (
            r#""name":"x""#,
            "`protocol` is missing: it lists the versions that the worker speaks, as in [1]",
        ),
        (
            r#""protocol":[1],"tasks":["t"]"#,
            r#"`tasks` is ["t"], and has to be an object with the name of each task as a key"#,
        ),
        (
            r#""protocol":[1],"tasks":{"t":true}"#,
            "what `tasks` says of `t` is true, and has to be an object",
        ),
        (
            r#""protocol":[1],"tasks":{"t":{"cacheable":"yes"}}"#,
            r#"`cacheable` of the task `t` is "yes", and has to be true or false"#,
        ),
        (
            r#""protocol":[1],"tasks":{"t":{},"u":{},"t":{"cacheable":true}}"#,
            "`tasks` declares `t` twice",
        ),
        (
            r#""protocol":[1],"version":2.1"#,
            "`version` is 2.1, and has to be a text",
        ),
        (
            r#""protocol":[1],"capabilities":"cancel""#,
            r#"`capabilities` is "cancel", and has to be a list of names"#,
        ),
    ] {
        let line = format!(r#"{{"type":"event","event":"hello",{fields}}}"#);
        // Stray lines are not passed on here, but a malformed hello is not one of them.
        let limits = Limits {
            stray_lines_per_second: 0,
            ..Limits::default()
        };
        match &decode_within(line.as_bytes(), limits)[..] {
            [Incoming::Malformed(malformed)] => {
                assert!(malformed.is_hello, "{line}");
                assert_eq!(malformed.reason, reason, "{line}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_error_may_omit_every_field() {
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
fn an_attempt_that_is_null_is_the_first() {
    let line = r#"{"type":"request","id":"1","task":"echo","input":null,"attempt":null,"timeout_ms":null,"host":null,"key":null,"slot":null,"resources":null,"traceparent":null,"check":null,"diff":null}"#;
    let expected = Request::new("1", "echo", Payload::null());
    assert_eq!(decode(line), [Incoming::Message(expected.into())]);
}

#[test]
fn a_null_field_is_absent_and_milliseconds_are_rounded() {
    let hello = r#"{"type":"event","event":"hello","protocol":[1],"name":null,"version":null,
        "concurrency":null,"capabilities":null,"tasks":null}"#
        .replace('\n', "");
    let expected = Event::Hello(Hello::new([ProtocolVersion::V1]));
    assert_eq!(decode(hello), [Incoming::Message(expected.into())]);
    let hello = r#"{"type":"event","event":"hello","protocol":[1],"tasks":{"a":null,
        "b":{"hint":null,"cacheable":null,"description":null}}}"#
        .replace('\n', "");
    let expected = Hello {
        tasks: Some(
            ["a", "b"]
                .map(|task| (task.into(), TaskDeclaration::default()))
                .into(),
        ),
        ..Hello::new([ProtocolVersion::V1])
    };
    assert_eq!(
        decode(hello),
        [Incoming::Message(Event::Hello(expected).into())]
    );

    let log = r#"{"type":"event","event":"log","id":null,"level":null,"message":"x"}"#;
    let expected = Log {
        id: None,
        level: LogLevel::default(),
        message: "x".to_owned(),
    };
    assert_eq!(
        decode(log),
        [Incoming::Message(Event::Log(expected).into())]
    );

    let nulls = r#"{"code":null,"message":"x","retryable":null,"retry_after_ms":null,"data":null}"#;
    let line = format!(r#"{{"type":"response","id":"7","error":{nulls}}}"#);
    let expected = Response {
        id: "7".into(),
        outcome: Err(TaskError::new(TaskError::UNNAMED, "x")),
    };
    assert_eq!(decode(line), [Incoming::Message(expected.into())]);

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
