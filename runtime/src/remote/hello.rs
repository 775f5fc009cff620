//! The hellos of both sides, by which they agree on a version.
//!
//! The agent sends first: a line that begins with a mark, so that output of a login shell before it can be skipped. The
//! dispatcher picks a version from that line and answers with a line of its own. All that follows is HTTP/2.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use super::text::printable;
use super::{AgentInfo, RemoteError};

/// The version of the agent's protocol that this code speaks.
pub(super) const PROTOCOL: u32 = 1;

/// The mark before the agent's hello.
const AGENT_MARK: &str = "ratchet-agent ";

/// The mark before the dispatcher's hello.
const DISPATCHER_MARK: &str = "ratchet-dispatcher ";

/// How many bytes may come before and with a hello. A login banner is a page of text.
const HELLO_BYTES: usize = 64 * 1024;

/// How many characters of what came instead of a hello are part of the error.
const BANNER_CHARACTERS: usize = 500;

/// The agent's hello: a description of the agent, and the versions that it speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AgentHello {
    /// The versions of the protocol that the agent speaks.
    pub(super) protocols: Vec<u32>,
    /// The host and the agent.
    #[serde(flatten)]
    pub(super) info: AgentInfo,
}

/// The dispatcher's hello: the version that it has picked, and the settings of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DispatcherHello {
    /// The version of the protocol that both speak from now on.
    pub(super) protocol: u32,
    /// How many processes may run at once. The number of streams follows from it.
    pub(super) max_processes: u32,
    /// How long a side may be silent before it counts as lost, in milliseconds.
    pub(super) lost_after_ms: u64,
    /// For how long an answer to the keeper grants time, in milliseconds.
    pub(super) fence_after_ms: u64,
}

impl DispatcherHello {
    /// Returns how long a side may be silent before it counts as lost.
    pub(super) fn lost_after(&self) -> Duration {
        Duration::from_millis(self.lost_after_ms)
    }

    /// Returns for how long an answer to the keeper grants time.
    pub(super) fn fence_after(&self) -> Duration {
        Duration::from_millis(self.fence_after_ms)
    }
}

/// Writes the agent's hello.
pub(super) async fn send_agent_hello(
    output: &mut (impl AsyncWrite + Unpin),
    info: &AgentInfo,
) -> Result<(), RemoteError> {
    let hello = AgentHello {
        protocols: vec![PROTOCOL],
        info: info.clone(),
    };
    // A prompt or a banner may have left its last line open.
    send(output, "\n", AGENT_MARK, &hello).await
}

/// Reads the agent's hello, and checks that the agent speaks a version that we speak.
pub(super) async fn receive_agent_hello(
    input: &mut (impl AsyncBufRead + Unpin),
) -> Result<AgentInfo, RemoteError> {
    let line = receive(input, AGENT_MARK).await?;
    let hello: AgentHello = serde_json::from_str(&line)
        .map_err(|error| RemoteError::Malformed(format!("the hello of the agent: {error}")))?;
    if !hello.protocols.contains(&PROTOCOL) {
        return Err(RemoteError::Version {
            ours: PROTOCOL,
            theirs: hello.protocols.into_iter().take(16).collect(),
            ratchet: hello.info.trimmed().ratchet,
        });
    }
    Ok(hello.info.trimmed())
}

/// Writes the dispatcher's hello.
pub(super) async fn send_dispatcher_hello(
    output: &mut (impl AsyncWrite + Unpin),
    hello: DispatcherHello,
) -> Result<(), RemoteError> {
    send(output, "", DISPATCHER_MARK, &hello).await
}

/// Reads the dispatcher's hello, and checks that it has picked a version that we speak.
pub(super) async fn receive_dispatcher_hello(
    input: &mut (impl AsyncBufRead + Unpin),
) -> Result<DispatcherHello, RemoteError> {
    /// The part of the hello that is the same in every version.
    #[derive(Deserialize)]
    struct Picked {
        protocol: u32,
    }
    let malformed = |error: serde_json::Error| {
        RemoteError::Malformed(format!("the hello of the dispatcher: {error}"))
    };
    let line = receive(input, DISPATCHER_MARK).await?;
    let Picked { protocol } = serde_json::from_str(&line).map_err(malformed)?;
    if protocol != PROTOCOL {
        return Err(RemoteError::Version {
            ours: PROTOCOL,
            theirs: vec![protocol],
            ratchet: String::new(),
        });
    }
    serde_json::from_str(&line).map_err(malformed)
}

/// Writes a line with a mark and a hello, with some text before it.
async fn send(
    output: &mut (impl AsyncWrite + Unpin),
    before: &str,
    mark: &str,
    hello: &impl Serialize,
) -> Result<(), RemoteError> {
    let hello = serde_json::to_string(hello)
        .map_err(|error| RemoteError::Malformed(format!("our own hello: {error}")))?;
    let line = format!("{before}{mark}{hello}\n");
    output.write_all(line.as_bytes()).await?;
    output.flush().await?;
    Ok(())
}

/// Reads lines until one begins with the mark, and returns the rest of that line.
async fn receive(
    input: &mut (impl AsyncBufRead + Unpin),
    mark: &str,
) -> Result<String, RemoteError> {
    let mut said = Vec::new();
    let mut line = Vec::new();
    loop {
        let mut is_whole = false;
        let available = input.fill_buf().await?;
        if available.is_empty() {
            said.extend_from_slice(&line);
            return Err(RemoteError::NoHello(printable(&said, BANNER_CHARACTERS)));
        }
        let mut taken = available.len();
        if let Some(newline) = available.iter().position(|byte| *byte == b'\n') {
            taken = newline + 1;
            is_whole = true;
        }
        line.extend_from_slice(&available[..taken]);
        input.consume(taken);
        if said.len() + line.len() > HELLO_BYTES {
            said.extend_from_slice(&line);
            return Err(RemoteError::NoHello(printable(&said, BANNER_CHARACTERS)));
        }
        if !is_whole {
            continue;
        }
        if let Some(hello) = line.strip_prefix(mark.as_bytes()) {
            return Ok(String::from_utf8_lossy(hello).trim().to_owned());
        }
        said.append(&mut line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info() -> AgentInfo {
        AgentInfo {
            ratchet: "0.1.0".to_owned(),
            platform: "linux-x86_64".to_owned(),
            cores: 2,
            memory: 1 << 30,
            process: 7,
            is_fenced: true,
        }
    }

    #[tokio::test]
    async fn a_hello_is_found_behind_a_login_banner() {
        let mut sent = b"Welcome to web1!\n$ ".to_vec();
        send_agent_hello(&mut sent, &info()).await.unwrap();
        sent.extend_from_slice(b"PRI * HTTP/2.0");
        let mut input = &sent[..];
        assert_eq!(receive_agent_hello(&mut input).await.unwrap(), info());
        assert_eq!(input, b"PRI * HTTP/2.0", "the rest is left");
    }

    #[tokio::test]
    async fn another_version_is_refused_with_both_numbers() {
        let line = "ratchet-agent {\"protocols\":[7,8],\"ratchet\":\"9.0\",\"platform\":\"x\",\"cores\":1,\"memory\":1,\"process\":1,\"more\":2}\n";
        let error = receive_agent_hello(&mut line.as_bytes()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("7, 8") && said.contains(" 1"), "{said}");
        let line = "ratchet-dispatcher {\"protocol\":2}\n";
        let error = receive_dispatcher_hello(&mut line.as_bytes()).await;
        let said = error.unwrap_err().to_string();
        assert!(said.contains(" 2") && said.contains(" 1"), "{said}");
    }

    #[tokio::test]
    async fn what_comes_instead_of_a_hello_is_quoted_without_control_characters() {
        let mut said = &b"bash: ratchet: command not found\x1b[2J\n"[..];
        let error = receive_agent_hello(&mut said)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("command not found"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }

    #[tokio::test]
    async fn a_banner_without_an_end_is_given_up() {
        let mut endless = tokio::io::BufReader::new(tokio::io::repeat(b'x'));
        let error = receive_agent_hello(&mut endless).await.unwrap_err();
        assert!(matches!(error, RemoteError::NoHello(_)), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_hello_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..2000), marked in any::<bool>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut sent = if marked { AGENT_MARK.as_bytes().to_vec() } else { Vec::new() };
            sent.extend_from_slice(&bytes);
            let _ = runtime.block_on(receive_agent_hello(&mut &sent[..]));
            let _ = runtime.block_on(receive_dispatcher_hello(&mut &sent[..]));
        }
    }
}
