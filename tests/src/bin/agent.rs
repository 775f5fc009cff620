//! An agent on stdin and stdout, like `ratchet agent`, and the keeper that belongs to it.

use std::env;
use std::error::Error;
use std::io::{self, Write};

use ratchet_runtime::remote::{Agent, content_hash, run_keeper};

/// The variable that turns off the agent's keeper, which would be its fence.
const NO_FENCE: &str = "AGENT_WITHOUT_FENCE";

fn main() -> Result<(), Box<dyn Error>> {
    if env::args_os().any(|argument| argument == "--keeper") {
        return Ok(run_keeper()?);
    }
    if env::args_os().any(|argument| argument == "--hash") {
        writeln!(io::stdout(), "{}", content_hash(&env::current_exe()?)?)?;
        return Ok(());
    }
    let mut agent = Agent::new();
    if env::var_os(NO_FENCE).is_none() {
        agent = agent.keeper([env::current_exe()?.into_os_string(), "--keeper".into()]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(agent.serve_stdio())?)
}
