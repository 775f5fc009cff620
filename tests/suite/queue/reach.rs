//! How the command reaches a queue, and how a node is watched.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use ratchet_tests::{Folder, Ratchet};

use super::server::{Server, free_port};
use super::{Queue, file_of, leave};

/// Asks for the figures of a node, as Prometheus does. Nothing before it serves them.
fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    (stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_node_tells_prometheus_what_it_has_done_and_what_waits() {
    let Some(queue) = Queue::start(Folder::new().file("jobs.yaml", file_of(3, "exit 0"))) else {
        return;
    };
    let address = format!("127.0.0.1:{}", free_port());
    let port = address[10..].parse().expect("a port");
    let node = queue.node("n\"1", &["-j", "2", "--metrics", &address]);
    let done = queue.call(["run", "jobs.yaml", "--no-record"]).run();
    let _done = done.with_code(0);
    let figures = scrape(port).expect("the node serves its figures");
    let (head, body) = figures.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    for line in [
        r#"ratchet_node_slots{node="n\"1"} 2"#,
        r#"ratchet_node_running{node="n\"1"} 0"#,
        r#"ratchet_node_attempts_total{node="n\"1",end="succeeded"} 3"#,
        r#"ratchet_node_attempts_total{node="n\"1",end="unsuccessful"} 0"#,
        "# TYPE ratchet_queue_waiting gauge",
        "ratchet_queue_waiting 0",
        "ratchet_queue_running 0",
        "ratchet_queue_nodes 1",
        "ratchet_queue_paused 0",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} in {body}");
    }
    leave(node);
    assert_eq!(scrape(port), None, "nothing is served after the node");
}

/// Returns a file of the certificates that the tests of the engines have.
fn certificate(name: &str) -> String {
    let tests = env!("CARGO_MANIFEST_DIR");
    format!("{tests}/../runtime/queue/tests/engines/tls/{name}")
}

#[test]
fn a_queue_is_reached_by_tls_with_the_file_of_its_authority() {
    let (pem, key) = (certificate("server.pem"), certificate("server.key"));
    let tls = free_port();
    let port = tls.to_string();
    let Some(_server) = Server::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &pem,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ]) else {
        return;
    };
    let authority = certificate("authority.pem");
    let folder = Folder::new().file("jobs.yaml", file_of(2, "exit 0"));
    let url = format!("rediss://localhost:{tls}/");
    let call = |args: &[&str]| {
        let place = ["--queue", &url, "--queue-ca-file", &authority];
        Ratchet::within(&folder).args(args.iter().copied().chain(place))
    };
    let node = call(&["node", "-j", "1"]).start();
    node.wait_for_stderr("takes jobs from");
    let _done = call(&["run", "jobs.yaml", "--no-record"])
        .run()
        .with_code(0);
    leave(node);

    // Without that file nobody vouches for the server.
    let untrusted = Ratchet::within(&folder).args(["queue", "status", "--queue", &url]);
    let untrusted = untrusted.run();
    assert_ne!(untrusted.code, Some(0));
    assert!(
        untrusted.stderr().contains("certificate"),
        "{}",
        untrusted.stderr()
    );
}
