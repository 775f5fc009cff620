//! The keys of a host's section.

use std::time::Duration;

use serde_json::json;

use super::resource::ResourceSpec;
use crate::document::{Count, Named, PositiveDuration, ScalarText, Spanned, section};

section! {
    /// A host, where commands and workers can run besides this machine.
    pub(crate) struct HostSpec(
        "a host",
        relations = json!({
            "oneOf": [
                {"required": ["ssh"]}, {"required": ["docker"]}, {"required": ["kubectl"]}, {"required": ["srun"]},
                {"required": ["local"]}, {"required": ["via"]},
            ],
        })
    ) {
        /// Reach the host by ssh: `name`, `user@name` or `user@name:port`, as your ssh configuration knows it.
        ssh: String,
        /// Reach a container by `docker exec`: its name.
        docker: String,
        /// Reach a container of a pod by `kubectl exec`.
        kubectl: KubectlSpec,
        /// Reach a node of this Slurm allocation by `srun --overlap`: its name.
        srun: String,
        /// The host is this machine, under another name.
        local: bool,
        /// Reach the host by a command that runs another one there: the words before that command.
        via: Vec<Spanned<String>>,
        /// The ratchet that is copied to the host, if it is of another platform than this one: a file. Or `none`: nothing is
        /// copied, and each command runs behind the launcher as a local process. Then nothing is killed beyond the
        /// launcher, stopped with Ctrl-Z or measured, memory has no limits, and a lost connection is a failure of the command.
        agent: String,
        /// How many slots the jobs there fill together; as many as the host has cores by default, or one without an agent.
        slots: Count<1>,
        /// What the host has of resources, such as its GPUs. Jobs that run there take units of these. A resource that one host
        /// has belongs to places: every other host has only what it declares itself, and this machine has what the file
        /// declares.
        resources: Vec<Named<ResourceSpec>>,
        /// The groups of the host, which can stand for it in `on`.
        groups: Vec<Spanned<String>>,
        /// Variables for what runs there, added to those of the host.
        env: Vec<Named<ScalarText>>,
        /// How long nothing may come from the host before it is lost; 15s by default, and at least 1s.
        lost_after: PositiveDuration,
        /// How long what runs on the host may go on without a word from here before it is killed there; 12s by default, and
        /// at least 1s. When the host is lost, its exclusive claims are held for as long, and 5s more.
        fence_after: PositiveDuration,
        /// How long a lost host is tried again before jobs that can run only there fail; 5m by default.
        give_up: Duration,
    }
}

section! {
    /// A container of a pod.
    pub(crate) struct KubectlSpec("kubectl") {
        /// The name of the pod.
        pod (required): String,
        /// The container of the pod; the first one by default.
        container: String,
        /// The namespace of the pod.
        namespace: String,
        /// The context of the configuration of kubectl.
        context: String,
    }
}
