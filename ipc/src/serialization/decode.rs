//! Reads lines of the native dialect, including lines that turn out not to be messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::dialect::Decoded;
use super::header::Header;
use crate::messages::{
    Event, HostName, IpcMessage, JobKey, MessageId, MessageKind, Payload, Request, Response,
    UnknownEvent,
};

/// The beginning of a message whose encoder keeps the order of the keys.
pub(super) const OPENING: &str = r#"{"type""#;

/// How often each byte of a line may be read in the search for a message inside of it.
///
/// A line of 16 MiB can contain [`OPENING`] two million times, and what begins there may go to the end of the line.
pub(super) const READS: usize = 8;

/// The consequence of an invalid response whose id can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BrokenResponse {
    /// The attempt fails, because the worker has already given its only response.
    FailsAttempt,
    /// The response is stray output: the stream ended in the middle of it, so the attempt fails because its worker
    /// ended.
    IsStray,
}

/// Reads one line, which should be one message but may be anything.
///
/// The cases in order of likelihood: a message; a blank line; a message followed by text; text followed by a message (a
/// print without a newline); a broken response; stray text.
pub(super) fn read_line(line: &str, broken: BrokenResponse, decoded: &mut Decoded<'_>) {
    let mut rest = trim(line);
    if rest.is_empty() {
        return decoded.blank();
    }
    while !rest.is_empty() {
        if let Some(message) = read_whole(rest) {
            return decoded.message(message);
        }
        match split_value(rest) {
            Some((value, "")) => return read_value(value, decoded),
            // What goes on like this has closed a bracket too early, so the message is broken.
            Some((value, behind)) if is_message(value) && !goes_on(behind) => {
                read_value(value, decoded);
                rest = behind;
            }
            _ => return find_message_in(rest, broken, decoded),
        }
    }
}

/// Removes JSON white space from both ends.
fn trim(text: &str) -> &str {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t' | b'\r' | b'\n'));
    // There is almost never anything to remove, and this function is called several times per line.
    if is_blank(text.as_bytes().first()) || is_blank(text.as_bytes().last()) {
        text.trim_matches([' ', '\t', '\r', '\n'])
    } else {
        text
    }
}

/// Reads a line that consists of exactly one request or response, as nearly every line does.
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

/// Reads a request whose texts contain no escapes, as nearly all do. Each text is copied once, to its final place.
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
        slot: Option<u32>,
        #[serde(borrow)]
        resources: Option<&'a RawValue>,
        traceparent: Option<&'a str>,
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
        slot: usual.slot,
        resources: usual
            .resources
            .map(|resources| Payload::from_checked(resources.get())),
        traceparent: usual.traceparent.map(Box::from),
        check: usual.check,
        diff: usual.diff,
    })
}

/// Reads a response in the form in which nearly every worker writes it: type, id, result, and nothing else.
///
/// Only the result has to be parsed, to check that it is one value, so a line takes a third of the time. Every other
/// form is left to the general parser.
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

/// Splits the first JSON value off a text. The rest is returned without its leading white space.
fn split_value(text: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    Some((value.get(), trim(&text[values.byte_offset()..])))
}

/// Whether a JSON value has the type of a message. It may still be malformed.
fn is_message(value: &str) -> bool {
    kind_of(value).is_some()
}

/// Reads text that is followed by a message: the text before the message is stray. If there is no message, the whole
/// line is a broken response or stray.
fn find_message_in(line: &str, broken: BrokenResponse, decoded: &mut Decoded<'_>) {
    match position_of_message(line) {
        Some(at) => {
            let before = trim(&line[..at]).as_bytes();
            read_broken(before, BrokenResponse::FailsAttempt, decoded);
            read_line(&line[at..], broken, decoded);
        }
        None => read_broken(line.as_bytes(), broken, decoded),
    }
}

/// Reads a line that is not UTF-8: a broken response or stray text, up to a message that is valid UTF-8.
pub(super) fn read_invalid_utf8(line: &[u8], broken: BrokenResponse, decoded: &mut Decoded<'_>) {
    let (before, valid) = split_at_valid_utf8(line);
    match position_of_message(valid) {
        Some(at) => {
            let before = line[..before + at].trim_ascii_end();
            read_broken(before, BrokenResponse::FailsAttempt, decoded);
            read_line(&valid[at..], broken, decoded);
        }
        None => read_broken(line, broken, decoded),
    }
}

/// Returns the text behind the last byte that is not UTF-8, and how many bytes stand before it.
fn split_at_valid_utf8(line: &[u8]) -> (usize, &str) {
    let mut start = 0;
    loop {
        match std::str::from_utf8(&line[start..]) {
            Ok(valid) => return (start, valid),
            Err(error) => {
                let invalid = error
                    .error_len()
                    .unwrap_or(line.len() - start - error.valid_up_to());
                start += error.valid_up_to() + invalid;
            }
        }
    }
}

/// Whether the text behind a JSON value goes on with the value that contains it.
fn goes_on(behind: &str) -> bool {
    behind.starts_with(['}', ']', ','])
}

/// Returns where the first message begins inside a text.
///
/// A message that is followed by `}`, `]` or `,` is part of another JSON value. Then the worker has printed a value
/// that contains a message, and no message was sent.
fn position_of_message(text: &str) -> Option<usize> {
    let mut readable = text.len().saturating_mul(READS);
    for at in memchr::memmem::find_iter(text.as_bytes(), OPENING) {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<&RawValue>();
        let read = match values.next()? {
            Ok(value) => {
                let behind = trim(&text[at + values.byte_offset()..]);
                if is_message(value.get()) && !goes_on(behind) {
                    return Some(at);
                }
                values.byte_offset()
            }
            Err(error) => error.column(),
        };
        readable = readable.checked_sub(read)?;
    }
    None
}

/// Reads text that is not a valid message. A response whose id can be read fails its attempt, a request whose id can be
/// read is refused, and everything else is stray output.
///
/// The worker has given its only response to that attempt, and the host has sent its request. If the text were only
/// logged, the attempt would wait forever.
fn read_broken(text: &[u8], broken: BrokenResponse, decoded: &mut Decoded<'_>) {
    let begins = if broken == BrokenResponse::IsStray {
        None
    } else if text.trim_ascii_start().starts_with(b"{") {
        Some(0)
    } else {
        memchr::memmem::find(text, OPENING.as_bytes()).filter(|&at| !is_quoted(&text[..at]))
    };
    if let Some(at) = begins
        && let Header {
            kind: Some(kind @ (MessageKind::Request | MessageKind::Response)),
            id: Some(id),
        } = Header::read(&text[at..])
    {
        let before = text[..at].trim_ascii_end();
        if !before.is_empty() {
            decoded.stray(before);
        }
        let message = &text[at..];
        return decoded.malformed(kind, Some(id), fault_of(kind, message), message);
    }
    if !text.is_empty() {
        decoded.stray(text);
    }
}

/// Whether the following text is quoted inside of something that was printed, such as a log of sent messages.
fn is_quoted(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
    match before.split_last() {
        Some((b'[' | b',' | b'(', _)) => true,
        // The text is the value of a key.
        Some((b':', key)) => is_quote(key.trim_ascii_end().last()),
        last => is_quote(last.map(|(last, _)| last)),
    }
}

/// Explains why a message cannot be read, for display.
fn fault_of(kind: MessageKind, message: &[u8]) -> String {
    let error = if kind == MessageKind::Request {
        serde_json::from_slice::<Request>(message).err()
    } else {
        serde_json::from_slice::<Response>(message).err()
    };
    // If the message itself is valid, the rest of the line is the fault.
    error.map_or_else(
        || "something else stands on its line".to_owned(),
        |error| error.to_string(),
    )
}

/// Reads a line that is one JSON value.
fn read_value(value: &str, decoded: &mut Decoded<'_>) {
    let Some(kind) = kind_of(value) else {
        return decoded.stray(value.as_bytes());
    };
    let message = match kind {
        MessageKind::Request => serde_json::from_str(value).map(IpcMessage::Request),
        MessageKind::Response => serde_json::from_str(value).map(IpcMessage::Response),
        MessageKind::Event => read_event(value).map(IpcMessage::Event),
    };
    match message {
        Ok(message) => decoded.message(message),
        Err(error) if kind == MessageKind::Event && is_hello(value) => {
            decoded.malformed_hello(error.to_string(), value.as_bytes());
        }
        Err(error) => {
            decoded.malformed(
                kind,
                IdOnly::read(value),
                error.to_string(),
                value.as_bytes(),
            );
        }
    }
}

/// Reads the type of a JSON value, without its other fields.
fn kind_of(value: &str) -> Option<MessageKind> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }
    let head: Head<'_> = serde_json::from_str(value).ok()?;
    MessageKind::from_wire(&head.r#type)
}

/// The name of an event, without its other fields.
#[derive(Deserialize)]
struct EventName<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
}

/// Whether an event is a hello. The hello itself may be malformed.
fn is_hello(value: &str) -> bool {
    serde_json::from_str::<EventName<'_>>(value).is_ok_and(|name| name.event == "hello")
}

/// Reads an event by its name. An unknown one is kept as a whole.
fn read_event(value: &str) -> Result<Event, serde_json::Error> {
    let EventName { event: name } = serde_json::from_str(value)?;
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

/// The id of a message whose other fields cannot be read.
#[derive(Deserialize)]
struct IdOnly {
    id: MessageId,
}

impl IdOnly {
    fn read(value: &str) -> Option<MessageId> {
        serde_json::from_str::<Self>(value)
            .ok()
            .map(|message| message.id)
    }
}
