//! A soak test: many jobs of all kinds on workers that fail in every way, under a host that is killed again and again.
//!
//! ```text
//! cargo run --release -p ratchet-tests --bin chaos -- --seed 7 --jobs 200000 --kills 5
//! ```
//!
//! It takes some minutes, prints figures, and fails if a promise was broken. `--keep FOLDER` keeps all files that were
//! written. The suite runs it with 4,000 jobs (`suite/chaos.rs`), which takes some ten seconds. With `--hosts N`
//! another soak runs: plain jobs over N hosts whose agents and connections are killed and stopped, see
//! `chaos/hosts.rs`.
//!
//! ```text
//! driver --starts, disturbs, kills (SIGKILL)--> host --ratchet--> workers, commands
//!    |                                             |                  |
//! driver_notes                             host_notes, journal   worker_notes
//!    |                                             |                  |
//!    +----- when the last life is over ------> checker <--------------+
//! ```
//!
//! - The [`plan`] follows from the seed. It says what each job asks for (every hint, named limits, weights, priorities,
//!   over 100 hosts), who performs it, and how each of its attempts behaves.
//! - The [host](run_host) is an ordinary user of ratchet, with an executor, four pools, commands, the cache and the
//!   journal. It changes slots and limits while it runs, and notes what is granted. The time from its start to its kill
//!   is a *life*. After a kill the driver waits until all of its workers are gone, and the next life resumes the journal.
//! - The [workers](run_worker) crash, are killed, hang, are stopped, flood their output, send garbage, leak memory, leave
//!   children behind, and die while they are idle. The workers of one pool load for a moment before they say hello. Those
//!   of another pool load for so long that they are given work before, and some never say hello. Workers [note](notes)
//!   when their attempts begin and end.
//! - The driver disturbs the host. It stops it (SIGSTOP) for about as long as attempts may take, keeps it from starting
//!   any process or thread for a while, and edits the script that one pool of workers runs and that some commands read.
//!   Their results are cached, and the cache is kept from life to life.
//! - The [`checker`] shares no code with the scheduler. Its documentation states what it takes for proven, and where it
//!   needs a tolerance.
//!
//! The driver itself checks that the processes of a life are gone after it (by a mark in their environment), that no life
//! hangs, and that ratchet logs no error.
//!
//! The way to keep the host from starting anything depends on the machine: a control group if one can be made (as root, or
//! if one is delegated), else the user's limit of processes, and for root without control groups a limit of descriptors.
//! Aspects that cannot be tested then are printed to stderr.
//!
//! # Does it catch anything?
//!
//! These faults were put into ratchet one at a time, and the short soak (4,000 jobs, seed 7) was run in a build with debug
//! assertions on a busy machine. The figures are those of one run. If a fault shows by chance, other runs have others.
//!
//! | what was broken | what was found |
//! |---|---|
//! | `Bucket::take`: `(full + interval).max(now)` for `full.max(now) + interval` | Rate: 3 |
//! | `SchedulerRequest::global` in `claims.rs`: the global lock is not claimed | Global: 5 |
//! | `Level::holds`: one more than `max` | Limit: 4, Global: 6 (that lock is a limit, too) |
//! | `obstacle`: a job that must be alone does not wait for quiet | Alone: 8 |
//! | `conclude` in `orchestrator.rs`: an outcome is delivered and not recorded | Ended: 4,002, Heard: 5,324 |
//! | `decide` in `journal/resume.rs`: a job that has succeeded is done again | Again: 2,644 |
//! | `executor/uncertain.rs`: a token is taken for an attempt in the pipe of a worker that still loads | Rate: 4 |
//! | `check_deadlines` in `worker/connection.rs`: output is not read before deadlines are checked | Late: 2 |
//! | `free` in `scheduler.rs`: one slot more than there are | Slots: 382 |
//! | `is_shortage`: EAGAIN fails a start | Failed: 20 |
//! | `check_started_content` in `executor/reuse.rs`: a worker started after an edit fills the cache | Cached: 63 |
//! | `verify_inputs` in `task_cache.rs`: the inputs of a key are not read again before a store | Cached: 26 |
//!
//! In a build without debug assertions, which would notice first, and before there were loading workers and
//! disturbances of the host, these faults were found as well:
//!
//! | what was broken | what was found |
//! |---|---|
//! | `start` in `scheduler/pop.rs`: the lane is checked before its place is taken | Host: 18, Rate: 8 |
//! | `obstacle`: one slot more than there are | Slots: 1 |
//! | `pop_ahead`: jobs with claims are sent ahead, too | Granted: 356 |
//!
//! A soak of 200,000 jobs has found one fault by itself: an attempt whose worker was dying when it was sent kept its
//! claims and its token while it waited for another worker, and began when its rate no longer let it (3 windows of
//! 14,514 starts). With this fault put in again, 200,000 jobs show it as Slots: 9 and Poison: 3.
mod driver;
mod host;
mod hosts;
mod script;
mod shortage;
mod worker;

pub mod checker;
pub mod notes;
pub mod plan;

pub use checker::{Report, Rule, Violation};
pub use driver::Soak;
pub use host::run_host;
pub use hosts::{HostPlan, HostSoak, run_attempt, run_dispatcher, run_relay};
pub use plan::{Performer, Plan};
pub use worker::{run_command, run_scripted_command, run_worker};

/// The file in the folder of a soak to which workers write their notes.
const WORKER_NOTES: &str = "worker_notes";

/// The file to which hosts write their notes.
const HOST_NOTES: &str = "host_notes";

/// The file to which the driver writes its notes.
const DRIVER_NOTES: &str = "driver_notes";

/// The file of the script, which is edited while it is used.
const SCRIPT: &str = "script";

/// The variable that all processes of a soak have in their environment, by which the driver finds them.
const MARK: &str = "RATCHET_CHAOS";

/// The variable with the life in which a process was started. Variables with this prefix, also the next three, are not
/// part of the key of a cached result.
const LIFE_VARIABLE: &str = "RATCHET_CHAOS_LIFE";

/// The variable with the file to which a process writes its notes.
const NOTES_VARIABLE: &str = "RATCHET_CHAOS_NOTES";

/// The variable with the path of the program of the soak.
const PROGRAM_VARIABLE: &str = "RATCHET_CHAOS_PROGRAM";

/// The variable with the control group that the host joins.
const GROUP_VARIABLE: &str = "RATCHET_CHAOS_GROUP";
