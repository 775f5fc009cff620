//! The worker of one target: its pool, and what it was sent.

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

/// The largest message to or from a worker: results of modules, and what they print.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How long the worker may take to start once the host is connected.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long the end of a cancelled module is waited for. The worker kills its session within half a second.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The worker of a target.
pub(super) struct TargetWorker {
    supervisor: ProcessSupervisor,
    pool: ProcessPool,
    /// The password that ssh asks for, if it needs one.
    askpass: Option<Askpass>,
    /// The bundles that were sent, each with the user behind sudo. One is sent at a time.
    pub(super) sent: Mutex<HashSet<(Option<String>, String)>>,
}

impl TargetWorker {
    /// Makes the pool of a target. Its worker is started by the first call.
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
            // Whoever calls again makes another pool.
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

    /// Lets the worker finish what it has, and ends it.
    pub(super) async fn shutdown(&self) {
        self.supervisor.shutdown().await;
    }

    /// Asks the worker for a task. If the attempt is cancelled, this returns when the worker has ended what it began.
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
        // The request was dropped, and the worker told so before it gets this one.
        let input = Payload::from_value(&serde_json::json!({ "key": key }));
        if let Ok(input) = input {
            let settled = Job::task(next_key(), "settled", input);
            // A worker that does not answer is killed by its pool.
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
    // Relaxed: the number has to be unique, and orders nothing.
    format!("call-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What the end of a worker, or of its start, means for a call. A failure that the worker told has a code, and is not for this.
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

/// What the start of the worker said about the Python of the host, if it said anything.
pub(super) fn python_problem(failure: &Failure) -> Option<String> {
    let said = failure.stderr.as_ref()?.as_str();
    let mut lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("ratchet: "));
    lines.next_back().map(str::to_owned)
}
