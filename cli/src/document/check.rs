//! Compares a tree with a shape, and says all that is wrong with it.

use std::collections::HashMap;

use ratchet_runtime::Rate;

use super::shape::{Section, Shape};
use super::tree::{Node, Value};
use crate::diagnostic::{Diagnostic, Span};
use crate::value::{self, Unreadable};

/// Checks a value and all that is in it.
pub(crate) fn check(node: &Node, shape: &Shape, problems: &mut Vec<Diagnostic>) {
    let unreadable = |result: Result<(), Unreadable>, problems: &mut Vec<Diagnostic>| {
        if let Err(error) = result {
            problems.push(refuse(node.span, error));
        }
    };
    match (shape, &node.value) {
        (Shape::Any, _)
        | (Shape::Plain, Value::Text(_) | Value::Number(_) | Value::Bool(_))
        | (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Just(wanted), Value::Bool(found)) if wanted == found => {}
        (Shape::Text | Shape::Id, Value::Text(text)) => {
            if text.is_empty() {
                problems.push(Diagnostic::error(node.span, "there is nothing here"));
            }
        }
        (Shape::Id, Value::Number(text)) if value::count(text).is_ok() => {}
        (Shape::Word(words), Value::Text(text)) => {
            if !words.contains(&text.as_str()) {
                let error = Diagnostic::error(node.span, format!("unknown word `{text}`"));
                problems.push(error.did_you_mean(text, words.iter().copied(), "known"));
            }
        }
        (Shape::Count(least), Value::Number(text)) => {
            unreadable(count(text, *least), problems);
        }
        (Shape::Version, Value::Number(text)) => {
            if text != "1" {
                let message = format!("{text} is not known here");
                let help = "the only version there is, is 1";
                problems.push(Diagnostic::error(node.span, message).help(help));
            }
        }
        (Shape::Rate, Value::Number(text)) => {
            if !number(text).is_some_and(|number| number > 0.0) {
                let message = format!("{text} would never let anything start");
                problems.push(Diagnostic::error(node.span, message).help("a number above 0"));
            }
        }
        (Shape::Factor, Value::Number(text)) => {
            if !number(text).is_some_and(|number| number >= 1.0) {
                let message = format!("{text} is less than 1");
                problems.push(Diagnostic::error(node.span, message));
            }
        }
        (Shape::Duration, Value::Text(text) | Value::Number(text)) => {
            unreadable(value::duration(text).map(drop), problems);
        }
        (Shape::Span, Value::Text(text) | Value::Number(text)) => {
            let long = value::duration(text).and_then(|duration| {
                if duration.is_zero() {
                    return Err(Unreadable::new("no time at all").hint("leave it out for no limit"));
                }
                Ok(())
            });
            unreadable(long, problems);
        }
        (Shape::Size, Value::Text(text) | Value::Number(text)) => {
            let some = value::size(text).and_then(|bytes| {
                if bytes == 0 {
                    return Err(Unreadable::new("a size of 0 leaves nothing"));
                }
                Ok(())
            });
            unreadable(some, problems);
        }
        (Shape::Frequency, Value::Text(text)) => {
            if let Err(error) = text.parse::<Rate>() {
                let message = error.to_string();
                let message = message.strip_prefix("rate ").unwrap_or(&message);
                problems.push(Diagnostic::error(node.span, message).help("write as in 10/s"));
            }
        }
        (Shape::Frequency, Value::Number(text)) => {
            let error = Diagnostic::error(node.span, format!("rate {text} has no period"));
            problems.push(error.help(format!("write `{text}/s` for so many a second")));
        }
        (Shape::Prefetch, Value::Text(text) | Value::Number(text)) => {
            unreadable(value::prefetch(text).map(drop), problems);
        }
        (Shape::Amount, Value::Text(text) | Value::Number(text)) => {
            unreadable(value::amount(text).map(drop), problems);
        }
        (Shape::Command, Value::Text(text)) => {
            let words = value::split_words(text).and_then(|words| {
                if words.words.first().is_none_or(String::is_empty) {
                    return Err(empty_command());
                }
                Ok(())
            });
            unreadable(words, problems);
        }
        (Shape::Command, Value::List(members)) => command(node.span, members, problems),
        (Shape::List(of), Value::List(members)) => {
            for member in members {
                check(member, of, problems);
            }
        }
        (Shape::Map(of), Value::Map(entries)) => {
            refuse_twice(node, problems);
            for entry in entries {
                if entry.name.is_empty() {
                    problems.push(Diagnostic::error(entry.place, "a name is empty"));
                }
                check(&entry.node, of, problems);
            }
        }
        (Shape::Section(of), Value::Map(_)) => section(node, of, problems),
        (Shape::Either(shapes), _) => match shapes.iter().find(|shape| shape.is_for(node)) {
            Some(shape) => check(node, shape, problems),
            None => problems.push(mismatch(node, shape)),
        },
        _ => problems.push(mismatch(node, shape)),
    }
}

impl Shape {
    /// Whether a value is of the type that this shape is about, right or wrong.
    fn is_for(&self, node: &Node) -> bool {
        match (self, &node.value) {
            (Self::Any, _)
            | (
                Self::Text | Self::Id | Self::Word(_) | Self::Duration | Self::Span | Self::Size,
                Value::Text(_),
            )
            | (Self::Plain, Value::Text(_) | Value::Number(_) | Value::Bool(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Frequency | Self::Prefetch | Self::Amount | Self::Command, Value::Text(_))
            | (
                Self::Count(_)
                | Self::Version
                | Self::Rate
                | Self::Factor
                | Self::Id
                // A number without its unit gets the message that says so.
                | Self::Duration
                | Self::Span
                | Self::Size
                | Self::Frequency
                | Self::Prefetch
                | Self::Amount,
                Value::Number(_),
            )
            | (Self::Command | Self::List(_), Value::List(_))
            | (Self::Map(_) | Self::Section(_), Value::Map(_)) => true,
            (Self::Just(wanted), Value::Bool(found)) => wanted == found,
            (Self::Either(shapes), _) => shapes.iter().any(|shape| shape.is_for(node)),
            _ => false,
        }
    }
}

pub(super) fn refuse(span: Span, error: Unreadable) -> Diagnostic {
    let found = Diagnostic::error(span, error.reason);
    match error.hint {
        Some(hint) => found.help(hint),
        None => found,
    }
}

fn mismatch(node: &Node, shape: &Shape) -> Diagnostic {
    let expected = shape.expected();
    let error = Diagnostic::error(
        node.span,
        format!("expected {expected}, found {}", node.kind()),
    );
    let said = node.text().map(str::to_ascii_lowercase);
    match (shape, said.as_deref()) {
        (Shape::Bool | Shape::Either(_), Some("yes" | "on")) => {
            error.help("`yes` and `on` are text; write `true`")
        }
        (Shape::Bool | Shape::Either(_), Some("no" | "off")) => {
            error.help("`no` and `off` are text; write `false`")
        }
        (Shape::Count(_), Some(text)) if value::count(text).is_ok() => {
            error.help("write the number without quotes")
        }
        (Shape::List(_), Some(text)) => error.help(format!("write `[{text}]`")),
        _ => error,
    }
}

fn count(text: &str, least: u32) -> Result<(), Unreadable> {
    let number = value::count(text).map_err(|error| error.hint("write a whole number"))?;
    if number > u64::from(u32::MAX) {
        return Err(Unreadable::new(format!("`{text}` is too large")));
    }
    if number < u64::from(least) {
        return Err(Unreadable::new(format!("{text} is too few")).hint(format!("at least {least}")));
    }
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn empty_command() -> Unreadable {
    Unreadable::new("the command is empty").hint("name a program, as in [python3, worker.py]")
}

fn command(span: Span, members: &[Node], problems: &mut Vec<Diagnostic>) {
    for member in members {
        if member.text_or_number().is_none() {
            let message = format!("expected a word of the command, found {}", member.kind());
            problems.push(Diagnostic::error(member.span, message).help("write it in quotes"));
        } else if member.text().is_some_and(|text| text.contains('\0')) {
            problems.push(Diagnostic::error(
                member.span,
                "a word of a command cannot contain a NUL character",
            ));
        }
    }
    match members.first() {
        None => problems.push(refuse(span, empty_command())),
        Some(first) if first.text() == Some("") => {
            problems.push(refuse(first.span, empty_command()));
        }
        Some(_) => {}
    }
}

fn section(node: &Node, section: &Section, problems: &mut Vec<Diagnostic>) {
    refuse_twice(node, problems);
    for entry in node.entries() {
        match section.keys.iter().find(|key| key.name == entry.name) {
            Some(key) => {
                let before = problems.len();
                check(&entry.node, &key.shape, problems);
                // Of a single value one has to know what it is.
                for problem in &mut problems[before..] {
                    if problem.span == Some(entry.node.span)
                        && !matches!(entry.node.value, Value::Map(_))
                    {
                        problem.message = format!("`{}`: {}", key.name, problem.message);
                    }
                }
            }
            None => {
                let names = section.keys.iter().map(|key| key.name);
                let message = format!("unknown key `{}` in {}", entry.name, section.name);
                let error = Diagnostic::error(entry.place, message);
                problems.push(error.did_you_mean(&entry.name, names, "known keys"));
            }
        }
    }
    for key in section.keys.iter().filter(|key| key.required) {
        if node.entry(key.name).is_none() {
            let message = format!("{} needs `{}`", section.name, key.name);
            let help = format!("`{}` is {}", key.name, key.shape.expected());
            let place = node
                .entries()
                .first()
                .map_or(node.span, |entry| entry.place);
            problems.push(Diagnostic::error(place, message).help(help));
        }
    }
}

/// A key that stands twice: which of the two was meant?
fn refuse_twice(node: &Node, problems: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for entry in node.entries() {
        if let Some(first) = seen.get(entry.name.as_str()) {
            problems.push(
                Diagnostic::error(entry.place, format!("`{}` is said twice", entry.name))
                    .other(*first, "here first"),
            );
        } else {
            seen.insert(&entry.name, entry.place);
        }
    }
}
