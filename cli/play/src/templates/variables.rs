//! The variables of playbooks, as templates see them.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::engine;
use super::undefined::{TemplateError, fail, undefined};
use crate::data::{self, Data, Entry};

/// Renders a template. The value of a lone expression keeps its type, and any other template is a text.
pub(crate) fn render(text: &str, variables: &Variables) -> Result<Value, TemplateError> {
    engine::render(text, || Value::from_object(Root(variables.clone())))
}

/// Variables, those that count first in front.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    /// Those of the call, before which no others count.
    extra: Arc<Vec<Entry>>,
    layers: Vec<Arc<Vec<Entry>>>,
}

impl Variables {
    /// The variables of a call.
    pub(crate) fn new(extra: Arc<Vec<Entry>>) -> Self {
        let layers = Vec::new();
        Self { extra, layers }
    }

    /// Adds variables that count before all others but those of the call.
    pub(crate) fn put_before(&mut self, more: Vec<Entry>) {
        if !more.is_empty() {
            self.layers.insert(0, Arc::new(more));
        }
    }

    /// Adds variables that count after all others.
    pub(crate) fn put_behind(&mut self, more: Vec<Entry>) {
        if !more.is_empty() {
            self.layers.push(Arc::new(more));
        }
    }

    fn find(&self, name: &str) -> Option<&Data> {
        let layers = std::iter::once(&self.extra).chain(&self.layers);
        let mut entries = layers.flat_map(|layer| layer.iter());
        let found = entries.find(|entry| entry.name == name);
        found.map(|entry| &entry.data)
    }
}

/// The names that a template can use.
#[derive(Debug)]
struct Root(Variables);

/// What is said of a variable whose value cannot be known.
const ENCRYPTED: &str = "a variable is encrypted; decrypt it by `ansible-vault decrypt`";

/// The names of functions, which no variable hides by being undefined.
const FUNCTIONS: [&str; 7] = ["dict", "lookup", "namespace", "now", "q", "query", "range"];

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        match self.0.find(name) {
            Some(data) => Some(value_of(data, &self.0)),
            None if FUNCTIONS.contains(&name) || name == "loop" || name == "caller" => None,
            None => Some(undefined(name.to_owned())),
        }
    }
}

/// A map of a playbook, each value of which is rendered when it is asked for.
#[derive(Debug)]
struct LazyMap {
    entries: Vec<Entry>,
    variables: Variables,
}

impl Object for LazyMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        let found = self.entries.iter().find(|entry| entry.name == name)?;
        Some(value_of(&found.data, &self.variables))
    }

    /// What is asked for as an attribute may have attributes itself, even if it is nowhere. The engine looks up items, and
    /// whether the map has a key, by the other function.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.get_value(&Value::from(key));
        found.or_else(|| Some(undefined(format!("..{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names = self.entries.iter();
        Enumerator::Values(
            names
                .map(|entry| Value::from(entry.name.as_str()))
                .collect(),
        )
    }
}

/// A list of a playbook, each member of which is rendered when it is asked for.
#[derive(Debug)]
struct LazyList {
    members: Vec<Data>,
    variables: Variables,
}

impl Object for LazyList {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let member = self.members.get(key.as_usize()?)?;
        Some(value_of(member, &self.variables))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.members.len())
    }
}

/// The value of what stands in a playbook. What is wrong with a template in it ends the evaluation that asks.
pub(super) fn value_of(data: &Data, variables: &Variables) -> Value {
    match &data.value {
        data::Value::Null => Value::from(()),
        data::Value::Bool(value) => Value::from(*value),
        data::Value::Number(number) => number_value(number),
        data::Value::Vault => fail(TemplateError::Wrong(ENCRYPTED.to_owned())),
        data::Value::Text(text) if data::is_template(text) => {
            match render(text, variables) {
                Ok(value) => value,
                // Whoever asks for the variable may have a default for it.
                Err(TemplateError::Undefined(name)) => undefined(name),
                Err(error) => fail(error),
            }
        }
        data::Value::Unsafe(text) | data::Value::Text(text) => Value::from(text.as_str()),
        data::Value::List(members) => Value::from_object(LazyList {
            members: members.clone(),
            variables: variables.clone(),
        }),
        data::Value::Map(entries) => Value::from_object(LazyMap {
            entries: entries.clone(),
            variables: variables.clone(),
        }),
    }
}

fn number_value(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => Value::from(whole),
        (None, Some(whole)) => Value::from(whole),
        (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
    }
}
