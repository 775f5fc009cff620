//! Single values: texts, numbers, durations and sizes.

use std::borrow::Cow;
use std::time::Duration;

use ratchet_runtime::process::Prefetch;
use ratchet_runtime::{HostName, JobKey, Rate, TaskName};
use serde_json::{Value as Json, json};

use super::from_node::{FromNode, mismatch, refuse};
use super::node::{Node, Value};
use super::schema::Schemas;
use crate::diagnostic::{Diagnostic, Problems};
use crate::value::{self, Amount, CommandLine, ValueError};

/// A type of single values.
trait Scalar: Sized {
    /// Reads the value. Returns `None` if the node has another type.
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>>;

    /// Returns the values that the type accepts, as error messages name them.
    fn expected() -> Cow<'static, str>;

    /// Returns what to write instead of a value that was refused, if that can be guessed.
    fn hint(_node: &Node<'_>) -> Option<String> {
        None
    }

    /// Returns the JSON Schema of the values that this type accepts.
    fn schema() -> Json;
}

macro_rules! scalars {
    ($($name:ident $(<$least:ident>)?;)*) => {$(
        impl $(<const $least: u32>)? FromNode for $name $(<$least>)? {
            fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
                match <Self as Scalar>::read(&node) {
                    Some(Ok(value)) => return Some(value),
                    Some(Err(error)) => problems.push(refuse(node.span, error)),
                    None => problems.push(mismatch::<Self>(&node)),
                }
                None
            }

            fn accepts(node: &Node<'_>) -> bool {
                <Self as Scalar>::read(node).is_some()
            }

            fn expected() -> Cow<'static, str> {
                <Self as Scalar>::expected()
            }

            fn hint(node: &Node<'_>) -> Option<String> {
                <Self as Scalar>::hint(node)
            }

            fn schema(_: &mut Schemas) -> Json {
                <Self as Scalar>::schema()
            }
        }
    )*};
}

scalars! {
    String;
    TaskName;
    JobKey;
    HostName;
    bool;
    False;
    Count<LEAST>;
    Version;
    PositiveNumber;
    Factor;
    Duration;
    PositiveDuration;
    ByteSize;
    AnyByteSize;
    Rate;
    Prefetch;
    Amount;
    Share;
}

fn not_empty(text: &str) -> Result<&str, ValueError> {
    if text.is_empty() {
        return Err(ValueError::new("the value is missing"));
    }
    Ok(text)
}

/// Text that is not empty.
impl Scalar for String {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        Some(not_empty(node.text()?).map(str::to_owned))
    }

    fn expected() -> Cow<'static, str> {
        "text".into()
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

impl Scalar for TaskName {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        Some(not_empty(node.text()?).map(Self::from))
    }

    fn expected() -> Cow<'static, str> {
        <String as Scalar>::expected()
    }

    fn schema() -> Json {
        <String as Scalar>::schema()
    }
}

/// Returns the text of a name: text that is not empty, or a whole number.
fn name<'n>(node: &'n Node<'_>) -> Option<Result<&'n str, ValueError>> {
    if let Some(text) = node.text() {
        return Some(not_empty(text));
    }
    let text = node.number()?;
    Some(value::count(text).map(|_| text))
}

macro_rules! names {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
                Some(name(node)?.map(Self::from))
            }

            fn expected() -> Cow<'static, str> {
                "a name or a number".into()
            }

            fn schema() -> Json {
                json!({"anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "integer", "minimum": 0},
                ]})
            }
        }
    )*};
}

names!(JobKey, HostName);

impl Scalar for bool {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        match node.value {
            Value::Bool(value) => Some(Ok(value)),
            _ => None,
        }
    }

    fn expected() -> Cow<'static, str> {
        "`true` or `false`".into()
    }

    fn hint(node: &Node<'_>) -> Option<String> {
        match node.text()?.to_ascii_lowercase().as_str() {
            "yes" | "on" => Some("`yes` and `on` are text; write `true`".to_owned()),
            "no" | "off" => Some("`no` and `off` are text; write `false`".to_owned()),
            _ => None,
        }
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

/// The word `false`, for keys where `true` would have no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct False;

impl Scalar for False {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        match node.value {
            Value::Bool(false) => Some(Ok(Self)),
            _ => None,
        }
    }

    fn expected() -> Cow<'static, str> {
        "`false`".into()
    }

    fn hint(node: &Node<'_>) -> Option<String> {
        <bool as Scalar>::hint(node)
    }

    fn schema() -> Json {
        json!({"const": false})
    }
}

/// A whole number that is at least `LEAST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<const LEAST: u32>(pub u32);

impl<const LEAST: u32> Scalar for Count<LEAST> {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        let text = node.number()?;
        let read = value::count(text).map_err(|error| error.hint("write a whole number"));
        Some(read.and_then(|number| {
            let number = u32::try_from(number)
                .map_err(|_| ValueError::new(format!("`{text}` is too large")))?;
            if number < LEAST {
                let error = ValueError::new(format!("{text} is too small"));
                return Err(error.hint(format!("at least {LEAST}")));
            }
            Ok(Self(number))
        }))
    }

    fn expected() -> Cow<'static, str> {
        match LEAST {
            0 => "a whole number".into(),
            least => format!("a whole number of at least {least}").into(),
        }
    }

    fn hint(node: &Node<'_>) -> Option<String> {
        let is_number = matches!(&node.value, Value::Text(text) if value::count(text).is_ok());
        is_number.then(|| "write the number without quotes".to_owned())
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": LEAST, "maximum": u32::MAX})
    }
}

/// The version of the format. Only version 1 exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version;

impl Scalar for Version {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        let text = node.number()?;
        Some(if text == "1" {
            Ok(Self)
        } else {
            Err(ValueError::new(format!("{text} is not a known version"))
                .hint("the only version is 1"))
        })
    }

    fn expected() -> Cow<'static, str> {
        "the version 1".into()
    }

    fn schema() -> Json {
        json!({"const": 1})
    }
}

/// Returns the number that a document contains. A decimal like `1e400` has none.
fn number(text: &str) -> Result<f64, ValueError> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| ValueError::new(format!("{text} is too large for a number")))
}

/// A number above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositiveNumber(pub f64);

impl Scalar for PositiveNumber {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        let text = node.number()?;
        Some(number(text).and_then(|number| {
            if number > 0.0 {
                return Ok(Self(number));
            }
            let reason = format!("with {text}, nothing could ever start");
            Err(ValueError::new(reason).hint("a number above 0"))
        }))
    }

    fn expected() -> Cow<'static, str> {
        "a number above 0".into()
    }

    fn schema() -> Json {
        json!({"type": "number", "exclusiveMinimum": 0})
    }
}

/// A number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor(pub f64);

impl Scalar for Factor {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        let text = node.number()?;
        Some(number(text).and_then(|number| {
            if number >= 1.0 {
                return Ok(Self(number));
            }
            Err(ValueError::new(format!("{text} is less than 1")))
        }))
    }

    fn expected() -> Cow<'static, str> {
        "a number of at least 1".into()
    }

    fn schema() -> Json {
        json!({"type": "number", "minimum": 1})
    }
}

/// The pattern of the texts that `value::duration` reads, for the JSON Schema.
const DURATION: &str = r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)(d|h|m|s|ms|us|µs|μs|ns)(([0-9]+\.?[0-9]*|\.[0-9]+)(h|m|s|ms|us|µs|μs|ns))*\s*$";

/// The pattern of a number that is not 0.
const SOME: &str = r"^[^1-9]*[1-9]";

impl Scalar for Duration {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        node.text_or_number().map(value::duration)
    }

    fn expected() -> Cow<'static, str> {
        "a duration like 30s".into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": DURATION})
    }
}

/// A duration above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositiveDuration(pub Duration);

impl Scalar for PositiveDuration {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        let read = <Duration as Scalar>::read(node)?;
        Some(read.and_then(|duration| {
            if duration.is_zero() {
                return Err(
                    ValueError::new("this time cannot be 0").hint("leave it out for no limit")
                );
            }
            Ok(Self(duration))
        }))
    }

    fn expected() -> Cow<'static, str> {
        <Duration as Scalar>::expected()
    }

    fn schema() -> Json {
        json!({"type": "string", "allOf": [{"pattern": DURATION}, {"pattern": SOME}]})
    }
}

/// Returns the pattern of the texts that `value::size` reads, for the JSON Schema.
fn size_pattern() -> String {
    let units = value::size_units().collect::<Vec<_>>().join("|");
    format!(r"^\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*({units})\s*$")
}

/// A size above 0, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl Scalar for ByteSize {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        Some(match value::size(node.text_or_number()?) {
            Ok(0) => Err(ValueError::new("this size cannot be 0")),
            read => read.map(Self),
        })
    }

    fn expected() -> Cow<'static, str> {
        "a size like 2GiB".into()
    }

    fn schema() -> Json {
        let pattern = size_pattern();
        json!({"type": "string", "allOf": [{"pattern": pattern}, {"pattern": SOME}]})
    }
}

/// A size of at least 0, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnyByteSize(pub u64);

impl Scalar for AnyByteSize {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        node.text_or_number()
            .map(|text| value::size(text).map(Self))
    }

    fn expected() -> Cow<'static, str> {
        <ByteSize as Scalar>::expected()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": size_pattern()})
    }
}

impl Scalar for Rate {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        if let Some(text) = node.text() {
            return Some(text.parse().map_err(|error: ratchet_runtime::Error| {
                let message = error.to_string();
                let message = message.strip_prefix("rate ").unwrap_or(&message);
                ValueError::new(message).hint("write as in 10/s")
            }));
        }
        let text = node.number()?;
        let error = ValueError::new(format!("{text} has no unit of time"));
        let meant = format!("{text}/s");
        Some(Err(if meant.parse::<Self>().is_ok() {
            error.hint(format!("write `{meant}` for {text} a second"))
        } else {
            error.hint("write as in 10/s")
        }))
    }

    fn expected() -> Cow<'static, str> {
        "a rate like 10/s".into()
    }

    fn schema() -> Json {
        const RATE: &str = r"^\s*[0-9]*\.?[0-9]+\s*/\s*[0-9]*(d|h|m|s|ms|ns)\s*$";
        json!({"type": "string", "allOf": [{"pattern": RATE}, {"pattern": SOME}]})
    }
}

impl Scalar for Prefetch {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        node.text_or_number().map(value::prefetch)
    }

    fn expected() -> Cow<'static, str> {
        "`auto` or a whole number".into()
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            {"type": "string", "pattern": "^\\s*(auto|[0-9]{1,9})\\s*$"},
        ]})
    }
}

impl Scalar for Amount {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        node.text_or_number().map(value::amount)
    }

    fn expected() -> Cow<'static, str> {
        "a whole number or a share like 10%".into()
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^\\s*([0-9]+|([0-9]{1,2}(\\.[0-9]*)?|100(\\.0*)?)\\s*%)\\s*$"},
        ]})
    }
}

/// A share above 0 and at most 1, written as a percentage such as `20%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl Scalar for Share {
    fn read(node: &Node<'_>) -> Option<Result<Self, ValueError>> {
        let read = |amount| match amount {
            Amount::Percent(percent) if percent > 0.0 => Ok(Self(percent / 100.0)),
            Amount::Percent(_) => Err(ValueError::new("this share cannot be 0%")),
            Amount::Count(count) => Err(ValueError::new(format!("`{count}` is not a share"))
                .hint("write a share with its sign, as in 20%")),
        };
        Some(match node.number() {
            Some(number) => Err(ValueError::new(format!("`{number}` is not a share"))
                .hint("write a share with its sign, as in 20%")),
            None => value::amount(node.text()?).and_then(read),
        })
    }

    fn expected() -> Cow<'static, str> {
        "a share like 20%".into()
    }

    fn schema() -> Json {
        let share = r"^\s*([0-9]{1,2}(\.[0-9]*)?|100(\.0*)?)\s*%\s*$";
        json!({"type": "string", "allOf": [{"pattern": share}, {"pattern": SOME}]})
    }
}

/// A list of words, or one string that is split as in a shell. It has at least the program, whose name is not empty.
impl FromNode for CommandLine {
    fn from_node(node: Node<'_>, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        let span = node.span;
        let command = if let Some(text) = node.text() {
            match value::split_words(text) {
                Ok(command) => command,
                Err(error) => {
                    problems.push(refuse(span, error));
                    return None;
                }
            }
        } else {
            match node.into_list() {
                Ok(members) => Self {
                    words: words(members, problems),
                    shell_syntax: None,
                },
                Err(node) => {
                    problems.push(mismatch::<Self>(&node));
                    return None;
                }
            }
        };
        if problems.len() > before {
            return None;
        }
        if command.words.first().is_none_or(String::is_empty) {
            let error = ValueError::new("the command is empty");
            let error = error.hint("name a program, as in [python3, worker.py]");
            problems.push(refuse(span, error));
            return None;
        }
        if command.words.iter().any(|word| word.contains('\0')) {
            problems.push(Diagnostic::error(
                span,
                "a word of a command cannot contain a NUL character",
            ));
            return None;
        }
        Some(command)
    }

    fn accepts(node: &Node<'_>) -> bool {
        node.is_list() || node.text().is_some()
    }

    fn expected() -> Cow<'static, str> {
        "a command: a list of words, or one string".into()
    }

    fn schema(_: &mut Schemas) -> Json {
        json!({"anyOf": [
            {"type": "string", "pattern": "\\S"},
            {
                "type": "array",
                "minItems": 1,
                "items": {"type": ["string", "number"]},
                "prefixItems": [{"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]}],
            },
        ]})
    }
}

fn words(members: Vec<Node<'_>>, problems: &mut Problems) -> Vec<String> {
    let word = |member: Node<'_>| {
        let word = member.text_or_number().map(str::to_owned);
        if word.is_none() {
            let message = format!("expected a word of the command, found {}", member.kind());
            problems.push(Diagnostic::error(member.span, message).help("write it in quotes"));
        }
        word
    };
    members.into_iter().filter_map(word).collect()
}
