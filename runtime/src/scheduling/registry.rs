//! What is known of each kind of task: how parallel it may be, and under which limits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::hints::ParallelizationHint;
use super::priority::Priority;
use crate::Error;
use crate::scheduling::closest;

/// What a module declares for the jobs that run it and say nothing themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Module {
    /// How parallel its jobs may be.
    pub hint: ParallelizationHint,
    /// How many slots each of them fills.
    pub slots: u32,
    /// How urgent they are.
    pub priority: Priority,
    /// The named limits they count against.
    pub limits: Vec<String>,
}

impl Default for Module {
    fn default() -> Self {
        Self {
            hint: ParallelizationHint::default(),
            slots: 1,
            priority: Priority::default(),
            limits: Vec::new(),
        }
    }
}

impl Module {
    /// Makes a module with this hint and no other wishes.
    pub fn new(hint: ParallelizationHint) -> Self {
        Self {
            hint,
            ..Self::default()
        }
    }

    /// How parallel its jobs may be.
    pub fn parallelization_hint(&self) -> &ParallelizationHint {
        &self.hint
    }
}

impl fmt::Display for Module {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.hint)?;
        if self.slots != 1 {
            write!(out, ", {} slots", self.slots)?;
        }
        if self.priority != Priority::default() {
            write!(out, ", priority {:?}", self.priority)?;
        }
        if !self.limits.is_empty() {
            write!(out, ", limits {}", self.limits.join(" and "))?;
        }
        Ok(())
    }
}

/// The modules there are, by name.
///
/// It fails closed: a name that nobody registered is refused, because to take it as fully parallel
/// would be to run it without the limits that its author meant.
///
/// ```
/// use ratchet_runtime::{Module, ModuleRegistry, ParallelizationHint};
///
/// let mut modules = ModuleRegistry::with_builtins();
/// modules.register("apt", Module::new(ParallelizationHint::HostExclusive))?;
///
/// let apt = modules.get("apt")?;
/// assert_eq!(apt.parallelization_hint(), &ParallelizationHint::HostExclusive);
/// assert_eq!(
///     modules.get("atp").unwrap_err().to_string(),
///     "unknown module `atp`, did you mean `apt`?",
/// );
/// assert!(modules.register("apt", Module::new(ParallelizationHint::Alone)).is_err());
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ModuleRegistry {
    modules: BTreeMap<String, Module>,
}

impl ModuleRegistry {
    /// Makes a registry without modules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a registry of the tasks of the built-in worker, all of them fully parallel.
    pub fn with_builtins() -> Self {
        let names = ["burn", "command", "echo", "fail", "flaky", "sleep"];
        let modules = names.map(|name| (name.to_owned(), Module::default()));
        Self {
            modules: modules.into(),
        }
    }

    /// Add a module. The same declaration twice is one; a different one of the same name is
    /// refused, with both shown.
    pub fn register(&mut self, name: impl Into<String>, module: Module) -> Result<(), Error> {
        module.hint.quota()?;
        if module.slots == 0 {
            return Err(Error::InvalidLimit {
                reason: "a module of 0 slots would escape every limit; the least is 1",
            });
        }
        match self.modules.entry(name.into()) {
            Entry::Vacant(place) => {
                place.insert(module);
                Ok(())
            }
            Entry::Occupied(place) if *place.get() == module => Ok(()),
            Entry::Occupied(place) => Err(Error::ModuleConflict {
                name: place.key().clone(),
                first: place.get().to_string(),
                second: module.to_string(),
            }),
        }
    }

    /// Returns the module of this name.
    pub fn get(&self, name: &str) -> Result<&Module, Error> {
        self.modules.get(name).ok_or_else(|| Error::UnknownModule {
            name: name.to_owned(),
            suggestion: closest(name, self.names()).map(str::to_owned),
        })
    }

    /// Whether there is a module of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.modules.contains_key(name)
    }

    /// Iterates over all names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::BuiltinTask;

    #[test]
    fn a_conflict_shows_both_and_changes_nothing() {
        let mut modules = ModuleRegistry::new();
        let limited = Module {
            limits: vec!["db".into(), "api".into()],
            ..Module::new(ParallelizationHint::rate_limited(5.0))
        };
        modules.register("ec2", limited.clone()).unwrap();
        modules.register("ec2", limited.clone()).unwrap();
        let heavy = Module {
            slots: 2,
            ..Module::new(ParallelizationHint::GlobalExclusive)
        };
        let error = modules.register("ec2", heavy).unwrap_err();
        assert_eq!(
            error.to_string(),
            "module `ec2` is declared twice: rate_limited to 5/s with burst 1, limits db and api, \
             and global_exclusive, 2 slots"
        );
        assert_eq!(modules.get("ec2").unwrap(), &limited);
    }

    #[test]
    fn what_could_never_run_is_not_registered() {
        let mut modules = ModuleRegistry::new();
        let never = Module::new(ParallelizationHint::rate_limited(0.0));
        assert!(modules.register("never", never).is_err());
        let weightless = Module {
            slots: 0,
            ..Module::default()
        };
        assert!(modules.register("weightless", weightless).is_err());
        assert!(!modules.contains("never") && !modules.contains("weightless"));
    }

    #[test]
    fn the_builtins_are_those_of_the_built_in_worker() {
        let modules = ModuleRegistry::with_builtins();
        let names: Vec<&str> = modules.names().collect();
        let mut tasks = BuiltinTask::ALL.map(BuiltinTask::name);
        tasks.sort_unstable();
        assert_eq!(names, tasks);
    }
}
