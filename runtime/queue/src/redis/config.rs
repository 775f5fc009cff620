//! Where a queue is, how to get in, and how it is made.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use redis::{Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, TlsCertificates};

use crate::clock::DrivenClock;
use crate::engine::QueueSettings;
use crate::error::Error;
use crate::names::check;

/// What each certificate of a file begins with.
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Where a queue on a server is, and with which settings it is made.
#[derive(Clone)]
pub struct RedisConfig {
    /// The address: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://..` for TLS, or `redis+unix:///PATH`.
    pub url: String,
    /// The name of the queue. Several can be on one server.
    pub queue: String,
    /// The first part of all keys, `ratchet` by default. With it, the keys of queues do not meet those of others, and a rule of
    /// the server can name them: `~ratchet:*`.
    pub prefix: String,
    /// The user to log in as, instead of that of the address.
    pub user: Option<String>,
    /// The password to log in with, instead of that of the address.
    pub password: Option<Password>,
    /// The file of certificates (PEM) of the authorities that may have signed that of the server, instead of those that the
    /// system trusts.
    pub ca_file: Option<PathBuf>,
    /// The settings with which the queue is made, if it is not there yet.
    pub settings: QueueSettings,
    /// A clock that a test drives, instead of that of the server.
    pub clock: Option<DrivenClock>,
}

impl RedisConfig {
    /// Describes a queue with default settings.
    pub fn new(url: &str, queue: &str) -> Self {
        Self {
            url: url.to_owned(),
            queue: queue.to_owned(),
            prefix: "ratchet".to_owned(),
            user: None,
            password: None,
            ca_file: None,
            settings: QueueSettings::default(),
            clock: None,
        }
    }

    /// Returns the first part of the keys of the queue, with the hash tag that keeps them in one slot of a cluster.
    pub(super) fn key_prefix(&self) -> Result<String, Error> {
        for (what, setting, text) in [
            ("name of a queue", "name of the queue", &self.queue),
            ("prefix of keys", "prefix of keys", &self.prefix),
        ] {
            check(what, text)?;
            // The first brace of a key opens its hash tag, and the first one after it ends it.
            if text.contains(['{', '}']) {
                return Err(Error::InvalidSetting {
                    setting,
                    reason: "has a brace in it, which would change in which slot of a cluster its keys are",
                });
            }
        }
        Ok(format!("{}:{{{}}}:", self.prefix, self.queue))
    }

    /// Makes a client, which connects later. Errors of the library are left out where they may show a password.
    pub(super) fn client(&self) -> Result<Client, Error> {
        let refuse = |setting, reason| Error::InvalidSetting { setting, reason };
        let unreadable = || {
            refuse(
                "the address of the server",
                "cannot be read; write it like redis://host:6379/, rediss://host:6379/ or redis+unix:///run/redis.sock",
            )
        };
        let info = (self.url.as_str().into_connection_info()).map_err(|_| unreadable())?;
        // In this protocol, what a server sends on its own account comes on the same connection as answers.
        let mut login = (info.redis_settings().clone()).set_protocol(ProtocolVersion::RESP3);
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(&password.0);
        }
        if login.username().is_some() && login.password().is_none() {
            return Err(refuse(
                "the user of the server",
                "is set and there is no password; set it, too",
            ));
        }
        let info = info.set_redis_settings(login);
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            if self.ca_file.is_some() {
                return Err(refuse(
                    "the file of certificates",
                    "has no effect on a connection without TLS; write the address as rediss://..",
                ));
            }
            return Client::open(info).map_err(|_| unreadable());
        }
        // Where a program has chosen its cryptography already, that one is used.
        let _chosen_already = rustls::crypto::ring::default_provider().install_default();
        let root_cert = self.ca_file.as_deref().map(certificates).transpose()?;
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert,
        };
        Client::build_with_tls(info, certificates).map_err(|_| {
            refuse(
                "the file of certificates",
                "holds something that is no certificate in PEM",
            )
        })
    }
}

/// Reads the file of certificates.
fn certificates(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(|source| Error::UnreadableFile {
        path: path.to_owned(),
        source,
    })?;
    if !bytes
        .windows(CERTIFICATE.len())
        .any(|part| part == CERTIFICATE)
    {
        return Err(Error::InvalidSetting {
            setting: "the file of certificates",
            reason: "holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----",
        });
    }
    Ok(bytes)
}

impl fmt::Debug for RedisConfig {
    /// Formats it without the address, which may contain a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedisConfig")
            .field("queue", &self.queue)
            .field("prefix", &self.prefix)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("ca_file", &self.ca_file)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A password, which nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password that is in memory already.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Reads a password from a file. A newline at its end does not belong to it.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::UnreadableFile {
            path: path.to_owned(),
            source,
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Self::not_empty(text.strip_suffix('\r').unwrap_or(text))
    }

    /// Reads a password from a variable of the environment.
    pub fn from_variable(name: &str) -> Result<Self, Error> {
        match std::env::var(name) {
            Ok(text) => Self::not_empty(&text),
            Err(_) => Err(Error::NoPassword {
                variable: name.to_owned(),
            }),
        }
    }

    fn not_empty(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::InvalidSetting {
                setting: "the password of the server",
                reason: "is empty",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_from_a_file_or_a_variable_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, expected) in [("secret\n", "secret"), ("a b\r\n", "a b"), (" x", " x")] {
            fs::write(&path, text).unwrap();
            let password = Password::from_file(&path).unwrap();
            assert_eq!(password, Password::new(expected));
            assert!(!format!("{password:?}").contains(expected));
        }
        fs::write(&path, "\n").unwrap();
        assert!(Password::from_file(&path).is_err());
        let missing = folder.path().join("missing");
        let error = Password::from_file(&missing).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        // Every test has a path.
        assert!(Password::from_variable("PATH").is_ok());
        let error = Password::from_variable("RATCHET_NO_SUCH_PASSWORD").unwrap_err();
        assert!(error.to_string().contains("RATCHET_NO_SUCH_PASSWORD"));
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, "no certificate").unwrap();
        let config = |url: &str| RedisConfig::new(url, "queue");
        let with_file = |url: &str, path: &Path| RedisConfig {
            ca_file: Some(path.to_owned()),
            ..config(url)
        };
        let lonely = RedisConfig {
            user: Some("ratchet".to_owned()),
            ..config("redis://host/")
        };
        for (config, expected) in [
            (config("http://host/"), "rediss://host:6379/"),
            (with_file("redis://host/", &ca_file), "rediss://.."),
            (with_file("rediss://host/", &ca_file), "BEGIN CERTIFICATE"),
            (
                with_file("rediss://host/", &folder.path().join("none")),
                "none",
            ),
            (lonely, "there is no password"),
        ] {
            let error = config.client().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(config("rediss://user:word@host:7000/3").client().is_ok());
    }

    #[test]
    fn keys_begin_with_the_prefix_and_the_hash_tag_of_the_queue() {
        let config = RedisConfig {
            prefix: "team:ratchet".to_owned(),
            ..RedisConfig::new("redis://host/", "nightly")
        };
        assert_eq!(config.key_prefix().unwrap(), "team:ratchet:{nightly}:");
        for (prefix, queue) in [("a{b}", "q"), ("", "q"), ("a", "q}"), ("a\n", "q")] {
            let config = RedisConfig {
                prefix: prefix.to_owned(),
                ..RedisConfig::new("redis://host/", queue)
            };
            assert!(config.key_prefix().is_err(), "{prefix:?} {queue:?}");
        }
    }
}
