//! The variables of hosts: those of the inventory, and those of files next to the playbook, in their order of
//! precedence.

use std::collections::HashMap;
use std::path::Path;

use ratchet_input::InputError;
use ratchet_input::inventory::{ALL, GroupIndex, HostIndex, Inventory, files_of_variables};

use crate::data::{Data, Value};
use crate::templates::Layer;

/// The variables of all hosts of an inventory. Each file is read once, and each layer is built once.
#[derive(Debug, Default)]
pub(crate) struct HostVariables {
    groups: HashMap<GroupIndex, OfGroup>,
    hosts: HashMap<HostIndex, OfHost>,
}

/// The layers of a group, by their sources.
#[derive(Debug, Default)]
struct OfGroup {
    inventory: Layer,
    inventory_files: Layer,
    playbook_files: Layer,
}

/// The layers of a host, by their sources.
#[derive(Debug, Default)]
struct OfHost {
    inventory: Layer,
    inventory_files: Layer,
    playbook_files: Layer,
}

impl HostVariables {
    /// Reads the files of variables next to a playbook. `read` reads one file, and records the problems in it.
    pub(crate) fn new(
        inventory: &Inventory,
        folder: &Path,
        mut read: impl FnMut(&Path) -> Option<Data>,
    ) -> Result<Self, InputError> {
        let mut variables = Self::default();
        let mut of_files = |kind: &str, name: &str| -> Result<Layer, InputError> {
            let mut entries = Vec::new();
            for path in files_of_variables(&folder.join(kind), name)? {
                if let Some(Data {
                    value: Value::Map(more),
                    ..
                }) = read(&path)
                {
                    entries.extend(more);
                }
            }
            // Of two entries with one name, the later one wins.
            entries.reverse();
            Ok(Layer::from(entries))
        };
        for group in inventory.groups() {
            if let Some(index) = inventory.find_group(&group.name) {
                let of_group = OfGroup {
                    inventory: Layer::from(group.own_variables()),
                    inventory_files: Layer::from(group.file_variables()),
                    playbook_files: of_files("group_vars", &group.name)?,
                };
                variables.groups.insert(index, of_group);
            }
        }
        for (index, host) in inventory.hosts() {
            let of_host = OfHost {
                inventory: Layer::from(host.own_variables()),
                inventory_files: Layer::from(host.file_variables()),
                playbook_files: of_files("host_vars", &host.name)?,
            };
            variables.hosts.insert(index, of_host);
        }
        Ok(variables)
    }

    /// Returns the layers of a host. Each overrides those before it. Facts and the variables of plays override all of
    /// them.
    pub(crate) fn layers(&self, inventory: &Inventory, host: HostIndex) -> Vec<Layer> {
        let groups = inventory.ranked_groups_of(host);
        let is_all = |group: &GroupIndex| inventory.get_group(*group).name == ALL;
        let (all, others): (Vec<GroupIndex>, Vec<GroupIndex>) =
            groups.iter().partition(|group| is_all(group));
        let mut layers = Vec::new();
        let mut add = |groups: &[GroupIndex], of: fn(&OfGroup) -> &Layer| {
            let known = groups.iter().filter_map(|group| self.groups.get(group));
            layers.extend(known.map(of).cloned());
        };
        add(&all, |group| &group.inventory);
        add(&others, |group| &group.inventory);
        add(&all, |group| &group.inventory_files);
        add(&all, |group| &group.playbook_files);
        add(&others, |group| &group.inventory_files);
        add(&others, |group| &group.playbook_files);
        if let Some(host) = self.hosts.get(&host) {
            layers.extend(
                [&host.inventory, &host.inventory_files, &host.playbook_files].map(Clone::clone),
            );
        }
        layers.retain(|layer| !layer.is_empty());
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Files;
    use crate::templates::{Variables, to_json_text};

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }

    fn parsed(files: &mut Files, path: &Path) -> Option<Data> {
        let file = files.open(path).expect("it can be read");
        let (source, problems) = files.get(file);
        let node = ratchet_input::document::ansible_node(&source, problems)?;
        Some(Data::read(node, file, problems))
    }

    #[test]
    fn variables_of_hosts_count_in_the_order_of_ansible() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let (inventory, playbook) = (
            folder.path().join("inventory"),
            folder.path().join("playbook"),
        );
        write(
            &inventory.join("hosts"),
            "[web]\nw1 host=inventory\n[all:vars]\nall=1\nweb=1\nplain=all\nt={{ name }}\n[web:vars]\nweb=2\nin_all=2\n",
        );
        write(
            &inventory.join("group_vars/all.yml"),
            "in_all: 3\nin_web: 3\nhost_file: 3\nname: '{{ deep.x }}'\n",
        );
        write(
            &playbook.join("group_vars/all/b.yml"),
            "in_all: 4\nin_web: 4\ndeep: {x: templated}\n",
        );
        write(&playbook.join("group_vars/all/a.yml"), "in_all: 0\n");
        write(
            &inventory.join("group_vars/web"),
            "in_web: 5\nhost: group\nboth: 5\n",
        );
        write(
            &playbook.join("group_vars/web.yml"),
            "both: 6\nhost_file: 6\nsecret: !unsafe '{{ x }}'\n",
        );
        write(
            &inventory.join("host_vars/w1.yml"),
            "host_file: 7\nlast: 7\n",
        );
        write(&playbook.join("host_vars/w1/x.json"), "{\"last\": 8}");
        let sources = [inventory.join("hosts").display().to_string()];
        let inventory = ratchet_input::inventory::load(&sources).expect("it is right");
        let mut files = Files::default();
        let variables = HostVariables::new(&inventory, &playbook, |path| parsed(&mut files, path))
            .expect("they can be read");
        let host = inventory.find_host("w1").expect("it is there");
        let layers = variables.layers(&inventory, host).into_iter();
        let variables = layers.fold(Variables::default(), |variables, layer| {
            variables.layered(layer)
        });
        for (name, expected) in [
            ("all", "1"),
            ("plain", r#""all""#),
            ("web", "2"),
            ("in_all", "4"),
            ("in_web", "5"),
            ("both", "6"),
            ("host", r#""inventory""#),
            ("host_file", "7"),
            ("last", "8"),
            ("t", r#""templated""#),
            ("secret", r#""{{ x }}""#),
        ] {
            let value = variables
                .get(name)
                .expect("it is right")
                .expect("it is there");
            assert_eq!(to_json_text(&value), expected, "{name}");
        }
    }
}
