//! Templates with the semantics of Ansible: using an undefined value is an error unless it is expected, values keep
//! their types, and the values of variables may be templates themselves.
//!
//! [`Variables`] are what templates can read. They are stacked from layers: of files, whose values may be templates,
//! and of results, whose values never are. [`render`] and [`render_data`] return values with nothing left to render in
//! them; [`condition`] returns true or false; [`template_file`] returns the text of a file.

mod conditions;
mod engine;
mod errors;
mod filters;
mod function_arguments;
mod glob;
mod jinja_tests;
mod lookups;
mod maps;
mod methods;
mod mutable;
mod names;
#[cfg(test)]
mod probes;
mod regex;
mod rendered_values;
mod search;
mod source;
mod template_file;
mod tokens;
mod undefined;
mod values;
mod variables;

pub(crate) use conditions::{condition, expression, is_truthy};
pub(crate) use engine::{check, check_condition};
pub(crate) use glob::matches as matches_glob;
pub(crate) use lookups::loop_items;
#[cfg(test)]
pub(crate) use maps::to_json_text;
pub(crate) use maps::{as_document, from_json, from_json_text, map_of_names, to_json};
pub(crate) use names::{Unknown, unknown, unknown_in_expression, unknown_lookup};
pub(crate) use rendered_values::is_omitted;
pub(crate) use search::{ControllerSettings, SearchPath};
pub(crate) use template_file::{TemplateOptions, template_file, with_template_variables};
pub(crate) use undefined::{TemplateError, undefined};
pub(crate) use values::text_of;
pub(crate) use variables::{Layer, Variables, render, render_data};
