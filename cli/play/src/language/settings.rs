//! The values of keywords, each checked against what its keyword takes.

use minijinja::value::ValueKind;
use ratchet_runtime::ParallelizationHint;

use super::PlaybookReader;
use super::keyword::{Keyword, Kind, Section};
use crate::data::{Data, Entry, Value};
use crate::templates::{Layer, render, text_of};

/// The keywords of one play, block, task or role.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    values: Vec<(Keyword, Data)>,
    /// The variables under `vars`.
    variables: Layer,
}

impl Settings {
    /// Returns the value of a keyword, if it was written.
    pub(crate) fn get(&self, keyword: Keyword) -> Option<&Data> {
        let found = self.values.iter().find(|(known, _)| *known == keyword);
        found.map(|(_, data)| data)
    }

    /// Returns the variables under `vars`.
    pub(crate) fn variables(&self) -> &Layer {
        &self.variables
    }

    /// Returns the text of a keyword, if it was written.
    pub(crate) fn text(&self, keyword: Keyword) -> Option<String> {
        self.get(keyword)?.word()
    }

    /// Returns the tags. A text is split at commas; a member of a list is a single tag, even with commas in it.
    pub(crate) fn tags(&self) -> Vec<String> {
        let Some(data) = self.get(Keyword::Tags) else {
            return Vec::new();
        };
        if let Value::List(members) = &data.value {
            return members.iter().filter_map(Data::word).collect();
        }
        let written = data.word().unwrap_or_default();
        let words = written.split(',').map(str::trim);
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    /// Sets a keyword that is implied by another key.
    pub(super) fn set_implied(&mut self, keyword: Keyword, data: Data) {
        self.values.push((keyword, data));
    }
}

impl PlaybookReader {
    /// Reads an entry if it is a keyword of the section. Returns the entry otherwise.
    pub(super) fn setting(
        &mut self,
        entry: Entry,
        section: Section,
        settings: &mut Settings,
    ) -> Result<(), Entry> {
        let Some(keyword) = Keyword::find(&entry.name, section) else {
            return Err(entry);
        };
        if matches!(entry.data.value, Value::Null) {
            // A keyword without a value is ignored.
            return Ok(());
        }
        if let Some(data) = self.checked(keyword, entry.data) {
            if keyword == Keyword::Vars
                && let Value::Map(variables) = &data.value
            {
                settings.variables = Layer::from(variables.clone());
            }
            settings.values.push((keyword, data));
        }
        Ok(())
    }

    /// Checks a value against the kind of its keyword.
    fn checked(&mut self, keyword: Keyword, data: Data) -> Option<Data> {
        let word = keyword.word();
        if let Some(expected) = mismatch(keyword.kind(), &data) {
            let message = format!("`{word}` has to be {expected}, not {}", data.kind());
            self.files.refuse(data.place, message);
            return None;
        }
        let data = if keyword.kind() == Kind::Flag {
            as_flag(data)
        } else {
            data
        };
        match keyword {
            Keyword::Async | Keyword::Poll => self.files.refuse_with_help(
                data.place,
                format!("`{word}` is not supported: no task is left running in the background"),
                "leave it out: hosts run independently of each other, so a long task delays no other host; use \
                 `timeout` to limit its time",
            ),
            Keyword::DelegateFacts => self.files.refuse_with_help(
                data.place,
                "`delegate_facts` is not supported: facts belong to the host of the task",
                "gather the facts of the other host in a play for it",
            ),
            Keyword::Debugger => self.files.refuse_with_help(
                data.place,
                "`debugger` is not supported",
                "leave it out, and print values with `debug`",
            ),
            Keyword::Tags => return Some(self.rendered_tags(data)),
            Keyword::Hint => self.known_hint(&data),
            Keyword::Strategy => self.known_strategy(&data),
            Keyword::Order => self.known_order(&data),
            _ => return Some(data),
        }
        Some(data)
    }

    /// Renders the templates in tags. Tags select tasks before anything runs, so they cannot depend on hosts.
    fn rendered_tags(&mut self, data: Data) -> Data {
        let members = match &data.value {
            Value::List(members) => members.clone(),
            Value::Text(text) if data.is_template() => {
                // A comma within braces is part of an expression.
                let is_lone = text.matches("{{").count() == 1
                    && text.trim().starts_with("{{")
                    && text.trim().ends_with("}}");
                let parts: Vec<&str> = if is_lone {
                    vec![text.as_str()]
                } else {
                    text.split(',').collect()
                };
                let parts = parts.into_iter().map(str::trim);
                parts.map(|part| Data::of_text(part, data.place)).collect()
            }
            _ => return data,
        };
        if !members.iter().any(Data::is_template) {
            return data;
        }
        let mut tags = Vec::new();
        for member in members {
            if !member.is_template() {
                tags.push(member);
                continue;
            }
            let text = member.text().unwrap_or_default();
            match render(text, &self.of_tags) {
                Ok(value) if value.kind() == ValueKind::Seq => {
                    let members = value.try_iter().into_iter().flatten();
                    tags.extend(members.map(|tag| Data::of_text(text_of(&tag), member.place)));
                }
                Ok(value) => tags.push(Data::of_text(text_of(&value), member.place)),
                Err(reason) => self.files.refuse_with_help(
                    member.place,
                    format!("the tag `{text}` has to be known before anything runs, but {reason}"),
                    "set the variable with -e, in the play or in the defaults of the role",
                ),
            }
        }
        Data {
            value: Value::List(tags),
            place: data.place,
        }
    }

    /// Refuses a value that is not a parallelization hint, unless it is a template, which may give one later.
    fn known_hint(&mut self, data: &Data) {
        let written = data.to_json();
        if crate::data::is_template(&written.to_string()) {
            return;
        }
        if let Err(error) = serde_json::from_value::<ParallelizationHint>(written) {
            let message = format!("this is not a hint: {error}");
            self.files.refuse(data.place, message);
        }
    }

    fn known_strategy(&mut self, data: &Data) {
        const KNOWN: [&str; 3] = ["linear", "free", "host_pinned"];
        let text = data.text().unwrap_or_default();
        if !KNOWN.contains(&super::builtin(text)) {
            self.files.add(data.place, |span| {
                ratchet_input::diagnostic::Diagnostic::error(
                    span,
                    format!("unknown strategy `{text}`"),
                )
                .did_you_mean(text, KNOWN, "strategies")
            });
        }
    }

    fn known_order(&mut self, data: &Data) {
        const KNOWN: [&str; 5] = [
            "inventory",
            "sorted",
            "reverse_sorted",
            "reverse_inventory",
            "shuffle",
        ];
        let text = data.text().unwrap_or_default();
        if !KNOWN.contains(&text) {
            self.files.add(data.place, |span| {
                ratchet_input::diagnostic::Diagnostic::error(
                    span,
                    format!("unknown order `{text}`"),
                )
                .did_you_mean(text, KNOWN, "orders")
            });
        }
    }
}

/// Returns what a value should have been, if it is of another kind.
fn mismatch(kind: Kind, data: &Data) -> Option<&'static str> {
    let is_template = data.is_template();
    let expected = match kind {
        Kind::Flag if flag(data).is_none() && !is_template => "`true` or `false`",
        Kind::Whole if whole(data).is_none() && !is_template => "a whole number",
        Kind::Number if number(data).is_none() && !is_template => "a number",
        Kind::Text if data.word().is_none() => "text",
        Kind::Name if !data.text().is_some_and(is_name) => {
            "a name of letters, digits and `_` that does not begin with a digit"
        }
        Kind::Words if !are_words(data) => "text, or a list of texts",
        Kind::Conditions if !are_conditions(data) => "a condition, or a list of conditions",
        Kind::Map if !matches!(data.value, Value::Map(_)) => "a map",
        Kind::Maps if !are_maps(data) => "a map, or a list of maps",
        _ => return None,
    };
    Some(expected)
}

/// Returns a truth value, which may be written as text, too.
fn flag(data: &Data) -> Option<bool> {
    match &data.value {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" | "1" | "y" | "t" => Some(true),
            "no" | "off" | "false" | "0" | "n" | "f" => Some(false),
            _ => None,
        },
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    }
}

fn as_flag(data: Data) -> Data {
    match flag(&data) {
        Some(value) => Data {
            value: Value::Bool(value),
            place: data.place,
        },
        None => data,
    }
}

fn whole(data: &Data) -> Option<i64> {
    match &data.value {
        Value::Number(number) => number.as_i64(),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn number(data: &Data) -> Option<f64> {
    match &data.value {
        Value::Number(number) => number.as_f64(),
        Value::Text(text) => text.trim().trim_end_matches('%').parse().ok(),
        _ => None,
    }
}

fn are_words(data: &Data) -> bool {
    match &data.value {
        Value::List(members) => members.iter().all(|member| member.word().is_some()),
        _ => data.word().is_some(),
    }
}

fn are_conditions(data: &Data) -> bool {
    let is_one = |data: &Data| {
        matches!(
            data.value,
            Value::Bool(_) | Value::Text(_) | Value::Number(_) | Value::Null
        )
    };
    match &data.value {
        Value::List(members) => members.iter().all(is_one),
        _ => is_one(data),
    }
}

fn are_maps(data: &Data) -> bool {
    match &data.value {
        Value::Map(_) => true,
        Value::List(members) => members
            .iter()
            .all(|member| matches!(member.value, Value::Map(_)) || member.is_template()),
        _ => data.is_template(),
    }
}

/// Whether a text may be the name of a variable.
pub(crate) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || character == '_')
}
