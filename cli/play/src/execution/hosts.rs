//! The variables that hosts have before a play: those of the inventory and of the files next to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use minijinja::Value;
use ratchet_input::inventory::{self, HostSource};

use super::known_hosts::KnownHost;
use super::machine::Machine;
use crate::host_variables::HostVariables;
use crate::language::{Play, layer_of_localhost};
use crate::templates::Layer;

impl Machine {
    /// Reads the variables of hosts from the inventory, and from the files next to it and next to a playbook.
    pub(super) fn read_host_variables(&mut self, play: &Play) {
        if self.folder.as_deref() == Some(play.folder.as_path()) {
            return;
        }
        self.folder = Some(play.folder.clone());
        let (reader, place) = (&mut self.reader, play.place);
        let read = |path: &Path| reader.data_at(path, place);
        match HostVariables::new(&self.inventory, &play.folder, read) {
            Ok(variables) => self.of_hosts = variables,
            Err(error) => self.warn(error.to_string()),
        }
        if let Err(reason) = self.reader.take_error_text() {
            self.warn(reason);
        }
        let names = self.inventory.hosts().map(|(_, host)| host.name.clone());
        for name in names.collect::<Vec<_>>() {
            self.know(&name);
        }
    }

    /// Reads the variables of all hosts again, because the inventory has other hosts and groups now.
    pub(super) fn hosts_have_new_variables(&mut self) {
        let play = self.current.as_ref().map(|run| Arc::clone(&run.play));
        self.folder = None;
        if let Some(play) = play {
            self.read_host_variables(&play);
        }
    }

    /// Reads the sources of the inventory again. This removes hosts that tasks have added, and later plays see the
    /// hosts that are new.
    pub(super) fn refresh_inventory(&mut self) {
        let vault = self.reader.vault();
        let decrypt = |text: &str| vault.decrypt(text).map(|plain| plain.to_string());
        match inventory::load_with(&self.options.settings.inventory, &decrypt) {
            Ok(inventory) => {
                self.inventory = Arc::new(inventory);
                self.hosts_have_new_variables();
                self.groups_changed();
            }
            Err(error) => self.warn(format!("the inventory stays as it is: {error}")),
        }
    }

    /// Loads the variables that the inventory defines for a host.
    pub(super) fn know(&mut self, name: &str) {
        let mut before = self.known.get(name).unwrap_or_default();
        if before.facts.is_empty() {
            before.forget_facts();
        }
        let (inventory, groups) = match self.inventory.find_host(name) {
            Some(index) => {
                let mut layers = self.of_hosts.layers(&self.inventory, index);
                if layers.is_empty() {
                    // A host that a task has added has no files of variables.
                    layers = vec![Layer::from(&self.inventory.variables_of(index))];
                }
                let mut groups = self.inventory.groups_of(index);
                groups.retain(|group| group != "all");
                groups.sort_unstable();
                (layers, groups)
            }
            // The controller, which is a host even without an inventory.
            None => (vec![layer_of_localhost()], Vec::new()),
        };
        let short = name.split('.').next().unwrap_or(name);
        let mut magic = BTreeMap::new();
        let source = self.inventory.find_host(name);
        let source = source.and_then(|index| self.inventory.get_host(index).source());
        let (file, folder) = match source {
            Some(HostSource::File(path)) => {
                let folder = path.parent().unwrap_or(path).display().to_string();
                (path.display().to_string().into(), folder.into())
            }
            Some(HostSource::List(text)) => (Value::from(&**text), Value::from(())),
            None => (Value::from(()), Value::from(())),
        };
        magic.insert("inventory_file".to_owned(), file);
        magic.insert("inventory_dir".to_owned(), folder);
        magic.insert("inventory_hostname".to_owned(), Value::from(name));
        magic.insert("inventory_hostname_short".to_owned(), Value::from(short));
        magic.insert("group_names".to_owned(), Value::from(groups));
        let usual = ["ansible_host", "ansible_ssh_host"];
        let usual = usual.map(|variable| (variable.to_owned(), Value::from(name)));
        let host = KnownHost {
            inventory,
            usual: Arc::new(usual.into()),
            magic: Arc::new(magic),
            ..before
        };
        self.known.insert(name, host);
    }
}
