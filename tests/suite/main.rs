//! What ratchet promises, seen from the outside.

mod guarded_workers;
mod plain_workers;
mod sdk_tests;
