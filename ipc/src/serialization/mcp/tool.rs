//! A tool of a server, and the arguments of its calls.

use serde_json::{Map, Value};

use crate::error::IpcError;
use crate::messages::{Payload, TaskDeclaration, TaskName};

/// A tool of a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tool {
    description: Option<String>,
    /// The argument whose value may be given without an object: the only one, or the only one that is required.
    sole: Option<Argument>,
    /// The names of all arguments, for messages.
    names: Vec<String>,
}

/// An argument of a tool.
#[derive(Debug, Clone, PartialEq)]
struct Argument {
    name: String,
    /// The JSON type of the argument, if the schema defines one.
    kind: Option<String>,
}

impl Tool {
    /// Reads the description of a tool. With an unusual schema, arguments always have to be given as an object.
    pub(super) fn new(description: Option<String>, schema: &Value) -> Self {
        let properties = schema.get("properties").and_then(Value::as_object);
        let names: Vec<String> = properties
            .into_iter()
            .flat_map(Map::keys)
            .cloned()
            .collect();
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let sole = match (required.as_slice(), names.as_slice()) {
            ([only], _) => Some((*only).to_owned()),
            ([], [only]) => Some(only.clone()),
            _ => None,
        };
        let kind = |name: &str| {
            let kind = properties?.get(name)?.get("type")?;
            kind.as_str().map(str::to_owned)
        };
        let sole = sole.map(|name| Argument {
            kind: kind(&name),
            name,
        });
        Self {
            description,
            sole,
            names,
        }
    }

    pub(super) fn declaration(&self) -> TaskDeclaration {
        TaskDeclaration {
            description: self.description.clone(),
            ..TaskDeclaration::default()
        }
    }

    /// Makes the arguments of a call from an input.
    pub(super) fn arguments(&self, task: &TaskName, input: &Payload) -> Result<Payload, IpcError> {
        match &self.sole {
            Some(argument) if !input.as_str().starts_with('{') && input.as_str() != "null" => {
                let value = argument.value(input)?;
                let arguments = Map::from_iter([(argument.name.clone(), value)]);
                Ok(Payload::from_value(&arguments)?)
            }
            _ => object(task, input).map_err(|error| match error {
                IpcError::NoArguments { task, .. } => IpcError::NoArguments {
                    task,
                    known: self.names.clone(),
                },
                error => error,
            }),
        }
    }
}

impl Argument {
    /// Converts the value of the argument. An item of a list is a text, although the tool may expect a number.
    fn value(&self, input: &Payload) -> Result<Value, IpcError> {
        let value: Value = input.read()?;
        let wants = |kinds: &[&str]| {
            self.kind
                .as_deref()
                .is_some_and(|kind| kinds.contains(&kind))
        };
        let parsed = match &value {
            Value::String(text) if wants(&["number", "integer"]) => {
                let parsed = serde_json::from_str(text).ok();
                parsed.filter(Value::is_number)
            }
            Value::String(text) if wants(&["boolean"]) => text.parse().ok().map(Value::Bool),
            _ => None,
        };
        Ok(parsed.unwrap_or(value))
    }
}

/// Returns the arguments of a call whose input is an object; no arguments for `null`. Other inputs are refused.
pub(super) fn object(task: &TaskName, input: &Payload) -> Result<Payload, IpcError> {
    match input.as_str().trim_start() {
        "null" => Ok(Payload::from_value(&Map::new())?),
        object if object.starts_with('{') => Ok(input.clone()),
        _ => Err(IpcError::NoArguments {
            task: task.to_string(),
            known: Vec::new(),
        }),
    }
}
