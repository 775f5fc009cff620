//! Filters for random choices. With a seed, the results are those of Python.

use std::io::Read as _;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use sha2::{Digest as _, Sha512};

use super::super::function_arguments::{FunctionArguments, iterated, kind, members, wrong};
use super::super::names::NamedFunctions;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("random", &["start", "step", "seed"], |value, given| {
        let mut random = Random::new(given.value("seed"))?;
        if value.kind() == ValueKind::Number && value.is_integer() {
            let end = value
                .as_i64()
                .ok_or_else(|| wrong("the number is too large"))?;
            let start = given.whole("start")?.unwrap_or(0);
            let step = given.whole("step")?.filter(|step| *step != 0).unwrap_or(1);
            return random.range(start, end, step).map(Value::from);
        }
        if given.flag("start") == Some(true) || given.flag("step") == Some(true) {
            return Err(wrong(
                "`start` and `step` can be used only with a whole number",
            ));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable | ValueKind::String => {
                random.choice(&iterated(value)?)
            }
            _ => Err(wrong(format!(
                "`random` takes a list or a whole number, not {}",
                kind(value)
            ))),
        }
    });
    engine.plain("shuffle", &["seed"], shuffle);
}

fn shuffle(value: &Value, given: &FunctionArguments) -> Result<Value, Error> {
    let mut list = members(value)?;
    let seed = given.value("seed").filter(|seed| seed.is_true());
    let mut random = Random::new(seed)?;
    for at in (1..list.len()).rev() {
        let other = random.below(u64::try_from(at).unwrap_or(u64::MAX) + 1);
        list.swap(at, usize::try_from(other).unwrap_or(at));
    }
    Ok(Value::from(list))
}

/// Returns random bytes that cannot be predicted.
pub(in crate::templates) fn random_bytes<const LENGTH: usize>() -> Result<[u8; LENGTH], Error> {
    let mut bytes = [0; LENGTH];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| wrong(format!("`/dev/urandom` cannot be read: {error}")))?;
    Ok(bytes)
}

/// The number of words in the state of the generator.
const WORDS: usize = 624;

/// Python's generator, a Mersenne Twister, so that a seed gives the same numbers as in Python.
pub(in crate::templates) struct Random {
    state: [u32; WORDS],
    at: usize,
}

impl Random {
    /// Makes a generator with a seed, or with an unpredictable one.
    pub(in crate::templates) fn new(seed: Option<&Value>) -> Result<Self, Error> {
        let Some(seed) = seed.filter(|seed| !seed.is_none()) else {
            let key: Vec<u32> = random_bytes::<32>()?.chunks(4).map(word).collect();
            return Ok(Self::of_key(&key));
        };
        let key: Vec<u32> = match (seed.as_str(), seed.kind()) {
            (Some(text), _) => {
                // The seed of a text is the number that its bytes and those of its digest form.
                let mut bytes = text.as_bytes().to_vec();
                bytes.extend_from_slice(&Sha512::digest(text.as_bytes()));
                bytes.reverse();
                bytes.chunks(4).map(word).collect()
            }
            (None, ValueKind::Number | ValueKind::Bool)
                if seed.kind() == ValueKind::Bool || seed.is_integer() =>
            {
                let number = match seed.kind() {
                    ValueKind::Bool => u128::from(seed.is_true()),
                    _ => i128::try_from(seed.clone())
                        .map(i128::unsigned_abs)
                        .map_err(|_| wrong("a seed is too large"))?,
                };
                number.to_le_bytes().chunks(4).map(word).collect()
            }
            _ => {
                return Err(wrong(format!(
                    "a seed is a text or a whole number, not {}",
                    kind(seed)
                )));
            }
        };
        Ok(Self::of_key(&key))
    }

    fn of_key(key: &[u32]) -> Self {
        let used = key
            .iter()
            .rposition(|word| *word != 0)
            .map_or(1, |last| last + 1);
        let key = &key[..used];
        let mut state = [0_u32; WORDS];
        state[0] = 19_650_218;
        for at in 1..WORDS {
            let before = state[at - 1];
            state[at] = 1_812_433_253_u32
                .wrapping_mul(before ^ (before >> 30))
                .wrapping_add(as_word(at));
        }
        let (mut at, mut from) = (1, 0);
        for _ in 0..WORDS.max(key.len()) {
            let before = state[at - 1];
            state[at] = (state[at] ^ (before ^ (before >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[from])
                .wrapping_add(as_word(from));
            at += 1;
            from = (from + 1) % key.len();
            if at == WORDS {
                state[0] = state[WORDS - 1];
                at = 1;
            }
        }
        for _ in 0..WORDS - 1 {
            let before = state[at - 1];
            state[at] = (state[at] ^ (before ^ (before >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(as_word(at));
            at += 1;
            if at == WORDS {
                state[0] = state[WORDS - 1];
                at = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, at: WORDS }
    }

    fn next(&mut self) -> u32 {
        if self.at == WORDS {
            for at in 0..WORDS {
                let joined =
                    (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % WORDS] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[at] = self.state[(at + 397) % WORDS] ^ (joined >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn bits(&mut self, count: u32) -> u64 {
        if count <= 32 {
            return u64::from(self.next() >> (32 - count.max(1)));
        }
        let low = u64::from(self.next());
        low | (u64::from(self.next() >> (64 - count)) << 32)
    }

    /// Returns a number below a bound that is not zero.
    pub(in crate::templates) fn below(&mut self, bound: u64) -> u64 {
        let bits = u64::BITS - bound.leading_zeros();
        loop {
            let number = self.bits(bits);
            if number < bound {
                return number;
            }
        }
    }

    fn range(&mut self, start: i64, end: i64, step: i64) -> Result<i64, Error> {
        let width = i128::from(end) - i128::from(start);
        let step = i128::from(step);
        let count = if step > 0 {
            (width + step - 1) / step
        } else {
            (width + step + 1) / step
        };
        let Some(count) = u64::try_from(count).ok().filter(|count| *count > 0) else {
            return Err(wrong(format!("there is no number from {start} to {end}")));
        };
        let chosen = i128::from(start) + step * i128::from(self.below(count));
        i64::try_from(chosen).map_err(|_| wrong("the number is too large"))
    }

    /// Returns a random member of a list.
    pub(in crate::templates) fn choice(&mut self, list: &[Value]) -> Result<Value, Error> {
        let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
        if length == 0 {
            return Err(wrong("there is nothing to choose from"));
        }
        let at = usize::try_from(self.below(length)).unwrap_or_default();
        Ok(list[at].clone())
    }
}

/// Reads up to four bytes as a little-endian number.
fn word(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(word)
}

/// Converts an index of the state to a word, which it always fits into.
#[expect(
    clippy::cast_possible_truncation,
    reason = "places in the state and in a key are far below 2^32"
)]
fn as_word(at: usize) -> u32 {
    at as u32
}
