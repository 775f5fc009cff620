//! The names of filters, tests and lookups, and the check for unknown ones before anything runs.

use minijinja::functions::Function;
use minijinja::value::{FunctionArgs, FunctionResult, Kwargs, Rest};
use minijinja::{Environment, State, Value};

use super::source::{self, DELIMITERS, Named};
use super::undefined::first_undefined;
use super::{engine, lookups};

/// An engine to which filters and tests are added, with a record of all their names.
pub(super) struct NamedFunctions {
    pub(super) engine: Environment<'static>,
    pub(super) filters: Vec<&'static str>,
    pub(super) tests: Vec<&'static str>,
}

impl NamedFunctions {
    pub(super) fn new(engine: Environment<'static>) -> Self {
        Self {
            engine,
            filters: Vec::new(),
            tests: Vec::new(),
        }
    }

    /// Adds a filter with the signature of the engine. If one of its arguments is undefined, the filter is not called, and
    /// its result is that argument, for which the template may have a default.
    pub(super) fn filter<F, Rv, Args>(&mut self, name: &'static str, filter: F)
    where
        F: Function<Rv, Args>,
        Rv: FunctionResult,
        Args: for<'a> FunctionArgs<'a>,
    {
        let filter = Value::from_function(filter);
        self.filter_of_any(
            name,
            move |state: &mut State<'_, '_>, placed: Rest<Value>, named: Kwargs| {
                let mut arguments = placed.0;
                if let Some(undefined) = first_undefined(&arguments) {
                    return Ok(undefined.clone());
                }
                for name in named.args() {
                    let value: Value = named.get(name)?;
                    if let Some(undefined) = first_undefined(std::slice::from_ref(&value)) {
                        return Ok(undefined.clone());
                    }
                }
                if named.args().next().is_some() {
                    arguments.push(named.into());
                }
                filter.call(state, &arguments)
            },
        );
    }

    /// Adds a filter that is called with undefined values, too.
    pub(super) fn filter_of_any<F, Rv, Args>(&mut self, name: &'static str, filter: F)
    where
        F: Function<Rv, Args>,
        Rv: FunctionResult,
        Args: for<'a> FunctionArgs<'a>,
    {
        self.engine.add_filter(name, filter);
        self.filters.push(name);
    }

    /// Adds a test with the signature of the engine.
    pub(super) fn test<F, Rv, Args>(&mut self, name: &'static str, test: F)
    where
        F: Function<Rv, Args>,
        Rv: FunctionResult,
        Args: for<'a> FunctionArgs<'a>,
    {
        self.engine.add_test(name, test);
        self.tests.push(name);
    }
}

/// A filter, test or lookup that a template names but that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// The kind of the name: filter, test or lookup.
    pub(crate) what: &'static str,
    pub(crate) name: String,
    /// What to use instead, if the name is one that is known and refused.
    pub(crate) help: Option<&'static str>,
}

impl Unknown {
    /// Returns all names of the kind, among which the intended one may be.
    pub(crate) fn known(&self) -> Vec<&'static str> {
        match self.what {
            "filter" => engine::names().0.clone(),
            "test" => engine::names().1.clone(),
            _ => lookups::NAMES.to_vec(),
        }
    }
}

/// Returns the unknown filters, tests and lookups of a template.
pub(crate) fn unknown(text: &str) -> Vec<Unknown> {
    source::names(text, &DELIMITERS)
        .into_iter()
        .filter_map(missing)
        .collect()
}

/// Returns the unknown filters, tests and lookups of an expression.
pub(crate) fn unknown_in_expression(text: &str) -> Vec<Unknown> {
    source::names_in_expression(text)
        .into_iter()
        .filter_map(missing)
        .collect()
}

/// Checks the lookup of a loop, such as `dict` of `with_dict`. Returns it if it is unknown.
pub(crate) fn unknown_lookup(name: &str) -> Option<Unknown> {
    missing(Named::Lookup(source::without_builtin(name)))
}

fn missing(named: Named<'_>) -> Option<Unknown> {
    let (filters, tests) = engine::names();
    let (what, name, is_known) = match named {
        Named::Filter(name) => ("filter", name, filters.contains(&name)),
        Named::Test(name) => ("test", name, tests.contains(&name)),
        Named::Lookup(name) => ("lookup", name, lookups::NAMES.contains(&name)),
    };
    (!is_known).then(|| Unknown {
        what,
        name: name.to_owned(),
        help: help(what, name),
    })
}

/// Returns what to use instead of a filter, test or lookup that is known and refused.
fn help(what: &str, name: &str) -> Option<&'static str> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let found = REFUSED
        .iter()
        .find(|(kind, known, _)| *kind == what && *known == short);
    found.map(|(_, _, help)| *help).or_else(|| {
        name.contains('.')
            .then_some("filters, tests and lookups of collections are not supported")
    })
}

/// What to do instead of filters for IP addresses.
const ADDRESSES: &str = "write the result into a variable, or compute it with `command`";

const WINDOWS: &str = "Windows is not supported";

const VAULT: &str = "encrypt and decrypt with `ansible-vault`";

/// The filters, tests and lookups that are known and refused: kind, name, and what to do instead.
const REFUSED: &[(&str, &str, &str)] = &[
    ("filter", "ipaddr", ADDRESSES),
    ("filter", "ipv4", ADDRESSES),
    ("filter", "ipv6", ADDRESSES),
    ("filter", "ipwrap", ADDRESSES),
    ("filter", "ipsubnet", ADDRESSES),
    ("filter", "ipmath", ADDRESSES),
    ("filter", "nthhost", ADDRESSES),
    ("filter", "network_in_usable", ADDRESSES),
    ("filter", "next_nth_usable", ADDRESSES),
    ("filter", "cidr_merge", ADDRESSES),
    ("filter", "hwaddr", ADDRESSES),
    ("filter", "win_basename", WINDOWS),
    ("filter", "win_dirname", WINDOWS),
    ("filter", "win_splitdrive", WINDOWS),
    ("filter", "vault", VAULT),
    ("filter", "unvault", VAULT),
    ("lookup", "unvault", VAULT),
    ("filter", "xmlattr", "write the attributes themselves"),
    ("filter", "urlize", "write the links themselves"),
    ("lookup", "config", "write the setting itself"),
    (
        "test",
        "started",
        "no task is left running in the background, so there is nothing to ask",
    ),
    (
        "test",
        "finished",
        "no task is left running in the background, so there is nothing to ask",
    ),
    ("test", "timedout", "look at `failed`, and at `msg`"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<(&'static str, String, Option<&'static str>)> {
        let unknown = unknown(text).into_iter();
        unknown
            .map(|unknown| (unknown.what, unknown.name, unknown.help))
            .collect()
    }

    #[test]
    fn unknown_filters_tests_and_lookups_are_found_before_a_template_is_rendered() {
        assert_eq!(
            named("{{ a | upper | map('lower') | select('defined') }}{{ lookup('env', 'X') }}"),
            []
        );
        assert_eq!(
            named("{{ a | uper }}"),
            [("filter", "uper".to_owned(), None)]
        );
        assert_eq!(
            named("{{ a is not definde }}"),
            [("test", "definde".to_owned(), None)]
        );
        assert_eq!(
            named("{{ a | map('nope') | reject('nopes') }}{{ q('nopel') }}").len(),
            3
        );
        assert_eq!(named("{% filter nope %}{% endfilter %}").len(), 1);
        assert_eq!(
            named("{{ a | ansible.utils.ipaddr('net') }}")[0].2,
            Some(ADDRESSES)
        );
        assert_eq!(named("{{ a | win_dirname }}")[0].2, Some(WINDOWS));
        assert!(named("{{ a | my.own.filter }}")[0].2.is_some());
        assert_eq!(unknown_in_expression("a is nope and b")[0].name, "nope");
        assert_eq!(unknown_lookup("ansible.builtin.dict"), None);
        let missing = unknown_lookup("dicts").expect("there is none");
        assert!(missing.known().contains(&"dict"));
    }
}
