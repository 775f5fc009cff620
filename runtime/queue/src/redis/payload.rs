//! Payloads and results as the server keeps them: long ones are compressed.
//!
//! The first byte says how the rest is to be read. What is empty stays empty. A frame is read only up to the limit of the
//! queue, so a short one that claims to be long costs neither memory nor time.

use std::borrow::Cow;
use std::io::Read as _;

use zstd::stream::read::Decoder;

/// The rest is what it stands for.
const PLAIN: u8 = 0;
/// The rest is a frame of zstd.
const ZSTD: u8 = 1;

/// The length from which on compressing is worth the time. Shorter ones are seldom much shorter afterwards.
const LONG: usize = 1024;
/// The level at which a megabyte takes some milliseconds.
const LEVEL: i32 = 3;
/// The greatest window of a frame, as a power of two. Ours are never greater, and a greater one would take memory at once.
const WINDOW: u32 = 23;

/// Returns bytes as the server keeps them.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    if bytes.len() >= LONG
        && let Ok(frame) = zstd::bulk::compress(bytes, LEVEL)
        && frame.len() < bytes.len()
    {
        return with_first(ZSTD, &frame);
    }
    with_first(PLAIN, bytes)
}

fn with_first(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(rest.len() + 1);
    packed.push(first);
    packed.extend_from_slice(rest);
    packed
}

/// Reads what the server keeps, of at most this many bytes. The error says what is wrong with it.
pub(super) fn unpack(packed: &[u8], most: u64) -> Result<Vec<u8>, Cow<'static, str>> {
    let too_long = || format!("it has more than the {most} bytes that the queue takes").into();
    match packed.split_first() {
        None => Ok(Vec::new()),
        Some((&PLAIN, rest)) if rest.len() as u64 > most => Err(too_long()),
        Some((&PLAIN, rest)) => Ok(rest.to_vec()),
        Some((&ZSTD, frame)) => {
            let damaged = |error| format!("it cannot be decompressed: {error}");
            let mut decoder = Decoder::new(frame).map_err(damaged)?;
            decoder.window_log_max(WINDOW).map_err(damaged)?;
            let mut bytes = Vec::new();
            let limited = &mut decoder.take(most.saturating_add(1));
            limited.read_to_end(&mut bytes).map_err(damaged)?;
            if bytes.len() as u64 > most {
                return Err(too_long());
            }
            Ok(bytes)
        }
        Some((other, _)) => Err(format!("it begins with {other}, which means nothing").into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: u64 = 1 << 20;

    proptest! {
        #[test]
        fn what_is_packed_is_read_as_it_was(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            times in 1..20usize,
        ) {
            let bytes = bytes.repeat(times);
            prop_assert_eq!(unpack(&pack(&bytes), MOST).unwrap(), bytes);
        }

        #[test]
        fn damaged_bytes_are_an_error_or_others_and_never_more_than_allowed(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut packed = pack(&b"0123456789abcdef".repeat(1000));
            *at.get_mut(&mut packed) = byte;
            let cut = cut.index(packed.len()) + 1;
            if let Ok(bytes) = unpack(&packed[..cut], MOST) {
                prop_assert!(bytes.len() as u64 <= MOST);
            }
        }
    }

    #[test]
    fn what_is_long_and_repeats_gets_shorter() {
        let long = b"0123456789abcdef".repeat(1000);
        assert!(pack(&long).len() < 200);
        // What does not repeat is kept as it is, and so is what is short.
        assert_eq!(pack(b"short"), b"\0short");
        assert_eq!(pack(b""), b"");
    }

    #[test]
    fn a_frame_that_would_become_too_long_is_refused_without_being_read() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 10_000);
        let error = unpack(&with_first(ZSTD, &bomb), MOST).unwrap_err();
        assert!(error.contains("more than the 1048576 bytes"), "{error}");
        // Its window alone would take 128 MiB.
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        std::io::Write::write_all(&mut encoder, &vec![7; 1 << 20]).unwrap();
        let wide = encoder.finish().unwrap();
        let error = unpack(&with_first(ZSTD, &wide), MOST).unwrap_err();
        assert!(error.contains("cannot be decompressed"), "{error}");
        let plain = with_first(PLAIN, &[1; 100]);
        assert!(unpack(&plain, 99).is_err());
        assert!(unpack(&plain, 100).is_ok());
        assert!(unpack(&[9, 1], MOST).is_err());
    }
}
