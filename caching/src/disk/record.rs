//! The record of an entry in the index, as bytes with a checksum.

use std::time::{Duration, SystemTime};

use crate::entry::{Entry, EntryKind, Labels, Metadata};
use crate::fingerprint::{Component, Fingerprint, Part};
use crate::key::{Digest, Key};

/// The version of the encoding. A record of another version is treated as damaged.
const VERSION: u8 = 1;
/// The length of the checksum at the end of a record.
const CHECKSUM_BYTES: usize = 16;

/// The record of an entry: its metadata, and the size and digest of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The digest of the value.
    pub(super) digest: Digest,
    /// The size of the value in bytes.
    pub(super) size: u64,
    /// Whether the value is in the index rather than in a file.
    pub(super) is_inline: bool,
    /// The metadata of the value.
    pub(super) metadata: Metadata,
}

impl Record {
    /// Makes the record of an entry.
    pub(super) fn of(entry: &Entry, is_inline: bool) -> Self {
        Self {
            digest: entry.digest(),
            size: entry.size(),
            is_inline,
            metadata: entry.metadata().clone(),
        }
    }

    /// Encodes the record. The checksum also covers the key, so a record is valid only under its own key.
    pub(super) fn encode(&self, key: &Key) -> Vec<u8> {
        let Metadata {
            kind,
            created,
            expires,
            labels,
            cost,
            fingerprint,
        } = &self.metadata;
        let mut bytes = Vec::with_capacity(256);
        bytes.push(VERSION);
        bytes.push(u8::from(self.is_inline));
        bytes.push(match kind {
            EntryKind::Success => 0,
            EntryKind::PermanentFailure => 1,
        });
        bytes.extend_from_slice(self.digest.as_bytes());
        put_number(&mut bytes, self.size);
        put_number(&mut bytes, to_nanos(*created));
        put_number(&mut bytes, expires.map_or(u64::MAX, to_nanos));
        put_number(
            &mut bytes,
            u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX),
        );
        put_text(&mut bytes, &labels.task);
        put_text(&mut bytes, &labels.worker);
        put_number(&mut bytes, labels.tags.len() as u64);
        for tag in &labels.tags {
            put_text(&mut bytes, tag);
        }
        let parts = || fingerprint.iter().flat_map(Fingerprint::parts);
        put_number(&mut bytes, parts().count() as u64);
        for part in parts() {
            bytes.push(part.component as u8);
            put_text(&mut bytes, &part.name);
            bytes.extend_from_slice(&part.digest);
        }
        let checksum = checksum(key, &bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Decodes a record, if it is complete, of this version, and stored under its own key.
    pub(super) fn decode(key: &Key, bytes: &[u8]) -> Option<Self> {
        let (mut body, found) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
        if checksum(key, body) != found || take(&mut body, 1)? != [VERSION] {
            return None;
        }
        let body = &mut body;
        let is_inline = take(body, 1)? == [1];
        let kind = match take(body, 1)? {
            [0] => EntryKind::Success,
            [1] => EntryKind::PermanentFailure,
            _ => return None,
        };
        let digest = Digest::from_bytes(take(body, 32)?.try_into().ok()?);
        let size = take_number(body)?;
        let created = from_nanos(take_number(body)?);
        let expires = Some(take_number(body)?)
            .filter(|&nanos| nanos != u64::MAX)
            .map(from_nanos);
        let cost = Duration::from_nanos(take_number(body)?);
        let (task, worker) = (take_text(body)?, take_text(body)?);
        let tags = (0..take_number(body)?)
            .map(|_| take_text(body))
            .collect::<Option<_>>()?;
        let parts = (0..take_number(body)?)
            .map(|_| take_part(body))
            .collect::<Option<Vec<_>>>()?;
        let fingerprint = (!parts.is_empty()).then(|| Fingerprint::of_parts(parts));
        let labels = Labels { task, worker, tags };
        Some(Self {
            digest,
            size,
            is_inline,
            metadata: Metadata {
                kind,
                created,
                expires,
                labels,
                cost,
                fingerprint,
            },
        })
    }
}

/// Returns the first bytes of a BLAKE3 hash that is keyed with the key of the entry.
fn checksum(key: &Key, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = blake3::keyed_hash(key.as_bytes(), body);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&digest.as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// Returns the nanoseconds since 1970, which fit into 64 bits until 2554. The largest number means "never", so a later
/// time becomes the second largest.
pub(super) fn to_nanos(time: SystemTime) -> u64 {
    let nanos = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX).min(u64::MAX - 1)
}

fn from_nanos(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_nanos(nanos))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn put_number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_number(bytes)?).ok()?;
    String::from_utf8(take(bytes, length)?.to_vec()).ok()
}

fn take_part(bytes: &mut &[u8]) -> Option<Part> {
    let component = Component::from_code(*take(bytes, 1)?.first()?)?;
    Some(Part {
        component,
        name: take_text(bytes)?,
        digest: take(bytes, 32)?.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let fingerprint = Fingerprint::builder()
            .task("t")
            .environment("LANG", Some("C"))
            .build();
        let labels = Labels {
            task: "t".into(),
            worker: "w".into(),
            tags: vec!["a".into(), String::new()],
        };
        let metadata = Metadata {
            kind: EntryKind::PermanentFailure,
            created: from_nanos(5),
            expires: Some(from_nanos(7)),
            labels,
            cost: Duration::from_millis(3),
            fingerprint: Some(fingerprint),
        };
        Record::of(&Entry::new(*b"value", metadata), true)
    }

    #[test]
    fn a_record_can_be_decoded() {
        let key = Key::of(b"k");
        let record = record();
        assert_eq!(Record::decode(&key, &record.encode(&key)), Some(record));
        let plain = Record::of(
            &Entry::new(*b"", Metadata::new(SystemTime::UNIX_EPOCH)),
            false,
        );
        assert_eq!(Record::decode(&key, &plain.encode(&key)), Some(plain));
    }

    #[test]
    fn a_record_with_a_flipped_bit_a_cut_or_another_key_is_refused() {
        let key = Key::of(b"k");
        let bytes = record().encode(&key);
        assert_eq!(Record::decode(&Key::of(b"other"), &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&key, &flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(
                Record::decode(&key, &bytes[..length]),
                None,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_record_of_another_version_is_refused_even_if_it_is_complete() {
        let key = Key::of(b"k");
        let mut bytes = record().encode(&key);
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        bytes[0] = VERSION + 1;
        let checksum = checksum(&key, &bytes);
        bytes.extend_from_slice(&checksum);
        assert_eq!(Record::decode(&key, &bytes), None);
    }
}
