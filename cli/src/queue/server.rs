//! Where a queue is: the address of its server, its name there, and the password.

use std::path::PathBuf;
use std::sync::Arc;

use ratchet_queue::{Error, RedisConfig, RedisEngine};

use crate::environment::UserEnvironment;
use crate::error::CliError;
use crate::exit;
use crate::settings::{PASSWORD_VARIABLE, Settings};

/// The name of a queue for which none is given.
pub(crate) const DEFAULT_NAME: &str = "default";

/// What flags and settings say about the server of a queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerSettings {
    /// The address.
    pub(crate) address: Option<String>,
    /// The name of the queue.
    pub(crate) name: Option<String>,
    /// The file with the password.
    pub(crate) password_file: Option<PathBuf>,
}

/// The server of a queue, with the name of the queue there.
#[derive(Clone)]
pub(crate) struct QueueServer {
    /// The address, without a password.
    address: String,
    name: String,
    password: Option<String>,
}

impl ServerSettings {
    /// Returns what the settings say.
    fn of_settings(settings: &Settings) -> Self {
        Self {
            address: settings.queue().map(str::to_owned),
            name: settings.queue_prefix().map(str::to_owned),
            password_file: settings.queue_password_file(),
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
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| CliError::unreadable(&path, error))?;
                Some(text.trim_end_matches(['\n', '\r']).to_owned())
            }
            None => password,
        };
        Ok(Self {
            address,
            name: (typed.name.or(settings.name)).unwrap_or_else(|| DEFAULT_NAME.to_owned()),
            password: password.filter(|password| !password.is_empty()),
        })
    }

    /// Connects, and refuses a server that cannot keep a queue.
    pub(crate) async fn connect(&self) -> Result<Arc<RedisEngine>, CliError> {
        let config = RedisConfig::new(&self.url(), &self.name);
        let engine = RedisEngine::connect(config).await;
        engine.map(Arc::new).map_err(|error| self.error(error))
    }

    /// Returns the address for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the name of the queue.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the error for a server that cannot be used when a call begins.
    fn error(&self, error: Error) -> CliError {
        let address = &self.address;
        let message = format!("the queue at {address} cannot be used: {}", chain(&error));
        let refused = CliError::new(exit::USAGE, message);
        match error {
            Error::Unreachable(_) => refused.with_help(
                "start the server, or correct the address; nothing was submitted or run",
            ),
            Error::Server { reason } if needs_password(&reason) => refused.with_help(format!(
                "give the password by --queue-password-file or {PASSWORD_VARIABLE}, and the user in the address, as in redis://USER@HOST/"
            )),
            _ => refused,
        }
    }

    /// Returns the address with the password, for the client alone.
    fn url(&self) -> String {
        let Some(password) = &self.password else {
            return self.address.clone();
        };
        let Some((scheme, rest)) = self.address.split_once("://") else {
            return self.address.clone();
        };
        let (user, host) = rest.split_once('@').unwrap_or(("", rest));
        format!("{scheme}://{user}:{}@{host}", percent_encoded(password))
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

/// Whether a server refuses a client for want of a password, or for a wrong one.
fn needs_password(reason: &str) -> bool {
    [
        "NOAUTH",
        "WRONGPASS",
        "AuthenticationFailed",
        "authentication",
    ]
    .iter()
    .any(|sign| reason.contains(sign))
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

/// Writes a password so that it can stand in an address.
fn percent_encoded(password: &str) -> String {
    use std::fmt::Write as _;
    password.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(byte.into());
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
        text
    })
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
    fn the_address_never_has_the_password_and_the_client_gets_it() {
        let server = server("redis://bob@host:7000/2", Some("p@:/ w")).unwrap();
        assert_eq!(server.address(), "redis://bob@host:7000/2");
        assert_eq!(server.url(), "redis://bob:p%40%3A%2F%20w@host:7000/2");
        let refused = super::tests::server("redis://bob:secret@host/", None)
            .err()
            .unwrap();
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
