//! Opens the outputs of a map.

use std::io::{self, Write};
use std::sync::Arc;

use crate::args::map::{CommandStream, MapArguments};
use crate::error::CliError;
use crate::map::{
    Columns, Joblog, KeptResults, LineTag, LiveOutput, MapOutput, OutputsByHost, Printer,
    ResultsFolder, ResultsTable, TableFormat, Template, TextTemplate,
};
use crate::output_file::FormerContent;
use crate::session::{Session, open_output, open_report, stdout};

/// Opens the log of commands, if one was asked for. A resumed run appends to it.
pub(super) fn open_joblog(
    arguments: &MapArguments,
    session: &mut Session,
    is_resumed: bool,
) -> Result<Option<Joblog>, CliError> {
    let Some(file) = &arguments.joblog else {
        return Ok(None);
    };
    if file.path.as_os_str() == "-" {
        return Joblog::to_stdout(stdout(session.console())).map(Some);
    }
    let opened = session.open_file(&file.path, file.former_content(is_resumed))?;
    Joblog::to_file(opened, &file.path).map(Some)
}

/// Opens the store of the outputs of commands, if that was asked for: a table if the file has the extension of one,
/// else a folder.
pub(super) fn open_results(
    arguments: &MapArguments,
    session: &mut Session,
    columns: Columns<'_>,
    is_resumed: bool,
) -> Result<Option<KeptResults>, CliError> {
    let Some(path) = &arguments.results else {
        return Ok(None);
    };
    if Template::has_placeholder(&[path.clone().into_os_string()], columns)? {
        return Err(CliError::usage(format!(
            "--results {}: the name has a placeholder, and the results of all items go into one folder or file",
            path.display()
        ))
        .with_help("leave it out: a folder of results has one for each item"));
    }
    let count = if columns.are_items { 1 } else { columns.count };
    Ok(Some(match TableFormat::of(path) {
        Some(format) => {
            let former = if is_resumed {
                FormerContent::Kept
            } else {
                FormerContent::Lost
            };
            let file = session.open_file(path, former)?;
            let table = ResultsTable::to_file(file, path, format, count)?;
            KeptResults::Table(table)
        }
        None => KeptResults::Folder(ResultsFolder::create(path)?),
    }))
}

/// Opens the output, and decides how results are written to it: as lines, whole, or in a format.
pub(super) fn open_map_output(
    arguments: &MapArguments,
    session: &mut Session,
    columns: Columns<'_>,
) -> Result<MapOutput, CliError> {
    let prints_commands = arguments.print_commands == Some(CommandStream::Stdout);
    let is_whole =
        arguments.common.output.format.is_none() && !arguments.line_buffer && !arguments.each_host;
    if prints_commands && !is_whole {
        return Err(CliError::usage(
            "-t=stdout prints a command before its output, and --format, --line-buffer and --each-host write no output as a whole",
        )
        .with_help("use -t, which prints commands to stderr when they start"));
    }
    // The setting for the format is for `run`: without --format, a map prints what its commands print.
    if arguments.common.output.format.is_some() {
        return Ok(MapOutput::Report(open_report(session)?));
    }
    let tag = match &arguments.tagstring {
        Some(text) => LineTag::Text(TextTemplate::parse(text, columns)?),
        None if arguments.tag => LineTag::Item,
        None => LineTag::None,
    };
    let (out, destination) = open_output(session)?;
    let err = session.console().clone();
    if arguments.line_buffer {
        let live = LiveOutput::new(tag, out, Box::new(err));
        let live = if session.options().keep_order {
            live.in_order()
        } else {
            live
        };
        let live = Arc::new(live);
        return Ok(MapOutput::Live { live, destination });
    }
    let out: Box<dyn Write + Send> = Box::new(io::BufWriter::new(out));
    if arguments.each_host {
        return Ok(MapOutput::ByHost {
            table: OutputsByHost::default(),
            out,
            destination,
        });
    }
    let err: Box<dyn Write + Send> = Box::new(io::BufWriter::new(err));
    let printer = Printer::new(tag, prints_commands, out, err);
    Ok(MapOutput::Whole {
        printer,
        destination,
    })
}
