//! The lines of JSON-RPC 2.0, as MCP uses it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::tool::Tool;
use super::{Cancel, Log, LogLevel, MessageId, Payload, Progress, Request, TaskError, TaskName};

/// The ids of the session's own requests. Those of calls are numbers, or texts with a prefix.
const INITIALIZE: &str = "initialize";
const TOOLS: &str = "tools";
const PING: &str = "ping:";
const CANCELLED: &str = "cancelled:";
const CALL: &str = "call:";

/// One message of the server.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads a line; `None` if it is not a JSON-RPC object, and an error if it begins as an object and cannot be read.
    pub(super) fn read(line: &'a [u8]) -> Result<Option<Self>, serde_json::Error> {
        if !line.trim_ascii_start().starts_with(b"{") {
            return Ok(None);
        }
        let message: Self = serde_json::from_slice(line)?;
        let has_content =
            message.method.is_some() || message.id.is_some() || message.error.is_some();
        Ok(has_content.then_some(message))
    }
}

/// Returns the messages of a line that is an array of messages; `None` if it is anything else.
pub(super) fn batch(line: &[u8]) -> Option<Vec<&RawValue>> {
    if !line.trim_ascii_start().starts_with(b"[") {
        return None;
    }
    let messages: Vec<&RawValue> = serde_json::from_slice(line).ok()?;
    let are_messages = messages
        .iter()
        .all(|message| message.get().starts_with('{'));
    (are_messages && !messages.is_empty()).then_some(messages)
}

/// The request to which an answer of the server belongs.
#[derive(Debug, PartialEq)]
pub(super) enum CallId {
    Initialize,
    Tools,
    Ping(u64),
    /// The ping after the cancel of this call.
    Cancelled(MessageId),
    /// A call of a tool.
    Call(MessageId),
    Unknown,
}

impl CallId {
    /// Reads the id of an answer, and finds the request to which it belongs.
    pub(super) fn read(id: &RawValue) -> Self {
        let id: Result<Value, _> = serde_json::from_str(id.get());
        id.map_or(Self::Unknown, |id| Self::of(&id))
    }

    /// Finds the request to which an answer with this id belongs.
    pub(super) fn of(id: &Value) -> Self {
        if let Some(number) = id.as_u64() {
            return Self::Call(number.into());
        }
        let Some(text) = id.as_str() else {
            return Self::Unknown;
        };
        match text {
            INITIALIZE => return Self::Initialize,
            TOOLS => return Self::Tools,
            _ => {}
        }
        if let Some(call) = text.strip_prefix(CALL) {
            return Self::Call(call.into());
        }
        // Some servers send the number of a call back as a text.
        if let Ok(number) = text.parse::<u64>() {
            return Self::Call(number.into());
        }
        if let Some(call) = text.strip_prefix(CANCELLED) {
            return Self::Cancelled(call.into());
        }
        let nonce = text.strip_prefix(PING).and_then(|nonce| nonce.parse().ok());
        nonce.map_or(Self::Unknown, Self::Ping)
    }
}

/// Returns the id of a call as JSON: a number if the host counts its calls, otherwise a text.
fn call_id(id: &MessageId) -> Value {
    match id.as_counter() {
        Some(counter) => counter.into(),
        None => format!("{CALL}{id}").into(),
    }
}

/// Appends a message as a line.
fn write_line(message: &impl Serialize, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    serde_json::to_writer(&mut *line, message)?;
    line.push(b'\n');
    Ok(())
}

/// Makes a line from a message of the session.
fn line_of(message: &Value) -> Vec<u8> {
    format!("{message}\n").into_bytes()
}

/// Makes the `initialize` request.
pub(super) fn initialize(version: &str) -> Vec<u8> {
    line_of(&json!({
        "jsonrpc": "2.0", "id": INITIALIZE, "method": "initialize",
        "params": {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "ratchet", "version": env!("CARGO_PKG_VERSION")},
        },
    }))
}

/// Makes the request for a page of tools; `None` for the first page.
pub(super) fn list_tools(cursor: Option<&str>) -> Vec<u8> {
    let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
    line_of(&json!({"jsonrpc": "2.0", "id": TOOLS, "method": "tools/list", "params": params}))
}

/// Answers a request of the server. The host supports only pings.
pub(super) fn answer_request(method: &str, id: &RawValue) -> Vec<u8> {
    let id: Value = serde_json::from_str(id.get()).unwrap_or_default();
    line_of(&match method {
        "ping" => json!({"jsonrpc": "2.0", "id": id, "result": {}}),
        _ => json!({
            "jsonrpc": "2.0", "id": id,
            "error": {"code": -32601, "message": "this host answers only pings"},
        }),
    })
}

pub(super) fn write_ping(nonce: u64, line: &mut Vec<u8>) {
    let id = format!("{PING}{nonce}");
    line.extend(line_of(
        &json!({"jsonrpc": "2.0", "id": id, "method": "ping"}),
    ));
}

/// Appends the cancel of a call, and the ping whose answer shows that the server has read it.
pub(super) fn write_cancel(cancel: &Cancel, line: &mut Vec<u8>) {
    let mut params = json!({"requestId": call_id(&cancel.id)});
    if let Some(reason) = &cancel.reason {
        params["reason"] = reason.as_str().into();
    }
    line.extend(line_of(
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
    ));
    let id = format!("{CANCELLED}{}", cancel.id);
    line.extend(line_of(
        &json!({"jsonrpc": "2.0", "id": id, "method": "ping"}),
    ));
}

/// Appends the call of a tool. The arguments are copied unchanged.
pub(super) fn write_call(
    request: &Request,
    arguments: &Payload,
    line: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    #[derive(Serialize)]
    struct Call<'a> {
        jsonrpc: &'static str,
        id: &'a Value,
        method: &'static str,
        params: Params<'a>,
    }
    #[derive(Serialize)]
    struct Params<'a> {
        name: &'a str,
        arguments: &'a Payload,
        _meta: Meta<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta<'a> {
        progress_token: &'a Value,
    }
    let id = call_id(&request.id);
    write_line(
        &Call {
            jsonrpc: "2.0",
            id: &id,
            method: "tools/call",
            params: Params {
                name: request.task.as_str(),
                arguments,
                _meta: Meta {
                    progress_token: &id,
                },
            },
        },
        line,
    )
}

/// The description of a server in its answer to `initialize`.
#[derive(Debug)]
pub(super) struct Server {
    /// The version of MCP that it speaks.
    pub(super) version: String,
    pub(super) name: Option<String>,
    pub(super) own_version: Option<String>,
    pub(super) has_tools: bool,
}

/// The error of a request in JSON-RPC.
#[derive(Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<Payload>,
}

/// Returns the result of a request of the session, or why there is none.
fn result_of<'a>(message: &Message<'a>, what: &str) -> Result<&'a RawValue, String> {
    match (message.result, message.error) {
        (Some(result), _) => Ok(result),
        (None, Some(error)) => {
            let said = serde_json::from_str::<RpcError>(error.get());
            let said = said.map_or_else(|_| error.get().to_owned(), |error| error.message);
            Err(format!("the MCP server refused {what}: {said}"))
        }
        (None, None) => Err(format!(
            "the MCP server answered {what} with neither a result nor an error"
        )),
    }
}

/// Reads the answer to `initialize`.
pub(super) fn read_initialized(message: &Message<'_>) -> Result<Server, String> {
    /// The result of the server's answer to `initialize`.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialized {
        protocol_version: String,
        #[serde(default)]
        capabilities: Value,
        server_info: Option<Info>,
    }
    #[derive(Deserialize)]
    struct Info {
        name: Option<String>,
        version: Option<String>,
    }
    let result = result_of(message, "`initialize`")?;
    let read: Initialized = serde_json::from_str(result.get()).map_err(|error| {
        format!("the MCP server's answer to `initialize` is malformed: {error}")
    })?;
    let (name, own_version) = read
        .server_info
        .map_or((None, None), |info| (info.name, info.version));
    Ok(Server {
        version: read.protocol_version,
        name,
        own_version,
        has_tools: read.capabilities.get("tools").is_some(),
    })
}

/// One page of the list of tools.
pub(super) struct Page {
    pub(super) tools: Vec<(TaskName, Tool)>,
    /// The cursor of the next page, if there is one.
    pub(super) next: Option<String>,
}

/// Reads the answer to a request for a page of tools.
pub(super) fn read_tools(message: &Message<'_>) -> Result<Page, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed {
        tools: Vec<Described>,
        next_cursor: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Described {
        name: TaskName,
        description: Option<String>,
        #[serde(default)]
        input_schema: Value,
    }
    let result = result_of(message, "`tools/list`")?;
    let read: Listed = serde_json::from_str(result.get())
        .map_err(|error| format!("the MCP server's list of tools is malformed: {error}"))?;
    let tools = read.tools.into_iter();
    Ok(Page {
        tools: tools
            .map(|tool| (tool.name, Tool::new(tool.description, &tool.input_schema)))
            .collect(),
        next: read.next_cursor.filter(|next| !next.is_empty()),
    })
}

/// Reads the answer to a call: the result of the tool, its error, or why the answer is neither.
pub(super) fn read_result(message: &Message<'_>) -> Result<Result<Payload, TaskError>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Called {
        is_error: Option<bool>,
    }
    if let Some(error) = message.error {
        let error: RpcError = serde_json::from_str(error.get())
            .map_err(|error| format!("the error of a call is malformed: {error}"))?;
        return Ok(Err(task_error(error)));
    }
    let result = message
        .result
        .ok_or("a call was answered with neither a result nor an error")?;
    let called: Called = serde_json::from_str(result.get())
        .map_err(|error| format!("the result of a call is malformed: {error}"))?;
    let payload = Payload::from(result);
    if called.is_error != Some(true) {
        return Ok(Ok(payload));
    }
    let message = match text_of(result) {
        text if text.is_empty() => "the tool failed and does not say why".to_owned(),
        text => text,
    };
    Ok(Err(TaskError::new("tool_error", message).data(payload)))
}

/// Converts a JSON-RPC error to the error of a task. A fault in the request itself is final.
fn task_error(error: RpcError) -> TaskError {
    let (code, is_final): (Cow<'static, str>, bool) = match error.code {
        -32601 => (TaskError::UNKNOWN_TASK.into(), true),
        -32602 => (TaskError::INVALID_INPUT.into(), true),
        -32700 | -32600 => (TaskError::MALFORMED.into(), true),
        code => (format!("rpc {code}").into(), false),
    };
    let mut read = TaskError::new(code, error.message);
    read.retryable = is_final.then_some(false);
    read.data = error.data;
    read
}

/// Joins the texts of a result.
fn text_of(result: &RawValue) -> String {
    let result: Value = serde_json::from_str(result.get()).unwrap_or_default();
    let blocks = result.get("content").and_then(Value::as_array);
    let texts = blocks
        .into_iter()
        .flatten()
        .filter_map(|block| block.get("text")?.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// Reads a progress notification; `None` if it belongs to no call.
pub(super) fn read_progress(params: Option<&RawValue>) -> Option<Progress> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Reported<'a> {
        #[serde(borrow)]
        progress_token: &'a RawValue,
        progress: Option<f64>,
        total: Option<f64>,
        message: Option<String>,
    }
    let read: Reported<'_> = serde_json::from_str(params?.get()).ok()?;
    let CallId::Call(id) = CallId::read(read.progress_token) else {
        return None;
    };
    Some(Progress {
        id,
        done: read.progress,
        total: read.total,
        message: read.message,
    })
}

/// Reads a log notification, whose data is a text or any other value.
pub(super) fn read_log(params: Option<&RawValue>) -> Option<Log> {
    #[derive(Deserialize)]
    struct Logged {
        #[serde(default)]
        level: LogLevel,
        logger: Option<String>,
        data: Value,
    }
    let read: Logged = serde_json::from_str(params?.get()).ok()?;
    let text = match read.data {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Some(Log {
        id: None,
        level: read.level,
        message: match read.logger {
            Some(logger) => format!("{logger}: {text}"),
            None => text,
        },
    })
}
