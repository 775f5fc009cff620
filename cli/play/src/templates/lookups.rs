//! Lookups: values that expressions and loops read from elsewhere.

mod commands;
mod files;
mod password;
mod sequence;
mod tables;
mod values;
mod web;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::errors::one_line;
use super::function_arguments::{FunctionArguments, wrong};
use super::rendered_values::finished;
use super::source::without_builtin;
use super::undefined::{TemplateError, Undefined};
use super::variables::{Variables, render, render_data};
use crate::data::{self, Data};

/// The names of the supported lookups.
pub(super) const NAMES: [&str; 29] = [
    "community.general.flattened",
    "config",
    "csvfile",
    "dict",
    "env",
    "file",
    "fileglob",
    "first_found",
    "flattened",
    "indexed_items",
    "ini",
    "inventory_hostnames",
    "items",
    "lines",
    "list",
    "nested",
    "password",
    "pipe",
    "random_choice",
    "sequence",
    "subelements",
    "template",
    "together",
    "unvault",
    "url",
    "varnames",
    "vars",
    "cartesian",
    "community.general.cartesian",
];

/// Evaluates a lookup. Each term may give any number of values.
#[cfg(test)]
fn lookup(name: &str, terms: &[Value], variables: &Variables) -> Result<Vec<Value>, TemplateError> {
    let named = no_options();
    run(name, terms, &named, variables, "").map_err(|error| TemplateError::Wrong(one_line(&error)))
}

/// Returns the items of a loop such as `with_dict`. Its value is the list of terms, or a single term.
///
/// `module` is the module of the task, which determines where `first_found` searches for files.
pub(crate) fn loop_items(
    name: &str,
    terms: &Data,
    variables: &Variables,
    module: &str,
) -> Result<Vec<Value>, TemplateError> {
    let name = without_builtin(name);
    let rendered = match name {
        "first_found" => render_known(terms, variables)?,
        _ => render_data(terms, variables)?,
    };
    let terms = match rendered.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let members = rendered
                .try_iter()
                .map_err(|error| TemplateError::Wrong(one_line(&error)))?;
            members.collect()
        }
        _ => vec![rendered],
    };
    let kinds = ["template", "var", "file"];
    let kind = kinds
        .into_iter()
        .find(|kind| module.contains(kind))
        .unwrap_or("file");
    let found = run(name, &terms, &no_options(), variables, &format!("{kind}s"));
    found.map_err(|error| TemplateError::Wrong(one_line(&error)))
}

/// Renders a value, and leaves out members of lists that are undefined.
fn render_known(data: &Data, variables: &Variables) -> Result<Value, TemplateError> {
    let known = |rendered: Result<Value, TemplateError>| match rendered {
        Err(TemplateError::Undefined(_)) => None,
        other => Some(other),
    };
    match &data.value {
        data::Value::List(members) => {
            let rendered = members
                .iter()
                .filter_map(|member| known(render_known(member, variables)));
            rendered.collect::<Result<Vec<_>, _>>().map(Value::from)
        }
        data::Value::Map(entries) => {
            let mut pairs = Vec::new();
            for entry in entries {
                if let Some(value) = known(render_known(&entry.data, variables)) {
                    pairs.push((Value::from(entry.name.as_str()), value?));
                }
            }
            Ok(super::maps::plain_map_of(pairs))
        }
        data::Value::Text(text) => render(text, variables),
        _ => render_data(data, variables),
    }
}

/// Performs the functions `lookup` and `query` of templates. `query` always returns a list.
pub(super) fn call(
    is_query: bool,
    name: &str,
    terms: &Rest<Value>,
    named: &Kwargs,
    variables: &Variables,
) -> Result<Value, Error> {
    let name = without_builtin(name);
    if !NAMES.contains(&name) {
        return Err(wrong(format!("there is no lookup `{name}`")));
    }
    // A lookup with an undefined term is not evaluated: it could run a command.
    let is_undefined =
        |value: &Value| value.is_undefined() || value.downcast_object_ref::<Undefined>().is_some();
    if let Some(term) = terms.iter().find(|term| is_undefined(term)) {
        return Ok(term.clone());
    }
    let wants_list: Option<Value> = named.get("wantlist")?;
    let wants_list = is_query || wants_list.is_some_and(|wants| wants.is_true());
    let errors: Option<String> = named.get("errors")?;
    let others: Kwargs = named
        .args()
        .filter(|name| !matches!(*name, "wantlist" | "errors"))
        .map(|name| Ok((name, named.get::<Value>(name)?)))
        .collect::<Result<_, Error>>()?;
    let mut plain = Vec::with_capacity(terms.len());
    for term in terms.iter() {
        plain.push(finished(term).map_err(|error| wrong(error.to_string()))?);
    }
    let found = match (
        run(name, &plain, &others, variables, ""),
        errors.as_deref().unwrap_or("strict"),
    ) {
        (Ok(found), _) => found,
        (Err(error), "strict") => return Err(error),
        (Err(_), "ignore" | "warn") if wants_list => Vec::new(),
        (Err(_), "ignore" | "warn") => return Ok(Value::from(())),
        (Err(_), other) => {
            return Err(wrong(format!(
                "`errors` is strict, warn or ignore, not {other}"
            )));
        }
    };
    if wants_list {
        return Ok(Value::from(found));
    }
    Ok(match &found[..] {
        [only] => only.clone(),
        [] => Value::from(found),
        several => {
            let texts: Option<Vec<&str>> = several.iter().map(Value::as_str).collect();
            texts.map_or_else(
                || Value::from(found.clone()),
                |texts| Value::from(texts.join(",")),
            )
        }
    })
}

fn run(
    name: &str,
    terms: &[Value],
    named: &Kwargs,
    variables: &Variables,
    kind: &str,
) -> Result<Vec<Value>, Error> {
    let options = |names| FunctionArguments::new(name, names, &Rest(Vec::new()), named);
    match without_builtin(name) {
        "items" => Ok(values::flat_once(terms)),
        "list" => Ok(terms.to_vec()),
        "flattened" | "community.general.flattened" => Ok(values::flat(terms)),
        "dict" => values::pairs(terms),
        "together" => values::together(terms),
        "nested" | "cartesian" | "community.general.cartesian" => values::nested(terms),
        "subelements" => values::subelements(terms),
        "indexed_items" => Ok(values::indexed(terms)),
        "random_choice" => values::random_choice(terms),
        "sequence" => sequence::sequence(
            terms,
            &options(&["start", "end", "stride", "count", "format"])?,
        ),
        "vars" => values::variables(terms, &options(&["default"])?, variables),
        "varnames" => values::names(terms, variables),
        "inventory_hostnames" => values::hosts(terms, variables),
        "env" => values::environment(terms, &options(&["default"])?),
        "file" => files::contents(terms, &options(&["lstrip", "rstrip"])?, variables),
        "unvault" => {
            let _none = options(&[])?;
            files::whole_contents(terms, variables)
        }
        "config" => values::settings(terms, &options(&["on_missing", "missing"])?, variables),
        "fileglob" => Ok(files::glob(terms, variables)),
        "first_found" => files::first_found(
            terms,
            &options(&["files", "paths", "skip"])?,
            variables,
            kind,
        ),
        "template" => files::template(
            terms,
            &options(&[
                "convert_data",
                "template_vars",
                "variable_start_string",
                "variable_end_string",
                "comment_start_string",
                "comment_end_string",
                "trim_blocks",
                "lstrip_blocks",
                "jinja2_native",
            ])?,
            variables,
        ),
        "pipe" => commands::pipe(terms, variables),
        "lines" => commands::lines(terms, variables),
        "csvfile" => tables::csv(
            terms,
            &options(&["file", "delimiter", "col", "keycol", "default", "encoding"])?,
            variables,
        ),
        "ini" => tables::ini(
            terms,
            &options(&[
                "file",
                "section",
                "type",
                "re",
                "default",
                "encoding",
                "case_sensitive",
                "allow_no_value",
                "allow_none",
                "interpolation",
            ])?,
            variables,
        ),
        "password" => password::password(
            terms,
            &options(&["length", "chars", "encrypt", "ident", "seed"])?,
            variables,
        ),
        "url" => web::url(
            terms,
            &options(&[
                "split_lines",
                "validate_certs",
                "username",
                "password",
                "headers",
                "timeout",
                "force",
                "http_agent",
                "follow_redirects",
                "use_proxy",
                "ca_path",
                "force_basic_auth",
            ])?,
        ),
        other => Err(wrong(format!("there is no lookup `{other}`"))),
    }
}

/// Splits `term name=value ..` into the term and the options in it. Values may be in quotes.
fn inline_options(term: &str) -> (String, Vec<(String, String)>) {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for character in term.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if character == ' ' => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    let mut rest = Vec::new();
    let mut options = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains('/') => {
                options.push((name.to_owned(), value.to_owned()));
            }
            _ => rest.push(word),
        }
    }
    (rest.join(" ").trim().to_owned(), options)
}

fn no_options() -> Kwargs {
    std::iter::empty::<(&str, Value)>().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::probes::{parsed, variables};
    use super::super::{SearchPath, to_json_text};
    use super::*;

    fn items(name: &str, terms: &str, variables: &Variables, module: &str) -> String {
        match loop_items(name, &parsed(terms), variables, module) {
            Ok(items) => to_json_text(&Value::from(items)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_loop_by_lookup_takes_what_stands_below_it_as_its_terms() {
        let variables = variables();
        for (name, terms, expected) in [
            ("items", "[1, [2, [3]], '{{ n }}']", "[1,2,[3],5]"),
            ("items", "'{{ words }}'", r#"["b","a","c"]"#),
            ("items", "x", r#"["x"]"#),
            ("ansible.builtin.items", "[a, '{{ omit }}']", r#"["a"]"#),
            ("dict", "{a: '{{ n }}'}", r#"[{"key":"a","value":5}]"#),
            ("nested", "[[1, 2], [a]]", r#"[[1,"a"],[2,"a"]]"#),
            (
                "together",
                "[[1, 2], '{{ words }}']",
                r#"[[1,"b"],[2,"a"],[null,"c"]]"#,
            ),
            ("sequence", "start=1 end=2 format=h%d", r#"["h1","h2"]"#),
            ("indexed_items", "[a]", r#"[[0,"a"]]"#),
            ("flattened", "[[1, [2]], 3]", "[1,2,3]"),
            ("items", "['{{ nowhere }}']", "`nowhere` is undefined"),
            ("nope", "[1]", "there is no lookup `nope`"),
        ] {
            assert_eq!(
                items(name, terms, &variables, "debug"),
                expected,
                "{name} {terms}"
            );
        }
        let found = lookup("items", &[Value::from(vec![1, 2])], &variables);
        assert_eq!(found, Ok(vec![Value::from(1), Value::from(2)]));
    }

    #[test]
    fn settings_are_looked_up_by_the_names_that_ansible_gives_them() {
        let settings = super::super::ControllerSettings {
            values: [("DEFAULT_FORKS", Value::from(7))].into(),
            ..Default::default()
        };
        let search = SearchPath {
            settings: Arc::new(settings),
            ..SearchPath::default()
        };
        let variables = variables().with_search(Arc::new(search));
        let looked_up = |text: &str| {
            let value = render(text, &variables);
            value.map_or_else(|error| error.to_string(), |value| to_json_text(&value))
        };
        assert_eq!(looked_up("{{ lookup('config', 'DEFAULT_FORKS') }}"), "7");
        let missing =
            looked_up("{{ query('config', 'NOPE', 'DEFAULT_FORKS', on_missing='skip') }}");
        assert_eq!(missing, "[7]");
        let refused = looked_up("{{ lookup('config', 'NOPE') }}");
        assert!(refused.contains("knows no setting `NOPE`"), "{refused}");
        let refused = looked_up("{{ lookup('config', 'NOPE', plugin_type='shell') }}");
        assert!(refused.contains("plugin_type"), "{refused}");
    }

    #[test]
    fn first_found_looks_in_the_folder_of_the_module_and_passes_over_what_is_undefined() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().canonicalize().expect("it is there");
        for name in ["templates", "vars"] {
            std::fs::create_dir(path.join(name)).expect("it can be made");
            std::fs::write(path.join(name).join("x"), name).expect("it can be written");
        }
        let search = SearchPath {
            folders: vec![path.clone()],
            ..SearchPath::default()
        };
        let variables = variables().with_search(Arc::new(search));
        let terms = "[{files: ['{{ nowhere }}.yml', x]}]";
        for (module, folder) in [
            ("ansible.builtin.template", "templates"),
            ("include_vars", "vars"),
        ] {
            let expected = serde_json::json!([path.join(folder).join("x")]).to_string();
            assert_eq!(items("first_found", terms, &variables, module), expected);
        }
        let said = items("first_found", terms, &variables, "copy");
        assert_eq!(said, "none of these files exists: x");
    }
}
