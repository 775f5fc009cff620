//! What ratchet promises, seen from the outside.
#![expect(
    clippy::expect_used,
    reason = "a test fails when what has to happen does not"
)]
#![expect(
    clippy::duplicate_mod,
    reason = "the same tests run with another way to start processes"
)]

mod agents;
mod chaos;
mod cli;
mod commands;
mod commands_through_a_manager;
mod documents;
mod faults;
mod faults_over_an_agent;
mod fence;
mod guarded_workers;
mod host_failures;
mod hosts;
mod imports;
mod plain_workers;
mod processes;
mod queue;
mod resume;
mod sdk_tests;
mod ssh;
