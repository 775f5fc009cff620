//! Expands `${NAME}` in the variables and the folder of a command to the values of its declared variables.

use std::collections::BTreeMap;

use crate::document::{Field, Spanned};

/// The most bytes that a value may have after all names in it were replaced. A chain of variables that name the one
/// before it twice would double the value with each link.
const LONGEST: usize = 1 << 20;

/// The reason why a text with variables cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VariablesError {
    /// Variables name each other in a circle. This is one of them.
    Circle(String),
    /// The value of this variable would be too long.
    TooLong(String),
}

/// Replaces `${NAME}` in a text by the value of the variable, whose own names are replaced as well. A name that is not
/// declared stays as it is, and `$${` stands for `${`.
pub(super) fn expand(
    declared: &BTreeMap<String, String>,
    text: &str,
) -> Result<String, VariablesError> {
    fill(declared, text, &mut Vec::new())
}

/// Returns the text of a field, if it names variables.
pub(super) fn naming(field: &Field<String>) -> Option<Spanned<String>> {
    let value = field.get().filter(|text| text.contains("${"))?.clone();
    let span = field.span()?;
    Some(Spanned { value, span })
}

/// Returns the first `${NAME}` in a text that is not declared.
pub(super) fn undeclared<'a>(
    declared: &BTreeMap<String, String>,
    text: &'a str,
) -> Option<&'a str> {
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        rest = &from[2..];
        let name = rest.split_once('}').map(|(name, _)| name);
        let is_literal = before.ends_with('$');
        if let Some(name) = name.filter(|name| !is_literal && !declared.contains_key(*name)) {
            return Some(name);
        }
    }
    None
}

fn fill<'a>(
    declared: &'a BTreeMap<String, String>,
    text: &str,
    open: &mut Vec<&'a str>,
) -> Result<String, VariablesError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = &from[2..];
            continue;
        }
        filled.push_str(before);
        let named = from[2..].split_once('}');
        let known = named.and_then(|(name, after)| Some((declared.get_key_value(name)?, after)));
        let Some(((name, value), after)) = known else {
            filled.push_str("${");
            rest = &from[2..];
            continue;
        };
        if open.contains(&name.as_str()) {
            return Err(VariablesError::Circle(name.clone()));
        }
        open.push(name);
        filled.push_str(&fill(declared, value, open)?);
        open.pop();
        if filled.len() > LONGEST {
            return Err(VariablesError::TooLong(name.clone()));
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_the_values_of_variables_and_circles_are_found() {
        let declared: BTreeMap<String, String> = [
            ("ROOT", "/srv"),
            ("DATA", "${ROOT}/data"),
            ("A", "${B}"),
            ("B", "x${A}"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let of = |text| expand(&declared, text);
        assert_eq!(of("${DATA}/${ROOT}").as_deref(), Ok("/srv/data//srv"));
        assert_eq!(
            of("$${ROOT} ${gpu} ${ $").as_deref(),
            Ok("${ROOT} ${gpu} ${ $")
        );
        let missing = |text| undeclared(&declared, text);
        assert_eq!(missing("${ROOT}/$${no}/${"), None);
        assert_eq!(missing("${ROOT}/${no}/${nor}"), Some("no"));
        assert_eq!(of("${A}"), Err(VariablesError::Circle("A".to_owned())));
        let grows: BTreeMap<String, String> = (0..40)
            .map(|at| (format!("V{at}"), format!("${{V{0}}}${{V{0}}}xx", at + 1)))
            .collect();
        assert!(matches!(
            expand(&grows, "${V0}"),
            Err(VariablesError::TooLong(_))
        ));
    }
}
