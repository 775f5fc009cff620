//! Filters for digests, password hashes, UUIDs and Base64.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use md5::Md5;
use minijinja::{Error, Value};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::names::NamedFunctions;
use super::super::values::text_of;
use super::random::{Random, random_bytes};

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("md5", &[], |value, _| {
        Ok(Value::from(digest::<Md5>(&text_of(value))))
    });
    for name in ["sha1", "checksum"] {
        engine.plain(name, &[], |value, _| {
            Ok(Value::from(digest::<Sha1>(&text_of(value))))
        });
    }
    engine.plain("hash", &["hashtype"], |value, given| {
        let text = text_of(value);
        Ok(Value::from(
            match given.text("hashtype").as_deref().unwrap_or("sha1") {
                "md5" => digest::<Md5>(&text),
                "sha1" => digest::<Sha1>(&text),
                "sha224" => digest::<Sha224>(&text),
                "sha256" => digest::<Sha256>(&text),
                "sha384" => digest::<Sha384>(&text),
                "sha512" => digest::<Sha512>(&text),
                other => {
                    let said = format!(
                        "unknown digest `{other}`; use md5, sha1, sha224, sha256, sha384 or sha512"
                    );
                    return Err(wrong(said));
                }
            },
        ))
    });
    engine.plain(
        "password_hash",
        &["hashtype", "salt", "salt_size", "rounds", "ident"],
        |value, given| password_hash(&text_of(value), given).map(Value::from),
    );
    engine.plain("to_uuid", &["namespace"], |value, given| {
        uuid(&text_of(value), given).map(Value::from)
    });
    engine.plain("b64encode", &["encoding", "urlsafe"], |value, given| {
        let bytes = encoded(&text_of(value), given)?;
        Ok(Value::from(if given.flag("urlsafe") == Some(true) {
            URL_SAFE.encode(bytes)
        } else {
            STANDARD.encode(bytes)
        }))
    });
    engine.plain("b64decode", &["encoding", "urlsafe"], |value, given| {
        let text = text_of(value);
        // Python ignores characters that are not part of Base64.
        let is_code =
            |character: &char| character.is_ascii_alphanumeric() || "+/-_=".contains(*character);
        let text: String = text.chars().filter(is_code).collect();
        let engine = if given.flag("urlsafe") == Some(true) {
            &URL_SAFE
        } else {
            &STANDARD
        };
        let bytes = engine
            .decode(text)
            .map_err(|error| wrong(format!("this is not base64: {error}")))?;
        decoded(bytes, given).map(Value::from)
    });
}

fn digest<D: Digest>(text: &str) -> String {
    hexadecimal(&D::digest(text.as_bytes()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn encoded(text: &str, given: &FunctionArguments) -> Result<Vec<u8>, Error> {
    match encoding(given)? {
        Encoding::Utf8 => Ok(text.as_bytes().to_vec()),
        Encoding::Utf16 => {
            let mut bytes = Vec::new();
            for unit in text.encode_utf16() {
                bytes.extend_from_slice(&unit.to_le_bytes());
            }
            Ok(bytes)
        }
    }
}

fn decoded(bytes: Vec<u8>, given: &FunctionArguments) -> Result<String, Error> {
    match encoding(given)? {
        Encoding::Utf8 => {
            String::from_utf8(bytes).map_err(|_| wrong("the decoded bytes are not UTF-8"))
        }
        Encoding::Utf16 => {
            let units: Vec<u16> = bytes
                .chunks(2)
                .map(|pair| {
                    pair.iter()
                        .rev()
                        .fold(0, |unit, byte| unit << 8 | u16::from(*byte))
                })
                .collect();
            String::from_utf16(&units).map_err(|_| wrong("the decoded bytes are not UTF-16"))
        }
    }
}

/// A character encoding.
enum Encoding {
    Utf8,
    Utf16,
}

fn encoding(given: &FunctionArguments) -> Result<Encoding, Error> {
    let name = given.text("encoding").unwrap_or_else(|| "utf-8".to_owned());
    match name.to_lowercase().replace('_', "-").as_str() {
        "utf-8" | "utf8" | "ascii" => Ok(Encoding::Utf8),
        "utf-16-le" | "utf-16le" => Ok(Encoding::Utf16),
        _ => Err(wrong(format!(
            "the encoding `{name}` is not supported; use utf-8 or utf-16-le"
        ))),
    }
}

/// The namespace of Ansible's own names.
const NAMESPACE: &str = "361E6D51-FAEC-444A-9079-341386DA8E2E";

/// Returns the name-based UUID of a text (version 5).
fn uuid(text: &str, given: &FunctionArguments) -> Result<String, Error> {
    let namespace = given
        .text("namespace")
        .unwrap_or_else(|| NAMESPACE.to_owned());
    let digits: String = namespace.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| digits.len() == 32);
    let number = number.ok_or_else(|| wrong(format!("`{namespace}` is not a UUID")))?;
    let mut hasher = Sha1::new();
    hasher.update(number.to_be_bytes());
    hasher.update(text.as_bytes());
    let digest = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let digits = hexadecimal(&bytes);
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    ))
}

/// The characters of the hashes in `/etc/shadow`, in the order of their values.
const CRYPT: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Hashes a password as `crypt` does, for `/etc/shadow`.
pub(in crate::templates) fn password_hash(
    password: &str,
    given: &FunctionArguments,
) -> Result<String, Error> {
    let kind = given
        .text("hashtype")
        .unwrap_or_else(|| "sha512".to_owned());
    let rounds = given.whole("rounds")?.filter(|rounds| *rounds > 0);
    let salt = given.text("salt");
    match kind.as_str() {
        "sha512" | "sha512_crypt" | "sha256" | "sha256_crypt" => {
            let is_long = kind.starts_with("sha512");
            // The default of Python's libraries.
            let usual = if is_long { 656_000 } else { 535_000 };
            let rounds = u32::try_from(rounds.unwrap_or(usual))
                .map_err(|_| wrong("there are too many rounds"))?;
            let size = given.count("salt_size")?.unwrap_or(16);
            sha_crypt(password, salt, size, rounds, is_long)
        }
        "blowfish" | "bcrypt" => {
            let rounds = u32::try_from(rounds.unwrap_or(12))
                .map_err(|_| wrong("there are too many rounds"))?;
            bcrypt(
                password,
                salt,
                rounds,
                given.text("ident").as_deref().unwrap_or("2b"),
            )
        }
        other => Err(wrong(format!(
            "unknown hash of passwords `{other}`; use sha512, sha256 or blowfish"
        ))),
    }
}

fn new_salt(size: usize) -> Result<String, Error> {
    let mut random = Random::new(None)?;
    Ok((0..size)
        .map(|_| char::from(CRYPT[usize::try_from(random.below(64)).unwrap_or_default()]))
        .collect())
}

fn sha_crypt(
    password: &str,
    salt: Option<String>,
    size: usize,
    rounds: u32,
    is_long: bool,
) -> Result<String, Error> {
    let salt = match salt {
        Some(salt) => salt,
        None => new_salt(size.min(16))?,
    };
    if salt.len() > 16 || !salt.bytes().all(|byte| CRYPT.contains(&byte)) {
        return Err(wrong(
            "a salt has at most 16 characters, which are letters, digits, `.` and `/`",
        ));
    }
    let params = sha_crypt::Params::new(rounds)
        .map_err(|_| wrong(format!("{rounds} is not a number of rounds")))?;
    let (name, hash) = if is_long {
        let bytes = sha_crypt::sha512_crypt(password.as_bytes(), salt.as_bytes(), params);
        // Three bytes become four characters. The bytes are taken from each third of the hash in turn.
        let mut hash = String::new();
        let (mut one, mut two, mut three) = (0, 21, 42);
        for _ in 0..21 {
            hash.push_str(&crypt_text([bytes[one], bytes[two], bytes[three]], 4));
            (one, two, three) = (two + 1, three + 1, one + 1);
        }
        hash.push_str(&crypt_text([0, 0, bytes[63]], 2));
        ("6", hash)
    } else {
        let bytes = sha_crypt::sha256_crypt(password.as_bytes(), salt.as_bytes(), params);
        let mut hash = String::new();
        let (mut one, mut two, mut three) = (0, 10, 20);
        for _ in 0..10 {
            hash.push_str(&crypt_text([bytes[one], bytes[two], bytes[three]], 4));
            (one, two, three) = (three + 1, one + 1, two + 1);
        }
        hash.push_str(&crypt_text([0, bytes[31], bytes[30]], 3));
        ("5", hash)
    };
    // The default number of rounds is not written into the hash.
    let shown = if rounds == 5000 {
        String::new()
    } else {
        format!("rounds={rounds}$")
    };
    Ok(format!("${name}${shown}{salt}${hash}"))
}

fn crypt_text(bytes: [u8; 3], length: usize) -> String {
    let mut number = bytes
        .iter()
        .fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    let mut out = String::new();
    for _ in 0..length {
        out.push(char::from(CRYPT[number & 63]));
        number >>= 6;
    }
    out
}

fn bcrypt(password: &str, salt: Option<String>, rounds: u32, ident: &str) -> Result<String, Error> {
    let version = match ident {
        "2b" => bcrypt::Version::TwoB,
        "2a" => bcrypt::Version::TwoA,
        "2y" => bcrypt::Version::TwoY,
        other => {
            return Err(wrong(format!(
                "unknown kind of blowfish `{other}`; use 2b, 2a or 2y"
            )));
        }
    };
    let engine = base64::engine::GeneralPurpose::new(
        &base64::alphabet::BCRYPT,
        base64::engine::general_purpose::NO_PAD.with_decode_allow_trailing_bits(true),
    );
    let salt: [u8; 16] = match salt {
        Some(salt) => {
            let bytes = engine
                .decode(&salt)
                .ok()
                .and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| {
                wrong(
                    "a salt of blowfish has 22 characters, which are letters, digits, `.` and `/`",
                )
            })?
        }
        None => random_bytes()?,
    };
    let hash =
        bcrypt::hash_with_salt(password, rounds, salt).map_err(|error| wrong(error.to_string()))?;
    Ok(hash.format_for_version(version))
}
