//! Lines of the native dialect to messages, and what to make of lines that are none.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::sniff::{self, Sniffed};
use super::{Found, MessageKind};
use crate::messages::{
    Event, HostName, IpcMessage, JobKey, MessageId, Payload, Request, Response, UnknownEvent,
};

/// How a message begins in every encoder that keeps the order of its keys.
pub(crate) const OPENING: &str = r#"{"type""#;

/// How many beginnings of a message are tried in a line that is not one.
///
/// A line of 16 MiB can hold two million of them, and each try may read it to its end.
pub(super) const SALVAGE_TRIES: usize = 8;

/// What becomes of a response that is no valid message though its id can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Its attempt fails: the worker has given its one answer.
    FailsItsAttempt,
    /// It is stray output: the stream ended in the middle of it, and the attempt fails by the end of its worker.
    IsStray,
}

/// Reads one line, which should be one message and may be anything.
///
/// In order of likelihood: a message; blank; a message with something behind it; stray text with a
/// message behind it (a print without a newline); a broken response; stray text.
pub(crate) fn read_line(line: &str, broken: Broken, found: &mut Found<'_>) {
    let mut rest = trim(line);
    while !rest.is_empty() {
        if let Some(message) = read_whole(rest) {
            return found.message(message);
        }
        match split_value(rest) {
            Some((value, "")) => return read_value(value, found),
            Some((value, behind)) if is_message(value) => {
                read_value(value, found);
                rest = behind;
            }
            _ => return salvage(rest, broken, found),
        }
    }
}

/// The blanks that JSON knows.
fn trim(text: &str) -> &str {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t' | b'\r' | b'\n'));
    // Almost always there is nothing to do, and this is asked a lot.
    if is_blank(text.as_bytes().first()) || is_blank(text.as_bytes().last()) {
        text.trim_matches([' ', '\t', '\r', '\n'])
    } else {
        text
    }
}

/// The quick ways: the line is exactly one request or response.
fn read_whole(line: &str) -> Option<IpcMessage> {
    if let Some(response) = read_usual_response(line) {
        return Some(IpcMessage::Response(response));
    }
    let kind = line.strip_prefix(OPENING)?.trim_start_matches([':', ' ']);
    if kind.starts_with(r#""response""#) {
        serde_json::from_str(line).ok().map(IpcMessage::Response)
    } else if kind.starts_with(r#""request""#) {
        let usual = read_usual_request(line);
        let request = usual.or_else(|| serde_json::from_str(line).ok());
        request.map(IpcMessage::Request)
    } else {
        None
    }
}

/// Reads a request whose texts hold no escapes, as nearly all do: each is copied once, into its place.
fn read_usual_request(line: &str) -> Option<Request> {
    #[derive(Deserialize)]
    struct Usual<'a> {
        id: &'a str,
        task: &'a str,
        #[serde(borrow)]
        input: &'a RawValue,
        attempt: u32,
        timeout_ms: Option<u64>,
        host: Option<&'a str>,
        key: Option<&'a str>,
        #[serde(default)]
        check: bool,
        #[serde(default)]
        diff: bool,
    }
    let usual: Usual<'_> = serde_json::from_str(line).ok()?;
    Some(Request {
        id: usual.id.into(),
        task: usual.task.into(),
        input: Payload::from_checked(usual.input.get()),
        attempt: usual.attempt,
        timeout_ms: usual.timeout_ms,
        host: usual.host.map(HostName::from),
        key: usual.key.map(JobKey::from),
        check: usual.check,
        diff: usual.diff,
    })
}

/// Reads a response as nearly every worker writes it: type, id, result, and nothing else.
///
/// Only the result has to be looked through, to see that it is one value. Whatever is not exactly of
/// this form is left to those who read every form; the host reads a line in a third of the time.
fn read_usual_response(line: &str) -> Option<Response> {
    fn key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        let after_key = trim(trim(text).strip_prefix(key)?);
        Some(trim(after_key.strip_prefix(':')?))
    }
    let rest = key(line.strip_prefix('{')?, r#""type""#)?;
    let rest = trim(rest.strip_prefix(r#""response""#)?).strip_prefix(',')?;
    let rest = key(rest, r#""id""#)?.strip_prefix('"')?;
    let (id, rest) = rest.split_at(memchr::memchr2(b'"', b'\\', rest.as_bytes())?);
    if id.bytes().any(|byte| byte < b' ') {
        return None;
    }
    let rest = trim(rest.strip_prefix('"')?).strip_prefix(',')?;
    let result = key(rest, r#""result""#)?.strip_suffix('}')?;
    let result: &RawValue = serde_json::from_str(result).ok()?;
    Some(Response {
        id: id.into(),
        outcome: Ok(Payload::from_checked(result.get())),
    })
}

/// Cuts the first JSON value off a text; the rest comes without its leading blanks.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    Some((value.get(), trim(&text[values.byte_offset()..])))
}

/// Whether a JSON value is a message of a known type, well-formed or not.
fn is_message(value: &str) -> bool {
    kind_of(value).is_some()
}

/// Stray text with a message behind it: the text is cut off where the message begins.
///
/// What follows the message must not be what follows a value inside another: then somebody has printed
/// something that contains a message, and nothing was said.
fn salvage(line: &str, broken: Broken, found: &mut Found<'_>) {
    let beginnings = memchr::memmem::find_iter(line.as_bytes(), OPENING).filter(|&at| at > 0);
    for at in beginnings.take(SALVAGE_TRIES) {
        if let Some((value, behind)) = split_value(&line[at..])
            && is_message(value)
            && !behind.starts_with(['}', ']', ','])
        {
            take_broken(trim(&line[..at]).as_bytes(), Broken::FailsItsAttempt, found);
            return read_line(&line[at..], broken, found);
        }
    }
    take_broken(line.as_bytes(), broken, found);
}

/// What is not UTF-8 is a broken response or stray, up to a message that is UTF-8.
pub(crate) fn salvage_bytes(line: &[u8], broken: Broken, found: &mut Found<'_>) {
    let beginnings = memchr::memmem::find_iter(line, OPENING).filter(|&at| at > 0);
    for at in beginnings.take(SALVAGE_TRIES) {
        if let Ok(text) = std::str::from_utf8(&line[at..])
            && let Some((value, behind)) = split_value(text)
            && is_message(value)
            && !behind.starts_with(['}', ']', ','])
        {
            take_broken(line[..at].trim_ascii_end(), Broken::FailsItsAttempt, found);
            return read_line(text, broken, found);
        }
    }
    take_broken(line, broken, found);
}

/// Reads a text that is no valid message: a response whose id can be read fails its attempt, and all else is
/// stray output.
///
/// The worker has given its one answer to that attempt. If the text were only logged, the attempt would wait
/// for ever.
fn take_broken(text: &[u8], broken: Broken, found: &mut Found<'_>) {
    let begins = if broken == Broken::IsStray {
        None
    } else if text.trim_ascii_start().starts_with(b"{") {
        Some(0)
    } else {
        memchr::memmem::find(text, OPENING.as_bytes()).filter(|&at| !is_quoted(&text[..at]))
    };
    if let Some(at) = begins
        && let Sniffed {
            kind: Some(MessageKind::Response),
            id: Some(id),
        } = sniff::sniff(&text[at..])
    {
        let before = text[..at].trim_ascii_end();
        if !before.is_empty() {
            found.stray(before);
        }
        let response = &text[at..];
        return found.malformed(
            MessageKind::Response,
            Some(id),
            fault_of(response),
            response,
        );
    }
    if !text.is_empty() {
        found.stray(text);
    }
}

/// Whether what follows this text stands inside something that was printed, as in a log of what was sent.
fn is_quoted(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
    match before.split_last() {
        Some((b'[' | b',' | b'(', _)) => true,
        // The value of a key.
        Some((b':', key)) => is_quote(key.trim_ascii_end().last()),
        last => is_quote(last.map(|(last, _)| last)),
    }
}

/// Says why a response cannot be read, for people.
fn fault_of(response: &[u8]) -> String {
    match serde_json::from_slice::<Response>(response) {
        Err(error) => error.to_string(),
        // It reads well by itself, so only what stands around it can be wrong.
        Ok(_) => "something else stands on its line".to_owned(),
    }
}

/// Reads a JSON value that stands alone.
fn read_value(value: &str, found: &mut Found<'_>) {
    let Some(kind) = kind_of(value) else {
        return found.stray(value.as_bytes());
    };
    let message = match kind {
        MessageKind::Request => serde_json::from_str(value).map(IpcMessage::Request),
        MessageKind::Response => serde_json::from_str(value).map(IpcMessage::Response),
        MessageKind::Event => read_event(value).map(IpcMessage::Event),
    };
    match message {
        Ok(message) => found.message(message),
        Err(error) if kind == MessageKind::Event && is_hello(value) => {
            found.malformed_hello(error.to_string(), value.as_bytes());
        }
        Err(error) => {
            found.malformed(
                kind,
                AnyId::read(value),
                error.to_string(),
                value.as_bytes(),
            );
        }
    }
}

/// What a JSON value claims to be, read before what it says.
fn kind_of(value: &str) -> Option<MessageKind> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    let head: Head<'_> = serde_json::from_str(value).ok()?;
    MessageKind::from_wire(&head.r#type)
}

impl MessageKind {
    /// Reads a `type`.
    pub(super) fn from_wire(text: &str) -> Option<Self> {
        match text {
            "request" => Some(Self::Request),
            "response" => Some(Self::Response),
            "event" => Some(Self::Event),
            _ => None,
        }
    }
}

/// Which event it is.
#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

fn is_hello(value: &str) -> bool {
    serde_json::from_str::<Name<'_>>(value).is_ok_and(|name| name.event == "hello")
}

fn read_event(value: &str) -> Result<Event, serde_json::Error> {
    let Name { event: name } = serde_json::from_str(value)?;
    Ok(match &*name {
        "hello" => Event::Hello(serde_json::from_str(value)?),
        "ready" => Event::Ready,
        "started" => Event::Started(serde_json::from_str(value)?),
        "progress" => Event::Progress(serde_json::from_str(value)?),
        "log" => Event::Log(serde_json::from_str(value)?),
        "pong" => Event::Pong(serde_json::from_str(value)?),
        "cancel" => Event::Cancel(serde_json::from_str(value)?),
        "ping" => Event::Ping(serde_json::from_str(value)?),
        "drain" => Event::Drain,
        _ => Event::Unknown(UnknownEvent::new(&name, Payload::from_checked(value))),
    })
}

/// The id of a message that is otherwise broken.
#[derive(Deserialize)]
struct AnyId {
    id: MessageId,
}

impl AnyId {
    fn read(value: &str) -> Option<MessageId> {
        serde_json::from_str::<Self>(value).ok().map(|any| any.id)
    }
}
