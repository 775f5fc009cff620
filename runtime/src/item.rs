//! The items of lists for which there are jobs, and the identities by which later runs recognise these jobs.

use std::fmt;

use blake3::Hasher;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// The item of a list for which there is a job, with its name for people and its identity for later runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobItem {
    /// The name of the item in results, events and reports.
    pub name: ItemName,
    /// The identity of the job, which is the same in every run, wherever the item stands in its list.
    pub identity: JobIdentity,
}

/// The name of an item: its whole text, however long it is. Copies share its memory.
///
/// Programs match results with items by this text. Whoever shows it to people shortens it.
///
/// ```
/// use ratchet_runtime::ItemName;
///
/// assert_eq!(ItemName::new("a.png").as_str(), "a.png");
/// let text = format!("{}.png", "x".repeat(1000));
/// let long = ItemName::new(&text);
/// assert_eq!(long.as_str(), text);
/// let shown = long.shortened(60);
/// assert_eq!(shown.chars().count(), 60);
/// assert!(shown.contains('…') && shown.ends_with(".png"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemName(SmolStr);

impl ItemName {
    /// Makes the name of an item with this text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the name as text. It may hold any character, so it has to be escaped before it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name, shortened to this many characters. The middle is left out, because both the beginning and the
    /// end of a path distinguish it from others.
    pub fn shortened(&self, most: usize) -> String {
        let text = self.as_str();
        let count = text.chars().count();
        if count <= most {
            return text.to_owned();
        }
        let kept = most.saturating_sub(1);
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let (head, tail) = (
            text.chars().take(head),
            text.chars().skip(count.saturating_sub(tail)),
        );
        head.chain(['…']).chain(tail).collect()
    }
}

/// The identity of a job whose id is only its position in a list. It distinguishes the job from all others, in this run
/// and in later ones.
///
/// ```
/// use ratchet_runtime::JobIdentity;
///
/// let first = JobIdentity::new([b"gzip".as_slice(), b"a.txt"], 0);
/// assert_eq!(first, JobIdentity::new([b"gzip".as_slice(), b"a.txt"], 0));
/// assert_ne!(first, JobIdentity::new([b"gzip".as_slice(), b"a.txt"], 1));
/// assert_ne!(first, JobIdentity::new([b"gzi".as_slice(), b"pa.txt"], 0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobIdentity(pub(crate) [u8; 16]);

impl JobIdentity {
    /// Makes the identity of the job with these parts. `earlier` is how many jobs with the same parts come before it.
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>, earlier: u64) -> Self {
        let mut hasher = Hasher::new();
        for part in parts {
            // Each part is preceded by its length, so that no two different lists of parts give the same bytes.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(&earlier.to_le_bytes());
        Self(truncated(hasher.finalize()))
    }

    /// Returns the identity as bytes, which are evenly distributed.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// Returns the first half of a 256-bit digest, which is as good as any 128-bit one.
pub(crate) fn truncated(hash: blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

/// The hexadecimal digits in small letters.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Formats a digest as 32 hexadecimal digits.
pub(crate) fn to_hex(digest: [u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    let (pairs, _) = text.as_chunks_mut();
    for ([high, low], byte) in pairs.iter_mut().zip(&digest) {
        *high = DIGITS[usize::from(byte >> 4)];
        *low = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// Parses a digest from 32 hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut digest = [0; 16];
    if text.len() != 32 {
        return None;
    }
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

impl fmt::Display for JobIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&to_hex(self.0)))
    }
}

impl fmt::Debug for JobIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobIdentity({self})")
    }
}

impl Serialize for JobIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let digest = from_hex(&text);
        digest
            .map(Self)
            .ok_or_else(|| D::Error::custom("a digest is 32 hexadecimal digits"))
    }
}
