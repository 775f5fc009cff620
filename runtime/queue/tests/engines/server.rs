//! A real server of Redis or Valkey for one test, which ends with it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// How long a server may take to start.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server in a folder of its own, on a socket there.
pub(crate) struct Server {
    folder: TempDir,
    program: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
    /// The port on which it listens, if it does.
    port: Option<u16>,
}

impl Server {
    /// Starts a server without persistence. Where there is none, it says so and returns nothing.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with these options, as in `["--maxmemory", "10mb"]`.
    pub(crate) async fn start_with(options: &[&str]) -> Option<Self> {
        let Some(program) = find() else {
            eprintln!(
                "SKIPPED: there is no redis-server and no valkey-server, so the engine on them is not tested"
            );
            return None;
        };
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            program,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            child: None,
            port: None,
        };
        server.run().await;
        Some(server)
    }

    /// Starts a server that listens on a free port, too: `option` is `--port` or `--tls-port`.
    #[cfg(feature = "redis")]
    pub(crate) async fn start_on_port(option: &str, options: &[&str]) -> Option<Self> {
        for _ in 0..20 {
            // Somebody else may take it before the server does. Then another one is tried.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let number = port.to_string();
            let options: Vec<&str> = options.iter().copied().chain([option, &number]).collect();
            let mut server = Self {
                folder: tempfile::tempdir().unwrap(),
                program: find()?,
                options: options.iter().map(|option| (*option).to_owned()).collect(),
                child: None,
                port: Some(port),
            };
            if server.try_run().await {
                return Some(server);
            }
        }
        panic!("no port is free");
    }

    /// Returns the port of a server that listens on one.
    #[cfg(feature = "redis")]
    pub(crate) fn port(&self) -> u16 {
        self.port.expect("the server was started on a port")
    }

    /// Returns the number of the process.
    #[cfg(feature = "redis")]
    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Starts the program, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        assert!(self.try_run().await, "the server ends at once");
    }

    /// Starts the program, and waits until it answers or ends.
    async fn try_run(&mut self) -> bool {
        let socket = self.socket();
        let child = Command::new(&self.program)
            .args(["--port", "0", "--daemonize", "no", "--save", ""])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let deadline = Instant::now() + DEADLINE;
        while !answers(&socket) {
            assert!(Instant::now() < deadline, "the server does not start");
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Kills the program, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Returns the address for clients.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Sends a command as a person would, and returns the raw answer.
    #[cfg(feature = "redis")]
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        text.push_str("*1\r\n$4\r\nQUIT\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        // What is compressed is no text.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Finds the program: the one that `REDIS_SERVER` names, or else the first in the path.
fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("REDIS_SERVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let programs = ["redis-server", "valkey-server"].into_iter();
    let all = programs.flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    all.into_iter().find(|program| program.is_file())
}

/// Whether a server answers at a socket. One that reads its data yet answers with an error.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    let mut answer = [0; 5];
    stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"+PONG"
}
