//! The items of a map, and how many of them each command gets.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::args::map::MapArguments;
use crate::error::CliError;
use crate::map::{
    ColumnSplitter, Columns, GroupRule, ItemEnd, ItemRule, Items, ListSources, Template,
};
use crate::session::Session;

/// Checks the arguments about the items. Returns the opener of the items, which may wait for the first record of a CSV
/// file.
pub(super) fn items(
    arguments: &MapArguments,
    lists: Option<ListSources>,
) -> Result<impl FnOnce() -> Result<Items, CliError> + Send + use<>, CliError> {
    if arguments.each_host && lists.is_some() {
        return Err(CliError::usage(
            "--each-host runs the command once on each host, without items",
        )
        .with_help("leave out `:::` and what follows it, or --each-host"));
    }
    if arguments.max_lines.is_some() {
        let others = [
            ("-n", arguments.max_args),
            ("-N", arguments.max_replace_args),
        ];
        if let Some((flag, _)) = others.into_iter().find(|(_, typed)| typed.is_some()) {
            return Err(CliError::usage(format!(
                "-L and {flag} both say how many items a command gets"
            ))
            .with_help(format!("leave out {flag}, or leave out -L")));
        }
    }
    let files = arguments.arg_file.clone();
    let (header, shuf) = (arguments.header, arguments.shuf);
    let records = match (arguments.csv, arguments.tsv) {
        (true, _) => Some(b','),
        (_, true) => Some(b'\t'),
        _ => None,
    };
    let cut = match (&arguments.colsep, &arguments.matching) {
        (Some(separator), _) => Some(ColumnSplitter::at_separators(separator)?),
        (_, Some(expression)) => Some(ColumnSplitter::into_groups(expression)?),
        // A line with names of columns has tabs between them unless --colsep says otherwise, as in GNU parallel.
        _ if header && lists.is_none() && records.is_none() => {
            Some(ColumnSplitter::at_separators("\t")?)
        }
        _ => None,
    };
    let end = match arguments.delimiter.clone() {
        Some(end) => end,
        None if arguments.null => ItemEnd::NULL,
        None => ItemEnd::Line,
    };
    let reads_files = lists.as_ref().is_some_and(ListSources::reads_files);
    let lists = match lists {
        Some(_) if records.is_some() => {
            return Err(CliError::usage(
                "items are given after `:::`, and --csv or --tsv would read others",
            )
            .with_help("leave out `:::`, or --csv and --tsv"));
        }
        Some(_) if end != ItemEnd::Line && !reads_files => {
            return Err(CliError::usage(
                "items after `:::` are separate words, so they are not split",
            )
            .with_help("leave out --null and --delimiter"));
        }
        Some(lists) if arguments.link => Some(lists.linked()),
        None if arguments.link && files.len() > 1 && records.is_none() => {
            Some(ListSources::linked_files(&files))
        }
        _ if arguments.link => {
            return Err(CliError::usage(
                "--link pairs the items of several lists, and there is only one list",
            )
            .with_help("write several after `:::`, or name several files by -a"));
        }
        lists => lists,
    };
    if lists.is_none() && !arguments.each_host && files.is_empty() && io::stdin().is_terminal() {
        return Err(CliError::usage("there are no items: stdin is a terminal")
            .with_help("write items after `:::`, name a file by -a, or write lines to stdin"));
    }
    let rule = ItemRule {
        end,
        end_item: arguments
            .end_item
            .as_ref()
            .map(|text| text.as_bytes().to_vec()),
        skips_blank: arguments.no_run_if_empty,
        joins_after_blank: arguments.max_lines.is_some(),
        // Where items are cut into columns, the first one names those.
        has_header: header && cut.is_none(),
    };
    Ok(move || {
        let items = match (lists, records) {
            (Some(lists), _) => Items::lists(lists, rule)?,
            (None, Some(separator)) => Items::records(&files, separator, header)?,
            (None, None) => Items::lines(&files, rule)?,
        };
        let items = match cut {
            Some(cut) => items.cut(cut, header),
            None => items,
        };
        Ok(if shuf { items.shuffled() } else { items })
    })
}

/// Returns the files from which items are read; `-` is stdin.
pub(super) fn inputs<'a>(
    arguments: &'a MapArguments,
    lists: Option<&'a ListSources>,
) -> Vec<&'a Path> {
    match (lists, &arguments.arg_file[..]) {
        _ if arguments.each_host => Vec::new(),
        (Some(lists), _) => lists.files().collect(),
        (None, []) => vec![Path::new("-")],
        (None, files) => files.iter().map(PathBuf::as_path).collect(),
    }
}

/// Whether items are read from stdin.
pub(super) fn reads_stdin(arguments: &MapArguments, lists: Option<&ListSources>) -> bool {
    match &arguments.arg_file[..] {
        _ if arguments.each_host => false,
        _ if let Some(lists) = lists => lists.reads_stdin(),
        [] => true,
        files => files.iter().any(|file| file.as_os_str() == "-"),
    }
}

/// Returns how many items each command gets at most, if that was typed.
fn most_items(arguments: &MapArguments) -> Option<u32> {
    let lines = arguments.max_lines.map(NonZeroU32::get);
    arguments.max_args.or(lines).or(arguments.max_replace_args)
}

/// Whether there is a command for each item that gets no item, as with `-n 0`.
fn gives_no_items(arguments: &MapArguments) -> bool {
    most_items(arguments) == Some(0)
}

/// Refuses a placeholder for an item in a command that gets none.
pub(super) fn refuse_placeholder_without_item(
    arguments: &MapArguments,
    template: Option<&Template>,
) -> Result<(), CliError> {
    if !gives_no_items(arguments) || !template.is_some_and(Template::uses_item) {
        return Ok(());
    }
    Err(
        CliError::usage("with -n 0 the command gets no item, but it has a placeholder for one")
            .with_help("leave out -n 0 or the placeholder; {#} is the number of the item"),
    )
}

/// Returns how several items are joined for each command, if that was asked for.
pub(super) fn group_rule(
    arguments: &MapArguments,
    items: &Items,
    slots: u32,
) -> Result<Option<GroupRule>, CliError> {
    if gives_no_items(arguments) {
        return Ok(None);
    }
    let most = most_items(arguments).and_then(NonZeroU32::new);
    let spreads = arguments.spread || arguments.in_place;
    if most.is_none() && !arguments.xargs && !spreads && arguments.max_chars.is_none() {
        return Ok(None);
    }
    let count = items.column_count();
    if count != 1 || !items.column_names().is_empty() {
        return Err(CliError::usage(format!(
            "several items become the columns of a command, and these have columns of their own ({count})"
        ))
        .with_help("leave out -n, -N, -L, -X, -m, -s and --xargs, or what makes the columns"));
    }
    // With -s alone, each command gets as many items as fit into its limit, as in xargs.
    let spread_over = NonZeroU32::new(slots).filter(|_| spreads);
    GroupRule::new(most, arguments.max_chars, spread_over).map(Some)
}

/// Returns the columns that a command can name.
pub(super) fn columns<'a>(
    arguments: &MapArguments,
    items: &'a Items,
    rule: Option<&GroupRule>,
) -> Columns<'a> {
    match rule {
        None if gives_no_items(arguments) => Columns {
            count: 0,
            names: &[],
            are_items: false,
        },
        None => Columns {
            count: items.column_count(),
            names: items.column_names(),
            are_items: false,
        },
        Some(rule) => Columns {
            count: rule.columns().unwrap_or(0),
            names: &[],
            are_items: true,
        },
    }
}

/// Counts the items ahead of their use if progress is shown, so that the display knows early how many there are.
pub(super) fn count_ahead(items: &mut Items, session: &Session) -> Result<(), CliError> {
    if !session.shows_progress() {
        return Ok(());
    }
    let console = session.console().clone();
    items
        .count_ahead(move |total| console.announce(total))
        .map_err(|error| {
            CliError::internal("the thread for items cannot be started").because(error)
        })
}
