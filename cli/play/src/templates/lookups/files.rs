//! Lookups of files on the controller.

use std::path::Path;
use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::super::filters::{expanded_user, from_yaml, normal};
use super::super::function_arguments::{FunctionArguments, kind, members, wrong};
use super::super::template_file::{TemplateOptions, template_file, with_template_variables};
use super::super::values::text_of;
use super::super::variables::Variables;
use super::super::{from_json_text, glob as globs};
use crate::programs::{self, Program};

/// Returns the text of the file that a term names.
pub(super) fn text_of_file(
    term: &str,
    folder: &str,
    variables: &Variables,
) -> Result<String, Error> {
    let name = expanded_user(term)?;
    let Some(path) = variables.search().find(folder, &name) else {
        let looked = variables.search().candidates(folder, &name);
        let looked: Vec<String> = looked
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(wrong(format!(
            "there is no file `{term}`; looked for {}",
            looked.join(", ")
        )));
    };
    let unreadable =
        |reason: String| wrong(format!("`{}` cannot be read: {reason}", path.display()));
    let bytes = read(&path).map_err(unreadable)?;
    let bytes = variables.vault().plain(bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))
}

/// Returns the content of a file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Reading a pipe may wait for whoever writes to it, so a program does it.
    if std::fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        let mut cat = Program::new("cat");
        cat.arguments = vec!["--".into(), path.into()];
        let output = programs::output(&cat)?;
        match output.failure {
            None => Ok(output.stdout),
            Some(_) => Err(output.stderr.trim().to_owned()),
        }
    } else {
        std::fs::read(path).map_err(|error| error.to_string())
    }
}

/// Returns the contents of files.
pub(super) fn contents(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let mut texts = Vec::new();
    for term in terms {
        let mut text = text_of_file(&text_of(term), "files", variables)?;
        if given.flag("lstrip") == Some(true) {
            text.drain(..text.len() - text.trim_start().len());
        }
        if given.flag("rstrip") != Some(false) {
            text.truncate(text.trim_end().len());
        }
        texts.push(Value::from(text));
    }
    Ok(texts)
}

/// Returns the contents of files as they are, for the lookup `unvault`.
pub(super) fn whole_contents(terms: &[Value], variables: &Variables) -> Result<Vec<Value>, Error> {
    let texts = terms
        .iter()
        .map(|term| text_of_file(&text_of(term), "files", variables).map(Value::from));
    texts.collect()
}

/// Returns the files that patterns match.
pub(super) fn glob(terms: &[Value], variables: &Variables) -> Vec<Value> {
    let mut found = Vec::new();
    for term in terms {
        let term = text_of(term);
        let (folder, name) = term.rsplit_once('/').unwrap_or(("", &term));
        let search = variables.search();
        let folders = match (folder, term.starts_with('/')) {
            ("", false) => search.candidates("files", ""),
            ("", true) => vec!["/".into()],
            _ => search.find("files", folder).into_iter().collect(),
        };
        let files = folders
            .iter()
            .map(|folder| globs::files(&folder.join(name)));
        let first = files.into_iter().find(|files| !files.is_empty());
        found.extend(
            first
                .into_iter()
                .flatten()
                .map(|path| Value::from(path.display().to_string())),
        );
    }
    found
}

/// Returns the first of several files that exists.
pub(super) fn first_found(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
    folder: &str,
) -> Result<Vec<Value>, Error> {
    let mut names = Vec::new();
    let mut skips = given.flag("skip") == Some(true);
    let (files, paths) = (listed(given.value("files"))?, listed(given.value("paths"))?);
    if terms.is_empty() {
        combine(&files, &paths, &mut names);
    }
    add_names(terms, &paths, &mut skips, &mut names)?;
    for name in &names {
        if let Some(path) = variables.search().find(folder, &expanded_user(name)?) {
            let here = std::path::absolute(&path).unwrap_or(path);
            return Ok(vec![Value::from(normal(&here.display().to_string()))]);
        }
    }
    if skips {
        return Ok(Vec::new());
    }
    let looked = names.join(", ");
    Err(wrong(format!("none of these files exists: {looked}")))
}

fn add_names(
    terms: &[Value],
    paths: &[String],
    skips: &mut bool,
    names: &mut Vec<String>,
) -> Result<(), Error> {
    for term in terms {
        match term.kind() {
            ValueKind::String => combine(&parts(&text_of(term), ",;"), paths, names),
            ValueKind::Map => {
                let item = |name: &str| term.get_item(&Value::from(name));
                *skips |= item("skip")?.is_true();
                let files = listed(Some(&item("files")?))?;
                let paths = listed(Some(&item("paths")?))?;
                combine(&files, &paths, names);
            }
            ValueKind::Seq | ValueKind::Iterable => {
                add_names(&members(term)?, paths, skips, names)?;
            }
            _ => {
                return Err(wrong(format!(
                    "`first_found` takes files, not {}",
                    kind(term)
                )));
            }
        }
    }
    Ok(())
}

/// Returns the names in an option, which may be a list, or a comma-separated text.
fn listed(option: Option<&Value>) -> Result<Vec<String>, Error> {
    match option {
        None => Ok(Vec::new()),
        Some(option) if option.is_undefined() || option.is_none() => Ok(Vec::new()),
        Some(option) if option.as_str().is_some() => Ok(parts(&text_of(option), ",;")),
        Some(option) => Ok(members(option)?
            .iter()
            .flat_map(|member| parts(&text_of(member), ",;"))
            .collect()),
    }
}

fn parts(text: &str, separators: &str) -> Vec<String> {
    text.split(|character| separators.contains(character))
        .map(str::to_owned)
        .collect()
}

fn combine(files: &[String], paths: &[String], names: &mut Vec<String>) {
    let paths: Vec<String> = paths.iter().flat_map(|path| parts(path, ",:;")).collect();
    if paths.is_empty() {
        names.extend(files.iter().cloned());
    }
    for path in paths {
        let folder = Path::new(&path);
        names.extend(
            files
                .iter()
                .map(|file| folder.join(file).display().to_string()),
        );
    }
}

/// Renders template files.
pub(super) fn template(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let mut variables = variables.clone();
    if let Some(more) = given
        .value("template_vars")
        .filter(|more| more.kind() == ValueKind::Map)
    {
        let mut values = std::collections::BTreeMap::new();
        for key in more.try_iter()? {
            values.insert(text_of(&key), more.get_item(&key)?);
        }
        variables = variables.with_magic(Arc::new(values));
    }
    let usual = TemplateOptions::default();
    let pair = |pair: (String, String), kind: &str| {
        let start = given.text(&format!("{kind}_start_string"));
        let end = given.text(&format!("{kind}_end_string"));
        (start.unwrap_or(pair.0), end.unwrap_or(pair.1))
    };
    let options = TemplateOptions {
        trim_blocks: given.flag("trim_blocks").unwrap_or(usual.trim_blocks),
        lstrip_blocks: given.flag("lstrip_blocks").unwrap_or(usual.lstrip_blocks),
        variable: pair(usual.variable, "variable"),
        comment: pair(usual.comment, "comment"),
        folders: variables.search().template_folders(),
        ..TemplateOptions::default()
    };
    let mut rendered = Vec::new();
    for term in terms {
        let name = text_of(term);
        let text = text_of_file(&name, "templates", &variables)?;
        let path = variables.search().find("templates", &expanded_user(&name)?);
        let own = match path {
            Some(path) => with_template_variables(&variables, &name, &path, None).map_err(wrong)?,
            None => variables.clone(),
        };
        let text =
            template_file(&text, &own, &options).map_err(|error| wrong(error.to_string()))?;
        let converts =
            given.flag("convert_data") == Some(true) && text.trim_start().starts_with(['{', '[']);
        rendered.push(if converts {
            from_json_text(&text).or_else(|_| from_yaml(&text))?
        } else {
            Value::from(text)
        });
    }
    Ok(rendered)
}
