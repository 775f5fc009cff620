//! The ledger, which records outcomes before they are delivered.

use std::io;

use ratchet_ipc::JobKey;

use crate::job::Job;
use crate::outcome::Outcome;

/// Keeps outcomes, so that they are known after the run and after its host was killed.
///
/// A run appends the outcomes of a batch, flushes once for all of them, and reports them when that has
/// returned; meanwhile it goes on and gathers the next batch. Both calls are made on a thread on which
/// it is fine to wait.
///
/// A ledger that fails stops the run, because work whose outcome cannot be recorded would be lost.
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
    /// Takes note of an outcome; may buffer it.
    fn append(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()>;

    /// Takes note that the outcomes of these jobs, which were appended before, may be wrong; may buffer it.
    ///
    /// A filter proved to be out of step after they were reported. One that keeps outcomes only for the time of
    /// the run need not care.
    fn suspect(&mut self, _ids: &[JobKey]) -> io::Result<()> {
        Ok(())
    }

    /// Returns once everything that was appended is as durable as the ledger promises.
    fn flush(&mut self) -> io::Result<()>;
}
