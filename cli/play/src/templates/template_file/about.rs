//! The variables that a template has about itself.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use minijinja::Value;

use super::super::filters;
use super::super::variables::{Variables, render};

/// The name of the variable that says that a file is not to be changed by hand.
const MANAGED: &str = "ansible_managed";

/// Adds the variables of a template about itself: its path and owner, its age, and `ansible_managed` unless that is
/// set. `source` is the name by which the task finds it, and `dest` the file that it becomes.
pub(crate) fn with_template_variables(
    variables: &Variables,
    source: &str,
    path: &Path,
    dest: Option<&str>,
) -> Result<Variables, String> {
    let unreadable = |error| format!("`{}` cannot be read: {error}", path.display());
    let about = std::fs::metadata(path).map_err(unreadable)?;
    let changed = about.modified().map_err(unreadable)?;
    let full = std::path::absolute(path).map_err(unreadable)?;
    let host = rustix::system::uname();
    let now = filters::now(false, None).map_err(|error| error.to_string())?;
    let values = [
        ("template_path", Value::from(source)),
        ("template_fullpath", Value::from(full.display().to_string())),
        ("template_destpath", Value::from(dest)),
        (
            "template_host",
            Value::from(host.nodename().to_string_lossy().into_owned()),
        ),
        ("template_uid", owner(&about)),
        ("template_mtime", filters::date_of(changed)),
        ("template_run_date", now),
    ];
    let values: BTreeMap<String, Value> = values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let variables = variables.with_magic(Arc::new(values));
    if variables.lazy(MANAGED).is_some() {
        return Ok(variables);
    }
    let managed =
        managed(&variables, changed).map_err(|reason| format!("`{MANAGED}`: {reason}"))?;
    let managed = BTreeMap::from([(MANAGED.to_owned(), managed)]);
    Ok(variables.with_magic(Arc::new(managed)))
}

/// Returns the name of the user to whom a file belongs, or the number of a user without a name.
fn owner(about: &Metadata) -> Value {
    let number = about.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2) == Some(&number.as_str()));
    match found.and_then(|fields| fields.first().map(|name| (*name).to_owned())) {
        Some(name) => Value::from(name),
        None => Value::from(about.uid()),
    }
}

/// Makes the value of `ansible_managed` from the text in the settings. `{file}`, `{host}` and `{uid}` in it stand for
/// the template, and `%Y` and the like for the time at which that was changed last.
fn managed(variables: &Variables, changed: SystemTime) -> Result<Value, String> {
    let text = variables.search().settings.managed.as_str();
    let text = text
        .replace("{file}", "{{ template_path }}")
        .replace("{host}", "{{ template_host }}")
        .replace("{uid}", "{{ template_uid }}");
    // In a template, `%` also begins and ends statements.
    let text = if text.contains("{%") {
        text
    } else {
        filters::strftime(&text, changed).map_err(|error| error.to_string())?
    };
    render(&text, variables).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::super::{ControllerSettings, SearchPath, text_of};
    use super::*;

    /// What a template knows if the settings have this text for `ansible_managed`.
    fn known(managed: &str, own: &str, name: &str) -> String {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("page.j2");
        std::fs::write(&path, "x").expect("it can be written");
        let file = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("it is there");
        let noon = UNIX_EPOCH + Duration::from_hours(200 * 24 + 12);
        file.set_modified(noon).expect("it can be changed");
        let settings = ControllerSettings {
            managed: managed.to_owned(),
            ..ControllerSettings::default()
        };
        let search = SearchPath {
            settings: Arc::new(settings),
            ..SearchPath::default()
        };
        let mut variables = Variables::default().with_search(Arc::new(search));
        if !own.is_empty() {
            let own = BTreeMap::from([(MANAGED.to_owned(), Value::from(own))]);
            variables = variables.with_values(Arc::new(own));
        }
        let variables = with_template_variables(&variables, "page.j2", &path, Some("/x"));
        let variables = variables.expect("the file is there");
        let value = render(&format!("{{{{ {name} }}}}"), &variables);
        text_of(&value.expect("it is defined"))
    }

    #[test]
    fn the_text_of_managed_files_names_the_template_and_its_age() {
        let host = known("", "", "template_host");
        let owner = known("", "", "template_uid");
        assert_eq!(
            known("{file} of %Y by {uid} on {host}", "", MANAGED),
            format!("page.j2 of 1970 by {owner} on {host}")
        );
        assert_eq!(known("Ansible managed", "", MANAGED), "Ansible managed");
        assert_eq!(
            known("Ansible managed", "100 % {file}", MANAGED),
            "100 % {file}"
        );
        assert_eq!(known("", "", "template_destpath"), "/x");
        assert_eq!(known("", "", "template_mtime.year"), "1970");
    }
}
