//! A real server of Redis or Valkey on a port of this machine, for one test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ratchet_tests::eventually;
use tempfile::TempDir;

/// How many ports are tried.
const PORTS: usize = 20;

/// Says loudly that nothing is tested.
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to see it")]
fn tell_skipped() {
    eprintln!(
        "SKIPPED: there is no redis-server and no valkey-server, so jobs through a queue are not tested"
    );
}

/// A server in a folder of its own, which ends with the test.
pub(super) struct Server {
    folder: TempDir,
    program: PathBuf,
    options: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server that loses nothing when it is killed. Where there is none, it says so and returns nothing.
    pub(super) fn start() -> Option<Self> {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with these options.
    pub(super) fn with(options: &[&str]) -> Option<Self> {
        let Some(program) = find() else {
            tell_skipped();
            return None;
        };
        // Another process may take a port between its choice and its use. Then the server ends at once, and another port is
        // tried.
        let started = (0..PORTS).find_map(|_| {
            let mut server = Self {
                folder: tempfile::tempdir().expect("a folder"),
                program: program.clone(),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
                port: free_port(),
                child: None,
            };
            server.run().then_some(server)
        });
        Some(started.expect("a server starts on one of several ports"))
    }

    /// Starts the program, and waits until it answers. Returns whether it does.
    pub(super) fn run(&mut self) -> bool {
        let child = Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", ""])
            .args(["--port", &self.port.to_string(), "--dir"])
            .arg(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server can be started");
        let child = self.child.insert(child);
        let port = self.port;
        let mut has_ended = false;
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("there is a clock");
        clock.block_on(eventually("the server answers or ends", || {
            has_ended = child.try_wait().expect("it was started").is_some();
            has_ended || answers(port)
        }));
        !has_ended
    }

    /// Kills the program, as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was started");
            child.wait().expect("it was started");
        }
    }

    /// Returns the address for clients.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port that nobody uses now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it is bound").port()
}

/// Finds the program: the one that `REDIS_SERVER` names, or else the first in the path.
fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("REDIS_SERVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let programs = ["redis-server", "valkey-server"].into_iter();
    let mut all =
        programs.flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    all.find(|program| program.is_file())
}

/// Whether a server answers, be it that it wants a password. One that reads its data yet answers with another error.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && (answer == *b"+PONG" || answer == *b"-NOAU")
}
