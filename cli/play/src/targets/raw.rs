//! Runs commands on a host without Python.

use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::process::{Exit, ProcessHandle};
use ratchet_runtime::{Class, Context, Failure};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::bootstrap::quoted;
use super::call::{complete, failed, object};
use super::{CallError, Connection, Target, Targets};
use crate::modules::Become;

/// How many bytes of the output of a command are kept.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// The exit code with which ssh reports that the host was not reached, or that the connection was lost.
const SSH_FAILED: i32 = 255;

/// How long a cancelled command may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(2);

impl Targets {
    /// Runs a command line on a target in a shell, without Python.
    pub(crate) async fn raw(
        &self,
        target: &Arc<Target>,
        privilege: Option<&Become>,
        command: &str,
        shell: Option<&str>,
        context: &Context,
    ) -> Result<Map<String, Value>, CallError> {
        let (script, password) = script(command, shell.unwrap_or(&target.shell), privilege);
        let input =
            |reason: String| CallError::Failed(Box::new(Failure::new(Class::Spawn, reason)));
        let askpass = target.askpass().map_err(input)?;
        let process = target.shell_process(&script, askpass.as_ref());
        let spawned = self.manager.spawn_process(&process).await;
        let mut handle = spawned.map_err(|error| {
            CallError::Failed(Box::new(Failure::new(
                Class::Spawn,
                ratchet_runtime::error_chain(&error),
            )))
        })?;
        let ran = tokio::select! {
            ran = exchange(&mut handle, password) => ran,
            () = context.cancelled() => {
                // An error means that the manager has ended, and the process with it.
                let _ = self.manager.terminate_process(handle.id(), GRACE).await;
                handle.exit().wait().await;
                let failure = Failure::new(Class::Cancelled, "a command was cancelled");
                return Err(CallError::Failed(Box::new(failure)));
            }
        };
        let (exit, stdout, stderr) = ran;
        let code = match exit {
            Exit::Code(code) => code,
            Exit::Signal(signal) => -signal,
            Exit::Unknown => -1,
        };
        if code == SSH_FAILED && matches!(target.connection, Connection::Ssh(_)) {
            let reason = stderr.trim();
            return Err(CallError::Unreachable(format!(
                "host `{}` is not reached: {reason}",
                target.name
            )));
        }
        if let Some(user) = privilege
            && code == 1
            && user.password.is_none()
            && stderr.contains("password is required")
        {
            return Ok(failed("Missing sudo password"));
        }
        let mut result =
            object(json!({ "rc": code, "stdout": stdout, "stderr": stderr, "changed": true }));
        if code != 0 {
            result.insert("failed".to_owned(), true.into());
            result.insert("msg".to_owned(), "non-zero return code".into());
        }
        complete(&mut result);
        Ok(result)
    }
}

/// Returns the script that runs a command as a user, and its stdin.
fn script(command: &str, shell: &str, privilege: Option<&Become>) -> (String, Option<String>) {
    let run = format!("{} -c {}", quoted(shell), quoted(command));
    let Some(user) = privilege else {
        return (run, None);
    };
    let mut words = vec![quoted(user.program.as_deref().unwrap_or("sudo"))];
    words.extend(user.own_flags().map(quoted));
    let password = user
        .password
        .as_ref()
        .map(|password| format!("{}\n", password.reveal()));
    words.push(if password.is_some() {
        "-S -p ''".to_owned()
    } else {
        "-n".to_owned()
    });
    // If sudo does not ask for the password, it must not reach the stdin of the command.
    let inner = format!("exec </dev/null; exec {run}");
    words.push(format!(
        "-u {} -- /bin/sh -c {}",
        quoted(&user.user),
        quoted(&inner)
    ));
    (words.join(" "), password)
}

/// Writes the input of a process, and returns its exit and its output.
async fn exchange(handle: &mut ProcessHandle, input: Option<String>) -> (Exit, String, String) {
    let Some((mut stdin, stdout, stderr)) = handle.take_pipes() else {
        let ended = handle.exit().wait().await;
        return (ended.exit, String::new(), String::new());
    };
    let write = async move {
        if let Some(input) = input {
            // A process that does not read its input reports the reason itself.
            let _ = stdin.write_all(input.as_bytes()).await;
            let _ = stdin.shutdown().await;
        }
    };
    let end = async {
        let ended = handle.exit().wait().await;
        // Processes that it has left running may keep the pipes open, so the output is not waited for any longer.
        tokio::time::sleep(Duration::from_millis(500)).await;
        ended
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        tokio::join!(
            write,
            collect_output(stdout, &mut out),
            collect_output(stderr, &mut err)
        )
    };
    let exit = tokio::select! {
        _ = read => None,
        ended = end => Some(ended.exit),
    };
    let exit = match exit {
        Some(exit) => exit,
        None => handle.exit().wait().await.exit,
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (exit, text(out), text(err))
}

/// Reads a pipe to its end, and keeps only the beginning.
async fn collect_output(mut pipe: Box<dyn AsyncRead + Send + Unpin>, kept: &mut Vec<u8>) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = pipe.read(&mut part).await {
        let room = MAX_OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&part[..read.min(room)]);
    }
}
