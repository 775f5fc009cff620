//! Maps of known keys.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::from_node::{FromNode, mismatch};
use super::node::{Entry, Node};
use super::schema::Schemas;
use crate::diagnostic::{Diagnostic, Problems, Span};

/// A map of known keys. The macro `section!` defines them.
pub trait Section: Default {
    /// The name of the section in messages, with its article, as in `a job`.
    const TITLE: &'static str;

    /// Returns the keys of the section.
    fn keys() -> Vec<&'static str>;

    /// Reads the value of a key. Returns the entry if the key is unknown.
    fn read_entry<'a>(
        &mut self,
        entry: Entry<'a>,
        problems: &mut Problems,
    ) -> Result<(), Entry<'a>>;

    /// Takes over the values of another section for keys that are absent here.
    fn or(&mut self, other: Self);

    /// Returns the required keys that are missing, with the expected value of each.
    fn missing(&self) -> Vec<(&'static str, Cow<'static, str>)>;

    /// Sets the place of the section, and whether it has unknown keys.
    fn set_place(&mut self, place: SectionPlace);

    /// Returns what to write instead of a value that is not a map.
    fn hint_instead(_node: &Node<'_>) -> Option<String> {
        None
    }

    /// Adds the schemas of the keys.
    fn properties(
        properties: &mut Map<String, Json>,
        required: &mut Vec<&'static str>,
        schemas: &mut Schemas,
    );

    /// Returns how the keys depend on each other, as further keywords of the schema.
    fn relations() -> Json {
        json!({})
    }
}

/// The place of a section in its document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SectionPlace {
    /// The place of the first key, which errors underline instead of the whole section.
    pub head: Span,
    /// Whether it has unknown keys, which were already reported.
    pub has_unknown: bool,
}

/// Keys of other programs, with our key for the same purpose.
const FOREIGN: [(&str, &str); 38] = [
    ("after", "needs"),
    ("args", "run"),
    ("attempts", "max"),
    ("chdir", "cwd"),
    ("cmd", "run"),
    ("cmd", "command"),
    ("command", "run"),
    ("commands", "jobs"),
    ("cpus", "slots"),
    ("data", "input"),
    ("dependencies", "needs"),
    ("depends", "needs"),
    ("depends_on", "needs"),
    ("deps", "needs"),
    ("dir", "cwd"),
    ("directory", "cwd"),
    ("env_vars", "env"),
    ("environment", "env"),
    ("envs", "env"),
    ("exec", "run"),
    ("max_attempts", "max"),
    ("max_retries", "max"),
    ("max_retries", "retry"),
    ("name", "id"),
    ("params", "input"),
    ("payload", "input"),
    ("program", "run"),
    ("requires", "needs"),
    ("retries", "retry"),
    ("stages", "jobs"),
    ("steps", "jobs"),
    ("tasks", "jobs"),
    ("title", "id"),
    ("tries", "max"),
    ("type", "task"),
    ("workdir", "cwd"),
    ("working_dir", "cwd"),
    ("working_directory", "cwd"),
];

/// Keys that need more than another name, mostly because they stand in the wrong section: the section, the key, what is wrong, and what to do.
const MISPLACED: [(&str, &str, &str, &str); 3] = [
    (
        "retry",
        "budget",
        "`budget` applies to the whole run",
        "set it in `defaults`, as in `retry: {budget: 20%}`",
    ),
    ("a job", "script", "unknown key `script` in a job", SHELL),
    ("a job", "shell", "unknown key `shell` in a job", SHELL),
];

/// What to do instead of naming a script for a shell.
const SHELL: &str =
    "a command runs without a shell unless it asks for one: `run: [sh, -c, 'a | b']`";

/// Reads a section from a map.
pub fn read<T: Section + FromNode>(node: Node<'_>, problems: &mut Problems) -> Option<T> {
    let whole = node.span;
    let entries = match node.into_map(problems) {
        Ok(entries) => entries,
        Err(node) => {
            problems.push(mismatch::<T>(&node));
            return None;
        }
    };
    let mut section = T::default();
    let mut place = SectionPlace {
        head: entries.first().map_or(whole, |entry| entry.place),
        has_unknown: false,
    };
    for entry in entries {
        if let Err(entry) = section.read_entry(entry, problems) {
            place.has_unknown = true;
            problems.push(unknown_key::<T>(&entry));
        }
    }
    for (key, expected) in section.missing() {
        let message = format!("{} needs `{key}`", T::TITLE);
        let help = format!("`{key}` is {expected}");
        problems.push(Diagnostic::error(place.head, message).help(help));
    }
    section.set_place(place);
    Some(section)
}

/// Makes the error for an unknown key, and suggests the key that was probably meant.
pub fn unknown_key<T: Section>(entry: &Entry<'_>) -> Diagnostic {
    let keys = T::keys();
    let name = entry.name.as_ref();
    let misplaced = MISPLACED
        .iter()
        .find(|(title, key, ..)| *title == T::TITLE && *key == name);
    if let Some((.., message, help)) = misplaced {
        return Diagnostic::error(entry.place, *message).help(*help);
    }
    let message = format!("unknown key `{name}` in {}", T::TITLE);
    let error = Diagnostic::error(entry.place, message);
    let ours = FOREIGN
        .iter()
        .find(|(foreign, ours)| *foreign == name && keys.contains(ours));
    match ours {
        Some((_, ours)) => error.help(format!("did you mean `{ours}`?")),
        None => error.did_you_mean(name, keys, "known keys"),
    }
}

/// Describes a map with these keys, for error messages.
pub fn expected(keys: &[&str]) -> Cow<'static, str> {
    match keys {
        [first, second, ..] => format!("a map like {{{first}: .., {second}: ..}}").into(),
        [one] => format!("a map like {{{one}: ..}}").into(),
        [] => "a map".into(),
    }
}

/// Returns the schema of a section.
pub fn schema<T: Section>(schemas: &mut Schemas) -> Json {
    schemas.section(T::TITLE, |schemas| {
        let mut properties = Map::new();
        let mut required = Vec::new();
        T::properties(&mut properties, &mut required, schemas);
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if let (Json::Object(schema), Json::Object(relations)) = (&mut schema, T::relations()) {
            schema.extend(relations);
        }
        schema
    })
}

/// Returns the schema of a key.
pub fn property<T: FromNode>(about: &str, schemas: &mut Schemas) -> Json {
    let mut schema = T::schema(schemas);
    if let Json::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), about.trim().into());
    }
    schema
}

/// Defines a map of known keys as a type.
///
/// A key is a field; its comment describes it in the schema. `(required)` marks keys that have to be present,
/// `= "name"` gives keys that are not identifiers, and `..field: Type` includes the keys of another section, except for
/// those that the section defines itself.
#[macro_export]
macro_rules! section {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $section:ident($title:literal $(, hint = $hint:expr)? $(, relations = $relations:expr)?) {
            $(
                $(#[doc = $about:literal])+
                $key:ident $(= $name:literal)? $(($required:tt))?: $type:ty,
            )*
            $(..$rest:ident: $rest_type:ty,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Default, PartialEq)]
        $vis struct $section {
            pub(crate) place: $crate::document::SectionPlace,
            $($(#[doc = $about])+ pub(crate) $key: $crate::document::Field<$type>,)*
            $(
                /// The keys of the other section. Most sections have none of them, so they are boxed to save memory.
                pub(crate) $rest: Option<Box<$rest_type>>,
            )?
        }

        impl $crate::document::Section for $section {
            const TITLE: &'static str = $title;

            fn keys() -> Vec<&'static str> {
                let own = [$($crate::section!(@name $key $($name)?)),*];
                own.into_iter()
                    $(.chain(
                        <$rest_type as $crate::document::Section>::keys()
                            .into_iter()
                            .filter(|key| !own.contains(key)),
                    ))?
                    .collect()
            }

            fn or(&mut self, other: Self) {
                $(self.$key.or(other.$key);)*
                $(if let Some(other) = other.$rest {
                    self.$rest.get_or_insert_default().or(*other);
                })?
            }

            fn read_entry<'a>(
                &mut self,
                entry: $crate::document::Entry<'a>,
                problems: &mut $crate::diagnostic::Problems,
            ) -> Result<(), $crate::document::Entry<'a>> {
                $(
                    if entry.name == $crate::section!(@name $key $($name)?) {
                        self.$key.read(entry, problems);
                        return Ok(());
                    }
                )*
                $(let entry = {
                    let had_some = self.$rest.is_some();
                    let rest = self.$rest.get_or_insert_default();
                    match rest.read_entry(entry, problems) {
                        Ok(()) => return Ok(()),
                        Err(entry) => {
                            if !had_some {
                                self.$rest = None;
                            }
                            entry
                        }
                    }
                };)?
                Err(entry)
            }

            fn missing(&self) -> Vec<(&'static str, std::borrow::Cow<'static, str>)> {
                // Each line of a stream comes through here, and most lack nothing.
                if !(false $(|| ($crate::section!(@is_required $($required)?) && !self.$key.is_present()))*) {
                    return Vec::new();
                }
                let missing = |is_required: bool, is_present: bool, key, expected: fn() -> _| {
                    (is_required && !is_present).then(|| (key, expected()))
                };
                let missing = [$(missing(
                    $crate::section!(@is_required $($required)?),
                    self.$key.is_present(),
                    $crate::section!(@name $key $($name)?),
                    <$type as $crate::document::FromNode>::expected,
                )),*];
                missing.into_iter().flatten().collect()
            }

            fn set_place(&mut self, place: $crate::document::SectionPlace) {
                self.place = place;
            }

            $(fn hint_instead(node: &$crate::document::Node<'_>) -> Option<String> {
                $hint(node)
            })?

            fn properties(
                properties: &mut serde_json::Map<String, serde_json::Value>,
                required: &mut Vec<&'static str>,
                schemas: &mut $crate::document::Schemas,
            ) {
                $(
                    let name = $crate::section!(@name $key $($name)?);
                    let about = concat!($($about),+);
                    // A section may define a key itself, which replaces that of the included section.
                    if !properties.contains_key(name) {
                        properties.insert(
                            name.to_owned(),
                            $crate::document::property::<$type>(about, schemas),
                        );
                    }
                    if $crate::section!(@is_required $($required)?) {
                        required.push(name);
                    }
                )*
                $(<$rest_type as $crate::document::Section>::properties(properties, required, schemas);)?
            }

            $(fn relations() -> serde_json::Value {
                $relations
            })?
        }

        impl $crate::document::FromNode for $section {
            fn from_node(
                node: $crate::document::Node<'_>,
                problems: &mut $crate::diagnostic::Problems,
            ) -> Option<Self> {
                $crate::document::read_section(node, problems)
            }

            fn accepts(node: &$crate::document::Node<'_>) -> bool {
                node.is_map()
            }

            fn expected() -> std::borrow::Cow<'static, str> {
                $crate::document::expected_section(&<Self as $crate::document::Section>::keys())
            }

            fn hint(node: &$crate::document::Node<'_>) -> Option<String> {
                <Self as $crate::document::Section>::hint_instead(node)
            }

            fn schema(schemas: &mut $crate::document::Schemas) -> serde_json::Value {
                $crate::document::schema_of_section::<Self>(schemas)
            }
        }
    };
    (@name $key:ident $name:literal) => { $name };
    (@name $key:ident) => { stringify!($key) };
    (@is_required required) => { true };
    (@is_required) => { false };
}

pub use crate::section;
