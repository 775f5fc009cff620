//! Compares a tree with a shape, and says all that is wrong with it.

use std::collections::HashMap;

use ratchet_runtime::Rate;

use super::shape::{Section, Shape};
use super::tree::{Node, Value};
use crate::diagnostic::{Diagnostic, Span};
use crate::value::{self, Unreadable};

/// Checks a value and all that is in it.
pub(crate) fn check(node: &Node, shape: &Shape, problems: &mut Vec<Diagnostic>) {
    match (shape, &node.value) {
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
        (Shape::Word(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
            let error = Diagnostic::error(node.span, format!("unknown word `{text}`"));
            problems.push(error.did_you_mean(text, words.iter().copied(), "known"));
        }
        _ => match single(node, shape) {
            Some(Ok(())) => {}
            Some(Err(error)) => problems.push(refuse(node.span, error)),
            None => problems.push(mismatch(node, shape)),
        },
    }
}

/// A value that has no others in it; nothing if it is of another type.
fn single(node: &Node, shape: &Shape) -> Option<Result<(), Unreadable>> {
    let unless = |is_good, reason: String| {
        if is_good {
            Ok(())
        } else {
            Err(Unreadable::new(reason))
        }
    };
    Some(match (shape, &node.value) {
        (Shape::Any, _)
        | (Shape::Plain, Value::Text(_) | Value::Number(_) | Value::Bool(_))
        | (Shape::Bool, Value::Bool(_))
        | (Shape::Word(_), Value::Text(_)) => Ok(()),
        (Shape::Just(wanted), Value::Bool(found)) if wanted == found => Ok(()),
        (Shape::Text | Shape::Id, Value::Text(text)) => {
            unless(!text.is_empty(), "there is nothing here".to_owned())
        }
        (Shape::Id, Value::Number(text)) => value::count(text).map(drop),
        (Shape::Count(least), Value::Number(text)) => count(text, *least),
        (Shape::Version, Value::Number(text)) => {
            unless(text == "1", format!("{text} is not known here"))
                .map_err(|error| error.hint("the only version there is, is 1"))
        }
        (Shape::Rate, Value::Number(text)) => {
            let is_some = number(text).is_some_and(|number| number > 0.0);
            unless(is_some, format!("{text} would never let anything start"))
                .map_err(|error| error.hint("a number above 0"))
        }
        (Shape::Factor, Value::Number(text)) => {
            let grows = number(text).is_some_and(|number| number >= 1.0);
            unless(grows, format!("{text} is less than 1"))
        }
        (Shape::Duration, Value::Text(text) | Value::Number(text)) => {
            value::duration(text).map(drop)
        }
        (Shape::Span, Value::Text(text) | Value::Number(text)) => {
            value::duration(text).and_then(|duration| {
                unless(!duration.is_zero(), "no time at all".to_owned())
                    .map_err(|error| error.hint("leave it out for no limit"))
            })
        }
        (Shape::Size, Value::Text(text) | Value::Number(text)) => value::size(text)
            .and_then(|bytes| unless(bytes > 0, "a size of 0 leaves nothing".to_owned())),
        (Shape::Frequency, Value::Text(text)) => text.parse::<Rate>().map(drop).map_err(|error| {
            let message = error.to_string();
            let message = message.strip_prefix("rate ").unwrap_or(&message);
            Unreadable::new(message).hint("write as in 10/s")
        }),
        (Shape::Frequency, Value::Number(text)) => {
            Err(Unreadable::new(format!("{text} has no period"))
                .hint(format!("write `{text}/s` for so many a second")))
        }
        (Shape::Prefetch, Value::Text(text) | Value::Number(text)) => {
            value::prefetch(text).map(drop)
        }
        (Shape::Amount, Value::Text(text) | Value::Number(text)) => value::amount(text).map(drop),
        (Shape::Command, Value::Text(text)) => value::split_words(text).and_then(|words| {
            let is_named = words
                .words
                .first()
                .is_some_and(|program| !program.is_empty());
            if is_named {
                Ok(())
            } else {
                Err(empty_command())
            }
        }),
        _ => return None,
    })
}

impl Shape {
    /// Whether a value is of the type that this shape is about, right or wrong.
    fn is_for(&self, node: &Node) -> bool {
        match (self, &node.value) {
            (Self::Command | Self::List(_), Value::List(_))
            | (Self::Map(_) | Self::Section(_), Value::Map(_))
            | (Self::Word(_), Value::Text(_)) => true,
            (Self::Either(shapes), _) => shapes.iter().any(|shape| shape.is_for(node)),
            _ => single(node, self).is_some(),
        }
    }
}

fn refuse(span: Span, error: Unreadable) -> Diagnostic {
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
        if let Some(key) = section.keys.iter().find(|key| key.name == entry.name) {
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
        } else {
            let names = section.keys.iter().map(|key| key.name);
            let message = format!("unknown key `{}` in {}", entry.name, section.name);
            let error = Diagnostic::error(entry.place, message);
            problems.push(error.did_you_mean(&entry.name, names, "known keys"));
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
