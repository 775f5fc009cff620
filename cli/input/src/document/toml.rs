//! Reads TOML with the place of every value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::node::{Entry, Node, Value};
use super::part::{DEEPEST, Extent, Part, Sink};
use crate::diagnostic::{Diagnostic, Problems, Span};

/// Reads a document part by part. Several syntax errors are reported at once.
pub(super) fn parts(text: &str, streamed: &str, sink: Sink<'_>, problems: &mut Problems) -> Extent {
    let (table, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.iter().map(|error| {
        let span = error.span().unwrap_or_default();
        Diagnostic::error(Span::new(span.start, span.end), error.message())
    }));
    let root = table.get_ref();
    let extent = match (errors.is_empty(), root.is_empty()) {
        (false, _) => Extent::BrokenOff,
        (true, true) => Extent::Nothing,
        (true, false) => Extent::Whole,
    };
    let mut deliver = |part: Part<'_>, problems: &mut Problems| {
        // The values that the parser recovers from a text with errors may differ from what was meant.
        if extent == Extent::Whole {
            sink(part, problems);
        }
    };
    // The table is ordered by name, but parts are delivered in the order of the file.
    let mut entries: Vec<_> = root.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in entries {
        match value.get_ref() {
            DeValue::Array(members) if name.get_ref() == streamed => {
                for member in members {
                    let node = node(member, 2, problems);
                    deliver(Part::Member(node), problems);
                }
            }
            _ => {
                let entry = Entry {
                    name: name.get_ref().as_ref().into(),
                    place: span(name),
                    node: node(value, 1, problems),
                };
                deliver(Part::Entry(entry), problems);
            }
        }
    }
    take_apart(table.into_inner());
    extent
}

fn span<T>(spanned: &Spanned<T>) -> Span {
    let span = spanned.span();
    Span::new(span.start, span.end)
}

/// Drops a table without recursion. Keys with many dots nest deeper than the parser allows otherwise, and the
/// destructor would recurse to that depth.
fn take_apart(table: DeTable<'_>) {
    let mut left = vec![DeValue::Table(table)];
    while let Some(value) = left.pop() {
        match value {
            DeValue::Table(table) => {
                left.extend(table.into_iter().map(|(_, node)| node.into_inner()));
            }
            DeValue::Array(members) => left.extend(members.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}

fn map<'t>(table: &'t DeTable<'_>, depth: usize, place: Span, errors: &mut Problems) -> Node<'t> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().as_ref().into(),
            place: span(name),
            node: node(value, depth + 1, errors),
        })
        .collect();
    entries.sort_by_key(|entry| entry.place.start());
    Node::new(Value::Map(entries), place)
}

/// Converts a TOML value to a node.
fn node<'t>(value: &'t Spanned<DeValue<'_>>, depth: usize, errors: &mut Problems) -> Node<'t> {
    let place = span(value);
    if depth == DEEPEST && matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
        let message = format!("more than {DEEPEST} lists and maps in each other");
        errors.push(Diagnostic::error(place, message));
        return Node::new(Value::Null, place);
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.as_ref().into()),
        DeValue::Boolean(value) => Value::Bool(*value),
        // JSON has no dates, so they are converted to text.
        DeValue::Datetime(date) => Value::Text(date.to_string().into()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            if number.is_err() {
                errors.push(Diagnostic::error(place, "a number beyond TOML's 64 bits"));
            }
            number.map_or(Value::Null, |number| {
                Value::Number(number.to_string().into())
            })
        }
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Number(format!("{number:?}").into()),
            _ => {
                errors.push(
                    Diagnostic::error(place, "a number that JSON does not have")
                        .help("infinite numbers and NaN have to be text"),
                );
                Value::Null
            }
        },
        DeValue::Array(members) => {
            let members = members.iter();
            Value::List(
                members
                    .map(|member| node(member, depth + 1, errors))
                    .collect(),
            )
        }
        DeValue::Table(table) => return map(table, depth, place, errors),
    };
    Node::new(value, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the parts of a text, with each member of the list `jobs` on its own, and the problems.
    fn read(text: &str) -> (Vec<String>, Problems) {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let mut sink = |part: Part<'_>, _: &mut Problems| {
            found.push(match part {
                Part::Entry(entry) => format!("{}={}", entry.name, entry.node.payload().unwrap()),
                Part::Member(node) | Part::Whole(node) => node.payload().unwrap().to_string(),
            });
        };
        let extent = parts(text, "jobs", &mut sink, &mut problems);
        assert_eq!(
            extent == Extent::Nothing,
            found.is_empty() && problems.is_empty()
        );
        (found, problems)
    }

    #[test]
    fn becomes_the_same_values_in_the_order_of_the_file() {
        let text = "z = 1_000\na = { x = 0x1F, d = 1979-05-27 }\n[[jobs]]\nid = \"a\"\n[[jobs]]\nf = 1.5\n";
        let expected = [
            "z=1000",
            r#"a={"x":31,"d":"1979-05-27"}"#,
            r#"{"id":"a"}"#,
            r#"{"f":1.5}"#,
        ];
        assert_eq!(read(text).0, expected);
        assert!(read("# nothing\n").0.is_empty());
    }

    #[test]
    fn tells_several_errors_at_once() {
        let (found, errors) = read("a = \nb = 1\nb = 2\nc = nan\n");
        assert!(found.is_empty() && errors.len() >= 3, "{errors:?}");
        assert!(!read(&format!("a = {}", "[".repeat(100_000))).1.is_empty());
    }

    #[test]
    fn depth_is_bounded() {
        let dotted = |parts: usize| vec!["a"; parts].join(".");
        let deep = |parts: usize| format!("{} = {{ {} = 1 }}", dotted(64), dotted(parts));
        assert!(read(&deep(64)).1.is_empty());
        let (_, errors) = read(&deep(65));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message.contains("more than 128 lists and maps"));
        // Inline tables nested as deep as the parser allows, each with a key as long as it allows.
        let key = dotted(79);
        let text = format!(
            "{key} = {}1{}",
            format!("{{ {key} = ").repeat(70),
            " }".repeat(70)
        );
        assert!(!read(&text).1.is_empty());
    }
}
