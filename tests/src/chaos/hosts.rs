//! The soak over several hosts: their agents and connections are stopped, cut and killed, and so is the dispatcher.
//!
//! ```text
//! cargo run --release -p ratchet-tests --bin chaos -- --hosts 4 --seed 7 --jobs 100000 --kills 3
//! ```
//!
//! ```text
//! driver --starts, kills--> dispatcher ==relay==> agent --> attempts     a relay and an agent for each host
//!    |                          |          ^        ^          |
//!    |                          |          +--------+-- driver kills and stops
//! driver_notes              host_notes                     worker_notes
//!    +------------- when the last life is over ------> checker
//! ```
//!
//! - The [`plan`] follows from the seed. It has for each job which host it names and on which hosts it may run, what it
//!   claims, how long an attempt takes, and whether the first ones fail.
//! - The [dispatcher](run_dispatcher) is an ordinary user of ratchet with an executor, a journal, and a place for each host.
//!   After a kill the driver waits until all of its processes are gone, and the next life resumes the journal.
//! - A [relay](run_relay) takes the place of `ssh`: a process between the dispatcher and the agent that passes bytes
//!   on. Killing it cuts the connection, and stopping it silences the connection in both directions.
//! - An [attempt](run_attempt) notes its beginning, every few milliseconds that it still runs, and its end.
//! - The [`checker`] concludes from these notes which attempts ran at the same time for certain: one that was killed
//!   ran at least until its last note. It shares no code with what it checks.
//!
//! # Does it catch anything?
//!
//! These faults were put into ratchet one at a time, and `--hosts 3 --jobs 250 --kills 1` was run with each.
//!
//! | what was broken | what was found |
//! |---|---|
//! | `Grants::over_by`: claims are released when the connection is lost, without waiting for the fence | Host: 2, Twice: 4, Slots: 9 (seed 7); Global: 1, Twice: 2 (seed 8) |
//! | `keeper.rs`: the granted time never ends | Host: 2, Twice: 2, Slots: 7 (seed 7); LeftBehind: 1 (seed 8) |

mod attempt;
mod checker;
mod dispatcher;
mod driver;
mod plan;
mod relay;

pub use attempt::run_attempt;
pub use dispatcher::run_dispatcher;
pub use driver::HostSoak;
pub use plan::HostPlan;
pub use relay::run_relay;

/// The variable with the number of the host on which an attempt runs.
const HOST_VARIABLE: &str = "RATCHET_CHAOS_HOST";

/// The number of this machine among the hosts.
const HERE: u32 = 0;
