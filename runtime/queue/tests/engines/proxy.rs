//! A proxy between a client and the server, which does to their messages what a bad network does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

/// What happens to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// All arrives.
    Good,
    /// What the client sends is lost.
    LosesRequests,
    /// What the server sends is lost.
    LosesReplies,
    /// All arrives this much later.
    Slow(Duration),
    /// Connections end, and no new one is made.
    Cut,
}

/// A proxy on a port of loopback.
pub(crate) struct Proxy {
    port: u16,
    network: watch::Sender<Network>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Begins to pass connections on to a server's socket.
    pub(crate) async fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, state) = watch::channel(Network::Good);
        let socket = Arc::new(socket);
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                if *state.borrow() == Network::Cut {
                    continue;
                }
                let (socket, state) = (Arc::clone(&socket), state.clone());
                tokio::spawn(async move {
                    let Ok(server) = UnixStream::connect(&*socket).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        pass(
                            from_client,
                            to_server,
                            state.clone(),
                            Network::LosesRequests
                        ),
                        pass(from_server, to_client, state, Network::LosesReplies),
                    );
                });
            }
        });
        Self {
            port,
            network,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Network::Cut);
        self.task.abort();
    }
}

/// Passes bytes on in one direction. After some were lost, nothing that follows makes sense, so the connection ends with the
/// fault.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<Network>,
    loses: Network,
) {
    let mut bytes = vec![0; 64 << 10];
    let mut has_lost = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            changed = state.changed() => {
                let network = *state.borrow_and_update();
                if changed.is_err() || network == Network::Cut || (has_lost && network != loses) {
                    return;
                }
                continue;
            }
        };
        let count = match read {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let network = *state.borrow();
        match network {
            Network::Cut => return,
            network if network == loses => {
                has_lost = true;
                continue;
            }
            Network::Slow(time) => tokio::time::sleep(time).await,
            Network::Good | Network::LosesRequests | Network::LosesReplies => {}
        }
        if has_lost
            || to
                .write_all(bytes.get(..count).unwrap_or_default())
                .await
                .is_err()
        {
            return;
        }
    }
}
