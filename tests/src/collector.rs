//! An OpenTelemetry collector that keeps what it is sent, for tests of telemetry.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// How a collector treats the requests of spans and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It takes them.
    Takes,
    /// It answers with this status.
    Refuses(u16),
    /// It reads them and never answers.
    Hangs,
    /// It closes each connection without an answer.
    Dies,
}

/// A collector on the loopback device. It listens until the test ends.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    requests: Vec<Request>,
    /// The connections that are never answered, which must not be closed.
    kept: Vec<TcpStream>,
}

/// A request that a collector has read.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path, as in `/v1/traces`.
    pub path: String,
    /// The headers by their names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Value,
}

impl Collector {
    /// Starts a collector.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .unwrap_or_else(|error| panic!("nothing can listen on loopback: {error}"));
        let address = listener
            .local_addr()
            .unwrap_or_else(|error| panic!("it listens nowhere: {error}"));
        let shared = Arc::new(Mutex::new(State {
            manner,
            requests: Vec::new(),
            kept: Vec::new(),
        }));
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(connection, &state));
            }
        });
        Self { address, shared }
    }

    /// Returns the URL for `--otlp`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Treats the next requests in this manner.
    pub fn behave(&self, manner: Manner) {
        lock(&self.shared).manner = manner;
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared).requests.clone()
    }

    /// Returns the spans of all requests so far, each as the JSON of OTLP has it.
    pub fn spans(&self) -> Vec<Value> {
        self.listed("/v1/traces", ["resourceSpans", "scopeSpans", "spans"])
    }

    /// Returns the metrics of all requests so far.
    pub fn metrics(&self) -> Vec<Value> {
        self.listed(
            "/v1/metrics",
            ["resourceMetrics", "scopeMetrics", "metrics"],
        )
    }

    fn listed(&self, path: &str, [outer, middle, inner]: [&str; 3]) -> Vec<Value> {
        let list = |value: &Value, name: &str| match &value[name] {
            Value::Array(list) => list.clone(),
            other => panic!("`{name}` is no list: {other}"),
        };
        let requests = self.requests();
        let of_path = requests.iter().filter(|request| request.path == path);
        of_path
            .flat_map(|request| list(&request.body, outer))
            .flat_map(|resource| list(&resource, middle))
            .flat_map(|scope| list(&scope, inner))
            .collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of a connection until it ends.
fn serve(connection: TcpStream, state: &Mutex<State>) {
    let Ok(mut out) = connection.try_clone() else {
        return;
    };
    let mut input = BufReader::new(connection);
    while let Some(request) = read(&mut input) {
        let manner = {
            let mut state = lock(state);
            if state.manner == Manner::Takes {
                state.requests.push(request);
            }
            state.manner
        };
        let (status, body) = match manner {
            Manner::Takes => (200, "{}"),
            Manner::Refuses(status) => (status, ""),
            Manner::Dies => return,
            Manner::Hangs => return lock(state).kept.push(out),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads a request; `None` at the end of the connection. A request that is no OTLP fails the thread, and the test misses it.
fn read(input: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    match headers.get("content-length") {
        Some(length) => {
            let length = length.parse().ok()?;
            input.take(length).read_to_end(&mut body).ok()?;
        }
        None => loop {
            // Chunks: a size in hexadecimal, the bytes, and a line break after them.
            let mut line = String::new();
            input.read_line(&mut line).ok()?;
            let size = u64::from_str_radix(line.trim(), 16).ok()?;
            input.take(size).read_to_end(&mut body).ok()?;
            input.read_line(&mut String::new()).ok()?;
            if size == 0 {
                break;
            }
        },
    }
    Some(Request {
        path,
        headers,
        body: serde_json::from_slice(&body).ok()?,
    })
}
