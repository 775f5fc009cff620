//! Checks that any bytes give the same messages wherever they are cut, and that every message can be written and read
//! again.
//!
//! The first byte is the position of the cut, the second one sets the limit, and the rest is the output of a worker.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use ratchet_ipc::{
    Codec, Incoming, IpcMessage, Limits, LineFormat, Lines, Native, Payload, Request, StrayMode,
};

fn limits(max_message_bytes: usize) -> Limits {
    // Stray lines with a consequence are never rate-limited, so the time does not matter.
    Limits { max_message_bytes, stray: StrayMode::Fail, ..Limits::default() }
}

fn read(mut codec: Codec, pieces: &[&[u8]], now: Instant) -> Vec<Incoming> {
    let mut found = Vec::new();
    for piece in pieces {
        codec.feed(piece);
        found.extend(std::iter::from_fn(|| codec.next(now)));
    }
    codec.finish();
    found.extend(std::iter::from_fn(|| codec.next(now).filter(|it| *it != Incoming::End)));
    found
}

fn filter(limit: usize) -> Codec {
    let mut codec = Codec::new(Lines::new(LineFormat::Text, LineFormat::Json), limits(limit));
    for id in 0..3_u64 {
        let _ = codec.encode(&Request::new(id, "t", Payload::null()).into());
    }
    codec
}

fn said_again(message: &IpcMessage, now: Instant) -> Vec<Incoming> {
    read(Codec::new(Native, limits(usize::MAX)), &[message.to_string().as_bytes(), b"\n"], now)
}

fuzz_target!(|bytes: &[u8]| {
    let [cut, limit, said @ ..] = bytes else { return };
    let (first, second) = said.split_at(usize::from(*cut).min(said.len()));
    let limit = usize::from(*limit) * 8;
    let now = Instant::now();

    let whole = read(Codec::new(Native, limits(limit)), &[said], now);
    assert_eq!(whole, read(Codec::new(Native, limits(limit)), &[first, second], now));
    assert_eq!(read(filter(limit), &[said], now), read(filter(limit), &[first, second], now));
    for incoming in &whole {
        if let Incoming::Message(message) = incoming {
            assert_eq!(said_again(message, now), std::slice::from_ref(incoming));
        }
    }
});
