//! The values of files, whose templates are rendered when they are read.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectExt as _, ObjectRepr};

use super::super::engine;
use super::super::maps::{from_json, number_value, plain_map_of};
use super::super::undefined::{TemplateError, fail, undefined};
use super::{Variables, key_of};
use crate::data::{self, Data, Entry};

/// A value of a file, which is rendered when it is read. A value without templates is converted only once.
#[derive(Debug, Clone)]
pub(super) enum Lazy {
    Value(Value),
    Template(Arc<str>),
    /// A text that is decrypted when it is read. The decrypted text is never a template.
    Encrypted(Arc<str>),
    List(Arc<[Lazy]>),
    Map(Arc<IndexMap<Value, Lazy>>),
}

/// The variables of files by their names, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Lazies {
    pub(super) names: Vec<Arc<str>>,
    pub(super) values: Vec<Lazy>,
    places: HashMap<Arc<str>, usize>,
}

impl Lazies {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut lazies = Self::default();
        for entry in entries {
            lazies.add(entry.name.as_str().into(), || Lazy::of(&entry.data));
        }
        lazies
    }

    pub(super) fn of_json(variables: &serde_json::Map<String, serde_json::Value>) -> Self {
        let mut lazies = Self::default();
        for (name, value) in variables {
            lazies.add(name.as_str().into(), || Lazy::of_json(value));
        }
        lazies
    }

    /// Adds a value, unless the name already has one.
    pub(super) fn add(&mut self, name: Arc<str>, value: impl FnOnce() -> Lazy) {
        if !self.places.contains_key(&name) {
            self.places.insert(Arc::clone(&name), self.names.len());
            self.names.push(name);
            self.values.push(value());
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Lazy> {
        self.places.get(name).map(|at| &self.values[*at])
    }
}

impl Lazy {
    /// Converts a value of a file. A value without templates and vaults becomes a plain one.
    fn of(data: &Data) -> Self {
        match &data.value {
            data::Value::Null => Self::Value(Value::from(())),
            data::Value::Bool(value) => Self::Value(Value::from(*value)),
            data::Value::Number(number) => Self::Value(number_value(number)),
            data::Value::Long(number) => Self::Value(Value::from(*number)),
            data::Value::Vault(text) => Self::Encrypted(Arc::clone(text)),
            data::Value::Text(text) if data::is_template(text) => {
                Self::Template(text.as_str().into())
            }
            data::Value::Unsafe(text) | data::Value::Text(text) => {
                Self::Value(Value::from(text.as_str()))
            }
            data::Value::List(members) => Self::of_members(members.iter().map(Self::of).collect()),
            data::Value::Map(entries) => {
                let entries = entries.iter();
                Self::of_pairs(entries.map(|entry| (key_of(entry), Self::of(&entry.data))))
            }
        }
    }

    fn of_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) if data::is_template(text) => {
                Self::Template(text.as_str().into())
            }
            serde_json::Value::Array(members) => {
                Self::of_members(members.iter().map(Self::of_json).collect())
            }
            serde_json::Value::Object(entries) => {
                let only = |name| entries.get(name).filter(|_| entries.len() == 1)?.as_str();
                match (only("__ansible_unsafe"), only("__ansible_vault")) {
                    (Some(text), _) => Self::Value(Value::from(text)),
                    (_, Some(text)) => Self::Encrypted(text.into()),
                    _ => {
                        Self::of_pairs(entries.iter().map(|(name, value)| {
                            (Value::from(name.as_str()), Self::of_json(value))
                        }))
                    }
                }
            }
            other => Self::Value(from_json(other.clone())),
        }
    }

    fn of_members(members: Vec<Self>) -> Self {
        let plain: Option<Vec<Value>> = members.iter().map(Self::plain).collect();
        plain.map_or_else(
            || Self::List(members.into()),
            |plain| Self::Value(plain.into()),
        )
    }

    /// Makes a map. If a key occurs twice, the first one wins.
    fn of_pairs(pairs: impl Iterator<Item = (Value, Self)>) -> Self {
        let mut entries = IndexMap::new();
        for (key, value) in pairs {
            entries.entry(key).or_insert(value);
        }
        let plain: Option<Vec<(Value, Value)>> = entries
            .iter()
            .map(|(key, value)| Some((key.clone(), value.plain()?)))
            .collect();
        match plain {
            Some(pairs) => Self::Value(plain_map_of(pairs)),
            None => Self::Map(Arc::new(entries)),
        }
    }

    /// Returns the value if it contains no template and no vault.
    fn plain(&self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// Returns the value. If a template in it is wrong, the evaluation that reads it fails.
    pub(super) fn value(&self, variables: &Variables) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Encrypted(text) => variables.decrypted(text).unwrap_or_else(fail),
            Self::Template(text) => match engine::render(text, || variables.root()) {
                Ok(value) => value,
                // The reader of the variable may have a default for it.
                Err(TemplateError::Undefined(name)) => undefined(name),
                Err(error) => fail(error),
            },
            Self::List(members) => Value::from_object(LazyList {
                members: Arc::clone(members),
                variables: variables.clone(),
            }),
            Self::Map(entries) => Value::from_object(LazyMap {
                entries: Arc::clone(entries),
                variables: variables.clone(),
            }),
        }
    }
}

/// A map of a playbook. Each value is rendered when it is read.
#[derive(Debug)]
struct LazyMap {
    entries: Arc<IndexMap<Value, Lazy>>,
    variables: Variables,
}

impl Object for LazyMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self.entries.get(key);
        found.map(|lazy| lazy.value(&self.variables))
    }

    /// Returns an undefined value for a missing attribute, so that a template can read attributes of it in turn. The
    /// engine calls the other function to look up items, and to test whether the map has a key.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.get_value(&Value::from(key));
        found.or_else(|| Some(undefined(format!("..{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| Box::new(this.entries.keys().cloned()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A list of a playbook. Each member is rendered when it is read.
#[derive(Debug)]
struct LazyList {
    members: Arc<[Lazy]>,
    variables: Variables,
}

impl Object for LazyList {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let member = self.members.get(key.as_usize()?)?;
        Some(member.value(&self.variables))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.members.len())
    }
}
