//! Lookups in CSV and INI files.

use minijinja::{Error, Value};

use super::super::function_arguments::{FunctionArguments, wrong};
use super::super::regex::{compiled, failed};
use super::super::values::text_of;
use super::super::variables::Variables;
use super::files::text_of_file;
use super::inline_options;
use crate::ini::{Ini, IniDialect};

/// The options of a term, which are in the term or in separate arguments.
struct Options<'a> {
    given: &'a FunctionArguments,
    inline: Vec<(String, String)>,
}

impl Options<'_> {
    fn text(&self, name: &str, usual: &str) -> String {
        let inline = self.inline.iter().find(|(known, _)| known == name);
        let inline = inline.map(|(_, value)| value.clone());
        inline
            .or_else(|| self.given.text(name))
            .unwrap_or_else(|| usual.to_owned())
    }

    fn flag(&self, name: &str) -> bool {
        match self.inline.iter().find(|(known, _)| known == name) {
            Some((_, value)) => {
                matches!(value.to_lowercase().as_str(), "true" | "yes" | "on" | "1")
            }
            None => self.given.flag(name) == Some(true),
        }
    }

    fn place(&self, name: &str, usual: usize) -> Result<usize, Error> {
        let text = self.text(name, &usual.to_string());
        text.parse()
            .map_err(|_| wrong(format!("`{name}` is the number of a column, not {text}")))
    }

    fn default(&self) -> Option<Value> {
        match self.inline.iter().find(|(known, _)| known == "default") {
            Some((_, value)) => Some(Value::from(value.as_str())),
            None => self
                .given
                .value("default")
                .filter(|default| !default.is_none())
                .cloned(),
        }
    }

    /// Files are always read as UTF-8, so any other encoding is refused.
    fn check_encoding(&self) -> Result<(), Error> {
        match self.text("encoding", "utf-8").to_lowercase().as_str() {
            "utf-8" | "utf8" | "ascii" => Ok(()),
            other => Err(wrong(format!("files are read as utf-8, not {other}"))),
        }
    }
}

/// Returns a column of the row whose key is a term.
pub(super) fn csv(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms {
        let (key, inline) = inline_options(&text_of(term));
        let options = Options { given, inline };
        options.check_encoding()?;
        let delimiter = match options.text("delimiter", "TAB").as_str() {
            "TAB" => b'\t',
            one if one.len() == 1 => one.as_bytes()[0],
            other => {
                return Err(wrong(format!(
                    "`delimiter` is one character, not `{other}`"
                )));
            }
        };
        let (column, key_column) = (options.place("col", 1)?, options.place("keycol", 0)?);
        let file = options.text("file", "ansible.csv");
        let text = text_of_file(&file, "files", variables)?;
        let mut reader = ::csv::ReaderBuilder::new();
        let mut reader = reader
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut value = options.default();
        for row in reader.records() {
            let row = row.map_err(|error| wrong(format!("`{file}` is not a table: {error}")))?;
            if row.get(key_column) == Some(&key) {
                let cell = row.get(column);
                value =
                    Some(cell.map(Value::from).ok_or_else(|| {
                        wrong(format!("the row of `{key}` has no column {column}"))
                    })?);
                break;
            }
        }
        found.extend(value);
    }
    Ok(found)
}

/// Returns the values of keys in a section of an INI file, or in a properties file.
pub(super) fn ini(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for term in terms {
        let (key, inline) = inline_options(&text_of(term));
        let options = Options { given, inline };
        options.check_encoding()?;
        let file = options.text("file", "ansible.ini");
        let mut text = text_of_file(&file, "files", variables)?;
        let mut section = options.text("section", "global");
        if options.text("type", "ini") == "properties" {
            "properties".clone_into(&mut section);
            text = format!("[properties]\n{text}");
        }
        let minds_case = options.flag("case_sensitive");
        let allows_none = options.flag("allow_no_value") || options.flag("allow_none");
        let form = IniDialect {
            minds_case,
            allows_none,
            ..IniDialect::default()
        };
        let entries = section_of(&text, &section, form);
        let entries = entries.map_err(|reason| wrong(format!("`{file}`: {reason}")))?;
        if options.flag("re") {
            let regex = compiled(&format!(r"\A(?:{key})"), false, false)?;
            for (name, value) in entries {
                if regex.is_match(&name).map_err(failed)? {
                    found.push(Value::from(value));
                }
            }
            continue;
        }
        let name = if minds_case { key } else { key.to_lowercase() };
        let value = entries.into_iter().rfind(|(known, _)| *known == name);
        found.push(match value {
            Some((_, value)) => Value::from(value),
            None => options.default().unwrap_or_else(|| Value::from("")),
        });
    }
    Ok(found)
}

/// Returns the entries of a section, after those of the section `DEFAULT`, which apply to all sections.
fn section_of(text: &str, wanted: &str, form: IniDialect) -> Result<Vec<(String, String)>, String> {
    let ini = Ini::parse(text, form)?;
    if wanted != "DEFAULT" && !ini.sections.iter().any(|name| name == wanted) {
        return Err(format!("there is no section `{wanted}`"));
    }
    let of = |section: &str| -> Vec<(String, String)> {
        let settings = ini
            .settings
            .iter()
            .filter(|setting| setting.section == section);
        settings
            .map(|setting| (setting.name.clone(), setting.value.clone()))
            .collect()
    };
    let mut entries = of("DEFAULT");
    if wanted != "DEFAULT" {
        entries.extend(of(wanted));
    }
    Ok(entries)
}
