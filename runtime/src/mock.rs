//! Mocks and fakes of the traits of this crate, for tests of the code that uses it.
//!
//! Code that runs jobs can be tested with a [`MockRunner`] in place of real work:
//!
//! ```
//! use ratchet_runtime::mock::MockRunner;
//! use ratchet_runtime::summary::Results;
//! use ratchet_runtime::{Class, Error, Executor, Failure, Job, Payload, Runner};
//!
//! /// The code under test: resizes pictures, and says which could not be.
//! async fn resize(runner: impl Runner + 'static, paths: &[&str]) -> Result<Vec<String>, Error> {
//!     let jobs: Vec<Job> = paths
//!         .iter()
//!         .map(|path| Job::task(*path, "resize", Payload::from_text(path)))
//!         .collect();
//!     let outcomes = Executor::builder().runner(runner).build()?.run_all(jobs).await?;
//!     Ok(outcomes.filter_failed().map(|failed| failed.id.to_string()).collect())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let mut runner = MockRunner::new();
//! runner.expect_run().times(2).returning(|attempt, _context| {
//!     if attempt.job.id.as_str().ends_with(".txt") {
//!         return Err(Failure::new(Class::Task, "not a picture"));
//!     }
//!     Ok(Payload::null())
//! });
//! assert_eq!(resize(runner, &["a.png", "b.txt"]).await?, ["b.txt"]);
//! # Ok(())
//! # }
//! ```
//!
//! Code that has a pool can be tested without processes, with [`FakeProcesses`], whose workers are closures.

mod fake_processes;

use std::io;

pub use fake_processes::FakeProcesses;

pub use crate::executor::MockRunner;
pub use crate::os::MockProcessManager;

use crate::event::EventRecord;
use crate::executor::{Ledger, Sink};
use crate::job::Job;
use crate::monitor::{Probe, Reading};
use crate::outcome::Outcome;

mockall::mock! {
    /// A mock of [`Sink`], which wants all events.
    pub Sink {}

    impl Sink for Sink {
        fn on(&mut self, record: &EventRecord);
    }
}

mockall::mock! {
    /// A mock of [`Ledger`], which ignores suspects.
    pub Ledger {}

    impl Ledger for Ledger {
        fn append(&mut self, job: &Job, outcome: &Outcome) -> io::Result<()>;
        fn flush(&mut self) -> io::Result<()>;
    }
}

mockall::mock! {
    /// A mock of [`Probe`], for readings of a machine that runs short of something.
    pub Probe {}

    impl Probe for Probe {
        fn read(&mut self) -> Reading;
    }
}
