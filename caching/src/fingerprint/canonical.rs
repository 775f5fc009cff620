//! One text for each JSON value.

mod order;

use crate::fingerprint::json_error::{JsonError, JsonProblem};
use crate::fingerprint::number;
use crate::fingerprint::text::{plain_run, push_escaped};
use order::{Disordered, Member, in_order};

/// The canonical text of a JSON value.
///
/// Two texts have the same canonical text exactly when a worker cannot tell them apart:
///
/// * White space and the order of an object's members do not matter; the order of an array does.
/// * A character and its escape are the same: `"\u00e9"` is `"é"`. Nothing is normalised beyond that.
/// * Numbers are never rounded. An integer stands as it is spelled, however long. A number with a fraction or an
///   exponent is the same as any other such number of the same value: `1.50` is `15e-1`. An integer and a number with
///   a fraction are never the same, because many languages read `1` and `1.0` as different types. `-0` is not `0`,
///   and `-0.0` is not `0.0`.
/// * A key that occurs twice in one object is refused: readers disagree on which one counts.
///
/// Nesting may be as deep as memory allows; no recursion is involved. The time it takes grows with the length of the
/// text (times its logarithm, where members have to be sorted), whatever its shape.
///
/// ```
/// use ratchet_caching::canonical_json;
///
/// assert_eq!(canonical_json(r#" {"b": 1.50, "a": "\u0041"} "#)?, r#"{"a":"A","b":15e-1}"#);
/// assert_ne!(canonical_json("9007199254740993")?, canonical_json("9007199254740992")?);
/// assert!(canonical_json(r#"{"a": 1, "a": 2}"#).is_err());
/// # Ok::<(), ratchet_caching::JsonError>(())
/// ```
pub fn canonical_json(text: &str) -> Result<String, JsonError> {
    let canonical = canonical_bytes(text)?;
    // What is copied or written is UTF-8: lossy, only so as not to have to say what cannot happen.
    Ok(String::from_utf8(canonical)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The bytes of the canonical text.
pub(super) fn canonical_bytes(text: &str) -> Result<Vec<u8>, JsonError> {
    let mut reader = Reader::new(text);
    reader.document()?;
    Ok(in_order(reader.output, reader.disordered))
}

/// What has been opened and not closed.
#[derive(Clone, Copy)]
enum Open {
    Array,
    /// An object that begins here in the output, and whose members begin here in `members`.
    Object {
        start: usize,
        first_member: usize,
    },
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
    /// The canonical text, but for the order of members.
    output: Vec<u8>,
    open: Vec<Open>,
    /// The members of all open objects.
    members: Vec<Member>,
    disordered: Vec<Disordered>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            position: 0,
            output: Vec::with_capacity(text.len() + text.len() / 8),
            // Enough for what is usual, so that they do not grow step by step.
            open: Vec::with_capacity(8),
            members: Vec::with_capacity(16),
            disordered: Vec::new(),
        }
    }

    fn document(&mut self) -> Result<(), JsonError> {
        self.value()?;
        while let Some(&open) = self.open.last() {
            match (open, self.next_token()) {
                (_, Some(b',')) => {
                    self.position += 1;
                    if let Open::Object { .. } = open {
                        self.end_member();
                        self.output.push(b',');
                        self.key()?;
                    } else {
                        self.output.push(b',');
                    }
                    self.value()?;
                }
                (Open::Array, Some(b']')) => {
                    self.position += 1;
                    self.output.push(b']');
                    self.open.pop();
                }
                (
                    Open::Object {
                        start,
                        first_member,
                    },
                    Some(b'}'),
                ) => {
                    self.position += 1;
                    self.end_member();
                    self.output.push(b'}');
                    self.open.pop();
                    self.close_object(start, first_member)?;
                }
                _ => return Err(self.unexpected()),
            }
        }
        match self.next_token() {
            None => Ok(()),
            Some(_) => Err(JsonError::at(self.position, JsonProblem::Trailing)),
        }
    }

    /// Reads a scalar, or opens arrays and objects until their first scalar.
    fn value(&mut self) -> Result<(), JsonError> {
        loop {
            match self.next_token() {
                Some(b'"') => return self.string(),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                Some(b't') => return self.word("true"),
                Some(b'f') => return self.word("false"),
                Some(b'n') => return self.word("null"),
                Some(b'[') => {
                    self.position += 1;
                    self.output.push(b'[');
                    if self.next_token() == Some(b']') {
                        self.position += 1;
                        self.output.push(b']');
                        return Ok(());
                    }
                    self.open.push(Open::Array);
                }
                Some(b'{') => {
                    self.position += 1;
                    let start = self.output.len();
                    self.output.push(b'{');
                    if self.next_token() == Some(b'}') {
                        self.position += 1;
                        self.output.push(b'}');
                        return Ok(());
                    }
                    self.open.push(Open::Object {
                        start,
                        first_member: self.members.len(),
                    });
                    self.key()?;
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn key(&mut self) -> Result<(), JsonError> {
        if self.next_token() != Some(b'"') {
            return Err(self.unexpected());
        }
        let (start, source) = (self.output.len(), self.position);
        self.string()?;
        self.members.push(Member {
            start,
            key_end: self.output.len(),
            end: 0,
            source,
        });
        if self.next_token() != Some(b':') {
            return Err(self.unexpected());
        }
        self.position += 1;
        self.output.push(b':');
        Ok(())
    }

    fn end_member(&mut self) {
        if let Some(member) = self.members.last_mut() {
            member.end = self.output.len();
        }
    }

    fn close_object(&mut self, start: usize, first_member: usize) -> Result<(), JsonError> {
        let output = self.output.as_slice();
        let key = |member: &Member| &output[member.start..member.key_end];
        let members = &mut self.members[first_member..];
        if !members.is_sorted_by(|a, b| key(a) < key(b)) {
            members.sort_by(|a, b| key(a).cmp(key(b)));
            if let Some(pair) = members
                .windows(2)
                .find(|pair| key(&pair[0]) == key(&pair[1]))
            {
                let twice = &self.output[pair[1].start + 1..pair[1].key_end - 1];
                let twice = String::from_utf8_lossy(twice).into_owned();
                return Err(JsonError::at(
                    pair[1].source,
                    JsonProblem::DuplicateKey(twice),
                ));
            }
            let members = members.to_vec();
            self.disordered.push(Disordered {
                start,
                end: self.output.len(),
                members,
            });
        }
        self.members.truncate(first_member);
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        // The quotes are copied with the run beside them: most strings are one run, and so one copy.
        let mut run = self.position;
        self.position += 1;
        loop {
            let bytes = self.text.as_bytes();
            let rest = &bytes[self.position..];
            self.position += plain_run(rest);
            match bytes.get(self.position) {
                Some(b'"') => {
                    self.position += 1;
                    self.output.extend_from_slice(&bytes[run..self.position]);
                    return Ok(());
                }
                Some(b'\\') => {
                    self.output.extend_from_slice(&bytes[run..self.position]);
                    let decoded = self.escape()?;
                    push_escaped(&mut self.output, decoded);
                    run = self.position;
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.position;
        self.position += 1;
        let simple = match self.text.as_bytes().get(self.position) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.code_unit()?;
                let pair = if (0xd800..0xdc00).contains(&unit)
                    && self.text[self.position..].starts_with("\\u")
                {
                    self.position += 1;
                    [unit, self.code_unit()?]
                } else {
                    [unit, 0]
                };
                let units = if pair[1] == 0 { &pair[..1] } else { &pair[..] };
                let mut decoded = char::decode_utf16(units.iter().copied());
                return match (decoded.next(), decoded.next()) {
                    (Some(Ok(character)), None) => Ok(character),
                    _ => Err(JsonError::at(start, JsonProblem::LoneSurrogate)),
                };
            }
            _ => return Err(self.unexpected()),
        };
        self.position += 1;
        Ok(simple)
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Result<u16, JsonError> {
        self.position += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self
                .text
                .as_bytes()
                .get(self.position)
                .and_then(|&byte| match byte {
                    b'0'..=b'9' => Some(byte - b'0'),
                    b'a'..=b'f' => Some(byte - b'a' + 10),
                    b'A'..=b'F' => Some(byte - b'A' + 10),
                    _ => None,
                });
            unit = unit * 16 + u16::from(digit.ok_or_else(|| self.unexpected())?);
            self.position += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let rest = &self.text.as_bytes()[self.position..];
        if let Some(length) = number::plain_integer(rest) {
            self.output.extend_from_slice(&rest[..length]);
            self.position += length;
            return Ok(());
        }
        let number = number::read(rest).map_err(|length| {
            self.position += length;
            self.unexpected()
        })?;
        number
            .write(&mut self.output)
            .map_err(|_| JsonError::at(self.position, JsonProblem::HugeExponent))?;
        self.position += number.length;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        for expected in word.bytes() {
            if self.text.as_bytes().get(self.position) != Some(&expected) {
                return Err(self.unexpected());
            }
            self.position += 1;
        }
        self.output.extend_from_slice(word.as_bytes());
        Ok(())
    }

    /// The next byte that is not white space, not consumed.
    fn next_token(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.position) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.position += 1;
        }
        None
    }

    fn unexpected(&self) -> JsonError {
        let problem = match self.text[self.position..].chars().next() {
            Some(character) => JsonProblem::Unexpected(character),
            None => JsonProblem::Unfinished,
        };
        JsonError::at(self.position, problem)
    }
}

#[cfg(test)]
mod tests;
