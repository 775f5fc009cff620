use std::time::Instant;

use super::*;
use crate::messages::Cancel;
use crate::serialization::{Codec, Incoming, Limits};

fn codec(dialect: BazelJson) -> Codec {
    let limits = Limits {
        max_message_bytes: 2_000,
        ..Limits::default()
    };
    Codec::new(dialect, limits)
}

fn single() -> Codec {
    codec(BazelJson::new(NonZeroU32::MIN))
}

fn multiplex() -> Codec {
    codec(BazelJson::new(NonZeroU32::new(4).unwrap()).understanding_cancel())
}

fn send(codec: &mut Codec, message: impl Into<IpcMessage>) -> Result<String, IpcError> {
    codec.encode(&message.into())?;
    let line = String::from_utf8(codec.outgoing().to_vec()).unwrap();
    codec.mark_written(line.len());
    Ok(line)
}

fn request(id: u64, input: &str) -> Request {
    Request::new(id, "javac", Payload::from_json(input).unwrap())
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn hear(codec: &mut Codec, line: &str) -> Vec<Incoming> {
    codec.feed(format!("{line}\n").as_bytes());
    let now = Instant::now();
    std::iter::from_fn(|| codec.next(now)).collect()
}

fn responses(incoming: &[Incoming]) -> Vec<(u64, String)> {
    let response = |one: &Incoming| match one {
        Incoming::Message(IpcMessage::Response(Response { id, outcome })) => {
            let text = match outcome {
                Ok(result) => result.to_string(),
                Err(error) => error.to_string(),
            };
            (id.as_counter().unwrap(), text)
        }
        other => panic!("not a response: {other:?}"),
    };
    incoming.iter().map(response).collect()
}

#[test]
fn inputs_become_work_requests() {
    let mut codec = single();
    for (input, line) in [
        (r#"["-a", "b"]"#, r#"{"arguments":["-a","b"]}"#),
        (r#""one word""#, r#"{"arguments":["one word"]}"#),
        ("null", r#"{"arguments":[]}"#),
        (
            r#"{"arguments": ["x"], "inputs": [{"path": "A.java", "digest": "ab"}, {"path": "B"}]}"#,
            r#"{"arguments":["x"],"inputs":[{"path":"A.java","digest":"ab"},{"path":"B"}]}"#,
        ),
    ] {
        assert_eq!(
            send(&mut codec, request(1, input)).unwrap(),
            format!("{line}\n")
        );
    }
    assert_eq!(
        send(&mut codec, request(1, "7")).unwrap_err().to_string(),
        "the input of such a worker is a list of arguments, one argument, or an object with `arguments` and `inputs`"
    );
    assert!(send(&mut codec, request(1, r#"{"argument": []}"#)).is_err());
}

#[test]
fn a_worker_without_ids_answers_in_order_and_may_leave_out_what_is_zero() {
    let mut codec = single();
    for id in [5, 6, 7] {
        assert!(
            !send(&mut codec, request(id, "[]"))
                .unwrap()
                .contains("requestId")
        );
    }
    let heard = hear(&mut codec, r#"{"exitCode": 0, "output": "fine"}"#);
    assert_eq!(
        responses(&heard),
        [(5, r#"{"exit_code":0,"output":"fine"}"#.to_owned())]
    );
    let heard = hear(&mut codec, "{}");
    assert_eq!(
        responses(&heard),
        [(6, r#"{"exit_code":0,"output":""}"#.to_owned())]
    );
    let heard = hear(
        &mut codec,
        r#"{"exitCode":2,"output":"A.java:3: error\n\n","requestId":0}"#,
    );
    assert_eq!(
        responses(&heard),
        [(7, "exit code 2: A.java:3: error (exit)".to_owned())]
    );
    assert!(matches!(hear(&mut codec, "{}")[..], [Incoming::Stray(_)]));
}

#[test]
fn a_multiplex_worker_gets_ids_from_one_and_answers_in_any_order() {
    let mut codec = multiplex();
    assert!(
        send(&mut codec, request(0, "[]"))
            .unwrap()
            .contains(r#""requestId":1"#)
    );
    assert!(
        send(&mut codec, request(8, "[]"))
            .unwrap()
            .contains(r#""requestId":9"#)
    );
    let heard = hear(&mut codec, r#"{"exitCode":0,"output":"b","requestId":9}"#);
    assert_eq!(responses(&heard)[0].0, 8);
    let heard = hear(&mut codec, r#"{"exitCode":0,"output":"a","request_id":1}"#);
    assert_eq!(responses(&heard)[0].0, 0);
    assert!(matches!(
        hear(&mut codec, r#"{"requestId":9}"#)[..],
        [Incoming::Stray(_)]
    ));
}

#[test]
fn only_a_worker_that_understands_it_is_told_to_cancel() {
    let cancel = |id: u64| {
        Event::Cancel(Cancel {
            id: id.into(),
            reason: None,
        })
    };
    let mut codec = single();
    send(&mut codec, request(3, "[]")).unwrap();
    assert_eq!(send(&mut codec, cancel(3)).unwrap(), "");

    let mut codec = multiplex();
    send(&mut codec, request(3, "[]")).unwrap();
    assert_eq!(
        send(&mut codec, cancel(3)).unwrap(),
        "{\"cancel\":true,\"requestId\":4}\n"
    );
    let heard = hear(&mut codec, r#"{"requestId":4,"wasCancelled":true}"#);
    assert_eq!(
        responses(&heard),
        [(3, "the worker cancelled the request (cancelled)".to_owned())]
    );
}

#[test]
fn unknown_fields_are_ignored_beside_known_ones() {
    let mut codec = single();
    send(&mut codec, request(1, "[]")).unwrap();
    let heard = hear(&mut codec, r#"{"exitCode":0,"output":"a","verbosity":3}"#);
    assert_eq!(responses(&heard)[0].0, 1);
    send(&mut codec, request(2, "[]")).unwrap();
    assert_eq!(responses(&hear(&mut codec, "{ }"))[0].0, 2);
}

#[test]
fn a_broken_answer_of_a_multiplex_worker_fails_the_request_that_it_names() {
    let mut codec = multiplex();
    send(&mut codec, request(0, "[]")).unwrap();
    send(&mut codec, request(1, "[]")).unwrap();
    for (line, id) in [
        (r#"{"exitCode":NaN,"requestId":2}"#, 1),
        (r#"{"requestId":1,"output":"a"#, 0),
    ] {
        let heard = hear(&mut codec, line);
        assert!(
            matches!(&heard[..], [Incoming::Malformed(broken)] if broken.id == Some(id.into())),
            "{heard:?}"
        );
    }
    let heard = hear(&mut codec, r#"{"exitCode":NaN,"requestId":2}"#);
    assert!(
        matches!(heard[..], [Incoming::Stray(_)]),
        "it is answered already"
    );
}

#[test]
fn the_number_of_a_long_answer_is_found_at_its_end() {
    let mut codec = multiplex();
    send(&mut codec, request(0, "[]")).unwrap();
    send(&mut codec, request(1, "[]")).unwrap();
    let line = format!(
        r#"{{"exitCode":0,"output":"{}","requestId":2}}"#,
        "x".repeat(5_000)
    );
    let heard = hear(&mut codec, &line);
    assert!(matches!(&heard[..], [Incoming::TooLarge(large)] if large.id == Some(1.into())));
}

#[test]
fn an_input_that_is_no_list_of_arguments_is_refused_in_plain_words() {
    let mut codec = single();
    for input in [r#"{"x":1}"#, r#"["say",5]"#, r#"{"arguments":"say"}"#, "5"] {
        let error = send(&mut codec, request(1, input)).unwrap_err();
        assert!(matches!(error, IpcError::NoWorkRequest), "{input}: {error}");
    }
}

#[test]
fn prints_are_stray_and_broken_or_long_answers_fail_their_request() {
    let mut codec = single();
    send(&mut codec, request(1, "[]")).unwrap();
    for line in ["hello", r#"{"level":"info"}"#, "[1]"] {
        assert!(
            matches!(hear(&mut codec, line)[..], [Incoming::Stray(_)]),
            "{line}"
        );
    }
    let heard = hear(&mut codec, r#"{"exitCode":"zero"}"#);
    assert!(matches!(&heard[..], [Incoming::Malformed(broken)] if broken.id == Some(1.into())));
    send(&mut codec, request(2, "[]")).unwrap();
    let heard = hear(
        &mut codec,
        &format!(r#"{{"output":"{}"}}"#, "x".repeat(5_000)),
    );
    assert!(matches!(&heard[..], [Incoming::TooLarge(large)] if large.id == Some(2.into())));
}
