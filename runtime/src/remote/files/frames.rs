//! The frames in which files are pulled: heads, contents, digests, and the end.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::wire::{ContentDigest, Problem, PulledEntry};
use crate::remote::RemoteError;

/// The highest length of a frame other than a content: a head with the longest name and the longest target of a link,
/// as numbers.
const MAX_HEAD: usize = 64 * 1024;

/// The highest length of a piece of a content.
const MAX_DATA: usize = 1 << 20;

/// How many bytes precede a frame: its kind and its length.
const PREFIX: usize = 5;

/// A part of what is pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A file, folder or link begins.
    Entry(PulledEntry),
    /// The next piece of the content of a file.
    Data(Bytes),
    /// The content is complete, and has this digest.
    End(ContentDigest),
    /// The transfer has failed, for this reason.
    Problem(Problem),
    /// Everything has come.
    Done,
}

impl Frame {
    /// Encodes the frame.
    pub(super) fn encode(&self) -> Result<Bytes, RemoteError> {
        let (kind, body) = match self {
            Self::Entry(entry) => (b'e', json(entry)?),
            Self::Data(data) => (b'd', data.clone()),
            Self::End(digest) => (b'h', Bytes::copy_from_slice(&digest.0)),
            Self::Problem(problem) => (b'p', json(problem)?),
            Self::Done => (b'z', Bytes::new()),
        };
        let length = u32::try_from(body.len())
            .map_err(|_| RemoteError::Malformed("our own frame is too long".to_owned()))?;
        let mut frame = BytesMut::with_capacity(PREFIX + body.len());
        frame.put_u8(kind);
        frame.put_u32(length);
        frame.extend_from_slice(&body);
        Ok(frame.freeze())
    }
}

fn json(value: &impl Serialize) -> Result<Bytes, RemoteError> {
    let json = serde_json::to_vec(value)
        .map_err(|error| RemoteError::Malformed(format!("our own frame: {error}")))?;
    Ok(json.into())
}

/// Reassembles the frames of a stream.
#[derive(Debug, Default)]
pub(super) struct Frames {
    unread: BytesMut,
}

impl Frames {
    /// Adds the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Takes the next frame, if it is complete.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, String> {
        let Some(prefix) = self.unread.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let (kind, length) = (prefix[0], [prefix[1], prefix[2], prefix[3], prefix[4]]);
        // A u32 fits into a usize here.
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let most = if kind == b'd' { MAX_DATA } else { MAX_HEAD };
        if length > most {
            return Err(format!("a frame of {length} bytes is too long"));
        }
        if self.unread.len() < PREFIX + length {
            return Ok(None);
        }
        self.unread.advance(PREFIX);
        let body = self.unread.split_to(length).freeze();
        let malformed = |error: serde_json::Error| format!("a frame is malformed: {error}");
        Ok(Some(match kind {
            b'e' => Frame::Entry(serde_json::from_slice(&body).map_err(malformed)?),
            b'd' => Frame::Data(body),
            b'h' => match <[u8; 32]>::try_from(&*body) {
                Ok(digest) => Frame::End(ContentDigest(digest)),
                Err(_) => return Err("a digest has another length".to_owned()),
            },
            b'p' => Frame::Problem(serde_json::from_slice(&body).map_err(malformed)?),
            b'z' if body.is_empty() => Frame::Done,
            _ => return Err("a frame has an unknown kind".to_owned()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::super::wire::PulledKind;
    use super::*;
    use crate::remote::message::WireText;

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_of_frames_panic_or_hang(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut frames = Frames::default();
            for chunk in &chunks {
                frames.push(chunk);
                while let Ok(Some(_)) = frames.next() {}
            }
        }

        #[test]
        fn frames_arrive_as_they_were_sent_however_they_are_cut(cut in 1..50_usize) {
            let sent = [
                Frame::Entry(PulledEntry {
                    path: 3,
                    name: WireText::from(OsStr::new("a/b")),
                    is: PulledKind::File { size: 5, mode: 0o644 },
                }),
                Frame::Data(Bytes::from_static(b"hello")),
                Frame::End(ContentDigest([7; 32])),
                Frame::Problem(Problem::NotMade { path: 1 }),
                Frame::Done,
            ];
            let mut bytes = Vec::new();
            for frame in &sent {
                bytes.extend_from_slice(&frame.encode().unwrap());
            }
            let (mut frames, mut received) = (Frames::default(), Vec::new());
            for chunk in bytes.chunks(cut) {
                frames.push(chunk);
                while let Some(frame) = frames.next().unwrap() {
                    received.push(frame);
                }
            }
            prop_assert_eq!(received, sent);
        }
    }

    #[test]
    fn a_frame_that_claims_to_be_huge_is_refused_before_it_is_read() {
        for kind in [b'd', b'e'] {
            let mut frames = Frames::default();
            frames.push(&[kind, 0xff, 0, 0, 0]);
            assert!(frames.next().is_err());
        }
    }
}
