//! The modules that are known by name, grouped by their parallelization hints.

/// Modules that leave a host unchanged, that change only the thing that they are given, or that run on the controller.
pub(crate) const FULLY_PARALLEL: &[&str] = &[
    "add_host",
    "assemble",
    "assert",
    "command",
    "copy",
    "debug",
    "expect",
    "fail",
    "fetch",
    "file",
    "find",
    "gather_facts",
    "get_url",
    "getent",
    "git",
    "group_by",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "mount_facts",
    "package_facts",
    "pause",
    "ping",
    "raw",
    "script",
    "service_facts",
    "set_fact",
    "set_stats",
    "setup",
    "shell",
    "slurp",
    "stat",
    "subversion",
    "tempfile",
    "template",
    "unarchive",
    "uri",
    "validate_argument_spec",
    "wait_for",
    "wait_for_connection",
];

/// Modules that change something of which a host has only one: its packages, services, users, and lines of files.
pub(crate) const HOST_EXCLUSIVE: &[&str] = &[
    "apt",
    "apt_key",
    "apt_repository",
    "blockinfile",
    "cron",
    "deb822_repository",
    "debconf",
    "dnf",
    "dnf5",
    "dpkg_selections",
    "group",
    "hostname",
    "iptables",
    "known_hosts",
    "lineinfile",
    "package",
    "pip",
    "reboot",
    "replace",
    "rpm_key",
    "service",
    "systemd",
    "systemd_service",
    "sysvinit",
    "user",
    "yum",
    "yum_repository",
    "ansible.posix.authorized_key",
    "ansible.posix.firewalld",
    "ansible.posix.mount",
    "ansible.posix.seboolean",
    "ansible.posix.selinux",
    "ansible.posix.sysctl",
    "community.general.homebrew",
    "community.general.ini_file",
    "community.general.modprobe",
    "community.general.npm",
    "community.general.pacman",
    "community.general.snap",
    "community.general.zypper",
    "firewalld",
    "mount",
    "sysctl",
];

/// Modules that change the membership of a cluster, which only one host may do at a time.
pub(crate) const GLOBAL_EXCLUSIVE: &[&str] = &[
    "community.docker.docker_swarm",
    "community.general.consul",
    "community.general.etcd3",
    "community.mongodb.mongodb_replicaset",
    "community.rabbitmq.rabbitmq_cluster",
    "consul_member",
    "docker_swarm",
    "etcd_member",
    "mongodb_replicaset",
];

/// Names that are written like a module, but expand to other tasks, or to nothing that runs here.
const STEERING: &[&str] = &[
    "async_status",
    "import_playbook",
    "import_role",
    "import_tasks",
    "include",
];

/// Whether a word is certainly a module, and not a misspelt keyword: one that is known, or one of a collection.
pub(crate) fn is_module(word: &str) -> bool {
    let lists = [FULLY_PARALLEL, HOST_EXCLUSIVE, GLOBAL_EXCLUSIVE, STEERING];
    word.contains('.') || lists.iter().any(|list| list.contains(&word))
}

/// Returns the module to which a misspelt word is close.
pub(crate) fn nearest_module(word: &str) -> Option<&'static str> {
    let lists = [FULLY_PARALLEL, HOST_EXCLUSIVE, GLOBAL_EXCLUSIVE, STEERING];
    ratchet_input::value::closest(word, lists.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_module_is_in_two_lists() {
        let mut all: Vec<_> = [FULLY_PARALLEL, HOST_EXCLUSIVE, GLOBAL_EXCLUSIVE, STEERING].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
