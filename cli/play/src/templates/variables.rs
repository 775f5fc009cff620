//! The variables of playbooks, as templates see them.
//!
//! Variables come in layers. A later layer overrides those below it. Layers are shared: the set of variables of a host
//! is built once, and each task and each item of a loop adds its own few on top. Values of files may be templates,
//! which are rendered each time that they are read; values of results never are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectExt as _, ObjectRepr, Rest};

use super::maps::{from_json, number_value, plain_map_of};
use super::rendered_values::{Omit, finished, is_omitted};
use super::search::SearchPath;
use super::undefined::{TemplateError, fail, undefined};
use super::{engine, lookups};
use crate::data::{self, Data, Entry};
use crate::vault::Vault;

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
                    rendered.push((Value::from(entry.name.as_str()), value));
                }
            }
            Ok(plain_map_of(rendered))
        }
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

/// A value of a file, which is rendered when it is read. A value without templates is converted only once.
#[derive(Debug, Clone)]
enum Lazy {
    Value(Value),
    Template(Arc<str>),
    /// A text that is decrypted when it is read. The decrypted text is never a template.
    Encrypted(Arc<str>),
    List(Arc<[Lazy]>),
    Map(Arc<Lazies>),
}

/// The values of files by their names, in the order of the file.
#[derive(Debug, Default)]
struct Lazies {
    names: Vec<Arc<str>>,
    values: Vec<Lazy>,
    places: HashMap<Arc<str>, usize>,
}

impl Lazies {
    fn of(entries: &[Entry]) -> Self {
        let mut lazies = Self::default();
        for entry in entries {
            lazies.add(entry.name.as_str().into(), || Lazy::of(&entry.data));
        }
        lazies
    }

    fn of_json(variables: &serde_json::Map<String, serde_json::Value>) -> Self {
        let mut lazies = Self::default();
        for (name, value) in variables {
            lazies.add(name.as_str().into(), || Lazy::of_json(value));
        }
        lazies
    }

    /// Adds a value, unless the name already has one.
    fn add(&mut self, name: Arc<str>, value: impl FnOnce() -> Lazy) {
        if !self.places.contains_key(&name) {
            self.places.insert(Arc::clone(&name), self.names.len());
            self.names.push(name);
            self.values.push(value());
        }
    }

    fn get(&self, name: &str) -> Option<&Lazy> {
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
            data::Value::Map(entries) => Self::of_lazies(Lazies::of(entries)),
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
                    _ => Self::of_lazies(Lazies::of_json(entries)),
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

    fn of_lazies(lazies: Lazies) -> Self {
        let plain: Option<Vec<Value>> = lazies.values.iter().map(Self::plain).collect();
        match plain {
            Some(values) => {
                let names = lazies
                    .names
                    .iter()
                    .map(|name| Value::from(Arc::clone(name)));
                Self::Value(plain_map_of(names.zip(values)))
            }
            None => Self::Map(Arc::new(lazies)),
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
    fn value(&self, variables: &Variables) -> Value {
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
            Self::Map(lazies) => Value::from_object(LazyMap {
                lazies: Arc::clone(lazies),
                variables: variables.clone(),
            }),
        }
    }
}

/// A map of a playbook. Each value is rendered when it is read.
#[derive(Debug)]
struct LazyMap {
    lazies: Arc<Lazies>,
    variables: Variables,
}

impl Object for LazyMap {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = match key.as_str() {
            Some(name) => self.lazies.get(name),
            None => self.lazies.get(&key.to_string()),
        };
        found.map(|lazy| lazy.value(&self.variables))
    }

    /// Returns an undefined value for a missing attribute, so that a template can read attributes of it in turn. The
    /// engine calls the other function to look up items, and to test whether the map has a key.
    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.lazies.get(key);
        let found = found.map(|lazy| lazy.value(&self.variables));
        found.or_else(|| Some(undefined(format!("..{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| {
            let names = this.lazies.names.iter();
            Box::new(names.map(|name| Value::from(Arc::clone(name))))
        })
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.lazies.names.len())
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

#[cfg(test)]
mod tests;
