//! The table of `--each-host`: the hosts, how the command ended there, and what it printed.

use std::io::{self, Write};

use ratchet_runtime::process::Exit;
use ratchet_runtime::{Class, Outcome};

use super::outputs::CommandRecord;
use crate::escape::{plain, text_of};
use crate::spool::Spool;

/// The width of the column of hosts beyond which further names go into another line.
const HOSTS_WIDTH: usize = 30;

/// The output of the command on each host. Hosts on which it ended in the same way with the same output share a row.
#[derive(Debug, Default)]
pub(crate) struct HostOutputs {
    rows: Vec<Row>,
}

/// The result that one or more hosts have in common.
#[derive(Debug)]
struct Row {
    /// The numbers and the names of the hosts.
    hosts: Vec<(u64, String)>,
    exit: String,
    stdout: Spool,
    stderr: Spool,
    /// Why the command did not end by itself, or was not run at all.
    message: Option<String>,
}

impl HostOutputs {
    /// Adds the result of a host. Without a record, no command ran there.
    pub(super) fn add(
        &mut self,
        record: Option<CommandRecord>,
        outcome: &Outcome,
    ) -> io::Result<()> {
        let failure = outcome.failure().filter(|_| !outcome.is_success());
        // If the command failed by itself, the column of exit codes says enough.
        let message = failure.filter(|failure| failure.class != Class::Exit);
        let row = match record {
            Some(record) => Row {
                hosts: vec![(record.number, name_of(outcome))],
                exit: exit(record.exit),
                stdout: record.stdout,
                stderr: record.stderr,
                message: message.map(|failure| failure.message.clone()),
            },
            None => Row {
                hosts: vec![(number_of(outcome), name_of(outcome))],
                exit: "-".to_owned(),
                stdout: Spool::default(),
                stderr: Spool::default(),
                message: Some(message.map_or_else(
                    || outcome.status().as_str().to_owned(),
                    |failure| failure.message.clone(),
                )),
            },
        };
        for known in &mut self.rows {
            if known.is_like(&row)? {
                known.hosts.extend(row.hosts);
                return Ok(());
            }
        }
        self.rows.push(row);
        Ok(())
    }

    /// Writes the table in the order of the hosts.
    pub(super) fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        for row in &mut self.rows {
            row.hosts.sort_unstable();
        }
        self.rows
            .sort_by_key(|row| row.hosts.first().map(|(number, _)| *number));
        let cells = self.rows.iter().map(Row::hosts_in_lines);
        let cells: Vec<Vec<String>> = cells.collect();
        let names = cells.iter().flatten().map(|line| line.chars().count());
        let width = names.max().unwrap_or_default().max("HOSTS".len());
        let exits = self.rows.iter().map(|row| row.exit.len());
        let exit_width = exits.max().unwrap_or_default().max("EXIT".len());
        writeln!(out, "{:<width$}  {:<exit_width$}  OUTPUT", "HOSTS", "EXIT")?;
        for (row, hosts) in self.rows.iter().zip(cells) {
            let output = row.output_lines()?;
            for at in 0..hosts.len().max(output.len()) {
                let name = hosts.get(at).map_or("", String::as_str);
                let exit = if at == 0 { &row.exit } else { "" };
                let text = output.get(at).map_or("", String::as_str);
                let line = format!("{name:<width$}  {exit:<exit_width$}  {text}");
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

impl Row {
    fn is_like(&self, other: &Self) -> io::Result<bool> {
        Ok(self.exit == other.exit
            && self.message == other.message
            && self.stdout.has_bytes_of(&other.stdout)?
            && self.stderr.has_bytes_of(&other.stderr)?)
    }

    /// Returns the names of the hosts, in as many lines as they need.
    fn hosts_in_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (_, name) in &self.hosts {
            match lines.last_mut() {
                Some(line) if line.len() + name.len() + 2 <= HOSTS_WIDTH => {
                    line.push_str(", ");
                    line.push_str(name);
                }
                Some(line) => {
                    line.push(',');
                    lines.push(name.clone());
                }
                None => lines.push(name.clone()),
            }
        }
        lines
    }

    /// Returns the lines of stdout, then those of stderr, without control characters.
    fn output_lines(&self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        for spool in [&self.stdout, &self.stderr] {
            let mut bytes = Vec::new();
            spool.write_to(&mut bytes)?;
            let text = text_of(&bytes);
            lines.extend(text.lines().map(|line| plain(line).into_owned()));
        }
        let message = self.message.iter().flat_map(|message| message.lines());
        lines.extend(message.map(|line| format!("ratchet: {}", plain(line))));
        Ok(lines)
    }
}

/// Returns the name of the host of a job, which is its item.
fn name_of(outcome: &Outcome) -> String {
    let name = outcome
        .item
        .as_ref()
        .map_or(outcome.id.as_str(), |item| item.as_str());
    plain(name).into_owned()
}

/// Returns the number of a job, which is its id.
fn number_of(outcome: &Outcome) -> u64 {
    outcome.id.as_str().parse().unwrap_or_default()
}

fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => code.to_string(),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Unknown => "-".to_owned(),
    }
}
