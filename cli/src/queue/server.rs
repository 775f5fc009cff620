//! Where a queue is: the address of its server, its name there, and the password.

use std::path::PathBuf;
use std::sync::Arc;

use ratchet_queue::{Error, Password, QueueSettings, RedisConfig, RedisEngine};

use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::settings::{PASSWORD_VARIABLE, Settings};

/// With what the keys of a queue begin, if nothing else is said.
pub(crate) const DEFAULT_PREFIX: &str = "ratchet";

/// The name of the queue behind the prefix.
const NAME: &str = "default";

/// What flags and settings say about the server of a queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerSettings {
    /// The address.
    pub(crate) address: Option<String>,
    /// With what the keys of the queue begin.
    pub(crate) prefix: Option<String>,
    /// The file with the password.
    pub(crate) password_file: Option<PathBuf>,
    /// The file with the certificates of the authorities that may have signed that of the server.
    pub(crate) ca_file: Option<PathBuf>,
}

/// The server of a queue, with what tells the queue from others there.
#[derive(Debug, Clone)]
pub(crate) struct QueueServer {
    /// The address, without a password.
    address: String,
    prefix: String,
    password: Option<Password>,
    ca_file: Option<PathBuf>,
}

impl ServerSettings {
    /// Returns what the settings say.
    fn of_settings(settings: &Settings) -> Self {
        Self {
            address: settings.queue().map(str::to_owned),
            prefix: settings.queue_prefix().map(str::to_owned),
            password_file: settings.queue_password_file(),
            ca_file: settings.queue_ca_file(),
        }
    }
}

impl QueueServer {
    /// Takes what flags say, else what settings and the environment say.
    pub(crate) fn chosen(
        typed: ServerSettings,
        settings: &Settings,
        environment: &UserEnvironment,
    ) -> Result<Self, CliError> {
        let password = environment.variable(PASSWORD_VARIABLE);
        let password = password.map(|password| password.to_string_lossy().into_owned());
        Self::of(typed, ServerSettings::of_settings(settings), password)
    }

    /// Takes what flags say, else what settings say. The password is read from its file, else from the environment.
    fn of(
        typed: ServerSettings,
        settings: ServerSettings,
        password: Option<String>,
    ) -> Result<Self, CliError> {
        let address = typed.address.or(settings.address).ok_or_else(|| {
            CliError::usage("no queue is named").with_help(
                "add --queue redis://HOST:6379/, or set `queue` in ratchet.toml or RATCHET_QUEUE",
            )
        })?;
        check_address(&address)?;
        let password = match typed.password_file.or(settings.password_file) {
            Some(path) => {
                let read = Password::from_file(&path);
                Some(read.map_err(|error| CliError::usage(chain(&error)))?)
            }
            None => password.map(|password| Password::new(&password)),
        };
        Ok(Self {
            address,
            prefix: (typed.prefix.or(settings.prefix)).unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
            password,
            ca_file: typed.ca_file.or(settings.ca_file),
        })
    }

    /// Connects, and refuses a server that cannot keep a queue.
    pub(crate) async fn connect(&self) -> Result<Arc<RedisEngine>, CliError> {
        self.connect_with(QueueSettings::default()).await
    }

    /// Connects. If the queue is not there yet, it is made with these settings.
    pub(crate) async fn connect_with(
        &self,
        settings: QueueSettings,
    ) -> Result<Arc<RedisEngine>, CliError> {
        let engine = RedisEngine::connect(RedisConfig {
            prefix: self.prefix.clone(),
            password: self.password.clone(),
            ca_file: self.ca_file.clone(),
            settings,
            ..RedisConfig::new(&self.address, NAME)
        })
        .await;
        engine.map(Arc::new).map_err(|error| self.error(&error))
    }

    /// Returns the address for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns with what the keys of the queue begin.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Makes the error for a server that cannot be used when a call begins.
    fn error(&self, error: &Error) -> CliError {
        let address = &self.address;
        let message = format!("the queue at {address} cannot be used: {}", chain(error));
        let refused = CliError::new(exit::USAGE, message);
        match error {
            Error::Unreachable(_) => refused.with_help(
                "start the server, or correct the address; nothing was submitted or run",
            ),
            Error::Denied { .. } => refused.with_help(format!(
                "give the password by --queue-password-file or {PASSWORD_VARIABLE}, and the user in the address, as in redis://USER@HOST/"
            )),
            Error::Certificate { .. } => refused.with_help("name the file of the authority by --queue-ca-file"),
            _ => refused,
        }
    }
}

/// Returns an error of a queue as the error of a call that has begun.
pub(crate) fn queue_error(error: &Error) -> CliError {
    CliError::internal(format!("the queue does not go on: {}", chain(error)))
}

/// Returns a message with its causes.
fn chain(error: &Error) -> String {
    ratchet_runtime::error_chain(error)
}

/// Refuses an address that no client takes, and one with a password, which everybody could read.
fn check_address(address: &str) -> Result<(), CliError> {
    let refused = |message: String| {
        CliError::usage(message)
            .with_help("write it like redis://HOST:6379/, or redis+unix:///run/redis.sock")
    };
    let Some((scheme, rest)) = address.split_once("://") else {
        return Err(refused(format!("`{address}` is no address of a queue")));
    };
    if let Some((user, _)) = rest.split_once('@')
        && user.contains(':')
    {
        return Err(CliError::usage(
            "the address of the queue contains a password, which other users can read in the list of processes",
        )
        .with_help(format!(
            "leave it out, and write it into a file for --queue-password-file, or into {PASSWORD_VARIABLE}"
        )));
    }
    if !["redis", "rediss", "redis+unix", "unix", "valkey", "valkeys"].contains(&scheme) {
        return Err(refused(format!("`{scheme}` is no kind of queue")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, password: Option<&str>) -> Result<QueueServer, CliError> {
        let typed = ServerSettings {
            address: Some(address.to_owned()),
            ..ServerSettings::default()
        };
        QueueServer::of(
            typed,
            ServerSettings::default(),
            password.map(str::to_owned),
        )
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_showing_it() {
        let known = server("redis://bob@host:7000/2", Some("secret")).unwrap();
        assert_eq!(known.address(), "redis://bob@host:7000/2");
        assert!(!format!("{known:?}").contains("secret"));
        let refused = server("redis://bob:secret@host/", None).unwrap_err();
        assert!(
            refused.to_string().contains("contains a password"),
            "{refused}"
        );
        assert!(!refused.to_string().contains("secret"), "{refused}");
        assert!(refused.help().unwrap().contains("--queue-password-file"));
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_an_example() {
        for address in ["jobs.yaml", "http://host/", ""] {
            let refused = server(address, None).err().unwrap();
            assert!(
                refused.help().unwrap().contains("redis://HOST:6379/"),
                "{address}"
            );
        }
        let refused = QueueServer::of(ServerSettings::default(), ServerSettings::default(), None);
        assert!(
            refused
                .err()
                .unwrap()
                .help()
                .unwrap()
                .contains("RATCHET_QUEUE")
        );
    }
}
