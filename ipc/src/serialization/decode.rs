//! Lines of the native dialect to messages, and what to make of lines that are none.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Found;
use crate::messages::{Event, IpcMessage, MessageId, Payload, Response, UnknownEvent};

/// How a message begins in every encoder that keeps the order of its keys.
pub(crate) const OPENING: &str = r#"{"type""#;

/// How many beginnings of a message are tried in a line that is not one.
///
/// A line of 16 MiB can hold two million of them, and each try may read it to its end.
const SALVAGE_TRIES: usize = 8;

/// Reads one line, which should be one message and may be anything.
///
/// In order of likelihood: a message; blank; a message with something behind it; stray text with a
/// message behind it (a print without a newline); stray text.
pub(crate) fn read_line(line: &str, found: &mut Found<'_>) {
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
            _ => return salvage(rest, found),
        }
    }
}

/// The blanks that JSON knows.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
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
        serde_json::from_str(line).ok().map(IpcMessage::Request)
    } else {
        None
    }
}

/// Reads a response as nearly every worker writes it: type, id, result, and nothing else.
///
/// Only the result has to be looked through, to see that it is one value. Whatever is not exactly of
/// this form is left to those who read every form; the host reads a line in a third of the time.
fn read_usual_response(line: &str) -> Option<Response> {
    fn key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        Some(trim(
            trim(text)
                .strip_prefix(key)?
                .trim_start()
                .strip_prefix(':')?,
        ))
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
    Head::read(value).is_some_and(|head| head.kind().is_some())
}

/// Stray text with messages behind it: the text is cut off where the first of them begins.
///
/// What follows has to be messages to the end of the line. Otherwise it is no message that somebody
/// printed into, but a print of something that looks like one.
fn salvage(line: &str, found: &mut Found<'_>) {
    let beginnings = memchr::memmem::find_iter(line.as_bytes(), OPENING).filter(|&at| at > 0);
    for at in beginnings.take(SALVAGE_TRIES) {
        let mut values = Vec::new();
        let mut rest = &line[at..];
        while let Some((value, after)) = split_value(rest) {
            if !is_message(value) {
                break;
            }
            values.push(value);
            rest = after;
        }
        if rest.is_empty() {
            found.stray(line[..at].trim_end().as_bytes());
            for value in values {
                read_value(value, found);
            }
            return;
        }
    }
    found.stray(line.as_bytes());
}

/// Reads a JSON value that stands alone.
fn read_value(value: &str, found: &mut Found<'_>) {
    let Some(head) = Head::read(value) else {
        return found.stray(value.as_bytes());
    };
    let message = match head.kind() {
        Some(Kind::Request) => serde_json::from_str(value).map(IpcMessage::Request),
        Some(Kind::Response) => serde_json::from_str(value).map(IpcMessage::Response),
        Some(Kind::Event) => read_event(&head.event, value).map(IpcMessage::Event),
        None => return found.stray(value.as_bytes()),
    };
    match message {
        Ok(message) => found.message(message),
        Err(error) => found.malformed(AnyId::read(value), error.to_string(), value.as_bytes()),
    }
}

/// What a message is, read before what it says.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Cow<'a, str>,
}

enum Kind {
    Request,
    Response,
    Event,
}

impl<'a> Head<'a> {
    fn read(value: &'a str) -> Option<Self> {
        serde_json::from_str(value).ok()
    }

    fn kind(&self) -> Option<Kind> {
        match &*self.kind {
            "request" => Some(Kind::Request),
            "response" => Some(Kind::Response),
            "event" => Some(Kind::Event),
            _ => None,
        }
    }
}

fn read_event(name: &str, value: &str) -> Result<Event, serde_json::Error> {
    Ok(match name {
        "hello" => Event::Hello(serde_json::from_str(value)?),
        "ready" => Event::Ready,
        "started" => Event::Started(serde_json::from_str(value)?),
        "progress" => Event::Progress(serde_json::from_str(value)?),
        "log" => Event::Log(serde_json::from_str(value)?),
        "pong" => Event::Pong(serde_json::from_str(value)?),
        "cancel" => Event::Cancel(serde_json::from_str(value)?),
        "ping" => Event::Ping(serde_json::from_str(value)?),
        "drain" => Event::Drain,
        "" => return Err(serde::de::Error::missing_field("event")),
        _ => Event::Unknown(UnknownEvent {
            name: name.to_owned(),
            body: Payload::from_checked(value),
        }),
    })
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// `result: null` is a result; `error: null` is no error, as many libraries write both.
        #[derive(Deserialize)]
        struct Wire<'a> {
            id: MessageId,
            #[serde(borrow, default, deserialize_with = "present")]
            result: Option<&'a RawValue>,
            #[serde(borrow, default)]
            error: Option<&'a RawValue>,
        }
        use serde::de::Error;
        let Wire { id, result, error } = Wire::deserialize(deserializer)?;
        let outcome = match (result.map(RawValue::get), error.map(RawValue::get)) {
            (Some(result), None) => Ok(Payload::from_checked(result)),
            (None | Some("null"), Some(error)) => {
                Err(serde_json::from_str(error).map_err(D::Error::custom)?)
            }
            (None, None) => {
                return Err(D::Error::custom("a response with neither result nor error"));
            }
            (Some(_), Some(_)) => {
                return Err(D::Error::custom(
                    "a response with both a result and an error",
                ));
            }
        };
        Ok(Self { id, outcome })
    }
}

/// Keeps `null` as a value, where `Option` alone would read it as absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
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

/// Finds the id in the beginning of a message whose end is lost.
///
/// Only an id of the message itself counts, not one in a payload.
pub(crate) fn sniff_id(head: &[u8]) -> Option<MessageId> {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < head.len() {
        match head[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let end = string_end(head, at)?;
                let after = head[end..].trim_ascii_start();
                if depth == 1 && &head[at..end] == br#""id""# && after.starts_with(b":") {
                    return read_id(after[1..].trim_ascii_start());
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins at `start` ends, behind its closing quote.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Reads an id off the front of a text that may be cut; one that may be cut itself does not count.
fn read_id(text: &[u8]) -> Option<MessageId> {
    let end = match text.first()? {
        b'"' => string_end(text, 0)?,
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t'))?,
    };
    serde_json::from_slice(&text[..end]).ok()
}
