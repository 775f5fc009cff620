//! Reports on runs: from a journal to texts.
//!
//! A [`RunModel`] is what a journal tells of a run, in memory. From it come [`explain`], which says why the run took as long as
//! it did, and the reports that people and programs read. Nothing here finds runs or opens files: the command does.
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
