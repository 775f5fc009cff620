//! One command over many items: what `ratchet map` is made of.
//!
//! ```text
//! stdin, files, lists --Items--> Item --Template--> Job --(the executor)--> Outcome
//!                                                    |                         |
//!                                     MapRunner -> Shelf (what was printed) -> Printer, joblog, results
//! ```
//!
//! Items are bytes from end to end: a file name that is no UTF-8 reaches its command as it is.

mod halt;
mod identity;
mod items;
mod joblog;
mod jobs;
mod lists;
mod mistakes;
mod parts;
mod print;
mod printout;
mod quote;
mod recipient;
mod results;
mod runner;
mod shell;
mod spool;
mod template;

pub(crate) use halt::{HaltRule, Limit, Verdict};
pub(crate) use items::{End, Item, Items};
pub(crate) use joblog::Joblog;
pub(crate) use jobs::{MapJobs, MapWork, warm_pool};
pub(crate) use lists::{Lists, split_words};
pub(crate) use mistakes::{refuse_line, shell_operator};
pub(crate) use print::Printer;
pub(crate) use quote::shell_line;
pub(crate) use recipient::{MapRecipient, What, open_joblog, open_results};
pub(crate) use results::ResultsFolder;
pub(crate) use runner::{Live, MapRunner, Shelf};
pub(crate) use spool::Spool;
pub(crate) use template::{Columns, Template};
