//! The ledger, which records outcomes before they are delivered.

use std::io;

use ratchet_ipc::JobKey;

use crate::job::Job;
use crate::outcome::Outcome;

/// Keeps outcomes, so that they are still known after the run, and after this process was killed.
///
/// A run appends the outcomes of a batch and flushes once for all of them. It reports them when the flush has returned,
/// and gathers the next batch in the meantime. Both methods are called on a thread that may block.
///
/// An error of the ledger stops the run, because work whose outcome is not recorded would be lost.
///
/// ```
/// use ratchet_runtime::{Job, Ledger, Outcome};
///
/// /// Counts what it is told, and how often it would have had to wait for the disk.
/// #[derive(Default)]
/// struct Counting { outcomes: usize, flushes: usize }
///
/// impl Ledger for Counting {
///     fn append(&mut self, _job: &Job, _outcome: &Outcome) -> std::io::Result<()> {
///         self.outcomes += 1;
///         Ok(())
///     }
///     fn flush(&mut self) -> std::io::Result<()> {
///         self.flushes += 1;
///         Ok(())
///     }
/// }
/// ```
pub trait Ledger: Send {
    /// Records an outcome. The ledger may buffer it until [`flush`](Self::flush).
    fn append(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()>;

    /// Records an outcome whose job had this position in the order in which jobs were submitted, counted from 0.
    ///
    /// A ledger that keeps no order can ignore the position.
    fn append_at(&mut self, job: &Job, outcome: &Outcome, _position: u64) -> io::Result<()> {
        self.append(job, outcome)
    }

    /// Records that the results of these jobs, which were appended before, may be wrong. The ledger may buffer this
    /// until [`flush`](Self::flush).
    ///
    /// This is called when a filter proves to be out of step after its results were reported. A ledger that keeps
    /// outcomes only during the run can ignore it.
    fn suspect(&mut self, _ids: &[JobKey]) -> io::Result<()> {
        Ok(())
    }

    /// Returns once everything that was appended is as durable as the ledger promises.
    fn flush(&mut self) -> io::Result<()>;
}
