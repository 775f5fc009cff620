//! A soak: very many jobs of all kinds on workers that fail in every way, under a host that is killed again and again.
//!
//! ```text
//! cargo run --release -p ratchet-tests --bin chaos -- --seed 7 --jobs 200000 --kills 5
//! ```
//!
//! It takes a minute or two, prints what it saw, and fails if a promise was broken. `--keep FOLDER` keeps all that was
//! written. The same with 4,000 jobs is part of the suite (`suite/chaos.rs`) and takes some five seconds.
//!
//! ```text
//! driver --starts, kills (SIGKILL), starts again--> host --ratchet--> workers
//!    |                                               |                  |
//!    |                                          host_notes, journal   worker_notes
//!    +----- when the last life is over -----> checker <-----------------+
//! ```
//!
//! - The [`plan`] follows from the seed: what each job asks for (every hint, named limits, weights, priorities, over 100
//!   hosts) and what becomes of each of its attempts.
//! - The [host](live) is a program that uses the executor, two pools, and the journal, as any other would. It changes
//!   slots and limits as it goes, and notes what is granted. When it is killed, the driver waits until nobody is left
//!   of its workers, and the next life goes on from the journal.
//! - The [workers](work) crash, are killed, hang, are stopped, flood, talk garbage, leak memory, leave children behind,
//!   and die in their sleep. They [note](notes) down when they begin and end.
//! - The [`checker`] knows nothing of the scheduler. Its documentation says what it takes for proven, and why it needs
//!   no tolerance.
//!
//! The driver itself watches that the processes of a life are gone when it is over (by a mark in their environment),
//! that no life hangs, and that ratchet logs no error.
//!
//! # Does it catch anything?
//!
//! Break the scheduler, and see. In `scheduling/scheduler/pop.rs`, `start` takes a job's place and then looks at its lane
//! again. With these two lines swapped, the lane's next job finds the place as it was before:
//!
//! ```text
//! self.refresh_lane(lane);                      // was last
//! if place != super::NOWHERE {
//!     self.places[place].take(now);
//! }
//! ```
//!
//! The short soak (4,000 jobs, seed 7) found, in a build without debug assertions (with them a bucket notices first):
//!
//! ```text
//! Host: broken 18 times
//! Rate: broken 8 times
//! ```
//!
//! Other breakages, one at a time, in the same soak:
//!
//! | what was broken | what was found |
//! |---|---|
//! | `Bucket::take`: `(full + interval).max(now)` for `full.max(now) + interval` | Rate: 14 |
//! | `group_for`: the global lock is not claimed | Global: 6 |
//! | `Level::holds`: one more than `max` | Limit: 19, Global: 9 (that lock is a limit, too) |
//! | `obstacle`: one slot more than there are | Slots: 1 |
//! | `obstacle`: who must be alone does not wait for it | Alone: 12 |
//! | `conclude`: an outcome leaves and is not recorded | Heard: 5,413, Ended: 4,001 |
//! | `pop_ahead`: jobs with claims are sent ahead, too | Granted: 356 |
//! | `judge` in `journal/resume.rs`: what has succeeded is done again | Again: 2,812 |
//!
//! A soak of 200,000 jobs has found one by itself: an attempt whose worker was dying when it was sent kept its claims and
//! its token while it waited for another worker, and began when its rate no longer let it (3 windows of 14,514 starts).
//! Broken like that again, 200,000 jobs show it as Slots: 9 and Poison: 3.
mod driver;
mod host;
mod worker;

pub mod checker;
pub mod notes;
pub mod plan;

pub use checker::{Report, Rule, Violation};
pub use driver::Soak;
pub use host::live;
pub use plan::Plan;
pub use worker::work;

/// Where workers write, in a soak's folder.
const WORKER_NOTES: &str = "worker_notes";

/// Where hosts write.
const HOST_NOTES: &str = "host_notes";

/// What all processes of a soak have in their environment.
const MARK: &str = "RATCHET_CHAOS";
