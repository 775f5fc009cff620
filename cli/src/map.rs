//! One command over many items: what `ratchet map` is made of.
//!
//! ```text
//! stdin, files, lists --Items--> Item --Template--> Job --(the executor)--> Outcome
//!                                                    |                         |
//!             MapRunner -> OutputCollector -> PendingOutputs -> MapReport -> stdout, joblog, results folder
//! ```
//!
//! Items are bytes from end to end: a file name that is not UTF-8 reaches its command unchanged.

mod captured_output;
mod collector;
mod files;
mod groups;
mod halt;
mod host_table;
mod identity;
mod item;
mod items;
mod joblog;
mod jobs;
mod lists;
mod live;
mod outputs;
mod path_part;
mod placeholder;
mod print;
mod report;
mod results;
mod runner;
mod shell;
mod shell_mistakes;
mod start;
mod substitution;
mod template;

pub(crate) use files::{FileTemplates, TypedFiles};
pub(crate) use groups::GroupRule;
pub(crate) use halt::{HaltDecision, HaltRule};
pub(crate) use host_table::HostTable as OutputsByHost;
pub(crate) use items::{Cut, ItemEnd, Items};
pub(crate) use joblog::Joblog;
pub(crate) use jobs::{MapJobs, MapWork, warm_pool};
pub(crate) use lists::{ListSources, split_words};
pub(crate) use live::LiveOutput;
pub(crate) use outputs::PendingOutputs;
pub(crate) use print::Printer;
pub(crate) use report::{MapOutput, MapReport};
pub(crate) use results::ResultsFolder;
pub(crate) use runner::MapRunner;
pub(crate) use shell_mistakes::{refuse_shell_line, shell_operator};
pub(crate) use start::CommandStart;
pub(crate) use template::{Columns, PlaceholderValues, Template};
