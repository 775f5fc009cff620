//! Calls of modules: builds the request, sends the bundles that the host lacks, and reads the result.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ratchet_runtime::{Class, Context, Failure, Payload};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use super::worker::{TargetWorker, lost, python_problem};
use super::{CallError, Target, Targets};
use crate::modules::{Become, Bundle, BundleSource, ModuleCall, ModuleKind, Secret};

/// The size of the parts in which a bundle or a file is sent, one part per message.
pub(super) const PART_BYTES: usize = 2 << 20;

/// How many times bundles are sent if the host loses them again.
const MAX_SENDINGS: u32 = 3;

/// Why a request to a worker has no result.
pub(super) enum Refusal {
    /// The worker refused it, or could not perform it. The failure has a code of the worker.
    Refused(Box<Failure>),
    /// The worker does not run with the Python of the host, or the host has none.
    Python(String),
    /// The worker could not be started, or was lost.
    Lost(CallError),
}

impl Targets {
    /// Runs a module on a target, and returns its result.
    ///
    /// A module that fails, crashes or prints no result has a result with `failed`. If the attempt of `context` is
    /// cancelled, the module's session is killed before this returns. If the future is dropped, the session is killed
    /// shortly afterwards.
    pub(crate) async fn call(
        &self,
        target: &Arc<Target>,
        call: &ModuleCall,
        context: &Context,
    ) -> Result<Map<String, Value>, CallError> {
        let mut bundles = Vec::with_capacity(call.module.bundles.len());
        for source in &call.module.bundles {
            match built(source).await {
                Ok(bundle) => bundles.push(bundle),
                Err(reason) => return Ok(failed(reason)),
            }
        }
        let input = module_input(target, call, &bundles);
        let become_user = call.privilege.as_ref();
        let mut sendings = 0;
        loop {
            let answer = self
                .request(target, "module", become_user, input.clone(), context)
                .await;
            let failure = match answer {
                Ok(result) => return finished(&result),
                Err(refusal) => result_of(refusal)?,
            };
            let code = failure.code.as_deref().unwrap_or_default();
            if code != "lacking" || sendings == MAX_SENDINGS {
                return outcome_of(*failure);
            }
            for bundle in bundles
                .iter()
                .filter(|bundle| is_lacking(&failure, &bundle.hash))
            {
                let sent = self
                    .send_bundle(target, become_user, bundle, sendings > 0, context)
                    .await;
                if let Err(refusal) = sent {
                    return outcome_of(*result_of(refusal)?);
                }
            }
            sendings += 1;
        }
    }

    /// Sends a request to the worker of a target, which performs it as another user if one is given.
    pub(super) async fn request(
        &self,
        target: &Target,
        task: &str,
        become_user: Option<&Become>,
        mut input: Map<String, Value>,
        context: &Context,
    ) -> Result<Payload, Refusal> {
        if let Some(user) = become_user {
            input.insert("become".to_owned(), become_value(user));
        }
        let cell = self.worker(target).await.map_err(Refusal::Lost)?;
        let worker = started(&cell);
        let bug = |error: serde_json::Error| {
            Refusal::Lost(CallError::Failed(Box::new(Failure::new(
                Class::Input,
                error.to_string(),
            ))))
        };
        let input = Payload::from_value(&input).map_err(bug)?;
        let failure = match worker.ask(task, input, context).await {
            Ok(result) => return Ok(result),
            Err(failure) => failure,
        };
        if failure.class == Class::Task {
            return Err(Refusal::Refused(failure));
        }
        if failure.class == Class::Spawn {
            self.forget(target, &cell);
        }
        match python_problem(&failure) {
            Some(problem) => Err(Refusal::Python(problem)),
            None => Err(Refusal::Lost(lost(target, &failure))),
        }
    }

    /// Sends a bundle to a target, unless another call has just sent it.
    async fn send_bundle(
        &self,
        target: &Target,
        become_user: Option<&Become>,
        bundle: &Bundle,
        again: bool,
        context: &Context,
    ) -> Result<(), Refusal> {
        let cell = self.worker(target).await.map_err(Refusal::Lost)?;
        let key = (
            become_user.map(|user| user.user.clone()),
            bundle.hash.clone(),
        );
        let mut sent = started(&cell).sent.lock().await;
        if sent.contains(&key) && !again {
            return Ok(());
        }
        let parts = bundle.content.chunks(PART_BYTES);
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.enumerate() {
            let input = object(json!({
                "hash": bundle.hash,
                "offset": index * PART_BYTES,
                "data": STANDARD.encode(part),
                "is_last": index == last,
            }));
            self.request(target, "bundle", become_user, input, context)
                .await?;
        }
        sent.insert(key);
        Ok(())
    }
}

#[expect(
    clippy::expect_used,
    reason = "`Targets::worker` returns cells that it has filled"
)]
fn started(cell: &OnceCell<TargetWorker>) -> &TargetWorker {
    cell.get()
        .expect("the worker of a target is started before this")
}

/// Returns the content of a bundle, and reads it if that was not done yet.
async fn built(source: &Arc<BundleSource>) -> Result<Arc<Bundle>, String> {
    if let Some(built) = source.built() {
        return built;
    }
    let source = Arc::clone(source);
    let built = tokio::task::spawn_blocking(move || source.build()).await;
    built.map_err(|error| format!("a bundle of modules cannot be made: {error}"))?
}

/// Returns a refusal by the worker itself, or the error of the whole call.
pub(super) fn result_of(refusal: Refusal) -> Result<Box<Failure>, CallError> {
    match refusal {
        Refusal::Refused(failure) => Ok(failure),
        Refusal::Python(problem) => {
            Ok(Box::new(Failure::new(Class::Spawn, problem).code("python")))
        }
        Refusal::Lost(error) => Err(error),
    }
}

/// Returns the result of a module that was not run, or the error of the call if the failure is not about the module.
pub(super) fn outcome_of(failure: Failure) -> Result<Map<String, Value>, CallError> {
    match failure.code.as_deref() {
        Some("cancelled") => {
            let message = "the call of a module was cancelled";
            Err(CallError::Failed(Box::new(Failure::new(
                Class::Cancelled,
                message,
            ))))
        }
        // The process behind sudo was killed, or the worker has a bug.
        Some("lost") => Err(CallError::Failed(Box::new(Failure {
            class: Class::Crash,
            ..failure
        }))),
        Some("bug" | "task" | "lacking") => Err(CallError::Failed(Box::new(failure))),
        _ => Ok(failed(failure.message)),
    }
}

fn is_lacking(failure: &Failure, hash: &str) -> bool {
    let data = failure
        .data
        .as_ref()
        .and_then(|data| data.read::<Value>().ok());
    let lacking = data.as_ref().and_then(|data| data["bundles"].as_array());
    lacking.is_some_and(|bundles| bundles.iter().any(|bundle| bundle == hash))
}

fn become_value(user: &Become) -> Value {
    let flags: Vec<&str> = user.own_flags().collect();
    let password = user.password.as_ref().map(Secret::reveal);
    json!({ "user": user.user, "exe": user.program, "flags": flags, "password": password })
}

/// Builds the request for a module, with the arguments that Ansible adds itself.
fn module_input(target: &Target, call: &ModuleCall, bundles: &[Arc<Bundle>]) -> Map<String, Value> {
    let module = &call.module;
    let mut arguments = call.arguments.clone();
    let short = module
        .name
        .strip_prefix("ansible.legacy.")
        .unwrap_or(&module.name);
    let own = object(json!({
        "_ansible_check_mode": call.check,
        "_ansible_debug": false,
        "_ansible_diff": call.diff,
        "_ansible_ignore_unknown_opts": false,
        "_ansible_keep_remote_files": false,
        "_ansible_module_name": short,
        "_ansible_no_log": call.no_log,
        "_ansible_remote_tmp": target.remote_tmp,
        "_ansible_selinux_special_fs": ["fuse", "nfs", "vboxsf", "ramfs", "9p", "vfat"],
        "_ansible_shell_executable": target.shell,
        "_ansible_socket": null,
        "_ansible_syslog_facility": "LOG_USER",
        "_ansible_target_log_info": null,
        "_ansible_tmpdir": null,
        "_ansible_tracebacks_for": [],
        "_ansible_verbosity": call.verbosity,
        "_ansible_version": module.ansible_version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION")),
    }));
    arguments.extend(own);
    let (kind, name, is_overlay) = match &module.kind {
        ModuleKind::Python { import, is_overlay } => ("python", import.as_str(), *is_overlay),
        ModuleKind::Program => ("program", module.name.as_str(), false),
        ModuleKind::WordsProgram => ("words", module.name.as_str(), false),
        ModuleKind::Own => ("own", builtin_name(&module.name), false),
    };
    let hashes: Vec<&str> = bundles.iter().map(|bundle| bundle.hash.as_str()).collect();
    object(json!({
        "kind": kind,
        "name": name,
        "is_overlay": is_overlay,
        "bundles": hashes,
        "arguments": arguments,
        "environment": call.environment,
    }))
}

fn builtin_name(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.").unwrap_or(name)
}

/// Makes the result of a module that did not run.
pub(super) fn failed(message: impl Into<String>) -> Map<String, Value> {
    object(json!({ "failed": true, "changed": false, "msg": message.into() }))
}

/// Returns the result of a module, with the fields that Ansible adds.
fn finished(result: &Payload) -> Result<Map<String, Value>, CallError> {
    let read = result.read::<Map<String, Value>>();
    let mut result = read.map_err(|error| {
        let message = format!("the result of a module cannot be read: {error}");
        CallError::Failed(Box::new(Failure::new(Class::Protocol, message)))
    })?;
    complete(&mut result);
    Ok(result)
}

/// Adds the fields that a module may omit.
pub(super) fn complete(result: &mut Map<String, Value>) {
    for value in result.values_mut() {
        untag(value);
    }
    result.entry("changed").or_insert(Value::Bool(false));
    let fails = result
        .get("rc")
        .is_some_and(|rc| !matches!(rc, Value::Null) && rc != 0 && rc != "0");
    if fails {
        result.entry("failed").or_insert(Value::Bool(true));
    }
    for name in ["stdout", "stderr"] {
        let lines = format!("{name}_lines");
        let text = result.get(name).and_then(Value::as_str);
        if let Some(text) = text.filter(|_| !result.contains_key(&lines)) {
            let split: Vec<Value> = text.lines().map(Value::from).collect();
            result.insert(lines, split.into());
        }
    }
}

/// Replaces the typed values of ansible-core 2.19 and later by plain values, as in earlier versions.
fn untag(value: &mut Value) {
    let fields = match value {
        Value::Array(members) => return members.iter_mut().for_each(untag),
        Value::Object(fields) => fields,
        _ => return,
    };
    let kind = fields.shift_remove("__ansible_type");
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
    match kind {
        "ErrorSummary" | "WarningSummary" => {
            *value = message_of(fields.get("event").unwrap_or(&Value::Null)).into();
        }
        "DeprecationSummary" => {
            let mut plain = Map::new();
            plain.insert(
                "msg".to_owned(),
                message_of(fields.get("event").unwrap_or(&Value::Null)).into(),
            );
            for name in ["version", "date"] {
                plain.extend(fields.remove_entry(name));
            }
            let from = fields
                .get("deprecator")
                .and_then(|from| from.get("resolved_name"));
            plain.insert(
                "collection_name".to_owned(),
                from.cloned().unwrap_or_default(),
            );
            *value = Value::Object(plain);
        }
        // A text with its origin.
        _ if !kind.is_empty() && fields.contains_key("value") => {
            *value = fields.shift_remove("value").unwrap_or_default();
        }
        _ => fields.values_mut().for_each(untag),
    }
}

/// Formats an error event of a module with its causes, and with the place if that is known.
fn message_of(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if event["formatted_traceback"].is_string() {
        return text(&event["formatted_traceback"]);
    }
    let mut message = text(&event["msg"]);
    let mut cause = &event["chain"]["event"];
    while cause.is_object() {
        message.push_str(": ");
        message.push_str(&text(&cause["msg"]));
        cause = &cause["chain"]["event"];
    }
    message
}

#[expect(clippy::panic, reason = "this is called only with object literals")]
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is not an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_marked_with_their_type_become_plain() {
        let event = |text: &str| json!({ "__ansible_type": "Event", "msg": text });
        let mut caused = event("it failed");
        caused["chain"] = json!({ "event": event("no disk") });
        for (mut value, plain) in [
            (json!({ "value": 1 }), json!({ "value": 1 })),
            (
                json!([{ "__ansible_type": "_AnsibleTaggedStr", "value": "a", "tags": [] }]),
                json!(["a"]),
            ),
            (
                json!({ "a": { "__ansible_type": "Other", "b": 1 } }),
                json!({ "a": { "b": 1 } }),
            ),
            (
                json!({ "__ansible_type": "WarningSummary", "event": event("careful") }),
                json!("careful"),
            ),
            (
                json!({ "__ansible_type": "ErrorSummary", "event": caused }),
                json!("it failed: no disk"),
            ),
            (
                json!({
                    "__ansible_type": "DeprecationSummary", "event": event("old"), "date": "2030-01-01",
                    "deprecator": { "resolved_name": "a.b" },
                }),
                json!({ "msg": "old", "date": "2030-01-01", "collection_name": "a.b" }),
            ),
        ] {
            untag(&mut value);
            assert_eq!(value, plain);
        }
    }

    #[test]
    fn a_result_gets_what_its_module_left_out() {
        let mut result =
            object(json!({ "rc": 2, "stdout": "a\nb\n", "stderr": "", "stderr_lines": ["x"] }));
        complete(&mut result);
        let whole = json!({
            "changed": false, "failed": true, "rc": 2, "stdout": "a\nb\n", "stdout_lines": ["a", "b"], "stderr": "",
            "stderr_lines": ["x"],
        });
        assert_eq!(Value::Object(result), whole);
    }
}
