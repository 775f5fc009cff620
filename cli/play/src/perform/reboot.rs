//! Waits for hosts: until they can be reached, and until they are back after a reboot.

use std::time::Duration;

use serde_json::{Map, json};
use tokio::time::Instant;

use super::copy::as_map;
use super::{ActionResult, HostAction, failed};
use crate::result::flag;
use crate::targets::CallError;

/// The command whose output identifies one boot of a host.
const BOOT_COMMAND: &str = "cat /proc/sys/kernel/random/boot_id";

impl HostAction<'_> {
    /// Waits until a host can be reached and runs modules.
    pub(super) async fn wait_for_connection(&self) -> ActionResult {
        let delay = self.seconds("delay", 0)?;
        let pause = self.seconds("sleep", 1)?;
        let limit = self.seconds("timeout", 600)?;
        let began = Instant::now();
        if self.call.check {
            return Ok(as_map(json!({"changed": false, "elapsed": 0})));
        }
        self.pause(delay).await?;
        let deadline = Deadline {
            began,
            limit,
            pause,
            what: "the connection",
        };
        while let Err(error) = deadline.within(self.answers()).await {
            self.wait_before_next_try(&deadline, &error).await?;
        }
        Ok(as_map(
            json!({"changed": false, "elapsed": began.elapsed().as_secs()}),
        ))
    }

    /// Reboots a host, and waits until it is back.
    pub(super) async fn reboot(&self) -> ActionResult {
        if self.call.check {
            return Ok(as_map(
                json!({"changed": true, "elapsed": 0, "rebooted": true}),
            ));
        }
        if matches!(self.target.connection, crate::targets::Connection::Local) {
            return Err(failed(
                "this machine runs the playbook, so it is not rebooted by it",
            ));
        }
        let command = self
            .text("boot_time_command")
            .unwrap_or_else(|| BOOT_COMMAND.to_owned());
        let before = self.boot(&command).await?;
        let began = Instant::now();
        let message = self
            .text("msg")
            .unwrap_or_else(|| "Reboot initiated by Ansible".to_owned());
        let minutes = self.seconds("pre_reboot_delay", 0)?.as_secs() / 60;
        let reboot = self.text("reboot_command").unwrap_or_else(|| {
            let when = if minutes == 0 {
                "now".to_owned()
            } else {
                format!("+{minutes}")
            };
            format!(
                "shutdown -r {when} \"{}\"",
                message.replace(['"', '$', '`', '\\'], " ")
            )
        });
        // The host may shut down before it can answer.
        match self.shell(&reboot).await {
            Ok(result)
                if !flag(&result, "failed") && result.get("rc").is_none_or(|code| code == 0) => {}
            Ok(result) => {
                return Ok(as_map(json!({
                    "failed": true,
                    "rebooted": false,
                    "msg": format!("the reboot command failed: {}", super::message_of(&result)),
                })));
            }
            Err(CallError::Unreachable(_)) => {}
            Err(error) => return Err(error),
        }
        self.performer.targets.reset(&self.target).await;
        self.pause(self.seconds("post_reboot_delay", 0)?).await?;
        let mut deadline = Deadline {
            began,
            limit: self.seconds("reboot_timeout", 600)?,
            pause: Duration::from_secs(1),
            what: "the reboot",
        };
        while let Err(error) = deadline.within(self.has_booted(&command, &before)).await {
            self.wait_before_next_try(&deadline, &error).await?;
        }
        let test = self
            .text("test_command")
            .unwrap_or_else(|| "whoami".to_owned());
        deadline.what = "the test command";
        while let Err(error) = deadline.within(self.succeeds(&test)).await {
            self.wait_before_next_try(&deadline, &error).await?;
        }
        Ok(as_map(json!({
            "changed": true,
            "rebooted": true,
            "elapsed": began.elapsed().as_secs(),
        })))
    }

    async fn shell(&self, command: &str) -> ActionResult {
        let targets = &self.performer.targets;
        let privilege = self.privilege.as_ref();
        targets
            .raw(&self.target, privilege, command, None, self.context)
            .await
    }

    /// Returns a text that differs from one boot of the host to the next.
    async fn boot(&self, command: &str) -> Result<String, CallError> {
        let result = self.shell(command).await?;
        let said = result
            .get("stdout")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        if said.trim().is_empty() {
            return Err(failed(format!(
                "`{command}` printed nothing, so it is unknown when the host booted"
            )));
        }
        Ok(said.trim().to_owned())
    }

    async fn pause(&self, wait: Duration) -> Result<(), CallError> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.context.cancelled() => Err(failed("the task was stopped while it was waiting")),
        }
    }

    /// Reconnects to the host, and checks that it can run modules.
    async fn answers(&self) -> Result<(), CallError> {
        self.performer.targets.reset(&self.target).await;
        let result = self.module("ansible.builtin.ping", Map::new()).await?;
        if flag(&result, "failed") {
            return Err(failed(super::message_of(&result)));
        }
        Ok(())
    }

    async fn has_booted(&self, command: &str, before: &str) -> Result<(), CallError> {
        if self.boot(command).await? == before {
            return Err(failed("the host has not gone down yet"));
        }
        Ok(())
    }

    async fn succeeds(&self, command: &str) -> Result<(), CallError> {
        let result = self.shell(command).await?;
        match result.get("rc").and_then(serde_json::Value::as_i64) {
            Some(0) => Ok(()),
            _ => Err(failed(super::message_of(&result))),
        }
    }

    /// Waits before the next try, or fails if the time is up.
    async fn wait_before_next_try(
        &self,
        deadline: &Deadline,
        error: &CallError,
    ) -> Result<(), CallError> {
        if deadline.began.elapsed() >= deadline.limit {
            return Err(failed(format!(
                "timed out waiting for {} ({} seconds): {error}",
                deadline.what,
                deadline.limit.as_secs()
            )));
        }
        self.pause(deadline.pause).await
    }
}

/// The time limit of something that is tried repeatedly.
struct Deadline {
    began: Instant,
    limit: Duration,
    /// How long to wait between two tries.
    pause: Duration,
    /// What is waited for, for messages.
    what: &'static str,
}

impl Deadline {
    /// Limits a try to the remaining time.
    async fn within(
        &self,
        attempt: impl Future<Output = Result<(), CallError>>,
    ) -> Result<(), CallError> {
        let rest = self.limit.saturating_sub(self.began.elapsed());
        let tried = tokio::time::timeout(rest, attempt).await;
        tried.unwrap_or_else(|_| Err(failed("no answer")))
    }
}
