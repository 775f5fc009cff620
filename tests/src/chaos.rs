//! A soak: very many jobs of all kinds on workers that fail in every way, under a host that is killed again and again.
//!
//! ```text
//! cargo run --release -p ratchet-tests --bin chaos -- --seed 7 --jobs 200000 --kills 5
//! ```
//!
//! It takes some minutes, prints what it saw, and fails if a promise was broken. `--keep FOLDER` keeps all that was
//! written. The same with 4,000 jobs is part of the suite (`suite/chaos.rs`) and takes some ten seconds.
//!
//! ```text
//! driver --starts, disturbs, kills (SIGKILL)--> host --ratchet--> workers, commands
//!    |                                             |                  |
//! driver_notes                             host_notes, journal   worker_notes
//!    |                                             |                  |
//!    +----- when the last life is over ------> checker <--------------+
//! ```
//!
//! - The [`plan`] follows from the seed: what each job asks for (every hint, named limits, weights, priorities, over 100
//!   hosts), who performs it, and how each of its attempts behaves.
//! - The [host](run_host) is a program that uses the executor, four pools, commands, the cache, and the journal, as any
//!   other would. It changes slots and limits as it goes, and notes what is granted. When it is killed, the driver waits
//!   until nobody is left of its workers, and the next life goes on from the journal.
//! - The [workers](run_worker) crash, are killed, hang, are stopped, flood, talk garbage, leak memory, leave children
//!   behind, and die in their sleep. Those of one pool load for a moment before they say hello; those of another load for
//!   so long that they are given work before, and some never say hello. They [note](notes) down when they begin and end.
//! - The driver disturbs the host: it stops it for about as long as attempts may take (SIGSTOP), lets it start no process and
//!   no thread for a while, and edits the script that one pool of workers runs and that some commands read. Their results
//!   are cached, and the cache lasts from life to life.
//! - The [`checker`] knows nothing of the scheduler. Its documentation says what it takes for proven, and where it needs
//!   a tolerance.
//!
//! The driver itself watches that the processes of a life are gone when it is over (by a mark in their environment),
//! that no life hangs, and that ratchet logs no error.
//!
//! How the host is kept from starting anything depends on the machine: by a control group where one can be made (as
//! root, or where one is delegated), else by the user's limit of processes, and for root without control groups by a limit
//! of descriptors. What is not tested then is said on stderr.
//!
//! # Does it catch anything?
//!
//! Break ratchet, and see. These breakages were put in one at a time, and the short soak (4,000 jobs, seed 7) was run, in
//! a build with debug assertions on a busy machine. The figures are those of one run; where a breakage shows by chance,
//! another run has others.
//!
//! | what was broken | what was found |
//! |---|---|
//! | `Bucket::take`: `(full + interval).max(now)` for `full.max(now) + interval` | Rate: 3 |
//! | `Request::global` in `claims.rs`: the global lock is not claimed | Global: 5 |
//! | `Level::holds`: one more than `max` | Limit: 4, Global: 6 (that lock is a limit, too) |
//! | `obstacle`: who must be alone does not wait for it | Alone: 8 |
//! | `conclude`: an outcome leaves and is not recorded | Ended: 4,002, Heard: 5,324 |
//! | `judge` in `journal/resume.rs`: what has succeeded is done again | Again: 2,644 |
//! | `executor/uncertain.rs`: a token is taken for an attempt in the pipe of a worker that still loads | Rate: 4 |
//! | `judge` in `worker/connection.rs`: what a worker has printed is not read before its deadlines are judged | Late: 2 |
//! | `is_shortage`: EAGAIN fails a start | Failed: 20 |
//! | `runs_what_is_in_the_key` in `executor/reuse.rs`: a worker that was started after an edit fills the cache, too | Cached: 63 |
//! | `verify_inputs` in `task_cache.rs`: what a key was made of is not read again before a result is stored | Cached: 26 |
//!
//! In a build without debug assertions, which would notice first, and before workers loaded and the host was disturbed,
//! these were found as well:
//!
//! | what was broken | what was found |
//! |---|---|
//! | `start` in `scheduler/pop.rs`: the lane is looked at before its place is taken, and finds it free | Host: 18, Rate: 8 |
//! | `obstacle`: one slot more than there are | Slots: 1 |
//! | `pop_ahead`: jobs with claims are sent ahead, too | Granted: 356 |
//!
//! A soak of 200,000 jobs has found one by itself: an attempt whose worker was dying when it was sent kept its claims and
//! its token while it waited for another worker, and began when its rate no longer let it (3 windows of 14,514 starts).
//! Broken like that again, 200,000 jobs show it as Slots: 9 and Poison: 3.
mod driver;
mod host;
mod script;
mod shortage;
mod worker;

pub mod checker;
pub mod notes;
pub mod plan;

pub use checker::{Report, Rule, Violation};
pub use driver::Soak;
pub use host::run_host;
pub use plan::{Performer, Plan};
pub use worker::{run_command, run_scripted_command, run_worker};

/// Where workers write, in a soak's folder.
const WORKER_NOTES: &str = "worker_notes";

/// Where hosts write.
const HOST_NOTES: &str = "host_notes";

/// Where the driver writes.
const DRIVER_NOTES: &str = "driver_notes";

/// The script, which is edited while it is used.
const SCRIPT: &str = "script";

/// What all processes of a soak have in their environment.
const MARK: &str = "RATCHET_CHAOS";

/// In which life a process was started, where it writes its notes, which program it is, and which control group the host
/// joins. As variables with this beginning they are not part of what a cached result depends on.
const LIFE_VARIABLE: &str = "RATCHET_CHAOS_LIFE";
const NOTES_VARIABLE: &str = "RATCHET_CHAOS_NOTES";
const PROGRAM_VARIABLE: &str = "RATCHET_CHAOS_PROGRAM";
const GROUP_VARIABLE: &str = "RATCHET_CHAOS_GROUP";
