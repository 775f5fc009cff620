//! `ratchet agent`: the remote end of a connection to this host.

use std::io::{self, Write};

use ratchet_runtime::process::raise_descriptor_limit;
use ratchet_runtime::remote::{Agent, content_hash, run_keeper};

use crate::args::agent::AgentArguments;
use crate::error::CliError;

/// How many descriptors an agent may need: four per process, for up to 2048 processes.
const DESCRIPTORS: u64 = 4 * 2048 + 256;

/// Serves a dispatcher on stdin and stdout until stdin ends.
pub(crate) fn run(arguments: &AgentArguments) -> Result<(), CliError> {
    if arguments.hash {
        return print_hash();
    }
    let failed = |what| CliError::internal(what);
    if arguments.keeper {
        return run_keeper().map_err(|error| failed("the keeper has failed").because(error));
    }
    let program = std::env::current_exe().map_err(|error| {
        failed("the path of this program, which would be the keeper, cannot be found")
            .because(error)
    })?;
    let keeper = [program.into_os_string(), "agent".into(), "--keeper".into()];
    // If the limit cannot be raised, the agent can start fewer processes, and reports when it has no descriptors left.
    let _ = raise_descriptor_limit(DESCRIPTORS);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| failed("the event loop cannot be started").because(error))?;
    runtime
        .block_on(Agent::new().keeper(keeper).serve_stdio())
        .map_err(|error| failed("the agent has failed").because(error))
}

/// Prints the hash of this program.
fn print_hash() -> Result<(), CliError> {
    let failed = |error| CliError::internal("this program cannot be read").because(error);
    let program = std::env::current_exe().map_err(failed)?;
    let hash = content_hash(&program).map_err(failed)?;
    writeln!(io::stdout(), "{hash}")
        .map_err(|error| CliError::internal("stdout cannot be written").because(error))
}
