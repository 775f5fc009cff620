//! Selects the hosts and the tasks of a play.

use ratchet_input::InputError;
use ratchet_input::inventory::Inventory;
use ratchet_input::inventory::pattern::{self, Pattern};
use ratchet_input::value::closest;

use crate::configuration::Configuration;
use crate::language::Play;

/// The names of the controller, which is a host even without an inventory.
const LOCALHOST: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The hosts of a play, and the names that are not in the inventory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SelectedHosts {
    pub(crate) names: Vec<String>,
    pub(crate) unknown: Vec<String>,
}

/// Selects the hosts that a play names, restricted to those within the limit.
pub(crate) fn hosts(play: &Play, inventory: &Inventory, limit: Option<&Limit>) -> SelectedHosts {
    let mut hosts = matching(&play.hosts.join(","), inventory);
    if let Some(limit) = limit {
        hosts.names.retain(|name| limit.names.contains(name));
    }
    hosts
}

/// The hosts to which the command line limits the run.
#[derive(Debug)]
pub(crate) struct Limit {
    /// The pattern as it was typed.
    text: String,
    names: Vec<String>,
}

impl Limit {
    /// Returns the pattern as it was typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Parses a pattern, or returns why it is refused. Each of its names has to be in the inventory.
    pub(crate) fn new(text: &str, inventory: &Inventory) -> Result<Self, InputError> {
        let refused = |reason| InputError::new(format!("--limit {text}: {reason}"));
        let patterns = pattern::with_files(text).map_err(refused)?;
        Pattern::parse(&patterns).map_err(refused)?;
        let hosts = matching(&patterns, inventory);
        let Some(unknown) = hosts.unknown.first() else {
            return Ok(Self {
                text: text.to_owned(),
                names: hosts.names,
            });
        };
        let message = match unknown.strip_prefix('@') {
            Some(name) => format!("--limit {text}: `{name}` is neither a file nor a group"),
            None => format!("--limit {text}: no host or group `{unknown}` is in the inventory"),
        };
        let error = InputError::new(message);
        let known = inventory.hosts().map(|(_, host)| host.name.as_str());
        let known = known.chain(inventory.groups().map(|group| group.name.as_str()));
        Err(match closest(unknown, known.collect::<Vec<_>>()) {
            Some(meant) => error.with_help(format!("did you mean `{meant}`?")),
            None => error,
        })
    }
}

fn matching(text: &str, inventory: &Inventory) -> SelectedHosts {
    let Ok(pattern) = Pattern::parse(text) else {
        return SelectedHosts::default();
    };
    let (selected, mut unknown) = pattern.select_known(inventory);
    let mut names: Vec<String> = selected
        .into_iter()
        .map(|host| inventory.get_host(host).name.clone())
        .collect();
    unknown.retain(|name| {
        let is_here = LOCALHOST.contains(&name.as_str());
        if is_here {
            names.push(name.clone());
        }
        !is_here
    });
    SelectedHosts { names, unknown }
}

/// Selects the tasks that run, by their tags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tags {
    /// If not empty, only tasks with one of these tags run.
    pub(crate) only: Vec<String>,
    /// Tasks with one of these tags do not run.
    pub(crate) skip: Vec<String>,
}

impl Tags {
    /// Returns the tags of the settings.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        Self {
            only: configuration.run_tags.clone(),
            skip: configuration.skip_tags.clone(),
        }
    }

    /// Whether a task with these tags runs. They include the tags that it inherits.
    pub(crate) fn select(&self, tags: &[String]) -> bool {
        let has = |word: &str| tags.iter().any(|tag| tag == word);
        let is_tagged = !tags.is_empty();
        let matches = |wanted: &[String]| {
            let mut wanted = wanted.iter();
            wanted.any(|wanted| match wanted.as_str() {
                "tagged" => is_tagged,
                "untagged" => !is_tagged,
                word => has(word),
            })
        };
        let wants = |word: &str| self.only.iter().any(|wanted| wanted == word);
        let runs = if has("always") {
            true
        } else if self.only.is_empty() || wants("all") {
            !has("never") || matches(&self.only)
        } else {
            let by_name = self.only.iter().filter(|wanted| *wanted != "tagged");
            let by_name: Vec<String> = by_name.cloned().collect();
            matches(&by_name) || (wants("tagged") && is_tagged && !has("never"))
        };
        let skips = |word: &str| self.skip.iter().any(|wanted| wanted == word);
        let is_skipped = if skips("all") {
            !has("always") || skips("always")
        } else {
            matches(&self.skip)
        };
        runs && !is_skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_choose_tasks() {
        let words = |text: &str| -> Vec<String> {
            let words = text.split_whitespace();
            words.map(str::to_owned).collect()
        };
        for (only, skip, task, runs) in [
            ("", "", "", true),
            ("", "", "never", false),
            ("all", "", "a", true),
            ("a", "", "a b", true),
            ("a", "", "b", false),
            ("a", "", "always", true),
            ("a", "", "", false),
            ("never", "", "never", true),
            ("a", "", "never a", true),
            ("tagged", "", "a", true),
            ("tagged", "", "never", false),
            ("tagged", "", "", false),
            ("untagged", "", "", true),
            ("untagged", "", "a", false),
            ("", "a", "a b", false),
            ("", "a", "always", true),
            ("", "always", "always", false),
            ("", "all", "a", false),
            ("", "all", "always", true),
            ("", "tagged", "", true),
            ("", "tagged", "a", false),
            ("", "untagged", "", false),
        ] {
            let tags = Tags {
                only: words(only),
                skip: words(skip),
            };
            assert_eq!(
                tags.select(&words(task)),
                runs,
                "--tags {only} --skip-tags {skip}: {task}"
            );
        }
    }
}
