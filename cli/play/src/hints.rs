//! Parallelization hints: which tasks may run at the same time as others.

use std::collections::HashMap;

use ratchet_runtime::ParallelizationHint;

use crate::known_modules::{FULLY_PARALLEL, GLOBAL_EXCLUSIVE, HOST_EXCLUSIVE};

/// What a registry knows about a module before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleEntry {
    hint: ParallelizationHint,
}

impl ModuleEntry {
    /// Makes an entry for a module with this hint.
    pub fn new(hint: ParallelizationHint) -> Self {
        Self { hint }
    }

    /// Returns the hint of the module.
    pub fn parallelization_hint(&self) -> ParallelizationHint {
        self.hint.clone()
    }
}

/// The hints of modules. A module that is not in the registry shares the rate of its cloud provider if its name begins
/// with that of a cloud collection; otherwise it runs one task at a time on each host.
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

/// The prefixes of the names of modules that call the API of a cloud, with the name of the provider.
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

/// How many calls per second the API of a cloud accepts.
const CLOUD_RATE: f64 = 10.0;

impl ModuleRegistry {
    /// Makes a registry of the modules of Ansible, and of the most common clouds and clusters.
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

    /// Adds a module, or replaces its entry.
    pub fn register(&mut self, name: impl Into<String>, module: ModuleEntry) {
        let name: String = name.into();
        let name = crate::language::builtin(&name).to_owned();
        self.entries.insert(name, module);
    }

    /// Returns the entry of a module; `None` if the registry has none.
    pub fn get(&self, name: &str) -> Option<&ModuleEntry> {
        self.entries.get(crate::language::builtin(name))
    }

    /// Returns the hint of a module, whether the registry has an entry for it or not.
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
