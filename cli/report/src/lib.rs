//! Reports on runs: makes texts from a journal.
//!
//! A [`RunModel`] is the content of a journal, in memory. From it are made [`explain`], which explains why the run took
//! as long as it did, and the reports that people and programs read. This crate does not find runs or open files: the
//! command does.
//!
//! ```text
//! journal --> model --> timeline, critical_path, simulation --> explain --> digest --> html, document
//!                                                                      --> trace, markdown
//! ```

mod critical_path;
mod digest;
mod document;
mod explain;
mod html;
mod markdown;
mod model;
mod simulation;
mod timeline;
mod trace;

pub use critical_path::{Link, critical_path};
pub use document::json;
pub use explain::{Explanation, WhatIf, describe, explain, explain_job};
pub use html::html;
pub use markdown::{annotations, markdown};
pub use model::{
    AttemptFacts, FailureFacts, JobFacts, Moment, Row, RunEnd, RunModel, Source, TermsFacts,
    WaitFacts, shown_name,
};
pub use simulation::{Change, Simulation};
pub use trace::trace;
