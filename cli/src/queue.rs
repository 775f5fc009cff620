//! A queue on a server, from the command's side: where it is, and what jobs look like in it.
//!
//! ```text
//! submit, run --queue:  Job --JobSpec + payload--> queue --> node:  payload --> Job of one attempt --> Outcome
//!                       Outcome <------- result ------ queue <------------------------- result <-----/
//! ```
//!
//! The queue decides when a job starts, so what it decides by (hint, limits, resources, needs, priority) is in its own
//! terms. What only the node needs is the payload, which the queue does not read (`work`). The result is the line of the
//! outcome, as it stands in a journal (`result`). What a queue cannot keep is refused before anything is submitted
//! (`refusals`). What workers report meanwhile goes the way of the result (`progress`).

mod handover;
mod progress;
mod refusals;
mod result;
mod server;
mod spec;
mod work;

pub(crate) use handover::Handover;
pub(crate) use progress::QueuedProgress;
pub(crate) use refusals::Refused;
pub(crate) use result::{EndFacts, encode, outcome_of};
pub(crate) use server::{DEFAULT_PREFIX, QueueServer, ServerSettings, queue_error};
pub(crate) use spec::{COMMANDS, SpecMaker, declarations, job_name, task_in_queue};
pub(crate) use work::{NodeJob, QueuedWork};
