//! Filters for URLs.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::function_arguments::wrong;
use super::super::maps::plain_map_of;
use super::super::names::NamedFunctions;
use super::super::values::text_of;

/// Adds the filters.
pub(super) fn add(engine: &mut NamedFunctions) {
    engine.plain("urlsplit", &["query"], |value, given| {
        let parts = split(&text_of(value));
        match given.text("query").filter(|part| !part.is_empty()) {
            None => Ok(plain_map_of(
                parts
                    .into_iter()
                    .map(|(name, part)| (Value::from(name), part)),
            )),
            Some(part) => {
                let found = parts.into_iter().find(|(name, _)| *name == part);
                found
                    .map(|(_, part)| part)
                    .ok_or_else(|| wrong(format!("an address cannot have a part `{part}`")))
            }
        }
    });
    engine.plain("urldecode", &[], |value, _| {
        decoded(&text_of(value)).map(Value::from)
    });
    engine.plain("urlencode", &[], |value, _| encoded(value).map(Value::from));
}

/// Returns the parts of a URL, in the order of their names.
fn split(url: &str) -> Vec<(&'static str, Value)> {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (user, host) = match netloc.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, netloc),
    };
    let (username, password) = match user.map(|user| {
        user.split_once(':')
            .map_or((user, None), |(name, password)| (name, Some(password)))
    }) {
        Some((name, password)) => (
            Value::from(name),
            password.map_or(Value::from(()), Value::from),
        ),
        None => (Value::from(()), Value::from(())),
    };
    let (hostname, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((hostname, port)) => (hostname, port.strip_prefix(':')),
        None => host
            .split_once(':')
            .map_or((host, None), |(hostname, port)| (hostname, Some(port))),
    };
    let hostname = Some(hostname).filter(|hostname| !hostname.is_empty());
    let port = port.and_then(|port| port.parse::<u16>().ok());
    vec![
        ("fragment", Value::from(fragment)),
        (
            "hostname",
            hostname.map_or(Value::from(()), |hostname| {
                Value::from(hostname.to_lowercase())
            }),
        ),
        ("netloc", Value::from(netloc)),
        ("password", password),
        ("path", Value::from(path)),
        ("port", port.map_or(Value::from(()), Value::from)),
        ("query", Value::from(query)),
        ("scheme", Value::from(scheme)),
        ("username", username),
    ]
}

/// Decodes percent escapes, and `+` as a blank.
fn decoded(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = behind;
        match (code, first) {
            (Some(code), _) => {
                bytes.push(code);
                rest = &behind[2..];
            }
            (None, b'+') => bytes.push(b' '),
            (None, other) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong("the decoded bytes are not UTF-8"))
}

/// Percent-encodes a text, or formats a map as a query.
fn encoded(value: &Value) -> Result<String, Error> {
    let pair = |key: &Value, value: &Value| {
        format!(
            "{}={}",
            quoted(&text_of(key), ""),
            quoted(&text_of(value), "")
        )
    };
    match value.kind() {
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                pairs.push(pair(&key, &value.get_item(&key)?));
            }
            Ok(pairs.join("&"))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut pairs = Vec::new();
            for member in value.try_iter()? {
                let (key, value) = (member.get_item_by_index(0)?, member.get_item_by_index(1)?);
                pairs.push(pair(&key, &value));
            }
            Ok(pairs.join("&"))
        }
        _ => Ok(quoted(&text_of(value), "/")),
    }
}

fn quoted(text: &str, safe: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric()
            || "_.-~".contains(character)
            || safe.contains(character)
        {
            out.push(character);
        } else if safe.is_empty() && character == ' ' {
            out.push('+');
        } else {
            // Writing to a string cannot fail.
            let _ = std::fmt::Write::write_fmt(&mut out, format_args!("%{byte:02X}"));
        }
    }
    out
}
