//! The parts of `ratchet map`, which runs one command for many items.
//!
//! ```text
//! stdin, files, lists --Items--> Item --Template--> Job --(the executor)--> Outcome
//!                                                    |                         |
//!             MapRunner -> OutputCollector -> PendingOutputs -> MapReport -> stdout, joblog, results folder
//! ```
//!
//! Items are bytes from end to end: a file name that is not UTF-8 reaches its command unchanged.

mod blocks;
mod captured_output;
mod collector;
mod columns;
mod command_line;
mod files;
mod groups;
mod halt;
mod host_table;
mod identity;
mod item;
mod item_terms;
mod items;
mod joblog;
mod jobs;
mod line_length;
mod line_tag;
mod lines;
mod lists;
mod live;
mod median_timeout;
mod outputs;
mod path_part;
mod placeholder;
mod print;
mod prompt;
mod report;
mod results;
mod results_table;
mod runner;
mod shell;
mod shell_mistakes;
mod shuffle;
mod start;
mod substitution;
mod template;
mod text_template;
mod word;
mod word_parser;

pub(crate) use blocks::{BlockRule, BlockSize, Blocks, RecordSeparator};
pub(crate) use columns::Columns;
pub(crate) use command_line::{ItemCommand, LineInterpreter};
pub(crate) use files::{FileFlags, FileTemplates};
pub(crate) use groups::GroupRule;
pub(crate) use halt::HaltRule;
pub(crate) use host_table::HostOutputs as OutputsByHost;
pub(crate) use item::{Item, ItemError};
pub(crate) use item_terms::{HintTemplate, ItemTerms};
pub(crate) use items::{ColumnSplitter, Items};
pub(crate) use joblog::{Joblog, JoblogFile};
pub(crate) use jobs::{MapJobs, MapSource, MapWork, warm_pool};
pub(crate) use line_tag::LineTag;
pub(crate) use lines::{ItemEnd, ItemRule};
pub(crate) use lists::{ListSources, split_words};
pub(crate) use live::LiveOutput;
pub(crate) use median_timeout::MedianTimeout;
pub(crate) use outputs::PendingOutputs;
pub(crate) use print::Printer;
pub(crate) use prompt::Prompt;
pub(crate) use report::{KeptResults, MapOutput, MapReport};
pub(crate) use results::ResultsFolder;
pub(crate) use results_table::{ResultsTable, TableFormat};
pub(crate) use runner::MapRunner;
pub(crate) use shell_mistakes::{refuse_shell_line, shell_operator};
pub(crate) use start::CommandStart;
pub(crate) use template::Template;
pub(crate) use text_template::TextTemplate;
pub(crate) use word::PlaceholderValues;
