//! TOML, with the place of every value.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DEEPEST;
use super::tree::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Span};

/// Reads a document; nothing if there are only comments. Several errors are found at once.
pub(super) fn read(text: &str) -> Result<Option<Node>, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or_default();
            Diagnostic::error(Span::new(span.start, span.end), error.message())
        })
        .collect();
    let whole = Span::new(0, text.len());
    let node = map(table.get_ref(), 0, whole, &mut errors);
    take_apart(table.into_inner());
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok((!node.entries().is_empty()).then_some(node))
}

fn span<T>(spanned: &Spanned<T>) -> Span {
    let span = spanned.span();
    Span::new(span.start, span.end)
}

/// Keys with many dots lie deeper than the parser itself would go, and what drops them goes as deep again.
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

fn map(table: &DeTable<'_>, depth: usize, place: Span, errors: &mut Vec<Diagnostic>) -> Node {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().to_string(),
            place: span(name),
            node: node(value, depth + 1, errors),
        })
        .collect();
    // The table is ordered by name; a file is read from its top.
    entries.sort_by_key(|entry| entry.place.start);
    Node::new(Value::Map(entries), place)
}

fn node(value: &Spanned<DeValue<'_>>, depth: usize, errors: &mut Vec<Diagnostic>) -> Node {
    let place = span(value);
    if depth == DEEPEST && matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
        let message = format!("more than {DEEPEST} lists and maps in each other");
        errors.push(Diagnostic::error(place, message));
        return Node::new(Value::Null, place);
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        // JSON has no dates; their text is what everybody writes instead.
        DeValue::Datetime(date) => Value::Text(date.to_string()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            if number.is_err() {
                errors.push(Diagnostic::error(place, "a number beyond TOML's 64 bits"));
            }
            number.map_or(Value::Null, |number| Value::Number(number.to_string()))
        }
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Number(format!("{number:?}")),
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

    #[test]
    fn becomes_the_same_tree_in_the_order_of_the_file() {
        let text = "z = 1_000\na = { x = 0x1F, d = 1979-05-27 }\n[[jobs]]\nid = \"a\"\n[[jobs]]\nf = 1.5\n";
        let mut out = String::new();
        let tree = read(text).unwrap().unwrap();
        tree.write_json(&mut out);
        assert_eq!(
            out,
            r#"{"z":1000,"a":{"x":31,"d":"1979-05-27"},"jobs":[{"id":"a"},{"f":1.5}]}"#
        );
        let place = tree.get("a").unwrap().get("x").unwrap().span;
        assert_eq!(&text[place.start..place.end], "0x1F");
        assert_eq!(read("# nothing\n"), Ok(None));
    }

    #[test]
    fn tells_several_errors_at_once() {
        let errors = read("a = \nb = 1\nb = 2\nc = nan\n").unwrap_err();
        assert!(errors.len() >= 3, "{errors:?}");
        assert!(read(&format!("a = {}", "[".repeat(100_000))).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let dotted = |parts: usize| vec!["a"; parts].join(".");
        let deep = |parts: usize| format!("{} = {{ {} = 1 }}", dotted(64), dotted(parts));
        assert!(read(&deep(64)).is_ok());
        let errors = read(&deep(65)).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message.contains("more than 128 lists and maps"));
        // Inline tables in each other, as deep as the parser goes, and each with keys as long as it takes.
        let key = dotted(79);
        let text = format!(
            "{key} = {}1{}",
            format!("{{ {key} = ").repeat(70),
            " }".repeat(70)
        );
        assert!(read(&text).is_err());
    }
}
