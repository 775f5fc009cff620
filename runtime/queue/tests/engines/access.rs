//! How a queue on a server is reached: by TLS, as a user with a password, under a prefix.

use std::path::PathBuf;

use ratchet_queue::{Engine, Error, JobState, NodeSpec, Password, RedisConfig, RedisEngine};

use crate::bench::{job, name};
use crate::server::Server;

/// Returns a file beside the tests.
fn file(name: &str) -> String {
    format!("{}/tests/engines/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Starts a server that listens with TLS.
async fn tls_server() -> Option<Server> {
    let options = [
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-auth-clients",
        "no",
    ];
    Server::start_on_port("--tls-port", &options).await
}

fn config(port: u16, host: &str, ca_file: Option<PathBuf>) -> RedisConfig {
    RedisConfig {
        ca_file,
        ..RedisConfig::new(&format!("rediss://{host}:{port}/"), "queue")
    }
}

#[tokio::test]
async fn a_queue_is_reached_by_tls_if_its_certificate_is_trusted() {
    let Some(server) = tls_server().await else {
        return;
    };
    let port = server.port();
    let authority = Some(PathBuf::from(file("authority.pem")));
    let trusted = config(port, "localhost", authority.clone());
    let queue = RedisEngine::connect(trusted).await.unwrap();
    queue.submit(&[job("a")]).await.unwrap();
    let node = queue.join(&NodeSpec::new("node", 1)).await.unwrap().node;
    assert_eq!(queue.claim(node, 1, 1).await.unwrap().claims.len(), 1);

    for refused in [
        // Nobody whom the system trusts has signed it.
        config(port, "localhost", None),
        // It is for another name.
        config(port, "127.0.0.1", authority),
    ] {
        let error = RedisEngine::connect(refused).await.unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("name the file of that authority"), "{text}");
    }
}

#[tokio::test]
async fn an_address_without_tls_says_that_the_server_wants_it() {
    let Some(server) = tls_server().await else {
        return;
    };
    let plain = RedisConfig::new(&format!("redis://localhost:{}/", server.port()), "queue");
    let error = RedisEngine::connect(plain).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_user_may_be_bound_to_the_keys_of_queues() {
    let Some(server) = Server::start().await else {
        return;
    };
    // As the documentation says.
    let rules =
        "ACL SETUSER ratchet on >sesame-77 ~ratchet:* &ratchet:* +@all -@admin -@dangerous +info";
    let answer = server.command(&rules.split(' ').collect::<Vec<_>>());
    assert!(answer.starts_with("+OK"), "{answer}");
    let answer = server.command(&["ACL", "SETUSER", "default", "off"]);
    assert!(answer.starts_with("+OK"), "{answer}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "sesame-77\n").unwrap();
    let config = |password: Password| RedisConfig {
        user: Some("ratchet".to_owned()),
        password: Some(password),
        ..RedisConfig::new(&server.url(), "queue")
    };
    let good = config(Password::from_file(&path).unwrap());
    let queue = RedisEngine::connect(good.clone()).await.unwrap();
    queue.submit(&[job("a")]).await.unwrap();
    let node = queue.join(&NodeSpec::new("node", 1)).await.unwrap().node;
    assert_eq!(queue.claim(node, 1, 1).await.unwrap().claims.len(), 1);
    assert_eq!(
        queue.states(&[name("a")]).await.unwrap(),
        [Some(JobState::Running)]
    );

    let elsewhere = RedisConfig {
        prefix: "other".to_owned(),
        ..good.clone()
    };
    for (bad, expected) in [
        (config(Password::new("sesame-78")), "WRONGPASS"),
        (RedisConfig::new(&server.url(), "queue"), "NOAUTH"),
        // Scripts tell of keys that they must not have, and not the server.
        (elsewhere, "permission"),
    ] {
        let shown = format!("{bad:?}");
        let error = RedisEngine::connect(bad).await.unwrap_err();
        let text = format!("{shown} {error} {error:?}");
        assert!(matches!(error, Error::Denied { .. }), "{text}");
        assert!(!text.contains("sesame"), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let shown = format!("{good:?} {queue:?}");
    assert!(!shown.contains("sesame"), "{shown}");
}

#[tokio::test]
async fn queues_of_one_name_under_two_prefixes_are_two() {
    let Some(server) = Server::start().await else {
        return;
    };
    let config = |prefix: &str| RedisConfig {
        prefix: prefix.to_owned(),
        ..RedisConfig::new(&server.url(), "queue")
    };
    let one = RedisEngine::connect(config("one")).await.unwrap();
    let other = RedisEngine::connect(config("other")).await.unwrap();
    one.submit(&[job("a")]).await.unwrap();
    assert_eq!(other.states(&[name("a")]).await.unwrap(), [None]);
    let keys = server.command(&["KEYS", "*"]);
    let is_ours =
        |line: &&str| line.starts_with("one:{queue}:") || line.starts_with("other:{queue}:");
    let names: Vec<&str> = keys.lines().filter(|line| line.contains(':')).collect();
    assert!(!names.is_empty() && names.iter().all(is_ours), "{keys}");
}
