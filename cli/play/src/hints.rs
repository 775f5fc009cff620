//! How parallel the modules of tasks may be.

use std::collections::HashMap;

use ratchet_runtime::ParallelizationHint;

use crate::known_modules::{FULLY_PARALLEL, GLOBAL_EXCLUSIVE, HOST_EXCLUSIVE};

/// What is known of a module before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleEntry {
    hint: ParallelizationHint,
}

impl ModuleEntry {
    /// Makes an entry for a module that may be this parallel.
    pub fn new(hint: ParallelizationHint) -> Self {
        Self { hint }
    }

    /// How parallel the module may be.
    pub fn parallelization_hint(&self) -> ParallelizationHint {
        self.hint.clone()
    }
}

/// The hints of modules. A module that the registry does not know runs once a host at a time.
///
/// ```
/// use ratchet_play::{ModuleEntry, ModuleRegistry};
/// use ratchet_runtime::ParallelizationHint;
///
/// let mut registry = ModuleRegistry::with_builtins();
/// assert_eq!(registry.hint("ansible.builtin.apt"), ParallelizationHint::HostExclusive);
/// assert_eq!(registry.hint("debug"), ParallelizationHint::FullyParallel);
/// assert_eq!(registry.hint("my_module"), ParallelizationHint::HostExclusive);
///
/// registry.register("my_module", ModuleEntry::new(ParallelizationHint::GlobalExclusive));
/// let entry = registry.get("my_module").unwrap();
/// assert_eq!(entry.parallelization_hint(), ParallelizationHint::GlobalExclusive);
/// ```
#[derive(Debug, Clone, Default)]
pub struct ModuleRegistry {
    entries: HashMap<String, ModuleEntry>,
}

/// The beginnings of the names of modules that call the interface of a cloud, with the name of the provider.
const CLOUDS: &[(&str, &str)] = &[
    ("amazon.aws.", "aws"),
    ("community.aws.", "aws"),
    ("ec2", "aws"),
    ("aws_", "aws"),
    ("s3_", "aws"),
    ("azure.azcollection.", "azure"),
    ("azure_rm_", "azure"),
    ("google.cloud.", "gcp"),
    ("gcp_", "gcp"),
    ("openstack.cloud.", "openstack"),
    ("os_", "openstack"),
    ("community.digitalocean.", "digitalocean"),
    ("digital_ocean", "digitalocean"),
    ("hetzner.hcloud.", "hcloud"),
    ("hcloud_", "hcloud"),
    ("linode.cloud.", "linode"),
    ("vultr.cloud.", "vultr"),
    ("community.vmware.", "vmware"),
    ("community.dns.", "dns"),
    ("cloudflare_dns", "cloudflare"),
];

/// How many calls a second the interface of a cloud takes.
const CLOUD_RATE: f64 = 10.0;

impl ModuleRegistry {
    /// Makes a registry that knows the modules of Ansible, and the clouds and clusters that are used most.
    pub fn with_builtins() -> Self {
        let mut registry = Self::default();
        for (names, hint) in [
            (FULLY_PARALLEL, ParallelizationHint::FullyParallel),
            (HOST_EXCLUSIVE, ParallelizationHint::HostExclusive),
            (GLOBAL_EXCLUSIVE, ParallelizationHint::GlobalExclusive),
        ] {
            for name in names {
                registry.register(*name, ModuleEntry::new(hint.clone()));
            }
        }
        registry
    }

    /// Adds a module, or replaces what was known of it.
    pub fn register(&mut self, name: impl Into<String>, module: ModuleEntry) {
        let name: String = name.into();
        let name = crate::language::builtin(&name).to_owned();
        self.entries.insert(name, module);
    }

    /// What the registry knows of a module.
    pub fn get(&self, name: &str) -> Option<&ModuleEntry> {
        self.entries.get(crate::language::builtin(name))
    }

    /// How parallel a module may be, whether the registry knows it or not.
    pub fn hint(&self, name: &str) -> ParallelizationHint {
        if let Some(module) = self.get(name) {
            return module.parallelization_hint();
        }
        let name = crate::language::builtin(name);
        let cloud = CLOUDS.iter().find(|(start, _)| name.starts_with(start));
        match cloud {
            Some((_, provider)) => ParallelizationHint::RateLimited {
                requests_per_second: CLOUD_RATE,
                burst: 1,
                key: Some((*provider).to_owned()),
            },
            None => ParallelizationHint::HostExclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_a_cloud_share_the_rate_of_their_provider() {
        let registry = ModuleRegistry::with_builtins();
        let key = |name: &str| match registry.hint(name) {
            ParallelizationHint::RateLimited { key, .. } => key,
            _ => None,
        };
        assert_eq!(key("ec2").as_deref(), Some("aws"));
        assert_eq!(key("amazon.aws.ec2_instance").as_deref(), Some("aws"));
        assert_eq!(key("azure_rm_subnet").as_deref(), Some("azure"));
        assert_eq!(key("apt"), None);
    }

    #[test]
    fn names_with_and_without_their_collection_are_one_module() {
        let registry = ModuleRegistry::with_builtins();
        for name in ["user", "ansible.builtin.user", "ansible.legacy.user"] {
            assert_eq!(registry.hint(name), ParallelizationHint::HostExclusive);
        }
        assert_eq!(
            registry.hint("etcd_member"),
            ParallelizationHint::GlobalExclusive
        );
    }
}
