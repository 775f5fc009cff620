//! What is known of the hosts of the inventory before a play.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use minijinja::Value;
use ratchet_input::inventory;

use super::known_hosts::KnownHost;
use super::machine::Machine;
use crate::host_variables::HostVariables;
use crate::language::{Play, layer_of_localhost};
use crate::templates::Layer;

impl Machine {
    /// Takes in what the inventory, and the files beside it and beside a playbook, say of hosts.
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

    /// Takes the variables of all hosts in anew, because the inventory has other hosts and groups now.
    pub(super) fn hosts_have_new_variables(&mut self) {
        let play = self.current.as_ref().map(|run| Arc::clone(&run.play));
        self.folder = None;
        if let Some(play) = play {
            self.read_host_variables(&play);
        }
    }

    /// Reads the sources of the inventory again. Hosts that tasks have added are gone then, and the plays that follow know those
    /// that are new.
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

    /// Loads what the inventory says about a host.
    pub(super) fn know(&mut self, name: &str) {
        let mut before = self.known.get(name).unwrap_or_default();
        if before.facts.is_empty() {
            before.forget_facts();
        }
        let (inventory, groups) = match self.inventory.find_host(name) {
            Some(index) => {
                let mut layers = self.of_hosts.layers(&self.inventory, index);
                if layers.is_empty() {
                    // A host that a task has added is in no file.
                    layers = vec![Layer::from(&self.inventory.variables_of(index))];
                }
                let mut groups = self.inventory.groups_of(index);
                groups.retain(|group| group != "all");
                groups.sort_unstable();
                (layers, groups)
            }
            // The machine of the controller, which is there without an inventory.
            None => (vec![layer_of_localhost()], Vec::new()),
        };
        let short = name.split('.').next().unwrap_or(name);
        let mut magic = BTreeMap::new();
        magic.insert("inventory_hostname".to_owned(), Value::from(name));
        magic.insert("inventory_hostname_short".to_owned(), Value::from(short));
        magic.insert("group_names".to_owned(), Value::from(groups));
        let host = KnownHost {
            inventory,
            magic: Arc::new(magic),
            ..before
        };
        self.known.insert(name, host);
    }
}
