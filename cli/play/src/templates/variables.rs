//! The variables of playbooks, as templates see them.
//!
//! Variables come in layers. A later layer overrides those below it. Layers are shared: the set of variables of a host
//! is built once, and each task and each item of a loop adds its own few on top. Values of files may be templates,
//! which are rendered each time that they are read; values of results never are.

mod lazy;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Kwargs, Object, Rest};

use super::maps::{number_value, plain_map_of};
use super::rendered_values::{Omit, finished, is_omitted};
use super::search::SearchPath;
use super::undefined::{TemplateError, undefined};
use super::{engine, lookups};
use crate::data::{self, Data, Entry};
use crate::vault::Vault;
use lazy::{Lazies, Lazy};

/// Renders a template, and everything in its value. The value of a single expression keeps its type; any other template
/// gives a text.
pub(crate) fn render(text: &str, variables: &Variables) -> Result<Value, TemplateError> {
    finished(&engine::render(text, || variables.root())?)
}

/// Renders all templates within a value. Entries and members that are `omit` are left out. It is an error if anything
/// in it is undefined. Keys are never templates, as in Ansible.
pub(crate) fn render_data(data: &Data, variables: &Variables) -> Result<Value, TemplateError> {
    match &data.value {
        data::Value::Null => Ok(Value::from(())),
        data::Value::Bool(value) => Ok(Value::from(*value)),
        data::Value::Number(number) => Ok(number_value(number)),
        data::Value::Long(number) => Ok(Value::from(*number)),
        data::Value::Vault(text) => variables.decrypted(text),
        data::Value::Text(text) => render(text, variables),
        data::Value::Unsafe(text) => Ok(Value::from(text.as_str())),
        data::Value::List(members) => {
            let mut rendered = Vec::with_capacity(members.len());
            for member in members {
                let member = render_data(member, variables)?;
                if !is_omitted(&member) {
                    rendered.push(member);
                }
            }
            Ok(Value::from(rendered))
        }
        data::Value::Map(entries) => {
            let mut rendered = Vec::with_capacity(entries.len());
            for entry in entries {
                let value = render_data(&entry.data, variables)?;
                if !is_omitted(&value) {
                    rendered.push((key_of(entry), value));
                }
            }
            Ok(plain_map_of(rendered))
        }
    }
}

/// Returns the key of an entry.
fn key_of(entry: &Entry) -> Value {
    match entry.typed_key.as_deref() {
        Some(data::Value::Null) => Value::from(()),
        Some(data::Value::Bool(value)) => Value::from(*value),
        Some(data::Value::Number(number)) => number_value(number),
        Some(data::Value::Long(number)) => Value::from(*number),
        _ => Value::from(entry.name.as_str()),
    }
}

/// Variables of files. Any of their values may be a template. If a name occurs twice, the first one wins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer(Arc<Lazies>);

impl From<Vec<Entry>> for Layer {
    fn from(entries: Vec<Entry>) -> Self {
        Self(Arc::new(Lazies::of(&entries)))
    }
}

impl From<&serde_json::Map<String, serde_json::Value>> for Layer {
    /// Converts the variables of an inventory. Any text in them may be a template.
    fn from(variables: &serde_json::Map<String, serde_json::Value>) -> Self {
        Self(Arc::new(Lazies::of_json(variables)))
    }
}

impl Layer {
    /// Returns these variables on top of those of other layers, of which the first one has precedence.
    pub(crate) fn above<'a>(&'a self, below: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut lazies = Lazies::default();
        for layer in std::iter::once(self).chain(below) {
            for (name, value) in layer.0.names.iter().zip(&layer.0.values) {
                lazies.add(Arc::clone(name), || value.clone());
            }
        }
        Self(Arc::new(lazies))
    }

    /// Whether a variable of this name exists.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.names.is_empty()
    }
}

/// Variables of one source.
#[derive(Debug, Clone)]
enum Source {
    Files(Layer),
    Values(Arc<BTreeMap<String, Value>>),
    /// A map that computes its values when they are read.
    Object(Value),
}

impl Source {
    fn find(&self, name: &str) -> Option<Found<'_>> {
        match self {
            Self::Files(layer) => layer.0.get(name).map(Found::Lazy),
            Self::Values(values) => values.get(name).map(|value| Found::Value(value.clone())),
            // Looked up as an item, because a missing attribute is an undefined value.
            Self::Object(object) => {
                let found = object.as_object()?.get_value(&Value::from(name));
                found.map(Found::Value)
            }
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Files(layer) => layer.0.names.iter().map(ToString::to_string).collect(),
            Self::Values(values) => values.keys().cloned().collect(),
            Self::Object(object) => {
                let names = object.try_iter().into_iter().flatten();
                names
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect()
            }
        }
    }
}

/// The value of a name.
enum Found<'a> {
    Lazy(&'a Lazy),
    Value(Value),
}

/// A layer, with those below it.
#[derive(Debug)]
struct Stacked {
    source: Source,
    below: Stack,
}

/// Layers that are shared with other sets of variables. The top one has precedence.
#[derive(Debug, Clone, Default)]
struct Stack(Option<Arc<Stacked>>);

impl Stack {
    fn with(&self, source: Source) -> Self {
        Self(Some(Arc::new(Stacked {
            source,
            below: self.clone(),
        })))
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        let mut next = self.0.as_deref();
        std::iter::from_fn(move || {
            let stacked = next?;
            next = stacked.below.0.as_deref();
            Some(&stacked.source)
        })
    }

    /// Returns the same layers on top of one more.
    fn above(&self, source: Source) -> Self {
        let sources: Vec<Source> = self.sources().cloned().collect();
        let bottom = Self::default().with(source);
        let sources = sources.into_iter().rev();
        sources.fold(bottom, |stack, source| stack.with(source))
    }
}

/// Variables in layers. Cloning them, and adding a layer, copies no variable.
///
/// There are three kinds, in descending precedence: magic variables and items of loops, which no other variable can
/// override; those of the command line (`-e`); and all others, of which the layer added last comes first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    magic: Stack,
    /// The variables of the command line. Only magic variables override them.
    extra: Stack,
    layers: Stack,
    search: Arc<SearchPath>,
    vault: Arc<Vault>,
}

impl Variables {
    /// Makes a set of the variables of the command line. They override all layers that are added later, except for
    /// magic variables.
    pub(crate) fn new(extra: impl Into<Layer>) -> Self {
        let extra = extra.into();
        let mut variables = Self::default();
        if !extra.is_empty() {
            variables.extra = variables.extra.with(Source::Files(extra));
        }
        variables
    }

    /// Returns these variables with more of them on top, which were read from files and take precedence.
    #[must_use]
    pub(crate) fn layered(&self, more: impl Into<Layer>) -> Self {
        let more = more.into();
        let mut variables = self.clone();
        if !more.is_empty() {
            variables.layers = variables.layers.with(Source::Files(more));
        }
        variables
    }

    /// Returns these variables with more of them on top, whose values are never templates, such as facts and results.
    #[must_use]
    pub(crate) fn with_values(&self, values: Arc<BTreeMap<String, Value>>) -> Self {
        let mut variables = self.clone();
        if !values.is_empty() {
            variables.layers = variables.layers.with(Source::Values(values));
        }
        variables
    }

    /// Returns these variables with values on top that take precedence even over those of the command line: magic
    /// variables and items of loops.
    #[must_use]
    pub(crate) fn with_magic(&self, values: Arc<BTreeMap<String, Value>>) -> Self {
        let mut variables = self.clone();
        if !values.is_empty() {
            variables.magic = variables.magic.with(Source::Values(values));
        }
        variables
    }

    /// Returns these variables with a map on top that takes precedence even over those of the command line, such as
    /// `hostvars`.
    #[must_use]
    pub(crate) fn with_magic_object(&self, object: Arc<impl Object + 'static>) -> Self {
        let object = Source::Object(Value::from_dyn_object(object));
        let mut variables = self.clone();
        variables.magic = variables.magic.with(object);
        variables
    }

    /// Returns these variables with another search path for lookups.
    #[must_use]
    pub(crate) fn with_search(&self, search: Arc<SearchPath>) -> Self {
        let mut variables = self.clone();
        variables.search = search;
        variables
    }

    /// Returns these variables with another vault, which decrypts the encrypted ones.
    #[must_use]
    pub(crate) fn with_vault(&self, vault: Arc<Vault>) -> Self {
        let mut variables = self.clone();
        variables.vault = vault;
        variables
    }

    /// Returns the vault that decrypts files and values.
    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    fn decrypted(&self, text: &str) -> Result<Value, TemplateError> {
        let refused = |reason| TemplateError::Wrong(format!("a variable cannot be used: {reason}"));
        self.vault.decrypt(text).map(Value::from).map_err(refused)
    }

    /// Returns the search path of lookups.
    pub(crate) fn search(&self) -> &SearchPath {
        &self.search
    }

    /// Adds variables that override all others except for those of the command line.
    pub(crate) fn put_before(&mut self, more: Vec<Entry>) {
        *self = self.layered(more);
    }

    /// Adds variables that all others override.
    pub(crate) fn put_behind(&mut self, more: Vec<Entry>) {
        if !more.is_empty() {
            self.layers = self.layers.above(Source::Files(more.into()));
        }
    }

    /// Returns the value of a variable with everything in it rendered, or `None` if there is no such variable.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Value>, TemplateError> {
        let Some(found) = self.find(name) else {
            return Ok(None);
        };
        let rendered = || Ok(self.value_of_found(found));
        let (value, _) = super::undefined::evaluate(rendered)?;
        finished(&value).map(Some)
    }

    /// Returns the text that a file assigns to a variable, if it does so. Variables that only refer to another one are
    /// followed.
    pub(super) fn written(&self, name: &str) -> Option<String> {
        let mut name = name.to_owned();
        for _ in 0..MAX_NAMES {
            match self.find(&name)? {
                Found::Lazy(Lazy::Value(value)) => return value.as_str().map(str::to_owned),
                Found::Lazy(Lazy::Template(text)) => {
                    name = super::source::lone_expression(text)?.to_owned();
                }
                _ => return None,
            }
        }
        None
    }

    /// Returns the names of all variables, each once, in alphabetical order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.sources().flat_map(Source::names).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        let stacks = [&self.magic, &self.extra, &self.layers];
        stacks.into_iter().flat_map(Stack::sources)
    }

    fn find(&self, name: &str) -> Option<Found<'_>> {
        self.sources().find_map(|source| source.find(name))
    }

    fn value_of_found(&self, found: Found<'_>) -> Value {
        match found {
            Found::Lazy(lazy) => lazy.value(self),
            Found::Value(value) => value,
        }
    }

    /// Returns the value of a variable as a template reads it.
    pub(super) fn lazy(&self, name: &str) -> Option<Value> {
        let found = self.find(name)?;
        Some(self.value_of_found(found))
    }

    /// Returns all of these variables as one value, such as that of a host in `hostvars`.
    pub(crate) fn as_map(&self) -> Value {
        Value::from_object(VariableMap(self.clone()))
    }

    /// Returns the root of the names that a template can use.
    pub(super) fn root(&self) -> Value {
        Value::from_object(Root(self.clone()))
    }
}

/// How many variables may refer to each other before the last one has to be a text.
const MAX_NAMES: usize = 20;

/// The names that a template can use.
#[derive(Debug)]
struct Root(Variables);

/// The names of functions. They must not be looked up as undefined variables, which would hide them.
const FUNCTIONS: [&str; 14] = [
    "cycler",
    "dict",
    "joiner",
    "namespace",
    "now",
    "range",
    "undef",
    super::source::ATTRIBUTE,
    super::source::ITEM,
    super::source::FORMAT,
    super::source::COMPARE,
    super::source::IS_DATE,
    super::source::MINUS,
    super::source::MUTABLE,
];

/// The value of `omit`, which all templates share.
static OMIT: LazyLock<Value> = LazyLock::new(|| Value::from_object(Omit));

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        match self.0.lazy(name) {
            Some(value) => Some(value),
            None if matches!(name, "lookup" | "query" | "q") => {
                let (variables, is_query) = (self.0.clone(), name != "lookup");
                let call = move |name: &str, terms: Rest<Value>, named: Kwargs| {
                    lookups::call(is_query, name, &terms, &named, &variables)
                };
                Some(Value::from_function(call))
            }
            None if FUNCTIONS.contains(&name) || name == "loop" || name == "caller" => None,
            None if name == "omit" => Some(OMIT.clone()),
            // All variables as one map, which does not contain itself.
            None if name == "vars" => Some(self.0.as_map()),
            None => Some(undefined(name.to_owned())),
        }
    }
}

/// Variables as a map. A missing name in it is an undefined value.
#[derive(Debug)]
struct VariableMap(Variables);

impl Object for VariableMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.lazy(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.0.lazy(key);
        found.or_else(|| Some(undefined(format!("..{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.names().into_iter().map(Value::from).collect())
    }
}

#[cfg(test)]
mod tests;
