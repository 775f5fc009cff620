//! The filters of Ansible and of Python's Jinja, which follow a `|`.

mod combinations;
mod dates;
mod digests;
mod documents;
mod durations;
mod lists;
mod maps;
mod numbers;
mod paths;
mod printf;
mod random;
mod regexes;
mod sets;
mod texts;
mod types;
mod urls;
mod yaml;

use minijinja::Value;
use minijinja::value::{FunctionArgs, FunctionResult, Kwargs, Rest};

use super::function_arguments::FunctionArguments;
use super::names::NamedFunctions;

pub(super) use combinations::{product, subelements, zipped};
pub(super) use dates::{date_of, is_date, now, strftime};
pub(super) use digests::password_hash;
#[cfg(test)]
pub(super) use documents::json;
pub(super) use durations::minus;
pub(super) use lists::is_in_order;
pub(super) use paths::{expanded_user, normal};
pub(super) use printf::percent_format;
pub(super) use random::Random;
pub(super) use yaml::from_yaml;

/// Adds the filters to an engine.
pub(super) fn add(engine: &mut NamedFunctions) {
    types::add(engine);
    numbers::add(engine);
    texts::add(engine);
    regexes::add(engine);
    paths::add(engine);
    urls::add(engine);
    documents::add(engine);
    yaml::add(engine);
    lists::add(engine);
    sets::add(engine);
    maps::add(engine);
    combinations::add(engine);
    digests::add(engine);
    dates::add(engine);
    random::add(engine);
}

impl NamedFunctions {
    /// Adds a filter that takes its arguments by position or by name. It is not called with undefined values.
    fn plain(
        &mut self,
        name: &'static str,
        parameters: &'static [&'static str],
        filter: impl Fn(&Value, &FunctionArguments) -> Result<Value, minijinja::Error>
        + Send
        + Sync
        + 'static,
    ) {
        let with_arguments = move |value: Value, placed: Rest<Value>, named: Kwargs| {
            if value.is_undefined() {
                // The template may have a default for the result.
                return Ok(value);
            }
            let given = FunctionArguments::new(name, parameters, &placed, &named)?;
            filter(&value, &given)
        };
        self.filter(name, with_arguments);
    }

    /// Adds a filter of the engine unchanged.
    fn engines<F, Rv, Args>(&mut self, name: &'static str, filter: F)
    where
        F: minijinja::functions::Function<Rv, Args>,
        Rv: FunctionResult,
        Args: for<'a> FunctionArgs<'a>,
    {
        self.filter(name, filter);
    }
}
