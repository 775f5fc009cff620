//! The keys of a file as its JSON Schema has them.

use std::collections::VecDeque;

use serde_json::{Map, Value};

/// A section of a file, with its keys.
pub(super) struct SectionReference {
    /// What the section is called in messages, such as `a worker`.
    pub(super) title: String,
    pub(super) keys: Vec<KeyReference>,
}

/// A key of a section.
pub(super) struct KeyReference {
    pub(super) name: String,
    pub(super) is_required: bool,
    /// The values that it takes, for people.
    pub(super) values: String,
    /// What it means, its default included.
    pub(super) about: String,
    /// What holds without it, if it has a default.
    pub(super) default: Option<String>,
    /// A value, as it stands in YAML behind the key.
    pub(super) example: String,
}

/// Lists the sections of a schema: the file itself first, then each where it is first referred to.
pub(super) fn sections(schema: &Value) -> Vec<SectionReference> {
    let empty = Map::new();
    let definitions = schema["$defs"].as_object().unwrap_or(&empty);
    let mut waiting: VecDeque<&str> = schema["$ref"]
        .as_str()
        .and_then(definition)
        .into_iter()
        .collect();
    let mut seen: Vec<&str> = waiting.iter().copied().collect();
    let mut sections = Vec::new();
    while let Some(name) = waiting.pop_front() {
        let Some(section) = definitions.get(name) else {
            continue;
        };
        let required: Vec<&str> = section["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut keys = Vec::new();
        for (key, value) in section["properties"].as_object().unwrap_or(&empty) {
            for referred in references(value) {
                if !seen.contains(&referred) {
                    seen.push(referred);
                    waiting.push_back(referred);
                }
            }
            let about = value["description"].as_str().unwrap_or_default().to_owned();
            keys.push(KeyReference {
                name: key.clone(),
                is_required: required.contains(&key.as_str()),
                values: values(value),
                default: default(&about),
                example: example(key, value),
                about,
            });
        }
        sections.push(SectionReference {
            title: title(name),
            keys,
        });
    }
    sections
}

/// Returns the name of a definition that is referred to.
fn definition(reference: &str) -> Option<&str> {
    reference.strip_prefix("#/$defs/")
}

/// Returns the title of a section, from the name of its definition.
fn title(name: &str) -> String {
    name.replace('-', " ")
}

/// Returns the definitions to which a value refers, anywhere in it.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) => {
            let own = map.get("$ref").and_then(Value::as_str).and_then(definition);
            own.into_iter()
                .chain(map.values().flat_map(references))
                .collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The kinds of texts that are told apart by their patterns.
#[derive(Clone, Copy)]
enum TextKind {
    Duration,
    Size,
    Rate,
    Share,
    AutoOrNumber,
    Plain,
}

impl TextKind {
    fn of(schema: &Value) -> Self {
        let patterns = || {
            let all = schema["allOf"].as_array().into_iter().flatten();
            all.chain([schema])
                .filter_map(|part| part["pattern"].as_str())
        };
        let has = |part: &str| patterns().any(|pattern| pattern.contains(part));
        if has("auto|") {
            Self::AutoOrNumber
        } else if has("KiB") {
            Self::Size
        } else if has("%") {
            Self::Share
        } else if has("/\\s*") {
            Self::Rate
        } else if has("|ms|") {
            Self::Duration
        } else {
            Self::Plain
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Duration => "a time",
            Self::Size => "a size",
            Self::Rate => "a rate",
            Self::Share => "a share",
            Self::AutoOrNumber => "`auto` or a number",
            Self::Plain => "a text",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Duration => "30s",
            Self::Size => "512MiB",
            Self::Rate => "10/s",
            Self::Share => "50%",
            Self::AutoOrNumber => "auto",
            Self::Plain => "text",
        }
    }
}

/// Returns the alternatives of a schema; the schema itself if there are none.
fn alternatives(schema: &Value) -> Vec<&Value> {
    match schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        Some(any) => any.iter().collect(),
        None => vec![schema],
    }
}

/// Says which values a schema takes.
fn values(schema: &Value) -> String {
    let all: Vec<String> = alternatives(schema).into_iter().map(value_kind).collect();
    all.join(", or ")
}

fn value_kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(definition) {
        return format!("the keys of `{}`", title(name));
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(word).collect();
        return words.join(" | ");
    }
    if let Some(word) = schema.get("const") {
        return self::word(word);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return TextKind::of(schema).name_or_anything(schema),
    };
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|kind| typed_kind(kind, schema))
        .collect();
    kinds.join(" or ")
}

impl TextKind {
    /// Returns the name of the kind for a schema without a type, or "any value" if the schema has no pattern either.
    fn name_or_anything(self, schema: &Value) -> String {
        let says_something = schema.get("pattern").is_some() || schema.get("allOf").is_some();
        if says_something {
            self.name()
        } else {
            "any value"
        }
        .to_owned()
    }
}

fn typed_kind(kind: &str, schema: &Value) -> String {
    match kind {
        "boolean" => "true | false".to_owned(),
        "integer" => match schema["minimum"].as_u64() {
            Some(least) => format!("a whole number from {least}"),
            None => "a whole number".to_owned(),
        },
        "number" => "a number".to_owned(),
        "null" => "nothing".to_owned(),
        "array" if schema["items"].get("$ref").is_some() => {
            format!("a list, each with {}", value_kind(&schema["items"]))
        }
        "array" => format!("a list of {}", plural(&schema["items"])),
        "object" => match schema.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => format!("names, each with {}", values(inner)),
            _ => "keys and values".to_owned(),
        },
        _ => TextKind::of(schema).name().to_owned(),
    }
}

fn plural(items: &Value) -> String {
    match value_kind(items).as_str() {
        "a text" => "texts".to_owned(),
        "any value" => "values".to_owned(),
        other => other.to_owned(),
    }
}

/// Returns a word of a list of words, in quotes of code unless it is a number or a truth value.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

/// Returns the default that a description names, as in `5s by default` or `` `log` (default) ``.
fn default(about: &str) -> Option<String> {
    if let Some((_, after)) = about.split_once("; by default ") {
        return Some(after.trim_end_matches('.').to_owned());
    }
    if let Some((before, _)) = about.split_once(" by default") {
        let clause = before.rsplit("; ").next().unwrap_or(before);
        let clause = clause.rsplit(": ").next().unwrap_or(clause);
        return Some(clause.to_owned());
    }
    let (before, _) = about
        .split_once(" (default)")
        .or(about.split_once("`, default)"))?;
    let word = before.rsplit('`').find(|part| !part.is_empty())?;
    Some(format!("`{word}`"))
}

/// Returns an example of a value, as it stands in YAML.
fn example(key: &str, schema: &Value) -> String {
    let of_key = match key {
        "command" => "[python3, worker.py]",
        "run" => "[convert, a.png, a.jpg]",
        "cwd" => "./work",
        "host" => "web1",
        "on" => "[web1, web2]",
        "id" => "a",
        "task" => "resize",
        "input" if schema.get("enum").is_none() => "{path: a.png}",
        "needs" => "[a]",
        "tasks" => "[resize]",
        "limits" if schema["type"] == "array" => "[api]",
        "env" if schema["type"] == "object" => "{LANG: C}",
        "push" | "pull" | "inputs" => "[model.bin]",
        "window" => "100",
        _ => "",
    };
    if !of_key.is_empty() {
        return of_key.to_owned();
    }
    value_example(schema)
}

fn value_example(schema: &Value) -> String {
    // A plain value says more than a section, whose keys stand in a table of their own.
    let all = alternatives(schema);
    let plain = all.iter().find(|one| one.get("$ref").is_none());
    let Some(schema) = plain.or(all.first()) else {
        return String::new();
    };
    if let Some(words) = schema["enum"].as_array() {
        return words.first().map(example_word).unwrap_or_default();
    }
    if let Some(word) = schema.get("const") {
        return example_word(word);
    }
    if schema.get("$ref").is_some() {
        return "{..}".to_owned();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("boolean") => "true".to_owned(),
        Some("integer") => schema["minimum"]
            .as_u64()
            .map_or(4, |least| least.max(4))
            .to_string(),
        Some("number") => "2".to_owned(),
        Some("array") => format!("[{}]", value_example(&schema["items"])),
        Some("object") => match schema.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => format!("{{name: {}}}", value_example(inner)),
            _ => "{..}".to_owned(),
        },
        _ => TextKind::of(schema).example().to_owned(),
    }
}

fn example_word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
