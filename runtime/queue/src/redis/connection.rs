//! The connection to the server: what is asked of it, and its scripts.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::config::RedisConfig;
use super::encoding::Arguments;
use super::reply;
use crate::clock::{DrivenClock, micros};
use crate::engine::QueueSettings;
use crate::error::Error;
use crate::names::NodeId;

/// All scripts, in the order in which they build on each other.
const SCRIPTS: &str = concat!(
    include_str!("scripts/prelude.lua"),
    include_str!("scripts/events.lua"),
    include_str!("scripts/wakes.lua"),
    include_str!("scripts/gates.lua"),
    include_str!("scripts/lanes.lua"),
    include_str!("scripts/jobs.lua"),
    include_str!("scripts/nodes.lua"),
    include_str!("scripts/operations.lua"),
);

/// The scripts as the server keeps them: a library with two functions, which do the same.
struct Library {
    /// The text of the library.
    text: String,
    /// The function that a server without memory refuses, for what adds something.
    with_memory: String,
    /// The function that runs without memory, too. Without it nothing could end, and no memory be freed.
    always: String,
}

/// The library of this version. Names of libraries and functions are those of the whole server, so they tell the text: another
/// version of ratchet has others.
static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let name = format!("ratchet_{:016x}", digest(SCRIPTS.as_bytes()));
    let (with_memory, always) = (name.clone(), format!("{name}_always"));
    let text = format!(
        "#!lua name={name}\n{SCRIPTS}\
         redis.register_function('{with_memory}', step)\n\
         redis.register_function{{ function_name = '{always}', callback = step, flags = {{ 'allow-oom' }} }}\n"
    );
    Library {
        text,
        with_memory,
        always,
    }
});

/// Returns a number that tells texts apart (FNV-1a), the same in every build.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How long an answer may take. A script that moves a batch takes some milliseconds, and others may come before it.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a node waits whose wakes this client does not hear.
const UNHEARD: Duration = Duration::from_millis(100);

/// The oldest version that can name the millisecond of an event and leave its number to the server.
const OLDEST: (u32, u32) = (7, 0);

/// A server with a queue, connected when somebody calls.
pub(super) struct Connection {
    client: Client,
    /// The prefix of all keys of the queue.
    prefix: String,
    settings: QueueSettings,
    clock: Option<DrivenClock>,
    /// The connection, until it breaks.
    open: Mutex<Option<Open>>,
    /// How many connections there were.
    count: AtomicU64,
    /// The nodes that have joined by this client.
    wakes: Arc<Wakes>,
}

/// The nodes that have joined by this client, each with what its wakes go to.
///
/// The server publishes a wake on a channel of the node. The connection that all calls share hears it.
struct Wakes {
    /// The channel of a node without its number.
    channel: String,
    nodes: StdMutex<HashMap<NodeId, Arc<Notify>>>,
}

impl Wakes {
    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Notify>>> {
        // Nothing panics while it holds the lock.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, node: NodeId) -> String {
        format!("{}{}", self.channel, node.0)
    }

    /// Takes what the server has sent on its own account.
    fn take(&self, push: &PushInfo) {
        if push.kind == PushKind::Message
            && let Some(Value::BulkString(channel)) = push.data.first()
            && let Some(number) = (std::str::from_utf8(channel).ok())
                .and_then(|channel| channel.strip_prefix(&self.channel)?.parse().ok())
            && let Some(notify) = self.nodes().get(&NodeId(number))
        {
            notify.notify_one();
        }
    }
}

/// An open connection.
#[derive(Clone)]
struct Open {
    connection: MultiplexedConnection,
    /// Tells this connection from those before and after it.
    number: u64,
}

impl fmt::Debug for Connection {
    /// Formats it without the address, which may contain a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Connection")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects for the first time, and returns the settings of the queue.
    pub(super) async fn open(config: RedisConfig) -> Result<(Self, QueueSettings), Error> {
        let prefix = config.key_prefix()?;
        let connection = Self {
            client: config.client()?,
            wakes: Arc::new(Wakes {
                channel: format!("{prefix}wake:"),
                nodes: StdMutex::default(),
            }),
            prefix,
            settings: config.settings,
            clock: config.clock,
            open: Mutex::new(None),
            count: AtomicU64::new(0),
        };
        let (open, settings) = connection.connect().await?;
        *connection.open.lock().await = Some(open);
        Ok((connection, settings))
    }

    /// Begins to hear wakes of a node.
    pub(super) async fn listen(&self, node: NodeId) -> Result<(), Error> {
        self.wakes.nodes().insert(node, Arc::default());
        let mut open = self.get().await?;
        let subscribed = open.connection.subscribe(self.wakes.channel(node)).await;
        subscribed.map_err(server_error)
    }

    /// Hears no more of a node.
    pub(super) async fn ignore(&self, node: NodeId) -> Result<(), Error> {
        self.wakes.nodes().remove(&node);
        let mut open = self.get().await?;
        let ended = open.connection.unsubscribe(self.wakes.channel(node)).await;
        ended.map_err(server_error)
    }

    /// Waits for a wake of a node, at most this long.
    pub(super) async fn wait(&self, node: NodeId, most: Duration) {
        let notify = self.wakes.nodes().get(&node).cloned();
        match notify {
            Some(notify) => {
                let _woken_or_over = timeout(most, notify.notified()).await;
            }
            // It has joined by another client, which hears its wakes.
            None => sleep(most.min(UNHEARD)).await,
        }
    }

    /// Runs a step that goes on without memory.
    pub(super) async fn step(&self, arguments: Arguments) -> Result<Value, Error> {
        self.run(arguments, &LIBRARY.always).await
    }

    /// Runs a step that adds something, which a server without memory refuses.
    pub(super) async fn step_with_memory(&self, arguments: Arguments) -> Result<Value, Error> {
        self.run(arguments, &LIBRARY.with_memory).await
    }

    async fn run(&self, arguments: Arguments, function: &str) -> Result<Value, Error> {
        let mut open = self.get().await?;
        match self.call(&mut open, &arguments, function).await {
            Ok(returned) => reply::answer(returned),
            Err(error) => {
                if is_broken(&error) {
                    let mut current = self.open.lock().await;
                    if (current.as_ref()).is_some_and(|current| current.number == open.number) {
                        *current = None;
                    }
                }
                Err(server_error(error))
            }
        }
    }

    /// Returns the connection, and connects if it has broken.
    async fn get(&self) -> Result<Open, Error> {
        let mut current = self.open.lock().await;
        if let Some(open) = &*current {
            return Ok(open.clone());
        }
        // Callers that come meanwhile wait for this one instead of connecting, too.
        let (open, _) = self.connect().await?;
        *current = Some(open.clone());
        Ok(open)
    }

    /// Calls a function of the library, which is loaded before if the server does not have it.
    async fn call(
        &self,
        open: &mut Open,
        arguments: &Arguments,
        function: &str,
    ) -> Result<Value, RedisError> {
        let mut command = redis::cmd("FCALL");
        command.arg(function).arg(1).arg(&self.prefix);
        command.arg(arguments.operation);
        match &self.clock {
            Some(clock) => command.arg(clock.now().as_micros()),
            None => command.arg(""),
        };
        for value in &arguments.values {
            command.arg(value);
        }
        match command.query_async(&mut open.connection).await {
            // Nothing was done: the queue is new here, or the server has forgotten its functions.
            Err(error) if is_function_missing(&error) => {
                load_library(&mut open.connection).await?;
                command.query_async(&mut open.connection).await
            }
            other => other,
        }
    }

    /// Connects, asks whether the server is fit, loads the scripts, and opens the queue.
    async fn connect(&self) -> Result<(Open, QueueSettings), Error> {
        let wakes = Arc::clone(&self.wakes);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push: PushInfo| {
                wakes.take(&push);
                Ok::<(), Infallible>(())
            });
        let connecting = (self.client).get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(server_error)?;
        let info: String = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .map_err(server_error)?;
        let server = check_server(&info)?;
        if let Some(warning) = server.warning {
            tracing::warn!("{warning}");
        }
        let mut open = Open {
            connection,
            // Relaxed: nothing else is published with the number.
            number: self.count.fetch_add(1, Ordering::Relaxed),
        };
        let mut arguments = Arguments::new("open");
        arguments.text(server.replication);
        arguments.number(micros(self.settings.session));
        arguments.number(micros(self.settings.retention));
        arguments.number(self.settings.capacity);
        arguments.number(micros(self.settings.ageing.step));
        arguments.number(self.settings.max_payload);
        let returned = self.call(&mut open, &arguments, &LIBRARY.always).await;
        let nodes: Vec<NodeId> = self.wakes.nodes().keys().copied().collect();
        for node in nodes {
            let channel = self.wakes.channel(node);
            (open.connection.subscribe(channel).await).map_err(server_error)?;
        }
        let (_, settings) = reply::opened(reply::answer(returned.map_err(server_error)?)?)?;
        Ok((open, settings))
    }
}

/// Whether the server does not know a function.
fn is_function_missing(error: &RedisError) -> bool {
    (error.detail()).is_some_and(|detail| detail.contains("Function not found"))
}

/// Loads the library. Another client may have done so just before.
async fn load_library(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg(&LIBRARY.text);
    match command.query_async::<String>(connection).await {
        Err(error) if !(error.detail()).is_some_and(|detail| detail.contains("already exists")) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// A server that can keep a queue.
#[derive(Debug, PartialEq)]
struct Server<'a> {
    /// Its replication id, which changes when its latest steps may be lost.
    replication: &'a str,
    /// What is not as it should be.
    warning: Option<&'static str>,
}

/// Refuses a server that would lose or drop what a queue keeps.
fn check_server(info: &str) -> Result<Server<'_>, Error> {
    let field = |name: &str| {
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim()
    };
    let refuse = |reason: String| Err(Error::UnfitServer { reason });
    let version = field("redis_version");
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let version_of = |numbers: &mut dyn Iterator<Item = u32>| {
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    if version_of(&mut numbers) < OLDEST {
        return refuse(format!(
            "its version is {version}, and 7.0 is the oldest that will do"
        ));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return refuse(format!(
            "its policy for full memory is `{policy}`, which drops jobs and locks; set `maxmemory-policy noeviction`"
        ));
    }
    if field("role") == "slave" {
        return refuse("it is a replica; use the address of its primary".to_owned());
    }
    let warning = (field("aof_enabled") == "0").then_some(
        "the server keeps no append-only file, so a crash of it loses the queue; set `appendonly yes`",
    );
    Ok(Server {
        replication: field("master_replid"),
        warning,
    })
}

/// Whether a connection can serve no more calls, or nobody knows what comes next on it.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_timeout()
        || error.is_unrecoverable_error()
        // Another server has become the primary.
        || error.code() == Some("READONLY")
}

/// Whether the server will do the step later: it reads its data, has no primary, cannot write its file, or is busy.
fn is_away(error: &RedisError) -> bool {
    matches!(
        error.code(),
        Some("BUSY" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "MISCONF" | "TRYAGAIN")
    )
}

/// Returns an error of the client as one of this crate.
fn server_error(error: RedisError) -> Error {
    let reason = error.to_string();
    match error.code() {
        _ if error.kind() == ErrorKind::AuthenticationFailed => Error::Denied { reason },
        Some("NOAUTH" | "NOPERM" | "WRONGPASS") => Error::Denied { reason },
        _ if reason.contains("invalid peer certificate") => Error::Certificate { reason },
        Some("OOM") => Error::OutOfMemory { reason },
        _ if is_broken(&error) || is_away(&error) => Error::Unreachable(Box::new(error)),
        _ => Error::Server { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server tells of itself that can keep a queue.
    const FIT: &str = "redis_version:7.2.4\r\nmaxmemory_policy:noeviction\r\nrole:master\r\naof_enabled:1\r\nmaster_replid:abc\r\n";

    #[test]
    fn a_server_that_may_lose_jobs_is_refused_with_the_remedy() {
        let expected = Server {
            replication: "abc",
            warning: None,
        };
        assert_eq!(check_server(FIT).unwrap(), expected);
        let volatile = FIT.replace("aof_enabled:1", "aof_enabled:0");
        let warning = check_server(&volatile).unwrap().warning.unwrap();
        assert!(warning.contains("set `appendonly yes`"), "{warning}");
        for (from, to, reason) in [
            ("7.2.4", "6.2.14", "7.0 is the oldest"),
            (
                "noeviction",
                "allkeys-lru",
                "set `maxmemory-policy noeviction`",
            ),
            ("role:master", "role:slave", "address of its primary"),
        ] {
            let error = check_server(&FIT.replace(from, to))
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
