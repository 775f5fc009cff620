//! An agent on stdin and stdout, as `ratchet agent` is one.

use std::error::Error;
use std::io::{self, Write};

use ratchet_runtime::remote::{Agent, content_hash};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|arg| arg == "--hash") {
        writeln!(io::stdout(), "{}", content_hash(&std::env::current_exe()?)?)?;
        return Ok(());
    }
    Ok(Agent::new().serve_stdio().await?)
}
