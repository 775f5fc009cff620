//! What ratchet promises, seen from the outside.
#![expect(
    clippy::expect_used,
    reason = "a test fails when what has to happen does not"
)]

mod chaos;
mod cli;
mod commands;
mod documents;
mod faults;
mod guarded_workers;
mod imports;
mod plain_workers;
mod processes;
mod resume;
mod sdk_tests;
