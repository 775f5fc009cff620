//! The facts of a host, as variables.

use std::collections::BTreeMap;

use minijinja::Value;

use crate::templates::map_of_names;

/// The variable that holds all facts.
const ALL: &str = "ansible_facts";

/// Adds facts to variables, which hold those that are known already. Each is set under its own name, and within
/// `ansible_facts` without the prefix `ansible_`.
pub(crate) fn add_facts(variables: &mut BTreeMap<String, Value>, facts: Vec<(String, Value)>) {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    if let Some(before) = variables.get(ALL) {
        for key in before.try_iter().into_iter().flatten() {
            if let (Some(name), Ok(value)) = (key.as_str(), before.get_item(&key)) {
                all.insert(name.to_owned(), value);
            }
        }
    }
    for (name, value) in facts {
        let short = name.strip_prefix("ansible_").unwrap_or(&name);
        all.insert(short.to_owned(), value.clone());
        variables.insert(name, value);
    }
    variables.insert(ALL.to_owned(), map_of_names(all.into_iter().collect()));
}
