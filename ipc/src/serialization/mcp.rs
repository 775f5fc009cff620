//! The dialect of servers of the Model Context Protocol: JSON-RPC 2.0, one message per line.

mod tool;
mod wire;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde_json::value::RawValue;

use super::dialect::{Decoded, Dialect, OverlongLine};
use super::header::{field_at_beginning, field_at_end};
use crate::error::IpcError;
use crate::messages::{
    Cancel, Capabilities, Capability, Event, IpcMessage, Log, LogLevel, MessageId, MessageKind,
    Nonce, Payload, Progress, ProtocolVersion, Request, Response, TaskError, TaskName,
};
use crate::protocol::{HandshakeKind, Profile};
use tool::Tool;
use wire::{CallId, Message};

/// The version of MCP that the host requests.
const VERSION: &str = "2025-06-18";

/// The versions that the host speaks. They differ only in features that are not used here.
const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", VERSION, "2025-11-25"];

/// The maximum number of pages of tools, so that a server with an endless list is refused.
const MAX_PAGES: u32 = 1_000;

/// The dialect of servers of the Model Context Protocol (MCP) over stdio. Each tool of a server is a task.
///
/// The session sends `initialize`, reads the tools page by page, and is then ready, with the tools as the tasks of its
/// profile. A request calls the tool of its task, and its result is the result of the tool as the server wrote it, with
/// its `content`. A result with `isError` is an error with the code `tool_error`.
///
/// The input is the object of the tool's arguments. A tool with one argument, or with one that is required, also
/// accepts the value of that argument, so `"hello"` means `{"message": "hello"}`.
///
/// A cancel is sent as `notifications/cancelled`, which servers do not answer. So a ping is sent after it, and the
/// answer to the ping shows that the server has read the cancel: the session then answers the request itself, with the
/// code `cancelled`.
///
/// ```
/// use std::num::NonZeroU32;
/// use ratchet_ipc::{Codec, Incoming, Limits, Mcp, Payload, Request};
/// # use std::time::Instant;
/// # let now = std::time::Instant::now();
///
/// let mut host = Codec::new(Mcp::new(NonZeroU32::MIN), Limits::default());
/// host.feed(concat!(
///     r#"{"jsonrpc":"2.0","id":"initialize","result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"e","version":"1"}}}"#, "\n",
///     r#"{"jsonrpc":"2.0","id":"tools","result":{"tools":[{"name":"echo","inputSchema":{"type":"object","properties":{"message":{"type":"string"}}}}]}}"#, "\n",
/// ).as_bytes());
/// let Some(Incoming::Readiness(ready)) = host.next(now) else { panic!("the server is ready") };
///
/// host.mark_written(host.outgoing().len());
/// host.encode(&Request::new(7, "echo", Payload::from_text("hello")).into())?;
/// let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"},"_meta":{"progressToken":7}}}"#;
/// assert_eq!(std::str::from_utf8(host.outgoing())?.trim_end(), call);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mcp {
    /// How many requests the server works on at once, for the profile.
    concurrency: NonZeroU32,
    state: SessionState,
    server: Option<wire::Server>,
    /// The tools of the last complete list, by their names.
    tools: BTreeMap<TaskName, Tool>,
    /// The unanswered calls, in the order in which they were sent.
    unanswered: Vec<MessageId>,
}

/// The state of the session.
#[derive(Debug)]
enum SessionState {
    /// The server has not answered `initialize` yet.
    Initializing,
    /// The tools are being read, page by page.
    Listing {
        /// The tools of the pages so far.
        tools: BTreeMap<TaskName, Tool>,
        pages: u32,
        /// Whether the list has changed since it was requested, so that it has to be read again.
        is_outdated: bool,
    },
    /// The tools are known.
    Ready,
    /// The server gets no work.
    Refused,
}

impl Mcp {
    /// Makes the dialect of a server that works on this many requests at once.
    ///
    /// The protocol has no field for this. Most servers accept any number, but some become slower or make errors with
    /// more than one.
    pub fn new(concurrency: NonZeroU32) -> Self {
        Self {
            concurrency,
            state: SessionState::Initializing,
            server: None,
            tools: BTreeMap::new(),
            unanswered: Vec::new(),
        }
    }

    fn refuse(&mut self, reason: impl Into<String>, decoded: &mut Decoded<'_>) {
        self.state = SessionState::Refused;
        decoded.refuse(reason);
    }

    /// Handles the answer to `initialize`, and requests the tools.
    fn on_initialized(&mut self, message: &Message<'_>, decoded: &mut Decoded<'_>) {
        let server = match wire::read_initialized(message) {
            Ok(server) => server,
            Err(reason) => return self.refuse(reason, decoded),
        };
        if !VERSIONS.contains(&server.version.as_str()) {
            let reason = format!(
                "no common version of MCP: the host speaks {}, the server {}",
                VERSIONS.join(", "),
                server.version
            );
            return self.refuse(reason, decoded);
        }
        if !server.has_tools {
            return self.refuse("the MCP server offers no tools", decoded);
        }
        self.server = Some(server);
        decoded.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        self.list(decoded);
    }

    /// Requests the first page of tools.
    fn list(&mut self, decoded: &mut Decoded<'_>) {
        self.state = SessionState::Listing {
            tools: BTreeMap::new(),
            pages: 0,
            is_outdated: false,
        };
        decoded.send(&wire::list_tools(None));
    }

    /// Handles a page of tools, and requests the next one or becomes ready.
    fn on_tools(&mut self, message: &Message<'_>, decoded: &mut Decoded<'_>) {
        let SessionState::Listing {
            tools,
            pages,
            is_outdated,
        } = &mut self.state
        else {
            return; // Nobody has asked for it.
        };
        let page = match wire::read_tools(message) {
            Ok(page) => page,
            Err(reason) => return self.refuse(reason, decoded),
        };
        tools.extend(page.tools);
        *pages += 1;
        match page.next {
            Some(_) if *pages == MAX_PAGES => {
                self.refuse("the list of the MCP server's tools does not end", decoded);
            }
            Some(next) => decoded.send(&wire::list_tools(Some(&next))),
            None if *is_outdated => self.list(decoded),
            None => {
                self.tools = std::mem::take(tools);
                self.state = SessionState::Ready;
                decoded.ready(self.profile());
            }
        }
    }

    /// Returns the profile of the server.
    fn profile(&self) -> Profile {
        let server = self.server.as_ref();
        let tasks = self.tools.iter();
        Profile {
            version: ProtocolVersion::V1,
            worker_name: server.and_then(|server| server.name.clone()),
            worker_version: server.and_then(|server| server.own_version.clone()),
            concurrency: self.concurrency,
            capabilities: [Capability::Cancel, Capability::Ping, Capability::Progress]
                .into_iter()
                .collect::<Capabilities>(),
            tasks: Some(
                tasks
                    .map(|(name, tool)| (name.clone(), tool.declaration()))
                    .collect(),
            ),
        }
    }

    /// Handles the answer of the server to a request of the session or of a layer above.
    fn on_answer(
        &mut self,
        id: &RawValue,
        message: &Message<'_>,
        line: &[u8],
        decoded: &mut Decoded<'_>,
    ) {
        match CallId::read(id) {
            CallId::Initialize => {
                if matches!(self.state, SessionState::Initializing) {
                    self.on_initialized(message, decoded);
                }
            }
            CallId::Tools => self.on_tools(message, decoded),
            CallId::Ping(nonce) => decoded.message(Event::Pong(Nonce { nonce })),
            CallId::Cancelled(id) => {
                // If the server answered the call before it read the cancel, the call has already ended.
                if self.forget(&id) {
                    let error = TaskError::new(TaskError::CANCELLED, "the call was cancelled");
                    decoded.message(Response {
                        id,
                        outcome: Err(error),
                    });
                }
            }
            CallId::Call(id) => {
                self.forget(&id);
                match wire::read_result(message) {
                    Ok(outcome) => decoded.message(Response { id, outcome }),
                    Err(reason) => {
                        decoded.malformed(MessageKind::Response, Some(id), reason, line);
                    }
                }
            }
            CallId::Unknown => decoded.stray(line),
        }
    }

    /// Handles a line that is no JSON although it begins as an object. If it was meant as an answer, there will be no other.
    fn on_broken(&mut self, reason: &str, line: &[u8], decoded: &mut Decoded<'_>) {
        let field = |name| field_at_beginning(line, name);
        let id = match field("method") {
            None => field("id"),
            // A request or a notification of the server.
            Some(_) => None,
        };
        let reason = format!("the answer is not valid JSON: {reason}");
        match id.as_ref().map(CallId::of) {
            Some(CallId::Initialize | CallId::Tools) => {
                self.refuse(
                    format!("the MCP server is not understood: {reason}"),
                    decoded,
                );
            }
            Some(CallId::Call(id)) if self.forget(&id) => {
                decoded.malformed(MessageKind::Response, Some(id), reason, line);
            }
            _ => decoded.stray(line),
        }
    }

    /// Handles an answer without an id, by which a server says that it could not read a request.
    fn on_error_without_id(
        &mut self,
        message: &Message<'_>,
        line: &[u8],
        decoded: &mut Decoded<'_>,
    ) {
        let error = wire::read_result(message).ok().and_then(Result::err);
        match error.and_then(|error| Some((self.take_only_call()?, error))) {
            Some((id, error)) => decoded.message(Response {
                id,
                outcome: Err(error),
            }),
            None => decoded.stray(line),
        }
    }

    /// Takes the only unanswered call; `None` if there are several or none.
    fn take_only_call(&mut self) -> Option<MessageId> {
        let is_only = self.unanswered.len() == 1;
        is_only.then(|| self.unanswered.pop()).flatten()
    }

    /// Removes a call from the unanswered ones. Returns whether it was there.
    fn forget(&mut self, id: &MessageId) -> bool {
        let place = self.unanswered.iter().position(|one| one == id);
        place.map(|place| self.unanswered.remove(place)).is_some()
    }

    /// Handles a notification of the server.
    fn on_notification(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        line: &[u8],
        decoded: &mut Decoded<'_>,
    ) {
        match method {
            "notifications/progress" => {
                if let Some(progress) = wire::read_progress(params) {
                    decoded.message(Event::Progress(progress));
                }
            }
            "notifications/message" => match wire::read_log(params) {
                Some(log) => decoded.message(Event::Log(log)),
                None => decoded.stray(line),
            },
            "notifications/tools/list_changed" => match &mut self.state {
                SessionState::Ready => self.list(decoded),
                SessionState::Listing { is_outdated, .. } => *is_outdated = true,
                SessionState::Initializing | SessionState::Refused => {}
            },
            // The protocol has other notifications, none of which concern calls of tools.
            _ => {}
        }
    }
}

impl Dialect for Mcp {
    fn handshake_kind(&self) -> HandshakeKind {
        HandshakeKind::Session
    }

    fn open(&mut self, line: &mut Vec<u8>) {
        line.extend_from_slice(&wire::initialize(VERSION));
    }

    fn encode(&self, message: &IpcMessage, line: &mut Vec<u8>) -> Result<(), IpcError> {
        match message {
            IpcMessage::Request(request) => {
                wire::write_call(request, &self.arguments(request)?, line)?;
            }
            IpcMessage::Event(Event::Cancel(cancel)) => wire::write_cancel(cancel, line),
            IpcMessage::Event(Event::Ping(Nonce { nonce })) => wire::write_ping(*nonce, line),
            IpcMessage::Event(_) | IpcMessage::Response(_) => {}
        }
        Ok(())
    }

    fn sent(&mut self, message: &IpcMessage) {
        if let IpcMessage::Request(request) = message {
            self.unanswered.push(request.id.clone());
        }
    }

    fn decode(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        if line.trim_ascii().is_empty() {
            return decoded.blank();
        }
        // Version 2025-03-26 lets a server send several messages in an array.
        match wire::batch(line) {
            Some(messages) => {
                for message in messages {
                    self.decode_message(message.get().as_bytes(), decoded);
                }
            }
            None => self.decode_message(line, decoded),
        }
    }

    fn decode_unfinished(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        // A server that dies in the middle of an answer has crashed, which is why its calls fail.
        decoded.stray(line);
    }

    fn decode_overlong(&mut self, line: &OverlongLine<'_>, decoded: &mut Decoded<'_>) {
        let OverlongLine { head, tail, bytes } = *line;
        if !head.trim_ascii_start().starts_with(b"{") {
            return decoded.stray(head);
        }
        let id = field_at_beginning(head, "id").or_else(|| field_at_end(tail, "id"));
        let known = match id.as_ref().map(CallId::of) {
            Some(CallId::Call(id)) => self.forget(&id).then_some(id),
            _ => None,
        };
        // The id may be in the middle of the line, which was dropped. If there is only one call, the answer must belong to
        // it.
        let id = known.or_else(|| self.take_only_call());
        let kind = id.is_some().then_some(MessageKind::Response);
        decoded.too_large(kind, id, bytes);
    }
}

impl Mcp {
    /// Decodes one message.
    fn decode_message(&mut self, line: &[u8], decoded: &mut Decoded<'_>) {
        let message = match Message::read(line) {
            Ok(Some(message)) => message,
            Ok(None) => return decoded.stray(line),
            Err(error) => return self.on_broken(&error.to_string(), line, decoded),
        };
        match (&message.method, message.id) {
            (Some(method), Some(id)) => decoded.send(&wire::answer_request(method, id)),
            (Some(method), None) => {
                let method = method.clone();
                self.on_notification(&method, message.params, line, decoded);
            }
            (None, Some(id)) => self.on_answer(id, &message, line, decoded),
            (None, None) => self.on_error_without_id(&message, line, decoded),
        }
    }

    /// Makes the arguments of a call from an object, or from the value of the tool's only argument.
    fn arguments(&self, request: &Request) -> Result<Payload, IpcError> {
        match self.tools.get(&request.task) {
            Some(tool) => tool.arguments(&request.task, &request.input),
            None => tool::object(&request.task, &request.input),
        }
    }
}

#[cfg(test)]
mod tests;
