//! The variables of hosts while playbooks run: those of the inventory, facts, and results that tasks have registered.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

use crate::facts::add_facts;
use crate::templates::{Layer, Variables, map_of_names, undefined};
use crate::vault::Vault;

/// Values of variables by their names.
pub(super) type Values = Arc<BTreeMap<String, Value>>;

/// The variables of all hosts. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownHosts(Arc<RwLock<HostTable>>);

/// The variables of all hosts, and those of the command line.
#[derive(Debug, Default)]
struct HostTable {
    /// The variables of the command line, which take precedence over those of any host.
    extra: Layer,
    /// Decrypts variables.
    vault: Arc<Vault>,
    /// The hosts by their names.
    variables: HashMap<String, KnownHost>,
    /// The names in the order of the inventory.
    names: Vec<String>,
}

/// The variables of one host. Readers share each part.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownHost {
    /// The variables of the inventory, and of the files next to it and the playbook. The last layer takes precedence.
    pub(super) inventory: Vec<Layer>,
    /// The address of the host in the variables of its tasks, for the case that no variable sets it.
    pub(super) usual: Values,
    /// The magic variables that are the same in every play: the name of the host and its groups.
    pub(super) magic: Values,
    /// The facts, each under its own name and all of them as `ansible_facts`.
    pub(super) facts: Values,
    /// The variables of files that tasks have included, the latest last.
    pub(super) included: Vec<Layer>,
    /// The results that tasks have registered.
    pub(super) registered: Values,
    /// The variables that tasks have set by `set_fact`.
    pub(super) assigned: Values,
}

impl KnownHosts {
    /// Makes an empty table with these variables of the command line.
    pub(super) fn new(extra: Layer, vault: Arc<Vault>) -> Self {
        let hosts = HostTable {
            extra,
            vault,
            ..HostTable::default()
        };
        Self(Arc::new(RwLock::new(hosts)))
    }

    /// Adds a host, or replaces its variables.
    pub(super) fn insert(&self, name: &str, variables: KnownHost) {
        let mut hosts = self.write();
        if hosts.variables.insert(name.to_owned(), variables).is_none() {
            hosts.names.push(name.to_owned());
        }
    }

    /// Returns the variables of a host, by their sources.
    pub(super) fn get(&self, name: &str) -> Option<KnownHost> {
        self.read().variables.get(name).cloned()
    }

    /// Changes the variables of a host.
    pub(super) fn update(&self, name: &str, change: impl FnOnce(&mut KnownHost)) {
        if let Some(host) = self.write().variables.get_mut(name) {
            change(host);
        }
    }

    // Each change is a single assignment, so a panic elsewhere cannot leave a host half changed.
    fn read(&self) -> RwLockReadGuard<'_, HostTable> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HostTable> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the variables of a host as other hosts see them, outside of any play.
    pub(super) fn variables_of(&self, name: &str) -> Option<Variables> {
        let hosts = self.read();
        let host = hosts.variables.get(name)?;
        let mut variables =
            Variables::new(hosts.extra.clone()).with_vault(Arc::clone(&hosts.vault));
        for layer in &host.inventory {
            variables = variables.layered(layer.clone());
        }
        variables = variables.with_values(Arc::clone(&host.facts));
        let hostvars = HostvarsVariable(self.clone());
        Some(
            host.results_above(variables)
                .with_magic(Arc::clone(&host.magic))
                .with_magic_object(Arc::new(hostvars)),
        )
    }
}

/// The variables that the results of tasks have set on a host.
#[derive(Debug, Clone)]
pub(super) struct SetVariables {
    facts: Values,
    included: Vec<Layer>,
    assigned: Values,
}

impl KnownHost {
    /// Returns the variables that the results of tasks have set so far.
    pub(super) fn set_variables(&self) -> SetVariables {
        SetVariables {
            facts: Arc::clone(&self.facts),
            included: self.included.clone(),
            assigned: Arc::clone(&self.assigned),
        }
    }

    /// Sets the variables of the results of tasks back to what they were.
    pub(super) fn set_back(&mut self, before: SetVariables) {
        self.facts = before.facts;
        self.included = before.included;
        self.assigned = before.assigned;
    }

    /// Adds the variables that tasks have set on top of others: included files, registered results, and those of
    /// `set_fact`.
    pub(super) fn results_above(&self, variables: Variables) -> Variables {
        let mut variables = variables;
        for layer in &self.included {
            variables = variables.layered(layer.clone());
        }
        variables
            .with_values(Arc::clone(&self.registered))
            .with_values(Arc::clone(&self.assigned))
    }

    /// Adds facts. Each is also set under its own name, with the prefix `ansible_`.
    pub(super) fn set_facts(&mut self, facts: Vec<(String, Value)>) {
        add_facts(Arc::make_mut(&mut self.facts), facts);
    }

    /// Forgets all facts.
    pub(super) fn forget_facts(&mut self) {
        let none = ("ansible_facts".to_owned(), map_of_names(Vec::new()));
        self.facts = Arc::new(BTreeMap::from([none]));
    }

    /// Sets a variable to the result of a task.
    pub(super) fn register(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.registered).insert(name.to_owned(), value);
    }

    /// Sets variables as `set_fact` does.
    pub(super) fn assign(&mut self, values: Vec<(String, Value)>) {
        Arc::make_mut(&mut self.assigned).extend(values);
    }
}

/// The variable `hostvars` on its own, for the variables of other hosts.
#[derive(Debug)]
pub(super) struct HostvarsVariable(pub(super) KnownHosts);

impl Object for HostvarsVariable {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str()? == "hostvars").then(|| Value::from_object(AllHosts(self.0.clone())))
    }

    /// Lists nothing, so that `hostvars` is not listed among the variables. Otherwise, listing the variables of one host
    /// would contain those of all hosts, each of which would contain them again, without end.
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }
}

/// The map `hostvars`: the variables of each host by its name.
#[derive(Debug)]
struct AllHosts(KnownHosts);

impl Object for AllHosts {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let variables = self.0.variables_of(key.as_str()?)?;
        Some(variables.as_map())
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let found = self.get_value(&Value::from(key));
        found.or_else(|| Some(undefined(format!("hostvars.{key}"))))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names = self.0.read().names.clone();
        Enumerator::Values(names.into_iter().map(Value::from).collect())
    }
}
