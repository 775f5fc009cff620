//! The worker of one target: its pool, and the bundles that it was sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ratchet_ipc::{HandshakeMode, Limits};
use ratchet_runtime::process::{
    PoolConfig, ProcessManager, ProcessPool, ProcessSupervisor, RestartPolicy, Size,
};
use ratchet_runtime::{Class, Context, Failure, Job, Payload};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::askpass::Askpass;
use super::{CallError, Connection, Target};

/// The largest message to or from a worker: the result of a module, with its output.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How long the worker may take to start after the host is connected.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long to wait for the end of a cancelled module. The worker kills its session within half a second.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The worker of a target.
pub(super) struct TargetWorker {
    supervisor: ProcessSupervisor,
    pool: ProcessPool,
    /// The password prompt for ssh, if ssh needs a password.
    askpass: Option<Askpass>,
    /// The bundles that were sent, each with the user behind sudo. The lock is held while one is sent, so only one is
    /// sent at a time.
    pub(super) sent: Mutex<HashSet<(Option<String>, String)>>,
}

impl TargetWorker {
    /// Makes the pool of a target. The first call starts its worker.
    pub(super) async fn start(
        target: &Target,
        manager: Arc<dyn ProcessManager>,
    ) -> Result<Self, CallError> {
        let input =
            |reason: String| CallError::Failed(Box::new(Failure::new(Class::Input, reason)));
        let askpass = target.askpass().map_err(input)?;
        let process = target.worker_process(askpass.as_ref()).map_err(input)?;
        let config = PoolConfig {
            limits: Limits {
                max_message_bytes: MAX_MESSAGE_BYTES,
                ..Limits::default()
            },
            handshake: HandshakeMode::Required,
            handshake_wait: target.connect_timeout + START_LIMIT,
            start_timeout: target.connect_timeout + START_LIMIT,
            size: Size {
                grow_after: Duration::ZERO,
                ..Size::between(0, 1)
            },
            // After this, the next call makes another pool.
            restart: RestartPolicy {
                intensity: 1,
                ..RestartPolicy::default()
            },
            ..PoolConfig::new(&target.name, process)
        };
        let supervisor = ProcessSupervisor::start(manager);
        let pool = supervisor
            .add(config)
            .await
            .map_err(|error| input(error.to_string()))?;
        Ok(Self {
            supervisor,
            pool,
            askpass,
            sent: Mutex::default(),
        })
    }

    /// Lets the worker finish its tasks, and ends it.
    pub(super) async fn shutdown(&self) {
        self.supervisor.shutdown().await;
    }

    /// Sends a task to the worker. If the attempt is cancelled, this returns when the worker has ended what it began.
    pub(super) async fn ask(
        &self,
        task: &str,
        input: Payload,
        context: &Context,
    ) -> Result<Payload, Box<Failure>> {
        if let Some(askpass) = &self.askpass
            && let Err(error) = askpass.refill()
        {
            let message = format!("the password cannot be given to ssh: {error}");
            return Err(Box::new(Failure::new(Class::Spawn, message)));
        }
        let key = next_key();
        let job = Job::task(key.as_str(), task, input);
        tokio::select! {
            reply = self.pool.run(job) => return reply.result,
            () = context.cancelled() => {}
        }
        // The request was dropped, so the worker is told to cancel it before it receives this one.
        let input = Payload::from_value(&serde_json::json!({ "key": key }));
        if let Ok(input) = input {
            let settled = Job::task(next_key(), "settled", input);
            // The pool kills a worker that does not answer.
            let _ = timeout(SETTLE_LIMIT, self.pool.run(settled)).await;
        }
        Err(Box::new(Failure::new(
            Class::Cancelled,
            "the call of a module was cancelled",
        )))
    }
}

/// Makes the key of a request.
fn next_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the number only has to be unique, and orders nothing.
    format!("call-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Converts the failure of a worker, or of its start, to the error of a call. Failures that the worker itself reports
/// have a code, and are handled elsewhere.
pub(super) fn lost(target: &Target, failure: &Failure) -> CallError {
    let said = failure
        .stderr
        .as_ref()
        .map_or("", |stderr| stderr.as_str())
        .trim();
    let is_local = target.connection == Connection::Local;
    match failure.class {
        Class::Crash | Class::Spawn | Class::Host | Class::Unreachable | Class::Protocol
            if !is_local =>
        {
            let reason = if said.is_empty() {
                failure.message.as_str()
            } else {
                said
            };
            CallError::Unreachable(format!("host `{}` is not reached: {reason}", target.name))
        }
        _ => CallError::Failed(Box::new(failure.clone())),
    }
}

/// Returns what the start of the worker reported about the Python of the host, if it reported anything.
pub(super) fn python_problem(failure: &Failure) -> Option<String> {
    let said = failure.stderr.as_ref()?.as_str();
    let mut lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("ratchet: "));
    lines.next_back().map(str::to_owned)
}
