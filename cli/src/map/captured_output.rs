//! The output of a command as a part of the result of its job.
//!
//! The journal and the cache keep results, and other programs read them. A job that is not run again has to print the
//! same bytes as before. So a result has the output as a text, and also the bytes in hexadecimal digits if they are not
//! UTF-8.

use ratchet_runtime::Payload;
use ratchet_runtime::process::{Captured, Stream};
use serde::{Deserialize, Serialize};

/// The beginning of the output of a command, up to a limit for each stream.
#[derive(Debug, Default)]
pub(super) struct CapturedOutput {
    stdout: Captured,
    stderr: Captured,
}

/// The output in the result of an earlier job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordedOutput {
    /// The whole output.
    Whole { stdout: Vec<u8>, stderr: Vec<u8> },
    /// The command printed more than was kept.
    TooLong,
}

/// The JSON of an output in a result line.
#[derive(Serialize, Deserialize)]
struct OutputJson {
    exit_code: i32,
    stdout: Option<String>,
    stderr: Option<String>,
    /// The bytes in hexadecimal digits, if they are not UTF-8. They then count instead of `stdout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdout_hex: Option<String>,
    /// The bytes in hexadecimal digits, if they are not UTF-8. They then count instead of `stderr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stderr_hex: Option<String>,
    /// How many bytes of stdout followed those that were kept, and were dropped.
    #[serde(default, skip_serializing_if = "is_none")]
    stdout_dropped: u64,
    #[serde(default, skip_serializing_if = "is_none")]
    stderr_dropped: u64,
    /// How many bytes were dropped from both streams, in results of earlier versions.
    #[serde(default, skip_serializing)]
    dropped: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
fn is_none(dropped: &u64) -> bool {
    *dropped == 0
}

impl CapturedOutput {
    /// Appends bytes of a stream, up to `most` bytes in all, and counts the rest.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8], most: usize) {
        let captured = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        captured.push(bytes, most);
    }

    /// Returns the result of a command that succeeded.
    pub(super) fn to_payload(&self) -> serde_json::Result<Payload> {
        let hex = |captured: &Captured| {
            let is_text = captured.dropped > 0 || std::str::from_utf8(&captured.bytes).is_ok();
            (!is_text).then(|| to_hex(&captured.bytes))
        };
        Payload::from_value(&OutputJson {
            exit_code: 0,
            stdout: Some(self.stdout.to_text()),
            stderr: Some(self.stderr.to_text()),
            stdout_hex: hex(&self.stdout),
            stderr_hex: hex(&self.stderr),
            stdout_dropped: self.stdout.dropped,
            stderr_dropped: self.stderr.dropped,
            dropped: 0,
        })
    }
}

impl RecordedOutput {
    /// Reads the output from a result. Returns nothing if it is not the result of a command.
    pub(super) fn read(result: &Payload) -> Option<Self> {
        let wire: OutputJson = result.read().ok()?;
        let bytes = |text: Option<String>, hex: Option<String>| match hex {
            Some(hex) => from_hex(&hex),
            None => text.map(String::into_bytes),
        };
        let stdout = bytes(wire.stdout, wire.stdout_hex);
        let stderr = bytes(wire.stderr, wire.stderr_hex);
        let dropped = [wire.stdout_dropped, wire.stderr_dropped, wire.dropped];
        Some(match stdout.zip(stderr) {
            Some((stdout, stderr)) if dropped == [0; 3] => Self::Whole { stdout, stderr },
            _ => Self::TooLong,
        })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(digits).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pieces: &[(Stream, &[u8])], most: usize) -> (String, RecordedOutput) {
        let mut captured = CapturedOutput::default();
        for (stream, bytes) in pieces {
            captured.push(*stream, bytes, most);
        }
        let payload = captured.to_payload().unwrap();
        let known = RecordedOutput::read(&payload).unwrap();
        (payload.as_str().to_owned(), known)
    }

    #[test]
    fn it_is_known_to_the_byte() {
        let every: Vec<u8> = (0..=255).collect();
        let (_, whole) = known(&[(Stream::Stdout, &every), (Stream::Stderr, b"e\n")], 256);
        let (stdout, stderr) = (every, b"e\n".to_vec());
        assert_eq!(whole, RecordedOutput::Whole { stdout, stderr });
    }

    #[test]
    fn text_is_text() {
        let (text, _) = known(&[(Stream::Stdout, b"a"), (Stream::Stdout, b"\n")], 8);
        assert_eq!(text, r#"{"exit_code":0,"stdout":"a\n","stderr":""}"#);
        let (text, _) = known(&[(Stream::Stderr, b"\xff")], 8);
        let expected =
            "{\"exit_code\":0,\"stdout\":\"\",\"stderr\":\"\u{fffd}\",\"stderr_hex\":\"ff\"}";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_too_long_is_known_to_be() {
        let (text, known) = known(&[(Stream::Stdout, b"abcdef")], 4);
        assert_eq!(known, RecordedOutput::TooLong);
        assert_eq!(
            text,
            r#"{"exit_code":0,"stdout":"abcd","stderr":"","stdout_dropped":2}"#
        );
    }

    #[test]
    fn what_others_have_answered_is_no_printout() {
        for (text, expected) in [
            ("\"text\"", None),
            ("null", None),
            ("{\"exit_code\":0}", Some(RecordedOutput::TooLong)),
            (
                "{\"exit_code\":0,\"stdout\":\"ab\\n[2 more bytes were dropped]\\n\",\"stderr\":\"\",\"dropped\":2}",
                Some(RecordedOutput::TooLong),
            ),
            (
                "{\"exit_code\":0,\"stdout\":\"\",\"stderr\":\"\",\"stdout_hex\":\"x\"}",
                Some(RecordedOutput::TooLong),
            ),
        ] {
            let payload = Payload::from_json(text).unwrap();
            assert_eq!(RecordedOutput::read(&payload), expected, "{text}");
        }
    }
}
