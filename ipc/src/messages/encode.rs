//! Writes a message as one JSON object.
//!
//! Requests and responses are nearly all of the traffic, so they are encoded by hand. Their payloads are copied
//! unchanged, and a message takes only a few dozen nanoseconds.

use serde::Serialize;

use super::{Event, IpcMessage, Request, Response};
use crate::error::IpcError;
use crate::json::{write_decimal, write_string};

/// Appends a message without a newline.
pub(crate) fn write_message(message: &IpcMessage, out: &mut Vec<u8>) -> Result<(), IpcError> {
    match message {
        IpcMessage::Request(request) => {
            write_request(request, out);
            Ok(())
        }
        IpcMessage::Response(response) => write_response(response, out),
        IpcMessage::Event(event) => write_event(event, out),
    }
}

fn write_request(request: &Request, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"request","id":"#);
    request.id.write_json(out);
    out.extend_from_slice(br#","task":"#);
    write_string(request.task.as_str(), out);
    out.extend_from_slice(br#","input":"#);
    out.extend_from_slice(request.input.as_str().as_bytes());
    out.extend_from_slice(br#","attempt":"#);
    write_decimal(request.attempt.into(), out);
    if let Some(timeout_ms) = request.timeout_ms {
        out.extend_from_slice(br#","timeout_ms":"#);
        write_decimal(timeout_ms, out);
    }
    if let Some(host) = &request.host {
        out.extend_from_slice(br#","host":"#);
        write_string(host.as_str(), out);
    }
    if let Some(key) = &request.key {
        out.extend_from_slice(br#","key":"#);
        write_string(key.as_str(), out);
    }
    if let Some(slot) = request.slot {
        out.extend_from_slice(br#","slot":"#);
        write_decimal(slot.into(), out);
    }
    if let Some(resources) = &request.resources {
        out.extend_from_slice(br#","resources":"#);
        out.extend_from_slice(resources.as_str().as_bytes());
    }
    if let Some(traceparent) = &request.traceparent {
        out.extend_from_slice(br#","traceparent":"#);
        write_string(traceparent, out);
    }
    out.extend_from_slice(br#","check":"#);
    write_bool(request.check, out);
    out.extend_from_slice(br#","diff":"#);
    write_bool(request.diff, out);
    out.push(b'}');
}

fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_response(response: &Response, out: &mut Vec<u8>) -> Result<(), IpcError> {
    out.extend_from_slice(br#"{"type":"response","id":"#);
    response.id.write_json(out);
    match &response.outcome {
        Ok(result) => {
            out.extend_from_slice(br#","result":"#);
            out.extend_from_slice(result.as_str().as_bytes());
        }
        Err(error) => {
            out.extend_from_slice(br#","error":"#);
            serde_json::to_writer(&mut *out, error)?;
        }
    }
    out.push(b'}');
    Ok(())
}

fn write_event(event: &Event, out: &mut Vec<u8>) -> Result<(), IpcError> {
    match event {
        Event::Hello(hello) => write_named("hello", hello, out),
        Event::Ready => write_named("ready", &NoFields {}, out),
        Event::Started(started) => write_named("started", started, out),
        Event::Progress(progress) => write_named("progress", progress, out),
        Event::Log(log) => write_named("log", log, out),
        Event::Pong(nonce) => write_named("pong", nonce, out),
        Event::Cancel(cancel) => write_named("cancel", cancel, out),
        Event::Ping(nonce) => write_named("ping", nonce, out),
        Event::Drain => write_named("drain", &NoFields {}, out),
        Event::Unknown(unknown) => {
            out.extend_from_slice(unknown.body().as_str().as_bytes());
            Ok(())
        }
    }
}

/// The body of an event that consists only of its name.
#[derive(Serialize)]
struct NoFields {}

/// Appends an event: its name, then the fields of its body.
fn write_named<T: Serialize>(name: &str, body: &T, out: &mut Vec<u8>) -> Result<(), IpcError> {
    #[derive(Serialize)]
    struct Tagged<'a, T> {
        r#type: &'static str,
        event: &'a str,
        #[serde(flatten)]
        body: &'a T,
    }
    serde_json::to_writer(
        out,
        &Tagged {
            r#type: "event",
            event: name,
            body,
        },
    )?;
    Ok(())
}
