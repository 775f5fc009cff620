//! Lists what playbooks would do: their plays, hosts, tasks and tags, in the format of Ansible.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ratchet_input::escape::plain;
use ratchet_input::inventory::Inventory;

use crate::language::{Keyword, Play, Playbook, Step, Task};
use crate::selection::{self, Limit, Tags};

/// The parts of each play that are listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlayListing {
    /// The hosts that it selects.
    pub hosts: bool,
    /// The tasks, without those that are included while the play runs.
    pub tasks: bool,
    /// The tags of its tasks.
    pub tags: bool,
}

/// Lists the plays of playbooks. Returns the text, and the names in `hosts` that are not in the inventory.
pub(crate) fn listing(
    playbooks: &[Playbook],
    inventory: &Inventory,
    limit: Option<&Limit>,
    tags: &Tags,
    listed: PlayListing,
) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut unknown = Vec::new();
    let shows_plays = listed.hosts || listed.tasks || listed.tags;
    for playbook in playbooks {
        let _ = writeln!(text, "\nplaybook: {}", plain(&playbook.name));
        let plays = playbook.plays.iter().filter(|_| shows_plays);
        for (number, play) in (1..).zip(plays) {
            let own: BTreeSet<String> = play.tags().into_iter().collect();
            let _ = writeln!(
                text,
                "\n  play #{number} ({}): {}\tTAGS: [{}]",
                plain(&play.hosts.join(",")),
                plain(&play.name),
                joined(&own, ","),
            );
            if listed.hosts {
                let selected = selection::hosts(play, inventory, limit);
                let patterns: Vec<_> = play.hosts.iter().map(|host| format!("'{host}'")).collect();
                let _ = writeln!(text, "    pattern: [{}]", plain(&patterns.join(", ")));
                let _ = writeln!(text, "    hosts ({}):", selected.names.len());
                for name in &selected.names {
                    let _ = writeln!(text, "      {}", plain(name));
                }
                let new = selected.unknown.into_iter();
                let new: Vec<_> = new.filter(|name| !unknown.contains(name)).collect();
                unknown.extend(new);
            }
            if listed.tasks || listed.tags {
                tasks(play, tags, listed, &own, &mut text);
            }
        }
    }
    (text, unknown)
}

fn tasks(play: &Play, tags: &Tags, listed: PlayListing, own: &BTreeSet<String>, text: &mut String) {
    if listed.tasks {
        text.push_str("    tasks:\n");
    }
    let mut all = own.clone();
    for steps in play.sections() {
        walk(steps, own, &mut |step, of_task| {
            let of_task: Vec<String> = of_task.iter().cloned().collect();
            if !tags.select(&of_task) {
                return;
            }
            all.extend(of_task.iter().cloned());
            if listed.tasks {
                let of_task: BTreeSet<_> = of_task.into_iter().collect();
                let _ = writeln!(
                    text,
                    "      {}\tTAGS: [{}]",
                    plain(&title(step)),
                    joined(&of_task, ", ")
                );
            }
        });
    }
    if listed.tags {
        let _ = writeln!(text, "      TASK TAGS: [{}]", joined(&all, ", "));
    }
}

/// Calls a function for each task with its tags, including those that it inherits.
fn walk(steps: &[Step], tags: &BTreeSet<String>, found: &mut impl FnMut(&Task, &BTreeSet<String>)) {
    for step in steps {
        let settings = match step {
            Step::Task(task) => &task.settings,
            Step::Block(block) => &block.settings,
        };
        let mut own = tags.clone();
        own.extend(settings.tags());
        match step {
            Step::Task(task) => found(task, &own),
            Step::Block(block) => walk(&block.steps, &own, found),
        }
    }
}

/// Returns the name of a task with that of its role, or its module if it has no name.
fn title(task: &Task) -> String {
    match (task.settings.text(Keyword::Name), &task.role) {
        (Some(name), Some(role)) => format!("{} : {name}", role.name),
        (Some(name), None) => name,
        (None, _) => task.module.clone(),
    }
}

fn joined(tags: &BTreeSet<String>, between: &str) -> String {
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    plain(&tags.join(between)).into_owned()
}
