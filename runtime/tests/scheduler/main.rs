//! The scheduler from outside: against a reference model, by its promises, and on a workload.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and its figures are small"
)]

mod against_model;
mod bound;
mod model;
mod promises;
mod workload;
