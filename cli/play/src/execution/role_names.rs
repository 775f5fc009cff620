//! The magic variables that name the roles of a play.

use minijinja::Value;

use super::stages;
use crate::language::{Block, Play, Step};

/// The names of the roles of a play.
#[derive(Debug, Clone, Default)]
pub(super) struct RoleNames {
    /// The roles in the list `roles`, then those that tasks import, then those that tasks have included.
    used: Vec<String>,
    /// The roles that others depend on.
    needed: Vec<String>,
}

impl RoleNames {
    /// Collects the names of the roles that a play uses from the beginning.
    pub(super) fn of(play: &Play) -> Self {
        let mut names = Self::default();
        let listed = play.roles.iter().filter_map(|step| match step {
            Step::Block(block) => block.role.as_deref(),
            Step::Task(_) => None,
        });
        names.used.extend(listed.map(|role| role.name.clone()));
        for block in stages::roles(play) {
            names.add_block(&block);
        }
        names
    }

    /// Adds an included role, with the roles that it depends on. Returns whether any of them is new.
    pub(super) fn add(&mut self, block: &Block) -> bool {
        let before = self.used.len() + self.needed.len();
        let mut found = Vec::new();
        stages::roles_in(&block.steps, &mut found);
        for inner in found {
            self.add_block(&inner);
        }
        self.add_block(block);
        self.used.len() + self.needed.len() > before
    }

    fn add_block(&mut self, block: &Block) {
        let Some(role) = &block.role else {
            return;
        };
        let names = if role.is_dependency {
            &mut self.needed
        } else {
            &mut self.used
        };
        if !names.contains(&role.name) {
            names.push(role.name.clone());
        }
    }

    /// Returns the variables with these names.
    pub(super) fn magic(&self) -> [(String, Value); 4] {
        let mut all = self.needed.clone();
        all.extend(self.used.iter().cloned());
        let mut each_once: Vec<String> = Vec::new();
        for name in all {
            if !each_once.contains(&name) {
                each_once.push(name);
            }
        }
        [
            ("role_names", &self.used),
            ("ansible_play_role_names", &self.used),
            ("ansible_dependent_role_names", &self.needed),
            ("ansible_role_names", &each_once),
        ]
        .map(|(name, names)| (name.to_owned(), Value::from(names.clone())))
    }
}
