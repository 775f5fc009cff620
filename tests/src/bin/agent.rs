//! An agent on stdin and stdout, as `ratchet agent` is one.

use ratchet_runtime::remote::{Agent, RemoteError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RemoteError> {
    Agent::new().serve_stdio().await
}
