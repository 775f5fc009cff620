use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::protocol::Readiness;
use crate::serialization::{Codec, Incoming, Limits};

/// A session, and a simulated server.
struct Session(Codec);

impl Session {
    fn new(concurrency: u32) -> Self {
        let concurrency = NonZeroU32::new(concurrency).unwrap();
        let limits = Limits {
            max_message_bytes: 2_000,
            ..Limits::default()
        };
        Self(Codec::new(Mcp::new(concurrency), limits))
    }

    /// Takes what was sent to the server since the last call.
    fn sent(&mut self) -> Vec<Value> {
        let text = String::from_utf8(self.0.outgoing().to_vec()).unwrap();
        self.0.mark_written(text.len());
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn says(&mut self, message: &Value) -> Vec<Incoming> {
        self.0.feed(format!("{message}\n").as_bytes());
        self.heard()
    }

    fn heard(&mut self) -> Vec<Incoming> {
        let now = now();
        std::iter::from_fn(|| self.0.next(now)).collect()
    }

    fn call(&mut self, id: u64, task: &str, input: &Value) -> Result<Value, IpcError> {
        let input = Payload::from_value(input)?;
        self.0.encode(&Request::new(id, task, input).into())?;
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1);
        Ok(sent.remove(0))
    }

    /// Returns a session after its handshake, with these tools.
    fn ready(concurrency: u32, tools: &Value) -> Self {
        let mut session = Self::new(concurrency);
        assert!(session.says(&initialized("2025-06-18")).is_empty());
        let ready =
            session.says(&json!({"jsonrpc": "2.0", "id": "tools", "result": {"tools": tools}}));
        assert!(
            matches!(ready[..], [Incoming::Readiness(Readiness::Ready(_))]),
            "{ready:?}"
        );
        session.sent();
        session
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn now() -> Instant {
    Instant::now()
}

fn initialized(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "initialize", "result": {
        "protocolVersion": version,
        "capabilities": {"tools": {"listChanged": true}},
        "serverInfo": {"name": "everything", "version": "1.2"},
    }})
}

fn echo() -> Value {
    json!([{"name": "echo", "inputSchema": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}}])
}

fn outcome(incoming: &[Incoming]) -> &Result<Payload, TaskError> {
    match incoming {
        [Incoming::Message(IpcMessage::Response(response))] => &response.outcome,
        other => panic!("not one response: {other:?}"),
    }
}

#[test]
fn a_session_initializes_reads_all_pages_of_tools_and_is_ready_with_them() {
    let mut session = Session::new(3);
    let sent = session.sent();
    assert_eq!(sent[0]["method"], "initialize");
    assert_eq!(sent[0]["params"]["protocolVersion"], "2025-06-18");

    assert!(session.says(&initialized("2024-11-05")).is_empty());
    let sent = session.sent();
    assert_eq!(sent[0]["method"], "notifications/initialized");
    assert_eq!(
        (&sent[1]["method"], &sent[1]["params"]),
        (&json!("tools/list"), &json!({}))
    );

    let page = json!({"id": "tools", "result": {"tools": [{"name": "a", "description": "does a"}], "nextCursor": "p2"}});
    assert!(session.says(&page).is_empty());
    assert_eq!(session.sent()[0]["params"], json!({"cursor": "p2"}));
    let ready = session
        .says(&json!({"id": "tools", "result": {"tools": [{"name": "b", "inputSchema": {}}]}}));
    let [Incoming::Readiness(Readiness::Ready(profile))] = &ready[..] else {
        panic!("not ready: {ready:?}");
    };
    let tasks = profile.tasks.as_ref().unwrap();
    let names: Vec<_> = tasks.keys().map(TaskName::as_str).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(tasks["a"].description.as_deref(), Some("does a"));
    assert_eq!(profile.worker_name.as_deref(), Some("everything"));
    assert_eq!(profile.worker_version.as_deref(), Some("1.2"));
    assert_eq!(profile.concurrency.get(), 3);
    assert!(profile.capabilities.has(&Capability::Cancel));
}

#[test]
fn a_server_that_cannot_be_used_is_refused_with_the_reason() {
    let refusal = |message: &Value| {
        let mut session = Session::new(1);
        match &session.says(message)[..] {
            [Incoming::Readiness(Readiness::Refused(error))] => error.to_string(),
            other => panic!("not refused: {other:?}"),
        }
    };
    assert_eq!(
        refusal(&initialized("1999-01-01")),
        "the handshake failed: no common version of MCP: the host speaks 2024-11-05, 2025-03-26, 2025-06-18, \
         2025-11-25, the server 1999-01-01"
    );
    assert_eq!(
        refusal(
            &json!({"id": "initialize", "result": {"protocolVersion": "2025-06-18", "capabilities": {}}})
        ),
        "the handshake failed: the MCP server offers no tools"
    );
    assert_eq!(
        refusal(&json!({"id": "initialize", "error": {"code": -32602, "message": "too old"}})),
        "the handshake failed: the MCP server refused `initialize`: too old"
    );
    assert!(refusal(&json!({"id": "initialize", "result": 7})).contains("malformed"));
}

#[test]
fn a_list_of_tools_without_end_is_refused() {
    let mut session = Session::new(1);
    session.says(&initialized("2025-06-18"));
    let page = json!({"id": "tools", "result": {"tools": [], "nextCursor": "again"}});
    let refused = (0..MAX_PAGES).find_map(|_| session.says(&page).pop());
    assert!(matches!(
        refused,
        Some(Incoming::Readiness(Readiness::Refused(_)))
    ));
}

#[test]
fn a_call_carries_its_arguments_and_returns_the_result_as_the_server_wrote_it() {
    let mut session = Session::ready(1, &echo());
    let call = session.call(7, "echo", &json!({"message": "hi"})).unwrap();
    assert_eq!(
        call,
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params":
            {"name": "echo", "arguments": {"message": "hi"}, "_meta": {"progressToken": 7}}})
    );
    let result = json!({"content": [{"type": "text", "text": "Echo: hi"}]});
    let heard = session.says(&json!({"result": result, "jsonrpc": "2.0", "id": 7}));
    let answer: Value = outcome(&heard).as_ref().unwrap().read().unwrap();
    assert_eq!(answer, result);
}

#[test]
fn a_single_argument_may_stand_alone_and_is_read_as_its_type() {
    let tools = json!([
        {"name": "echo", "inputSchema": {"properties": {"message": {"type": "string"}, "loud": {}}, "required": ["message"]}},
        {"name": "square", "inputSchema": {"properties": {"n": {"type": "number"}}}},
        {"name": "sum", "inputSchema": {"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}},
        {"name": "now", "inputSchema": {}},
    ]);
    let mut session = Session::ready(1, &tools);
    let mut arguments = |task: &str, input: Value| {
        let call = session.call(1, task, &input);
        call.map(|call| call["params"]["arguments"].clone())
    };
    assert_eq!(
        arguments("echo", json!("5")).unwrap(),
        json!({"message": "5"})
    );
    assert_eq!(arguments("square", json!("5")).unwrap(), json!({"n": 5}));
    assert_eq!(
        arguments("square", json!("five")).unwrap(),
        json!({"n": "five"})
    );
    assert_eq!(arguments("square", json!(2.5)).unwrap(), json!({"n": 2.5}));
    assert_eq!(arguments("now", json!(null)).unwrap(), json!({}));
    assert_eq!(
        arguments("sum", json!("1")).unwrap_err().to_string(),
        "the tool `sum` takes its arguments as an object, with the keys a, b"
    );
    assert_eq!(
        arguments("unknown", json!([1])).unwrap_err().to_string(),
        "the tool `unknown` takes its arguments as an object"
    );
}

#[test]
fn errors_of_tools_and_of_requests_say_what_happened() {
    let mut session = Session::ready(1, &echo());
    session.call(1, "echo", &json!("x")).unwrap();
    let failed = json!({"content": [{"type": "text", "text": "no such file"}], "isError": true});
    let heard = session.says(&json!({"id": 1, "result": failed}));
    let error = outcome(&heard).as_ref().unwrap_err();
    assert_eq!(
        (&*error.code, error.message.as_str(), error.retryable),
        ("tool_error", "no such file", None)
    );
    assert!(error.data.is_some());

    for (code, name, retryable) in [
        (-32601, "unknown_task", Some(false)),
        (-32602, "invalid_input", Some(false)),
        (-32000, "rpc -32000", None),
    ] {
        session.call(2, "echo", &json!("x")).unwrap();
        let heard = session.says(&json!({"id": 2, "error": {"code": code, "message": "why"}}));
        let error = outcome(&heard).as_ref().unwrap_err();
        assert_eq!(
            (&*error.code, error.message.as_str(), error.retryable),
            (name, "why", retryable)
        );
    }
    session.call(3, "echo", &json!("x")).unwrap();
    let heard = session.says(&json!({"id": 3}));
    assert!(
        matches!(&heard[..], [Incoming::Malformed(broken)] if broken.id == Some(3.into())),
        "{heard:?}"
    );
}

#[test]
fn a_cancel_is_answered_by_the_session_once_the_server_has_read_it() {
    let mut session = Session::ready(1, &echo());
    session.call(4, "echo", &json!("x")).unwrap();
    let cancel = Cancel {
        id: 4.into(),
        reason: Some("timeout".to_owned()),
    };
    session
        .0
        .encode(&Event::Cancel(cancel.clone()).into())
        .unwrap();
    let sent = session.sent();
    assert_eq!(sent[0]["method"], "notifications/cancelled");
    assert_eq!(
        sent[0]["params"],
        json!({"requestId": 4, "reason": "timeout"})
    );
    assert_eq!(
        (&sent[1]["method"], &sent[1]["id"]),
        (&json!("ping"), &json!("cancelled:4"))
    );
    let heard = session.says(&json!({"id": "cancelled:4", "result": {}}));
    assert_eq!(
        outcome(&heard).as_ref().unwrap_err().code,
        TaskError::CANCELLED
    );

    // If the answer was already sent, it counts, and the pong after it has no effect.
    session.call(5, "echo", &json!("x")).unwrap();
    session
        .0
        .encode(
            &Event::Cancel(Cancel {
                id: 5.into(),
                ..cancel
            })
            .into(),
        )
        .unwrap();
    let heard = session.says(&json!({"id": 5, "result": {"content": []}}));
    assert!(outcome(&heard).is_ok());
    assert!(
        session
            .says(&json!({"id": "cancelled:5", "result": {}}))
            .is_empty()
    );
}

#[test]
fn progress_logs_and_pings_go_where_they_belong() {
    let mut session = Session::ready(1, &echo());
    let heard = session.says(&json!({"method": "notifications/progress", "params":
        {"progressToken": 9, "progress": 2, "total": 5, "message": "half"}}));
    let [Incoming::Message(IpcMessage::Event(Event::Progress(progress)))] = &heard[..] else {
        panic!("no progress: {heard:?}");
    };
    assert_eq!(
        (progress.id.as_counter(), progress.done, progress.total),
        (Some(9), Some(2.0), Some(5.0))
    );

    let heard = session.says(&json!({"method": "notifications/message", "params":
        {"level": "warning", "logger": "db", "data": {"rows": 3}}}));
    let [Incoming::Message(IpcMessage::Event(Event::Log(log)))] = &heard[..] else {
        panic!("no log: {heard:?}");
    };
    assert_eq!(
        (log.level, log.message.as_str()),
        (LogLevel::Warn, "db: {\"rows\":3}")
    );

    assert!(session.says(&json!({"id": 1, "method": "ping"})).is_empty());
    assert_eq!(
        session.sent(),
        [json!({"jsonrpc": "2.0", "id": 1, "result": {}})]
    );
    session.says(&json!({"id": "x", "method": "sampling/createMessage", "params": {}}));
    assert_eq!(session.sent()[0]["error"]["code"], -32601);

    session
        .0
        .encode(&Event::Ping(Nonce { nonce: 3 }).into())
        .unwrap();
    let ping = session.sent().remove(0);
    let heard = session.says(&json!({"id": ping["id"], "result": {}}));
    assert!(matches!(
        heard[..],
        [Incoming::Message(IpcMessage::Event(Event::Pong(Nonce {
            nonce: 3
        })))]
    ));
}

#[test]
fn a_changed_list_of_tools_is_read_again() {
    let mut session = Session::ready(1, &echo());
    let changed = json!({"method": "notifications/tools/list_changed"});
    assert!(session.says(&changed).is_empty());
    assert_eq!(session.sent()[0]["method"], "tools/list");
    // The list changes once more before the answer.
    session.says(&changed);
    assert!(
        session
            .says(&json!({"id": "tools", "result": {"tools": []}}))
            .is_empty()
    );
    assert_eq!(session.sent()[0]["method"], "tools/list");
    let ready = session.says(&json!({"id": "tools", "result": {"tools": [{"name": "new"}]}}));
    let [Incoming::Readiness(Readiness::Ready(profile))] = &ready[..] else {
        panic!("not ready: {ready:?}");
    };
    assert!(profile.tasks.as_ref().unwrap().contains_key("new"));
}

#[test]
fn what_is_no_message_is_stray_and_a_long_answer_fails_its_call() {
    let mut session = Session::ready(1, &echo());
    for line in [
        "Starting server..\n",
        "7\n",
        "{\"a\":1}\n",
        "{broken\n",
        "\"text\"\n",
        "[]\n",
    ] {
        session.0.feed(line.as_bytes());
        let heard = session.heard();
        assert!(
            matches!(heard[..], [Incoming::Stray(_)]),
            "{line:?}: {heard:?}"
        );
    }
    session.call(6, "echo", &json!("x")).unwrap();
    let long =
        json!({"result": {"content": [{"type": "text", "text": "x".repeat(5_000)}]}, "id": 6});
    let heard = session.says(&long);
    assert!(
        matches!(&heard[..], [Incoming::TooLarge(large)] if large.id == Some(6.into())),
        "{heard:?}"
    );
}

#[test]
fn a_broken_answer_fails_the_call_whose_id_can_be_read() {
    let mut session = Session::ready(2, &echo());
    session.call(6, "echo", &json!("x")).unwrap();
    session.call(7, "echo", &json!("y")).unwrap();
    for (line, id) in [
        (
            &br#"{"jsonrpc":"2.0","id":7,"result":{"content":NaN}}"#[..],
            7,
        ),
        (b"{\"result\":{\"id\":7,\"a\":\"\xe9\"},\"id\":6}", 6),
    ] {
        session.0.feed(&[line, b"\n"].concat());
        let heard = session.heard();
        assert!(
            matches!(&heard[..], [Incoming::Malformed(broken)] if broken.id == Some(id.into())),
            "{heard:?}"
        );
    }
    for line in [
        r#"{"jsonrpc":"2.0","id":7,"result":NaN}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":NaN}"#,
    ] {
        session.0.feed(format!("{line}\n").as_bytes());
        assert!(
            matches!(session.heard()[..], [Incoming::Stray(_)]),
            "{line}"
        );
    }
}

#[test]
fn a_broken_answer_in_the_handshake_refuses_the_server() {
    let mut session = Session::new(1);
    session.0.feed(b"{\"id\":\"initialize\",\"result\":NaN}\n");
    let heard = session.heard();
    assert!(
        matches!(&heard[..], [Incoming::Readiness(Readiness::Refused(_))]),
        "{heard:?}"
    );
}

#[test]
fn the_id_of_a_long_answer_is_found_at_either_end() {
    let mut session = Session::ready(2, &echo());
    session.call(6, "echo", &json!("x")).unwrap();
    session.call(7, "echo", &json!("y")).unwrap();
    let text = "x".repeat(5_000);
    for line in [
        format!(r#"{{"result":{{"content":"{text}"}},"id":7,"jsonrpc":"2.0"}}"#),
        format!(r#"{{"id":6,"result":{{"content":"{text}"}},"jsonrpc":"2.0"}}"#),
    ] {
        session.0.feed(format!("{line}\n").as_bytes());
        let heard = session.heard();
        let expected = if line.starts_with(r#"{"id":6"#) { 6 } else { 7 };
        assert!(
            matches!(&heard[..], [Incoming::TooLarge(large)] if large.id == Some(expected.into())),
            "{heard:?}"
        );
    }
}

#[test]
fn an_error_without_an_id_fails_the_only_call() {
    let mut session = Session::ready(2, &echo());
    session.call(6, "echo", &json!("x")).unwrap();
    let unreadable =
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "what?"}});
    let heard = session.says(&unreadable);
    let error = outcome(&heard).as_ref().unwrap_err();
    assert_eq!(
        (&*error.code, error.message.as_str()),
        ("malformed", "what?")
    );
    session.call(7, "echo", &json!("x")).unwrap();
    session.call(8, "echo", &json!("x")).unwrap();
    assert!(matches!(
        session.says(&unreadable)[..],
        [Incoming::Stray(_)]
    ));
}

#[test]
fn ids_that_are_no_numbers_come_back_as_they_were() {
    let mut session = Session::ready(1, &echo());
    let input = Payload::from_text("x");
    session
        .0
        .encode(&Request::new("job/7", "echo", input).into())
        .unwrap();
    let id = session.sent().remove(0)["id"].clone();
    let heard = session.says(&json!({"id": id, "result": {"content": []}}));
    assert!(
        matches!(&heard[..], [Incoming::Message(IpcMessage::Response(response))] if response.id == "job/7".into())
    );
}

#[test]
fn answers_may_come_in_an_array_and_with_the_id_as_a_text() {
    let mut session = Session::ready(2, &echo());
    session.call(1, "echo", &json!("x")).unwrap();
    session.call(2, "echo", &json!("y")).unwrap();
    let answer = |id: Value, text: &str| json!({"id": id, "result": {"content": [], "text": text, "isError": null}});
    let heard = session.says(&json!([answer(json!("2"), "y"), answer(json!(1), "x")]));
    let answered: Vec<_> = heard
        .iter()
        .map(|incoming| match incoming {
            Incoming::Message(IpcMessage::Response(response)) => {
                (response.id.as_counter(), response.outcome.is_ok())
            }
            other => panic!("no response: {other:?}"),
        })
        .collect();
    assert_eq!(answered, [(Some(2), true), (Some(1), true)]);
    let stray = session.says(&json!([1, 2]));
    assert!(matches!(&stray[..], [Incoming::Stray(_)]), "{stray:?}");
}
