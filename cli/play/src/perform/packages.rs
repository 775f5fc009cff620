//! The modules `package` and `service`, which run another module that depends on the host.

use serde_json::{Map, Value};

use super::{ActionResult, HostAction, failed};
use crate::templates::text_of;

/// The arguments of `service` that `systemd` does not have.
const NOT_OF_SYSTEMD: [&str; 5] = ["pattern", "runlevel", "sleep", "arguments", "args"];

impl HostAction<'_> {
    /// Runs the module of the package manager of the host.
    pub(super) async fn package(&self) -> ActionResult {
        let manager = self.manager("pkg_mgr").await?;
        let mut arguments = self.call.arguments.clone();
        arguments.shift_remove("use");
        self.module(&module_name(&manager), arguments).await
    }

    /// Runs the module of the service manager of the host.
    pub(super) async fn service(&self) -> ActionResult {
        let manager = self.manager("service_mgr").await?;
        let mut arguments = self.call.arguments.clone();
        arguments.shift_remove("use");
        let module = match manager.as_str() {
            "systemd" => {
                for name in NOT_OF_SYSTEMD {
                    arguments.shift_remove(name);
                }
                "systemd".to_owned()
            }
            "sysvinit" => "sysvinit".to_owned(),
            other if other.contains('.') => other.to_owned(),
            _ => "service".to_owned(),
        };
        self.module(&module_name(&module), arguments).await
    }

    /// Returns the package manager or service manager of the host: from the task, else from the facts, else by asking
    /// the host.
    async fn manager(&self, fact: &str) -> Result<String, super::CallError> {
        if let Some(wanted) = self.text("use").filter(|wanted| wanted != "auto") {
            return Ok(wanted);
        }
        let name = format!("ansible_{fact}");
        let known = self.call.connection.get(&name).ok().flatten();
        if let Some(known) = known
            .map(|value| text_of(&value))
            .filter(|known| !known.is_empty())
        {
            return Ok(known);
        }
        let mut arguments = Map::new();
        arguments.insert("filter".to_owned(), name.clone().into());
        arguments.insert("gather_subset".to_owned(), "!all".into());
        let result = self
            .module_in("ansible.legacy.setup", arguments, false)
            .await?;
        let facts = result.get("ansible_facts");
        let found = facts
            .and_then(|facts| facts.get(&name))
            .and_then(Value::as_str);
        found
            .filter(|found| *found != "unknown")
            .map(str::to_owned)
            .ok_or_else(|| {
                failed(format!(
                    "the facts of the host do not contain it (`{name}`); name the module with `use`"
                ))
            })
    }
}

fn module_name(name: &str) -> String {
    if name.contains('.') {
        name.to_owned()
    } else {
        format!("ansible.legacy.{name}")
    }
}
